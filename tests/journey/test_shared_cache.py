"""E13: a cache that visitors share, a real nginx that ignores nothing, keeps no page of anybody."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from werkzeug.serving import make_server

from tests.conftest import free_ports, program
from tests.journey.conftest import World
from tests.waiting import until

CONFIGURATION = """
{user}
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/client;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_cache_path {folder}/cache keys_zone=pages:1m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_cache pages;
            proxy_cache_valid any 1h;
            add_header X-Cache $upstream_cache_status always;
        }}
    }}
}}
"""


def listens(port: int) -> bool:
    try:
        return bool(httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False))
    except httpx.TransportError:
        return False


@pytest.fixture
def cached(edp: World, tmp_path: Path) -> Iterator[str]:
    """The address of the cache in front of the EDP's pages."""
    nginx = program("nginx")
    server = make_server("127.0.0.1", 0, edp.app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = free_ports(1)
    configuration = tmp_path / "nginx.conf"
    # Otherwise root's workers are another user, to whom pytest's folder is closed.
    user = "user root root;" if os.geteuid() == 0 else ""
    configuration.write_text(CONFIGURATION.format(user=user, folder=tmp_path, port=port, upstream=server.server_port))
    process = subprocess.Popen([str(nginx), "-p", str(tmp_path), "-c", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        until(lambda: listens(port), "nginx does not listen")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)
        server.shutdown()


def signed_in(edp: World, sme: str) -> str:
    """The cookie of a browser that looks after the permissions of one business."""
    typed = {"sme-1": ("1212345678902", "SW8 1AA"), "sme-2": ("1212345678903", "SW8 1AA")}[sme]
    browser: Any = edp.browser().open("/manage")
    browser.click("continue", mpan=typed[0], postcode=typed[1], mprn="")
    if browser.path != "/manage/permissions":
        browser.click("continue")  # a check digit that does not fit is pointed out once
    cookie = browser.client.get_cookie("__Host-edp-manage", domain="localhost")
    return f"__Host-edp-manage={cookie.value}"


def test_E13_a_shared_cache_keeps_no_page_of_anybody(edp: World, cached: str) -> None:
    edp.keep_grant(1)
    edp.keep_grant(2, sme="sme-2")
    start = edp.journey()
    journey = f"{start.cookie}={start.value}"
    visitors = {
        "Acme Widgets Ltd": f"{signed_in(edp, 'sme-1')}; {journey}",
        "Bakers Ltd": signed_in(edp, "sme-2"),
        "nobody": "",
    }
    evidence = f"/evidence/{edp.grants()[0].evidence.id}"  # the same to whoever has its address
    own = ("/manage/permissions", "/manage/withdraw?permission=p-1", "/manage", start.path)
    with httpx.Client(base_url=cached, trust_env=False) as client:
        for path in (*own, evidence, "/nowhere", "/errors/not_found") * 2:
            for name, cookie in visitors.items():
                answer = client.get(path, headers={"Cookie": cookie})
                assert answer.headers["X-Cache"] == "MISS", (path, name)
                assert path == evidence or not [each for each in visitors if each != name and each in answer.text]
        for path in ("/jwks", "/.well-known/oauth-authorization-server", "/static/style.css"):
            answers = [client.get(path, headers={"Cookie": visitors["Bakers Ltd"]}) for _ in range(2)]
            assert [answer.headers["X-Cache"] for answer in answers] == ["MISS", "HIT"], "the cache works"

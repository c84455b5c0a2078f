"""What a door shares: health, readiness, and whose address counts behind a proxy."""

import itertools
import sys
import threading
import time
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from werkzeug.test import create_environ, run_wsgi_app

from consent_server import clock, deployment
from consent_server.deployment import Deployment, Door
from consent_server.parties import party_of
from consent_server.readiness import PartDegraded
from consent_server.refusal import Unavailable
from consent_server.web import door
from tests.deployments import settings_of

PROXY, PROXY_AS_IPV6 = "10.0.0.5", "::ffff:10.0.0.6"


class Checked(Deployment):
    """A deployment that is as ready as a test says."""

    parts: dict[str, Any]

    def checks(self) -> dict[str, Any]:
        return self.parts


def opened(kind: Door = "public", proxies: tuple[str, ...] = (PROXY, PROXY_AS_IPV6), **parts: Any) -> FlaskClient:
    settings = settings_of("edp", "sqlite://", {"clients.proxies": list(proxies)})
    process = Checked(settings, party_of(settings))
    process.parts = parts
    app = Flask("door-test", static_folder=None)
    deployment.install(app, process)
    door.install(app, settings, kind, ())
    app.add_url_rule("/address", view_func=lambda: request.remote_addr or "")
    app.add_url_rule("/a/<name>", "a", view_func=lambda name: name)
    return app.test_client(use_cookies=False)


@pytest.mark.parametrize(
    ("kind", "peer", "forwarded", "seen"),
    [
        pytest.param("public", PROXY, "192.0.2.1", "192.0.2.1", id="our proxy's word"),
        pytest.param("public", PROXY, "203.0.113.9, 192.0.2.1", "192.0.2.1", id="only what our proxy added"),
        pytest.param("public", "192.0.2.77", "192.0.2.1", "192.0.2.77", id="anybody else's word"),
        pytest.param("public", f"::ffff:{PROXY}", "192.0.2.1", "192.0.2.1", id="our proxy at a socket of IPv6"),
        pytest.param("public", PROXY_AS_IPV6, "192.0.2.1", "192.0.2.1", id="and named as it is seen there"),
        pytest.param("public", PROXY, "::ffff:192.0.2.1", "192.0.2.1", id="our proxy with a socket of IPv6"),
        pytest.param("public", "::ffff:192.0.2.77", "", "192.0.2.77", id="a browser at a socket of IPv6"),
        pytest.param("public", "2001:db8::77", "", "2001:db8::77", id="a browser with IPv6"),
        pytest.param("public", PROXY, "not an address", PROXY, id="no address"),
        pytest.param("mutual_tls", PROXY, "192.0.2.1", PROXY, id="the mutual-TLS door judges the proxy"),
        pytest.param("mutual_tls", f"::ffff:{PROXY}", "192.0.2.1", PROXY, id="at a socket of IPv6 too"),
    ],
)
def test_the_address_of_a_client_behind_proxies(kind: Door, peer: str, forwarded: str, seen: str) -> None:
    answer = opened(kind).get("/address", environ_base={"REMOTE_ADDR": peer}, headers={"X-Forwarded-For": forwarded})
    assert answer.text == seen


def test_without_proxies_a_forwarded_address_is_nobodys() -> None:
    headers = {"X-Forwarded-For": "192.0.2.1"}
    assert opened(proxies=()).get("/address", headers=headers).text == "127.0.0.1"


def test_ready_names_what_fails() -> None:
    def failing() -> None:
        raise Unavailable("a detail", public="no list yet")

    def degraded() -> None:
        raise PartDegraded("no job", "a detail")

    answer = opened(database=lambda: "ok", worker=degraded, revocation_list=failing).get("/ready")
    assert answer.status_code == 503
    assert answer.json == {
        "status": "unavailable",
        "failing": ["revocation_list"],
        "degraded": ["worker"],
        "database": "ok",
        "worker": "no job",
        "revocation_list": "no list yet",
    }
    assert opened(database=lambda: "ok", worker=degraded).get("/ready").status_code == 200
    assert opened().get("/health").status_code == 200


@pytest.mark.parametrize("kind", ["public", "mutual_tls"])
@pytest.mark.parametrize("path", ["/a//b", "/a/b/", "/a///b", "/a/./b"])
def test_no_address_of_ours_is_mended_by_a_redirect(kind: Door, path: str) -> None:
    """A redirect of the router's would lead to the host that the request named, whoever wrote it there."""
    answer = opened(kind).get(path, headers={"Host": "evil.example"})
    assert answer.status_code == 404
    assert "Location" not in answer.headers


@pytest.mark.parametrize("kind", ["public", "mutual_tls"])
@pytest.mark.parametrize(
    "path", ["/a/%00", "/a/b%00c", "/a/%ff", "/a/%ED%A0%80", "/a/%0D%0A", "/a/%C2%85", "/%00", "/a/%1B[31m"]
)
def test_H14_a_path_that_is_no_text_is_nowhere(kind: Door, path: str) -> None:
    octets = unquote_to_bytes(path).decode(
        "latin-1"
    )  # as a server passes it; the client of the tests mends what is no UTF-8
    answer = opened(kind).get("/a/b", environ_overrides={"PATH_INFO": octets})
    assert answer.status_code == 404
    assert len(answer.headers["X-Request-Id"]) == 24


@pytest.mark.parametrize("kind", ["public", "mutual_tls"])
@pytest.mark.parametrize("value", ["a\x00b", "a\x1bb", "a\x7fb", "\x01"])
@pytest.mark.parametrize("name", ["COOKIE", "USER_AGENT", "AUTHORIZATION", "ORIGIN", "X_FORWARDED_FOR", "X_REQUEST_ID"])
def test_H14_a_header_with_a_control_character_is_refused(kind: Door, name: str, value: str) -> None:
    answer = opened(kind).get("/a/b", environ_overrides={f"HTTP_{name}": value})
    assert answer.status_code == 400


@pytest.mark.parametrize("kind", ["public", "mutual_tls"])
@pytest.mark.parametrize(
    ("protocol", "host", "status"),
    [
        ("HTTP/1.1", "edp.example", 200),
        ("HTTP/1.1", "edp.example:8443", 200),
        ("HTTP/1.1", "10.0.0.5:8443", 200),
        ("HTTP/1.1", "[2001:db8::5]:8443", 200),
        ("HTTP/1.1", None, 400),
        ("HTTP/1.1", "", 400),
        ("HTTP/1.1", ":8443", 400),
        ("HTTP/1.1", "edp.example,edp.example", 400),  # two of them, as gunicorn hands them on
        ("HTTP/1.1", "edp.example, evil.example", 400),
        ("HTTP/1.1", "edp.example/a", 400),
        ("HTTP/1.1", "user@edp.example", 400),
        ("HTTP/1.1", "edp.example:port", 400),
        ("HTTP/1.1", "edp example", 400),
        ("HTTP/1.1", "edp.\u00e9xample", 400),
        ("HTTP/1.0", None, 200),  # as HAProxy, nginx and others ask whether a server is well
        ("HTTP/1.0", "edp.example, evil.example", 400),
    ],
)
def test_H14_a_request_names_one_host(kind: Door, protocol: str, host: str | None, status: int) -> None:
    environ = create_environ("/health", environ_overrides={"SERVER_PROTOCOL": protocol})
    del environ["HTTP_HOST"]
    answer = run_wsgi_app(opened(kind).application, environ | ({} if host is None else {"HTTP_HOST": host}))
    assert int(answer[1].split()[0]) == status
    assert (b"/errors/bad_http_request" in b"".join(answer[0])) is (status == 400)


@pytest.mark.parametrize("value", ["a\tb", "\u00e9\u0085", 'a; b="\\000"'])
def test_a_header_may_hold_tabs_and_what_is_not_ascii(value: str) -> None:
    assert opened().get("/a/b", environ_overrides={"HTTP_COOKIE": value, "HTTP_USER_AGENT": value}).status_code == 200


def test_S3_H21_whoever_waits_for_a_look_takes_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one look after the other a load balancer would wait for those of all strangers that asked before it."""
    seconds = itertools.count(1_773_307_800)
    monkeypatch.setattr(clock, "now", lambda: next(seconds))
    asked = [threading.Thread(target=lambda: answers.append(client.get("/ready").status_code)) for _ in range(3)]
    answers: list[int] = []
    looks: list[str] = []

    def slow() -> str:
        looks.append("look")
        if len(looks) == 1:
            for each in asked:
                each.start()
            while not all(waits_for_a_look(each) for each in asked):
                time.sleep(0.001)
        return "ok"

    client = opened(database=slow)
    assert client.get("/ready").status_code == 200
    for each in asked:
        each.join()
    assert (answers, looks) == ([200] * 3, ["look"])
    assert client.get("/ready").status_code == 200
    assert looks == ["look"] * 2


def waits_for_a_look(thread: threading.Thread) -> bool:
    """Return whether a thread has counted the looks before its own and is still in `Watch.readiness`."""
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code.co_name == "readiness" and "looks" in frame.f_locals

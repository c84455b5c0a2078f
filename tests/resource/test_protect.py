"""The decorator's own example, run as it stands in its docstring: real gunicorn, real mutual TLS, an issuer elsewhere."""

import dataclasses
import inspect
import os
import re
import ssl
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

from consent_server import clock
from consent_server.outbound.status_list import StatusListPoller
from consent_server.resource import protect, remote
from consent_server.resource.guard import AcceptedLicense
from consent_server.resource.protect import Protect
from consent_server.resource.remote import STATUS_MAX_AGE_S
from consent_server.sandbox.authority import Authority
from tests.resource.guarded import (
    AUDIENCE,
    CASES,
    DIGEST,
    DIRECTORY,
    LICENSE,
    METHODS,
    ROLE,
    Issuer,
    Running,
    callers,
    judged_by_method,
    refused_in_full,
    served,
)
from tests.waiting import until


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("protect")
    authority = Authority(folder / "ca").create()
    issuer = Issuer(folder, authority)
    certificates = callers(authority, folder)
    offset = folder / "offset"
    clock.write_offset(offset, 0)
    (folder / "edp.py").write_text(application(issuer.url, authority, folder))
    server = authority.server()
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "edp:app", "--worker-class", "gthread", "--threads", "4"),
                *("--bind", "127.0.0.1:0", "--certfile", str(server.chain), "--keyfile", str(server.key)),
                *("--ca-certs", str(authority.client_root), "--cert-reqs", str(int(ssl.CERT_REQUIRED))),
            ],
            cwd=folder,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )
        try:
            begun = Running(
                issuer, f"https://localhost:{port_of(log)}", offset, certificates, authority.server_root, log
            )
            until(lambda: begun.get(token=begun.token()).status_code == 200, "its lists are not loaded")
            yield begun
        finally:
            process.terminate()
            process.wait(60)
            issuer.server.shutdown()


def application(issuer: str, authority: Authority, folder: Path) -> str:
    """The example of the docstring, with this test's addresses, files and view."""
    example = textwrap.dedent(str(inspect.getdoc(protect)).split("\n\n", 2)[2])
    for old, new in {
        "https://auth.edp.example": issuer,
        "https://directory.core.trust.ib1.org/client.crl": str(folder / "client.crl"),
        "https://directory.core.trust.ib1.org": DIRECTORY,
        "https://registry.core.trust.ib1.org/scheme/perseus/role/carbon-accounting-provider": ROLE,
        'client_root="client_root.pem",': (
            f'client_root="{authority.client_root}", client_issuers="{authority.client_issuer}", '
            f'server_roots="{authority.server_root}", environment="sandbox",'
        ),
        "    ...": "    return {'account': permission.account, 'fuels': sorted(permission.fuels)}",
    }.items():
        assert old in example, f"the example has lost {old}"
        example = example.replace(old, new)
    return "\n".join(
        [
            "from pathlib import Path",
            "from consent_server import clock",
            f"clock.follow(Path({str(folder / 'offset')!r}))",
            f"LICENSE_URL, DIGEST = {LICENSE!r}, {DIGEST!r}",
            example,
            f"METHODS = {sorted({method for method, _ in METHODS})}",
            "@app.route('/my/gas/<meter>', methods=METHODS)",
            "@guard.protect(fuel='gas', datasource='meter')",
            "def gas(meter):",
            "    return {'account': guard.permission.account}",
            "@app.route('/my/bill/<meter>', methods=METHODS)",
            "@guard.protect(fuel='electricity', datasource='meter', methods=('GET', 'HEAD', 'POST'))",
            "def bill(meter):",
            "    return {'account': guard.permission.account}",
        ]
    )


def port_of(log: Path) -> int:
    found = until(lambda: re.search(r"Listening at: https://127\.0\.0\.1:(\d+)", log.read_text()), "it does not listen")
    return int(found[1])


def test_a_good_call_reaches_the_view(running: Running) -> None:
    answer = running.get(token=running.token())
    assert answer.status_code == 200
    assert answer.json() == {"account": "account-1", "fuels": ["electricity", "gas"]}
    assert answer.headers["Cache-Control"] == "no-store"
    # FAPI2 conformance, resource call: a Date header, once
    assert len(answer.headers.get_list("Date")) == 1


def test_the_scheme_may_be_in_any_case(running: Running) -> None:
    answer = running.get(Authorization=f"bEARER {running.token()}")
    assert answer.status_code == 200


@pytest.mark.parametrize(("changes", "call", "code", "error"), CASES.values(), ids=CASES)
def test_what_the_guard_says_is_answered(
    running: Running, changes: dict[str, Any], call: dict[str, Any], code: int, error: str | None
) -> None:
    answer = running.get(token=running.token(**changes), **call)
    assert (answer.status_code, answer.json().get("error")) == (code, error)
    if error:
        refused_in_full(answer, running.issuer, error)


@pytest.mark.parametrize(("method", "path"), METHODS)
def test_a_view_runs_for_its_methods_alone(running: Running, method: str, path: str) -> None:
    judged_by_method(running.get(path, token=running.token(), method=method), running.issuer, method, path)


def test_no_token_and_a_token_in_the_url_are_401(running: Running) -> None:
    token = running.token()
    assert running.get().status_code == 401
    assert running.get(f"/my/data/meter.1?access_token={token}").status_code == 401
    assert running.get(f"/my/data/meter.1?access_token={token}", token=token).status_code == 401


def test_without_a_certificate_there_is_no_connection(running: Running) -> None:
    with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
        running.get(who=None, token=running.token())


def test_a_withdrawal_arrives_within_seconds(running: Running) -> None:
    token = running.token(status_idx=5)
    assert running.get(token=token).status_code == 200
    running.issuer.withdrawn.add(5)
    until(lambda: running.get(token=token).status_code != 200, "the withdrawal did not arrive")
    answer = running.get(token=token)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert running.get(token=running.token(status_idx=6)).status_code == 200


def test_cut_off_from_the_feed_nothing_is_released(running: Running) -> None:
    token = running.token()
    running.issuer.down = True
    try:
        time.sleep(0.3)  # a poll under way may still end well
        clock.write_offset(running.offset, STATUS_MAX_AGE_S + 5)
        answer = running.get(token=token)
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    finally:
        running.issuer.down = False
        clock.write_offset(running.offset, 0)
    until(lambda: running.get(token=running.token()).status_code == 200, "it does not come back")


def test_no_token_reaches_the_log(running: Running) -> None:
    running.get(token=running.token(aud="https://elsewhere.example"))
    assert "eyJ" not in running.log.read_text()


class Register:
    """The Directory over TLS: one member with one application, and what a test makes of them."""

    def __init__(self, authority: Authority) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                owner.asked.append(path)
                body = orjson.dumps(owner.entries.get(path))
                self.send_response(200 if path in owner.entries else 404)
                self.send_header("Cache-Control", "no-cache")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None: ...

        self.server = served(Handler, authority)
        self.url = f"https://localhost:{self.server.server_address[1]}"
        self.member, self.application = f"{self.url}/m/cap", f"{self.url}/a/cap"
        self.list()

    def list(self, status: str = "Active", publisher: str | None = None) -> None:
        self.entries["/a/cap"] = {
            "id": self.application,
            "publisher": publisher or self.member,
            "title": "App",
            "role": [],
        }
        self.entries["/m/cap"] = {
            "id": self.member,
            "legalName": "Carbon Ltd",
            "roles": [],
            "trustFrameworkMemberships": [{"membershipStatus": status}],
        }


@dataclasses.dataclass
class Looking:
    """An application whose guard was told to look members up, behind a proxy; `later` steps its clock."""

    register: Register
    client: FlaskClient
    certificate: str
    token: Callable[[], str]
    later: Callable[[int], None]

    def get(self) -> tuple[int, str | None]:
        """The status, and the code at the end of `error_uri`."""
        headers = {"X-SSL-Client-Cert": self.certificate, "Authorization": f"Bearer {self.token()}"}
        answer = self.client.get("/data/meter.1", headers=headers)
        assert answer.json is not None
        return answer.status_code, answer.json.get("error_uri", "").rpartition("/")[2] or None


@pytest.fixture
def looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Looking]:
    authority = Authority(tmp_path / "ca").create()
    issuer, register = Issuer(tmp_path, authority), Register(authority)
    held = authority.client("cap", register.application, register.member, [ROLE])
    (tmp_path / "client.crl").write_bytes(authority.crl([]))
    pollers: list[StatusListPoller] = []

    def noted(*args: Any, **options: Any) -> StatusListPoller:
        pollers.append(StatusListPoller(*args, **options))
        return pollers[-1]

    monkeypatch.setattr(remote, "StatusListPoller", noted)  # so that none outlives its test
    guard = Protect(
        issuer=issuer.url,
        audience=AUDIENCE,
        directory=register.url,
        client_root=authority.client_root,
        client_issuers=authority.client_issuer,
        server_roots=authority.server_root,
        revocation_list=str(tmp_path / "client.crl"),
        roles=(ROLE,),
        licenses={LICENSE: AcceptedLicense(DIGEST, ("electricity",))},
        arrival="escaped-pem",
        proxies=("127.0.0.1",),
        environment="sandbox",
        look_up_members=True,
    )
    app = Flask("looking")

    @app.get("/data/<meter>")
    @guard.protect(fuel="electricity", datasource="meter")
    def data(meter: str) -> dict[str, str]:
        return {"account": guard.permission.account}

    seconds = [0]
    monkeypatch.setattr(clock, "_offset", lambda: seconds[0])
    running = Running(issuer, "", tmp_path, {}, authority.server_root, tmp_path)
    pem = held.chain.read_text().partition("-----END CERTIFICATE-----")
    try:
        yield Looking(
            register,
            app.test_client(),
            quote(pem[0] + pem[1] + "\n", safe=""),
            lambda: running.token(client_id=register.application),
            lambda more: seconds.__setitem__(0, seconds[0] + more),
        )
    finally:
        for poller in pollers:
            poller.stop()
        issuer.server.shutdown()
        register.server.shutdown()


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        (lambda register: None, None),
        (lambda register: register.list("Suspended"), "membership_suspended"),
        (lambda register: register.entries.pop("/m/cap"), "membership_suspended"),
        (lambda register: register.entries.pop("/a/cap"), "application_withdrawn"),
        (lambda register: register.list(publisher=f"{register.url}/m/other"), "application_withdrawn"),
        (lambda register: register.entries.update({"/a/cap": {}}), "membership_unknown"),
    ],
    ids=["active", "suspended", "no member", "no application", "another's application", "unreadable"],
)
def test_whom_the_directory_gives_up_is_refused_where_members_are_looked_up(
    looking: Looking, changed: Callable[[Register], object], code: str | None
) -> None:
    changed(looking.register)
    assert looking.get() == ({None: 200, "membership_unknown": 503}.get(code, 403), code)


def test_the_directory_is_asked_about_a_caller_once_a_minute(looking: Looking) -> None:
    assert [looking.get() for _ in range(3)] == [(200, None)] * 3
    assert looking.register.asked == ["/a/cap", "/m/cap"]
    looking.register.list("Suspended")
    assert looking.get() == (200, None)
    looking.later(60)
    assert looking.get() == (403, "membership_suspended")
    assert looking.register.asked == ["/a/cap", "/m/cap"] * 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        pytest.param({}, "revocation_list is required", id="no list in production"),
        pytest.param(
            {"environment": "sandbox", "arrival": "client-cert"}, "must name the proxies", id="a header from anybody"
        ),
    ],
)
def test_what_cannot_be_used_is_refused_at_the_start(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Protect(
            issuer="https://auth.edp.example",
            audience=AUDIENCE,
            directory=DIRECTORY,
            client_root=tmp_path / "root.pem",
            roles=(ROLE,),
            licenses={LICENSE: AcceptedLicense(DIGEST, ("electricity",))},
            **settings,
        )

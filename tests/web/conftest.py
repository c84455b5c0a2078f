"""A small app with everything that web installs, on a store of its own."""

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, make_response, request

from consent_server import clock, deployment, store
from consent_server.deployment import Door
from consent_server.refusal import RedirectRefusal, Unavailable
from consent_server.web import cookies, csrf, parameters
from consent_server.web import door as doors
from consent_server.web.limits import Counted, TooMany
from tests.database import make_tables
from tests.deployments import deploy, settings_of

ORIGIN = "https://localhost"


class UsedAgain(RedirectRefusal):
    """A refusal that goes back to the client, for these tests."""

    code = "test_used_again"
    error = "invalid_request_uri"
    public = "The request_uri was used."
    help = "Push again."
    clause = "RFC 9126 7.3"


def make_app(door: Door, database: Path) -> Flask:
    ours = {"public.origin": ORIGIN, "issuer": ORIGIN, "member.name": "Meter <b>Data</b> Corp"}
    settings = settings_of("edp", f"sqlite:///{database}", ours)
    process = deploy(settings)
    app = Flask("web-tests", static_folder=None)
    deployment.install(app, process)
    doors.install(app, settings, door, ())
    store.init(app, settings.database.url)

    @app.get("/authorize")
    def authorize() -> Response:
        parameters.query(request, required=("request_uri",))
        raise UsedAgain(redirect_uri="https://cap.example/cb?x=1", state="a b&c", iss=ORIGIN)

    @app.route("/form", methods=["POST"])
    def form() -> Response:
        sent = parameters.form(request, optional=("csrf",))
        csrf.check(request, sent.get("csrf"), "secret", ORIGIN)
        return make_response("fine")

    @app.get("/busy")
    def busy() -> Response:
        raise Unavailable("the private detail", detail=[{"loc": ["from"], "msg": "no", "type": "x"}])

    @app.get("/jwks")
    def jwks() -> Response:
        raise Unavailable()

    @app.get("/limited/<counted>/<int:seconds>")
    def limited(counted: str, seconds: int) -> Response:
        raise TooMany("for these tests", Counted(counted), seconds)

    @app.get("/fault")
    def fault() -> Response:
        raise KeyError("canary-7f3a")

    @app.get("/fault/of-itself")
    def fault_of_itself() -> Response:
        fault, other = KeyError("canary-7f3a"), ValueError("canary-7f3a")
        fault.__cause__, other.__cause__ = other, fault
        raise fault

    @app.get("/cookie")
    def cookie() -> Response:
        response = make_response("set")
        cookies.set_cookie(response, "__Host-x", "value", 60)
        return response

    with app.app_context():
        make_tables()
    return app


@pytest.fixture
def public(tmp_path: Path) -> Any:
    return make_app("public", tmp_path / "web.db").test_client()


@pytest.fixture
def mutual_tls(tmp_path: Path) -> Any:
    return make_app("mutual_tls", tmp_path / "web.db").test_client()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The audit lines that this thread has written so far: a poller of an earlier test may still run in another."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(logging, "logThreads", True)  # serving.lines asks for no thread

    def written() -> list[dict[str, Any]]:
        ours = [r for r in caplog.records if r.name == "consent_server.audit" and r.thread == threading.get_ident()]
        return [json.loads(record.getMessage()) for record in ours]

    return written


@pytest.fixture
def held_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the clock to an instant."""

    def hold(at: int) -> None:
        monkeypatch.setattr(clock, "now", lambda: at)

    hold(1_790_000_000)
    return hold

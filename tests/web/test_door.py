"""What a door shares: health, readiness, and whose address counts behind a proxy."""

from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from consent_server import deployment
from consent_server.deployment import Deployment, Door
from consent_server.parties import party_of
from consent_server.readiness import PartTroubled
from consent_server.refusal import Unavailable
from consent_server.web import door
from tests.deployments import settings_of

PROXY = "10.0.0.5"


class Checked(Deployment):
    """A deployment that is as ready as a test says, and knows its name."""

    parts: dict[str, Any]

    def brand(self) -> str:
        return "Brand"

    def checks(self) -> dict[str, Any]:
        return self.parts


def opened(kind: Door = "public", proxies: tuple[str, ...] = (PROXY,), **parts: Any) -> FlaskClient:
    settings = settings_of("edp", "sqlite://", {"clients.proxies": list(proxies)})
    process = Checked(settings, party_of(settings))
    process.parts = parts
    app = Flask("door-test", static_folder=None)
    deployment.install(app, process)
    door.install(app, settings, kind, ())
    app.add_url_rule("/address", view_func=lambda: request.remote_addr or "")
    app.add_url_rule("/a/<name>", "a", view_func=lambda name: name)
    return app.test_client()


@pytest.mark.parametrize(
    ("kind", "peer", "forwarded", "seen"),
    [
        pytest.param("public", PROXY, "192.0.2.1", "192.0.2.1", id="our proxy's word"),
        pytest.param("public", PROXY, "203.0.113.9, 192.0.2.1", "192.0.2.1", id="only what our proxy added"),
        pytest.param("public", "192.0.2.77", "192.0.2.1", "192.0.2.77", id="anybody else's word"),
        pytest.param("public", PROXY, "not an address", PROXY, id="no address"),
        pytest.param("mutual_tls", PROXY, "192.0.2.1", PROXY, id="the mutual-TLS door judges the proxy"),
    ],
)
def test_whose_address_counts(kind: Door, peer: str, forwarded: str, seen: str) -> None:
    answer = opened(kind).get("/address", environ_base={"REMOTE_ADDR": peer}, headers={"X-Forwarded-For": forwarded})
    assert answer.text == seen


def test_without_proxies_a_forwarded_address_is_nobodys() -> None:
    headers = {"X-Forwarded-For": "192.0.2.1"}
    assert opened(proxies=()).get("/address", headers=headers).text == "127.0.0.1"


def test_ready_names_what_fails() -> None:
    def failing() -> None:
        raise Unavailable("a detail", public="no list yet")

    def troubled() -> None:
        raise PartTroubled("no job", "a detail")

    answer = opened(database=lambda: "ok", worker=troubled, revocation_list=failing).get("/ready")
    assert answer.status_code == 503
    assert answer.json == {
        "status": "unavailable",
        "failing": ["revocation_list"],
        "troubled": ["worker"],
        "database": "ok",
        "worker": "no job",
        "revocation_list": "no list yet",
    }
    assert opened(database=lambda: "ok", worker=troubled).get("/ready").status_code == 200
    assert opened().get("/health").status_code == 200


@pytest.mark.parametrize("kind", ["public", "mutual_tls"])
@pytest.mark.parametrize("path", ["/a//b", "/a/b/", "/a///b", "/a/./b"])
def test_no_address_of_ours_is_mended_by_a_redirect(kind: Door, path: str) -> None:
    """A redirect of the router's would lead to the host that the request named, whoever wrote it there."""
    answer = opened(kind).get(path, headers={"Host": "evil.example"})
    assert answer.status_code == 404
    assert "Location" not in answer.headers

"""Two nodes of one party on one database, and a balancer that sends each request to the other one: nothing sticks."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask import Flask
from werkzeug.test import Client, TestResponse

from consent_server.parties.operator import keyring
from consent_server.pki import member_certificate
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.sandbox.authority import Authority
from consent_server.scheme import roles
from consent_server.tokens import keys
from tests.browser import Browser
from tests.deployments import layout, opened
from tests.issuer import conftest as issuing
from tests.issuer.conftest import pkce
from tests.jose import header_of
from tests.journey import conftest as journeys


class Balancer:
    """An application that is each of several in turn."""

    def __init__(self, *apps: Flask) -> None:
        self._next = itertools.cycle(apps)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        return next(self._next)(environ, start_response)

    def test_client(self) -> Client:
        return Client(self)

    def app_context(self) -> Any:
        return nullcontext()


class TwoNodes:
    """An EDP on two nodes, as its client and its SME's browser see it through a balancer."""

    def __init__(self, database_url: str, client: MemberCertificate, **changes: str) -> None:
        self.client = client
        self.nodes = [journeys.World("edp", database_url, "https://edp.example", "sandbox", changes) for _ in range(2)]
        journeys.with_meters(self.nodes[0])
        self.members = Client(Balancer(*(opened(node.deployment, "mutual_tls") for node in self.nodes)))
        self.browser = Browser(Balancer(*(node.app for node in self.nodes)))  # type: ignore[arg-type]

    def post(self, path: str, **form: str) -> TestResponse:
        form = {"client_id": self.client.application, **form}
        return self.members.post(path, data=form, environ_overrides={"test.client": self.client})

    def push(self, challenge: str) -> TestResponse:
        return self.post(
            "/par",
            response_type="code",
            redirect_uri=journeys.CALLBACK,
            scope=self.nodes[0].license,
            state="s-1",
            code_challenge=challenge,
            code_challenge_method="S256",
        )

    def authorize(self, request_uri: str) -> Browser:
        query = {"client_id": self.client.application, "request_uri": request_uri}
        return self.browser.open("/authorize", query_string=query)

    def redeem(self, code: str, verifier: str) -> TestResponse:
        form = {"code": code, "code_verifier": verifier, "redirect_uri": journeys.CALLBACK}
        return self.post("/token", grant_type="authorization_code", **form)

    def refresh(self, token: str) -> TestResponse:
        return self.post("/token", grant_type="refresh_token", refresh_token=token)


@pytest.fixture(scope="module")
def client() -> MemberCertificate:
    with tempfile.TemporaryDirectory() as folder:
        issued = (
            Authority(Path(folder)).create().client("cap", journeys.CLIENT, journeys.ASKER, {layout().role(roles.CAP)})
        )
        return member_certificate.parse(issued.der)


@pytest.fixture
def edp(database_url: str, client: MemberCertificate, held_clock: Any) -> Iterator[TwoNodes]:
    running = TwoNodes(database_url, client, **{"limits.pushed_requests_per_client": "6"})
    yield running
    for node in running.nodes:
        node.close()


def test_G13_a_whole_flow_needs_no_stickiness(edp: TwoNodes) -> None:
    proof = pkce()
    pushed = edp.push(proof.challenge)
    assert pushed.status_code == 201, pushed.text
    browser = edp.authorize(pushed.get_json()["request_uri"])
    browser.click("continue", **journeys.GOOD, name="Ada Smith").click("allow", agree="yes")
    code = dict(parse_qsl(urlsplit(browser.location).query))["code"]
    redeemed = edp.redeem(code, proof.verifier)
    assert redeemed.status_code == 200, redeemed.text
    token = redeemed.get_json()["refresh_token"]
    assert [edp.refresh(token).status_code for _ in range(2)] == [200, 200]
    # A session that began at one node goes on at the other, and what it withdraws has ended at both.
    browser.open("/manage").click("continue", **journeys.GOOD).click("withdraw").click("confirm")
    assert browser.path == "/manage/withdrawn"
    assert [edp.refresh(token).status_code for _ in range(2)] == [400, 400]
    assert [edp.redeem(code, proof.verifier).status_code for _ in range(2)] == [400, 400]


def test_G13_limits_are_counted_together(edp: TwoNodes) -> None:
    statuses = [edp.push(pkce().challenge).status_code for _ in range(9)]
    assert statuses == [201] * 6 + [429] * 3


@pytest.mark.parametrize("kind", ["signing", "refresh"])
def test_keys_that_are_copied_within_ten_minutes_are_rotated_without_an_error(
    database_url: str, certificates: dict[str, MemberCertificate], held_clock: Any, tmp_path: Path, kind: Any
) -> None:
    """What either node signs or derives, the other accepts: before the copy, after it, and when the new key is in use."""
    directories = [tmp_path / "node-1", tmp_path / "node-2"]
    shutil.copytree(layout().party("edp") / "keys", directories[0])
    shutil.copytree(directories[0], directories[1])
    settings = [
        issuing.settings_for(database_url, keys__tokens=folder / "tokens", keys__refresh=folder / "refresh")
        for folder in directories
    ]
    nodes = [issuing.Issuer(each, certificates) for each in settings]
    with nodes[0].public.app_context():
        issuing.db.create_all()
        names = {keyring.rotate(settings[0], kind, held_clock.instant).name}
    for step in (0, keys.PUBLISHED_BEFORE_USE - 1, 1, 600):
        held_clock.step(step)
        if step == keys.PUBLISHED_BEFORE_USE - 1:
            assert_each_accepts_the_others(nodes)
            shutil.copytree(directories[0], directories[1], dirs_exist_ok=True)
        names.add(assert_each_accepts_the_others(nodes)[kind])
    assert len(names) == 2, "the old key was in use, and then the new one"
    for node in nodes:
        node.close()


def assert_each_accepts_the_others(nodes: list[issuing.Issuer]) -> dict[str, str]:
    """Return the kid and the refresh version of what was issued last."""
    for one, other in (nodes, nodes[::-1]):
        issued = one.tokens()
        version = issued["refresh_token"].partition(".")[0]
        refreshed = other.refresh(issued["refresh_token"])
        assert refreshed.status_code == 200, refreshed.text
        kid = header_of(issued["access_token"])["kid"]
        assert other.deployment.signing_keys.public(kid) is not None
    return {"signing": kid, "refresh": version}

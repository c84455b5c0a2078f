"""An operator's commands beside running doors: what they change is what clients meet, without a restart."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result

from consent_server.sandbox.browser import Browser, follow
from consent_server.sandbox.client import Client
from consent_server.tokens.keys import PUBLISHED_BEFORE_USE
from tests.conftest import RunningSandbox
from tests.jose import header_of
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("sandbox")

CALLBACK = "https://client.example/callback"
SME = "several_sites"


class World:
    """The shared sandbox as one operator and the clients see it."""

    def __init__(self, sandbox: RunningSandbox, command: Callable[..., Result]) -> None:
        self.sandbox, self.manifest, self._command = sandbox, sandbox.manifest, command

    def run(self, party: str, *arguments: str) -> Result:
        return self._command(*arguments, "--config", self.sandbox.directory / party / "settings.toml")

    def lines(self, party: str, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run(party, *arguments).output.splitlines()]

    def client(self, name: str, party: str = "edp") -> Client:
        client = Client(self.manifest["clients"][name], self.manifest["trust"]["server_ca"])
        client.discover(self.manifest["issuers"][party])
        return client

    def tokens(self, client: Client) -> dict[str, Any]:
        """A grant of the SME's, redeemed."""
        request = client.push(self.manifest["licenses"]["electricity"], CALLBACK)
        sme = next(each for each in self.manifest["smes"] if each["name"] == SME)
        browser = Browser(Path(self.manifest["trust"]["server_ca"]))
        try:
            callback = follow(browser, browser.open(request.url), sme["journey"]["edp"]).url
        finally:
            browser.close()
        answer = client.redeem(request, client.code(request, callback))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def newest_grant(self, client: Client) -> str:
        grants = self.lines("edp", "audit", "tail", "--event", "permission_granted")
        return str([each["permission"] for each in grants if each["client_id"] == client.client_id][-1])

    def data(self, client: Client, token: str) -> httpx.Response:
        return client.get(f"{self.manifest['resources']['edp']}/datasources", token)


@pytest.fixture
def world(sandbox: RunningSandbox, command: Callable[..., Result]) -> World:
    return World(sandbox, command)


# keys


@pytest.fixture
def signing(world: World) -> Iterator[Callable[[], list[tuple[str, str]]]]:
    """(kid, state) of the EDP's signing keys; afterwards the clock is true again, and an added key is gone."""

    def listed() -> list[tuple[str, str]]:
        rows = [line.split("\t") for line in world.run("edp", "keys", "list").output.splitlines()]
        return [(name, state) for kind, name, state, *_ in rows if kind == "signing"]

    before = listed()
    yield listed
    world.sandbox.control("clock", offset_s=0)
    for kid, state in listed():
        if (kid, state) not in before:
            assert world.run("edp", "keys", "retire", "--yes", "signing", kid).exit_code == 0
    assert listed() == before


def kid_of(token: str) -> str:
    return str(header_of(token)["kid"])


def test_doors_take_a_rotated_key_up_while_old_tokens_still_verify(
    world: World, signing: Callable[[], list[tuple[str, str]]]
) -> None:
    cap = world.client("cap2")
    refresh = world.tokens(cap)["refresh_token"]

    def fresh() -> str:
        return str(cap.refresh(refresh).json()["access_token"])

    def published() -> set[str]:
        return {key["kid"] for key in cap.http.get(cap.metadata["jwks_uri"]).json()["keys"]}

    ((old, _),) = signing()
    assert world.run("edp", "keys", "rotate", "signing").exit_code == 0
    ((_, _), (new, state)) = signing()
    assert state == "next"
    assert published() == {old, new}
    assert kid_of(fresh()) == old

    world.sandbox.control("clock", offset_s=PUBLISHED_BEFORE_USE - 60)
    last = fresh()
    assert kid_of(last) == old
    world.sandbox.control("clock", offset_s=PUBLISHED_BEFORE_USE + 60)
    first = fresh()
    assert kid_of(first) == new
    assert [world.data(cap, token).status_code for token in (last, first)] == [200, 200]
    early = world.run("edp", "keys", "retire", "--yes", "signing", old)
    assert early.exit_code == 1
    assert "wait" in early.output

    world.sandbox.control("clock", offset_s=PUBLISHED_BEFORE_USE + 700)
    assert world.data(cap, last).status_code == 401
    assert world.data(cap, fresh()).status_code == 200


# withdrawal by the operator


def test_an_operator_withdraws_and_the_client_is_told(world: World) -> None:
    cap = world.client("cap2")
    tokens = world.tokens(cap)
    permission = world.newest_grant(cap)
    shown = json.loads(world.run("edp", "permissions", "show", permission).output)
    assert (shown["state"], shown["client_id"], shown["sme"]) == ("granted", cap.client_id, SME)
    assert world.data(cap, tokens["access_token"]).status_code == 200

    why = "asked by telephone, caller verified"
    done = world.run("edp", "permissions", "withdraw", "--yes", permission, "--why", why)
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, f"Withdrawn: {permission}")
    assert world.data(cap, tokens["access_token"]).status_code == 401
    assert cap.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"

    def call() -> dict[str, Any]:
        shown = json.loads(world.run("edp", "permissions", "show", permission).output)
        assert shown["state"] == "withdrawn"
        assert (shown["ended"]["by"], shown["ended"]["why"]) == ("operator", why)
        (found,) = shown["calls"]
        return dict(found)

    until(lambda: call()["state"] != "waiting", "the client got no message", within_s=15)
    assert (call()["state"], call()["recipient"]) == ("delivered", cap.client_id)
    history = world.lines("edp", "audit", "show", permission)
    assert [each["event"] for each in history][-2:] == ["permission_withdrawn", "message_sent"]
    assert (history[-2]["by"], history[-2]["where"]) == ("operator", "command line")

    again = world.run("edp", "permissions", "withdraw", "--yes", permission, "--why", why)
    assert again.exit_code == 1
    assert "ended already" in again.output


# the Directory's word


@pytest.fixture
def directory(world: World) -> Iterator[Callable[..., None]]:
    """Set a member's or an application's status; afterwards each is active again."""
    changed: list[dict[str, str]] = []

    def change(**asked: str) -> None:
        changed.append(asked)
        world.sandbox.control("membership", **asked)

    yield change
    for asked in changed:
        if asked["status"] != "active":
            world.sandbox.control("membership", **{**asked, "status": "active"})


def answers(world: World, client: Client, tokens: dict[str, Any]) -> dict[str, httpx.Response]:
    """What one client gets from each endpoint of the EDP's mutual-TLS door."""
    push = {"client_id": client.client_id, "response_type": "code"}
    return {
        "PAR": client.http.post(client.metadata["pushed_authorization_request_endpoint"], data=push),
        "token": client.refresh(tokens["refresh_token"]),
        "permission": client.permission(tokens["refresh_token"]),
        "data": world.data(client, tokens["access_token"]),
    }


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"member": "cap2", "status": "suspended"}, "membership_suspended"),
        pytest.param({"application": "cap2", "status": "withdrawn"}, "application_withdrawn", marks=pytest.mark.long),
    ],
    ids=["suspended", "withdrawn"],
)
def test_whom_the_directory_gives_up_is_refused_at_every_endpoint(
    world: World, directory: Callable[..., None], asked: dict[str, str], code: str
) -> None:
    cap, bystander = world.client("cap2"), world.client("cap_fsp")
    tokens = world.tokens(cap)
    assert answers(world, cap, tokens)["data"].status_code == 200

    directory(**asked)
    for endpoint, answer in answers(world, cap, tokens).items():
        said = answer.json()
        assert (answer.status_code, said["error"]) == (403, "unauthorized_client"), endpoint
        assert said["error_uri"].endswith(f"/{code}"), endpoint
    assert bystander.push(world.manifest["licenses"]["electricity"], CALLBACK).url

    directory(**{**asked, "status": "active"})
    again = answers(world, cap, tokens)
    assert (again["token"].status_code, again["data"].status_code) == (200, 200)


def test_a_suspended_providers_messages_are_refused(world: World, directory: Callable[..., None]) -> None:
    edp = world.client("edp2")

    def send() -> httpx.Response:
        return edp.http.post(f"{world.manifest['doors']['cap']}/messages", json={})

    assert send().status_code == 400  # a message that is none, from a sender that may send
    directory(member="edp2", status="suspended")
    refused = send()
    assert (refused.status_code, refused.json()["error"]) == (403, "unauthorized_client")
    assert refused.json()["error_uri"].endswith("/membership_suspended")


@pytest.mark.parametrize("party", ["edp", "cap"])
def test_the_catalogue_entry_is_what_the_doors_answer(world: World, party: str) -> None:
    entry = json.loads(world.run(party, "catalogue", "entry").output)
    assert entry["ib1:oauthIssuer"]["@id"] == world.manifest["issuers"][party]
    checked = world.run(party, "catalogue", "check")
    assert (checked.exit_code, checked.output.count("ok ")) == (0, 2), checked.output


def test_a_catalogue_entry_that_no_door_answers_is_said(world: World) -> None:
    checked = world.run("edp", "catalogue", "check", "--set", "mutual_tls.origin=https://localhost:1")
    assert checked.exit_code == 1
    assert "FAIL  heartbeat: https://localhost:1/heartbeat" in checked.output

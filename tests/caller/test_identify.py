"""Who is calling: one question with one answer at issuer, resource server, inbox and the sandbox's bank.

Every request here is empty, so a caller that is refused only after its token or its body was looked at would get another
refusal than the one in the table.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from consent_server import clock
from consent_server.caller.identify import Callers, identified
from consent_server.deployment import Deployment, MemberProcess
from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.directory import Agreement, Application, Member
from consent_server.outbound.errors import BadAnswer, Unreachable
from consent_server.parties import party_of
from consent_server.refusal import Refusal
from consent_server.sandbox.authority import Authority
from consent_server.sandbox.bank import mutual_tls
from consent_server.sandbox.bank.bank import BankProcess, CapAddresses
from consent_server.sandbox.bank.book import Book
from consent_server.scheme import roles
from consent_server.settings import Settings
from tests.database import make_tables
from tests.deployments import START, layout, opened, settings_of

PROXY = "10.0.0.5"
EVERY_ROLE = [layout().role(name) for name in (roles.EDP, roles.CAP, roles.FSP)]
ANOTHER_ROLE = [layout().role("observer")]


class PlayedDirectory:
    """Members and applications by what their names say: "suspended", "lapsed", "withdrawn", or "unreachable"."""

    def member(self, url: str) -> Member:
        agreement = Agreement(tuple(EVERY_ROLE), 0, START if "lapsed" in url else START + 1)
        return Member(url, url, None, (), None, "suspended" not in url, (agreement,))

    def application(self, url: str) -> Application:
        if "withdrawn" in url:
            raise BadAnswer("status 404", "directory", 404)
        if "unreachable" in url:
            raise Unreachable("time", "directory")
        return Application(url, url.replace("/a/", "/m/"), url, (), None)


@dataclass(frozen=True)
class Caller:
    """What reaches a door: the header that the proxy sets, and the address that the request comes from."""

    header: str = ""
    address: str = PROXY


@dataclass(frozen=True)
class Endpoint:
    """One endpoint that asks who is calling, and the refusal that a good caller's empty request meets there."""

    client: FlaskClient
    method: str
    path: str
    next: str

    def call(self, caller: Caller) -> TestResponse:
        return self.client.open(
            self.path,
            method=self.method,
            headers={"X-SSL-Client-Cert": caller.header} if caller.header else {},
            environ_base={"REMOTE_ADDR": caller.address},
        )


@pytest.fixture(scope="module", autouse=True)
def _held_clock() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: START)
        yield


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority")).create(START)


@pytest.fixture(scope="module")
def callers(authority: Authority) -> dict[str, Caller]:
    """Callers by name. The revocation list is published beside the root."""
    revoked: list[int] = []

    def issued(name: str, roles: list[str] = EVERY_ROLE, at: str | None = None, **faults: Any) -> str:
        base = at or layout().directory_url
        certificate = authority.client(name, f"{base}/a/{name}", f"{base}/m/{name}", roles, **faults)
        if "revoked" in name:
            revoked.append(certificate.serial)
        return quote(certificate.chain.with_name("certificate.pem").read_text(), safe="")

    good = issued("good")
    found = {
        "good": Caller(good),
        "no certificate": Caller(),
        "not from our proxy": Caller(good, "192.0.2.1"),
        "two certificates": Caller(good + good),
        "two URIs": Caller(issued("two", second_uri=f"{layout().directory_url}/a/second")),
        "self-signed": Caller(issued("self-signed", self_signed=True)),
        "a stranger's": Caller(issued("stranger", wrong_ca=True)),
        "expired": Caller(issued("expired", expired=True)),
        "of another Directory": Caller(issued("elsewhere", at="https://directory.example")),
        "revoked": Caller(issued("revoked")),
        "suspended": Caller(issued("suspended")),
        "withdrawn": Caller(issued("withdrawn")),
        "unreachable": Caller(issued("unreachable")),
        "lapsed": Caller(issued("lapsed")),
        "lapsed, no role": Caller(issued("lapsed-no-role", [])),
        "another role": Caller(issued("another-role", ANOTHER_ROLE)),
        "no role": Caller(issued("no-role", [])),
        "role in capitals": Caller(issued("capitals", [role.upper() for role in EVERY_ROLE])),
        # two faults, of which the first in the order is the refusal
        "not from our proxy, revoked": Caller(issued("revoked-too"), "192.0.2.1"),
        "expired, no role": Caller(issued("expired-no-role", [], expired=True)),
        "revoked, suspended, no role": Caller(issued("revoked-suspended", [])),
        "suspended, no role": Caller(issued("suspended-no-role", [])),
        "withdrawn, no role": Caller(issued("withdrawn-no-role", [])),
    }
    (authority.directory / "client.crl").write_bytes(authority.crl(revoked))
    return found


#: Caller -> code of the refusal, in the order in which they are asked: arrival, trust, membership, role, agreement.
REFUSED = {
    "no certificate": "no_certificate",
    "not from our proxy": "no_certificate",
    "not from our proxy, revoked": "no_certificate",
    "two certificates": "bad_certificate",
    "two URIs": "certificate_malformed",
    "self-signed": "certificate_untrusted",
    "a stranger's": "certificate_untrusted",
    "expired": "certificate_out_of_date",
    "expired, no role": "certificate_out_of_date",
    "of another Directory": "certificate_from_elsewhere",
    "revoked": "certificate_revoked",
    "revoked, suspended, no role": "certificate_revoked",
    "suspended": "membership_suspended",
    "suspended, no role": "membership_suspended",
    "withdrawn": "application_withdrawn",
    "withdrawn, no role": "application_withdrawn",
    "unreachable": "membership_unknown",
    "lapsed": "agreement_lapsed",
    "lapsed, no role": "role_missing",
    "another role": "role_missing",
    "no role": "role_missing",
    "role in capitals": "role_missing",
}


def settings_for(party: str, authority: Authority, folder: Path) -> Settings:
    changes = {
        "clients.root": str(authority.client_root),
        "clients.issuers": str(authority.client_issuer),
        "clients.arrival": "escaped-pem",
        "clients.proxies": [PROXY],
        "clients.unknown_membership": "refuse",
        "clients.lapsed_agreements": "refuse",
        "revocation_list.source": str(authority.directory / "client.crl"),
    }
    return settings_of(party, f"sqlite:///{folder / party}.db", changes)


def with_played_directory(process: MemberProcess) -> None:
    played: Any = PlayedDirectory()
    process.directory = played
    process.callers = Callers(process.settings, process.revocations, played)


@pytest.fixture(scope="module")
def endpoints(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, callers: dict[str, Caller]
) -> dict[str, Endpoint]:
    folder = tmp_path_factory.mktemp("parties")
    doors = {}
    for party in ("edp", "cap"):
        settings = settings_for(party, authority, folder)
        deployment = Deployment(settings, party_of(settings))
        with_played_directory(deployment)
        app = opened(deployment, "mutual_tls")
        with app.app_context():
            make_tables()
            deployment.revocations.refresh()
        doors[party] = app.test_client()
    cap = CapAddresses(**json.loads(layout().bank.read_text()))
    bank = BankProcess(settings_for("fsp", authority, folder), cap, Book(folder / "book"))
    with_played_directory(bank)
    return {
        "issuer": Endpoint(doors["edp"], "POST", "/par", "missing_parameter"),
        "issuer of a CAP": Endpoint(doors["cap"], "POST", "/token", "missing_parameter"),
        "resource": Endpoint(doors["edp"], "GET", "/datasources", "token_missing"),
        "resource of a CAP": Endpoint(doors["cap"], "GET", "/emissions", "token_missing"),
        "inbox": Endpoint(doors["cap"], "POST", "/messages", "message_not_json"),
        "bank": Endpoint(mutual_tls(bank).test_client(), "POST", "/messages", "message_not_json"),
    }


ENDPOINTS = ("issuer", "issuer of a CAP", "resource", "resource of a CAP", "inbox", "bank")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(("caller", "code"), REFUSED.items(), ids=REFUSED.keys())
def test_a_bad_caller_meets_the_same_refusal_at_each_endpoint(
    endpoints: dict[str, Endpoint], callers: dict[str, Caller], endpoint: str, caller: str, code: str
) -> None:
    answer = endpoints[endpoint].call(callers[caller])
    expected = Refusal.family[code]
    assert answer.json["error_uri"].rpartition("/")[2] == code
    assert (answer.status_code, answer.json["error"]) == (expected.status, expected.error)
    assert answer.json["error_description"] == expected.public


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_good_caller_gets_past_that(
    endpoints: dict[str, Endpoint], callers: dict[str, Caller], endpoint: str
) -> None:
    answer = endpoints[endpoint].call(callers["good"])
    assert answer.json["error_uri"].rpartition("/")[2] == endpoints[endpoint].next


@pytest.mark.parametrize(("caller", "code"), [("good", None), *REFUSED.items()], ids=["good", *REFUSED])
def test_only_a_known_member_is_counted_by_its_application(
    endpoints: dict[str, Endpoint], callers: dict[str, Caller], caller: str, code: str | None
) -> None:
    token = identified.set("-")
    endpoints["issuer"].call(callers[caller])
    # what is asked after the membership is about a member that is known
    assert (identified.get() != "-") == (code in (None, "role_missing", "agreement_lapsed"))
    identified.reset(token)


def test_every_endpoint_asks_for_a_role(authority: Authority, callers: dict[str, Caller], tmp_path: Path) -> None:
    """An endpoint that names no role is a mistake of ours, and must not be open to every member."""
    process = MemberProcess(settings_for("fsp", authority, tmp_path), MemoryCache())
    with_played_directory(process)
    good = {"REMOTE_ADDR": PROXY, "HTTP_X_SSL_CLIENT_CERT": callers["good"].header}
    assert process.callers.identify(good, tuple(EVERY_ROLE), START).application.endswith("/a/good")
    with pytest.raises(ValueError, match="no role"):
        process.callers.identify(good, (), START)

"""The sandbox's bank: applies in earnest, believes only what is signed, and forgets what was withdrawn."""

import json
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from consent_server import clock
from consent_server.caller.identify import Callers
from consent_server.outbound.directory import Application, DataService, Member
from consent_server.outbound.errors import OAuthRefused, Unreachable
from consent_server.outbound.session import Response
from consent_server.outbound.upstream import Metadata, Pushed, Tokens, Upstream
from consent_server.sandbox import bank as doors
from consent_server.sandbox.bank.bank import Bank, CapAddresses
from consent_server.sandbox.bank.book import Book
from consent_server.sandbox.layout import APPLICATIONS, CLIENTS
from consent_server.scheme import instant
from consent_server.scheme.messages import WITHDRAWAL_SUBJECT, withdrawal
from consent_server.scheme.provenance.container import SignedRecord, Signer
from consent_server.scheme.provenance.steps import (
    COMPLETE,
    EmissionsRelease,
    FuelEmissions,
    GrantedPermission,
    IntensityUse,
    cap_record,
)
from tests import records
from tests.browser import Browser
from tests.deployments import layout, settings_of


class PlayedUpstream(Upstream):
    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.pushed: list[Pushed] = []
        self.redeemed = 0

    def metadata(self, issuer: str) -> Metadata:
        return Metadata(issuer, f"{issuer}/authorize", *[f"{issuer}/{number}" for number in range(4)], None)

    def push(self, metadata: Metadata, license: str, redirect_uri: str) -> Pushed:
        if self.fault:
            raise self.fault
        url = f"{metadata.authorization_endpoint}?client_id=us&request_uri=urn%3Ax"
        self.pushed.append(Pushed(url, 90, license, redirect_uri, secrets.token_urlsafe(8), secrets.token_urlsafe(8)))
        return self.pushed[-1]

    def redeem(self, *_: Any) -> Tokens:
        if self.fault:
            raise self.fault
        self.redeemed += 1
        return Tokens("access", f"refresh-{self.redeemed}", 600)

    def refresh(self, *_: Any) -> Tokens:
        if self.fault:
            raise self.fault
        return Tokens("access", None, 600)


class Played:
    """The bank's two doors; the CAP and the Directory, which it calls, are played."""

    def __init__(self, folder: Path) -> None:
        self.layout = layout()
        # Certificates arrive in a header and the revocation list comes from its file: no sockets here.
        changes = {
            "clients.arrival": "escaped-pem",
            "clients.proxies": ["127.0.0.1"],
            "revocation_list.source": str(self.layout.revocation_list),
        }
        self.book = Book(folder)
        self.answer = Response(200, {}, "localhost", b"")
        self.asked = ""
        cap = CapAddresses(**json.loads(self.layout.bank.read_text()))
        self.bank = Bank(settings_of("fsp", "sqlite://", changes), cap, self.book)
        played: Any = self.bank
        played.session = played.directory = self
        played.upstream = self.upstream = PlayedUpstream()
        played.callers = Callers(self.bank.settings, self.bank.revocations, played.directory)
        self.public = doors.public(self.bank)
        self.messages = doors.mutual_tls(self.bank)

    def member(self, url: str) -> Member:
        return Member(url, "Tallyleaf Accounting Ltd", f"Brand {url[-8:]}", (), None, True)

    def application(self, url: str) -> Application:
        name = next(name for name in APPLICATIONS if self.layout.application(name) == url)
        return Application(url, self.layout.member_of(name), "", (), None)

    def data_services(self, _standard: str) -> list[DataService]:
        layout = self.layout
        application = layout.application("cap_portal")
        return [
            DataService(
                layout.data_service("cap"),
                application,
                layout.member("cap"),
                "",
                layout.resource("cap"),
                layout.issuer("cap"),
            )
        ]

    def get(self, url: str, **_: Any) -> Response:
        self.asked = url
        return self.answer

    def browser(self) -> Browser:
        return Browser(self.public)

    def applied(self) -> Browser:
        return self.browser().open("/").click("apply")

    def back(self, browser: Browser, **changes: str) -> Browser:
        pushed = self.upstream.pushed[-1]
        query = {"code": "c", "state": pushed.state, "iss": self.layout.issuer("cap"), **changes}
        return browser.open(f"/callback?{urlencode({name: value for name, value in query.items() if value})}")

    def answers(self, *, months: int = 12, to: str = "fsp", signer: str = "cap_portal") -> None:
        """Let the CAP answer with whole months of electricity, signed as it signs them."""
        layout = self.layout
        at = clock.now()
        end = instant.month_start(at)
        start = instant.months_later(end, -12)
        data = [
            {
                "type": "electricity",
                "from": instant.text(instant.months_later(start, number)),
                "to": instant.text(instant.months_later(start, number + 1)),
                "takenAt": instant.text(at),
                "emissions": {"value": 1234.5, "unitCode": "KGM"},
            }
            for number in range(months)
        ]
        record = self.record(start, end, at, layout.member(to), records.signer(signer)) if months else None
        body = json.dumps({"data": data, "provenance": record}).encode()
        self.answer = Response(200, {}, "localhost", body)

    def record(self, start: int, end: int, at: int, to: str, signer: Signer) -> SignedRecord:
        license_ = self.layout.license("emissions")
        fuel = FuelEmissions(
            fuel="electricity",
            received=[records.received(start, end, at)],
            factors=[IntensityUse(outcode="S3", start=start, end=end, missing_data=COMPLETE, at=at)],
            missing_data=COMPLETE,
            at=at,
        )
        release = EmissionsRelease(
            registry=self.layout.registry,
            grant=GrantedPermission(
                account="b", license=license_, granted=at - 60, expires=at + 86400, fuels=("electricity",)
            ),
            license=license_,
            to=to,
            service=self.layout.data_service("cap"),
            start=start,
            end=end,
            fuels=[fuel],
            at=at,
        )
        return cap_record(release, signer)

    def post(self, document: Any, client: str | None = "cap", **more: Any) -> Any:
        headers = {}
        if client is not None:
            pem = self.layout.certificate(client, "certificate").read_text()
            headers["X-SSL-Client-Cert"] = quote(pem, safe="")
        body = {"json": document} if not isinstance(document, bytes) else {"data": document, **more}
        return self.messages.test_client().post("/messages", headers=headers, **body)

    def withdraw(self, token: str, **more: Any) -> Any:
        return self.post(withdrawal(self.layout.trust_framework, WITHDRAWAL_SUBJECT, token), **more)


@pytest.fixture
def bank(tmp_path: Path, held_clock: Any) -> Played:
    made = Played(tmp_path / "book")
    made.answers()
    return made


def test_from_the_first_page_to_the_emissions(bank: Played) -> None:
    browser = bank.browser().open("/")
    assert "/start?fsp=https%3A%2F%2Flocalhost%3A8440%2Fdirectory%2Fm%2F" in browser.html
    assert f"form-action 'self' {bank.layout.issuer('cap')};" in browser.response.headers["Content-Security-Policy"]
    browser.click("apply")
    assert browser.location.startswith(f"{bank.layout.issuer('cap')}/authorize?client_id=us")
    assert bank.upstream.pushed[0].license == bank.layout.license("emissions")
    bank.back(browser)
    assert (browser.status, browser.path.split("-")[0]) == (200, "/emissions/permission")
    assert "months" in browser.page.ids()
    assert browser.html.count("<td>1.234</td>") + browser.html.count("<td>1.235</td>") == 12
    signed = browser.html[browser.html.index("signers") :]
    assert signed.index("Energy data provider") < signed.index("Carbon accounting provider")
    assert "&from=" not in bank.asked
    assert bank.asked.startswith(f"{bank.layout.resource('cap')}/emissions?from=")
    assert "What we know through it" in browser.open("/").html


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        pytest.param({"state": "another"}, 400, id="another state"),
        pytest.param({"state": ""}, 400, id="no state"),
        pytest.param({"iss": "https://evil.example"}, 502, id="another issuer"),
        pytest.param({"code": "", "error": "server_error"}, 502, id="an error"),
        pytest.param({"code": "", "error": "access_denied"}, 200, id="declined"),
    ],
)
def test_what_comes_back_without_permission(bank: Played, changes: dict[str, str], status: int) -> None:
    browser = bank.back(bank.applied(), **changes)
    assert (browser.status, bank.book.all("permission")) == (status, [])


def test_another_browser_cannot_bring_it_back(bank: Played) -> None:
    browser = bank.applied()
    assert bank.back(bank.browser().open("/")).status == 400
    assert bank.back(browser).status == 200


def test_a_second_return_is_answered_as_the_first(bank: Played) -> None:
    browser = bank.back(bank.applied())
    path = browser.path
    assert bank.back(browser).path == path
    assert bank.upstream.redeemed == 1


def test_a_form_that_is_not_ours(bank: Played) -> None:
    assert bank.browser().post("/apply", {"a": "b"}).status == 403
    assert bank.browser().open("/").post("/apply", {"a": "b"}).status == 403


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        pytest.param({"to": "fsp2"}, 502, "do not believe", id="a record for another bank"),
        pytest.param({"signer": "edp_service"}, 502, "do not believe", id="signed by another member"),
        pytest.param({"months": 0}, 200, "No month is whole yet", id="no whole month"),
    ],
)
def test_what_is_believed(bank: Played, answer: dict[str, Any], status: int, says: str) -> None:
    bank.answers(**answer)
    browser = bank.back(bank.applied())
    assert (browser.status, says in browser.html) == (status, True)


def test_a_record_that_was_changed(bank: Played) -> None:
    bank.answer = Response(
        200, {}, "localhost", bank.answer.body.replace(b'"certificates": {"', b'"certificates": {"1')
    )
    assert "do not believe" in bank.back(bank.applied()).html


def test_what_is_not_ready_or_not_there(bank: Played) -> None:
    bank.answer = Response(202, {}, "localhost", b"{}")
    browser = bank.back(bank.applied())
    assert browser.response.headers["Refresh"] == "5"
    for body, status in ((b"nonsense", 200), (b"{}", 200), (b"{}", 401)):
        bank.answer = Response(status, {}, "localhost", body)
        assert browser.open(browser.path).status == 502
    bank.upstream.fault = OAuthRefused("invalid_grant", "localhost", 400)
    assert "no longer holds" in browser.open(browser.path).html
    bank.upstream.fault = Unreachable("time", "localhost")
    assert browser.open(browser.path).status == 502
    assert bank.applied().status == 502
    for name in ("permission-none", "pending-x", "..%2Fsettings", "a" * 200):
        assert browser.open(f"/emissions/{name}").status == 404


def test_a_withdrawal_deletes_what_was_given(bank: Played) -> None:
    browser = bank.back(bank.applied())
    ((name, held),) = bank.book.all("permission")
    assert held["emissions"]["months"]
    answer = bank.withdraw(held["refresh_token"])
    assert (answer.status_code, answer.get_json()) == (200, {"effect": "withdrawn"})
    left = bank.book.get(name)
    assert left is not None
    assert set(left) == {"at", "member", "withdrawn"}
    page = browser.open(browser.path)
    assert "This permission was withdrawn" in page.html
    assert "deleted" in page.html
    assert bank.withdraw(held["refresh_token"]).get_json() == {"effect": "nothing"}
    assert "Withdrawn" in browser.open("/").html


def test_a_page_that_is_read_while_it_is_withdrawn_keeps_nothing(bank: Played) -> None:
    browser = bank.back(bank.applied())
    ((name, held),) = bank.book.all("permission")
    bank.book.change(name, lambda _: {**held, "withdrawn": 1})
    bank.book.change(name, lambda now: now if now["withdrawn"] else {**now, "emissions": 1})
    assert "withdrawn" in browser.open(browser.path).html


def test_an_unknown_token_changes_nothing(bank: Played) -> None:
    bank.back(bank.applied())
    assert bank.withdraw("another").get_json() == {"effect": "nothing"}
    assert not bank.book.all("permission")[0][1]["withdrawn"]


@pytest.mark.parametrize(
    ("client", "status", "error"),
    [
        pytest.param(None, 401, "invalid_client", id="none"),
        *(
            pytest.param(name, 401 if entry.meets == "tls" else entry.meets, None, id=name)
            for name, entry in CLIENTS.items()
            if entry.meets is not None
        ),
        *(pytest.param(name, 403, "unauthorized_client", id=name) for name in ("edp", "fsp")),
        *(pytest.param(name, 200, None, id=name) for name in ("cap", "cap2", "cap_fsp")),
    ],
)
def test_who_may_send_messages(bank: Played, client: str | None, status: int, error: str | None) -> None:
    answer = bank.withdraw("unknown", client=client)
    assert answer.status_code == status
    if status != 200:
        body = answer.get_json()
        assert {"error", "error_description", "error_uri", "correlation_id"} <= set(body)
        assert body["error_uri"].startswith(bank.layout.origin("fsp_public") + "/errors/")
        assert bank.public.test_client().get(body["error_uri"].partition("8445")[2]).status_code == 200
        assert error in (None, body["error"])


def test_another_caps_message_ends_nothing(bank: Played) -> None:
    bank.back(bank.applied())
    held = bank.book.all("permission")[0][1]
    assert bank.withdraw(held["refresh_token"], client="cap2").status_code == 403
    assert not bank.book.all("permission")[0][1]["withdrawn"]


@pytest.mark.parametrize(
    ("document", "more", "status"),
    [
        pytest.param([], {}, 400, id="no object"),
        pytest.param(
            {"ib1:message": "x", "subject": "https://evil.example", "body": {"token": "t"}}, {}, 400, id="subject"
        ),
        pytest.param(b"{", {"content_type": "application/json"}, 400, id="not JSON"),
        pytest.param(b"a=b", {"content_type": "application/x-www-form-urlencoded"}, 415, id="a form"),
        pytest.param(b" " * 70000, {"content_type": "application/json"}, 413, id="too long"),
    ],
)
def test_what_is_no_message(bank: Played, document: Any, more: dict[str, Any], status: int) -> None:
    answer = bank.post(document, **more)
    assert (answer.status_code, answer.get_json()["error"]) == (status, "invalid_request")


def test_health_and_ready_ask_for_no_role(bank: Played) -> None:
    for app in (bank.public, bank.messages):
        assert app.test_client().get("/health").status_code == 200
        assert app.test_client().get("/ready").status_code == 200
    number = bank.messages.test_client().get("/ready").get_json()["revocation_list"]["number"]
    assert number == json.loads(bank.layout.revoked.read_text())["number"]

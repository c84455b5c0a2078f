"""The sandbox's bank: applies in earnest, believes only what is signed, and forgets what was withdrawn."""

import io
import json
import re
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from consent_server.bank.held import HeldPermission
from consent_server.caller.identify import Callers
from consent_server.documents import parts
from consent_server.documents.verify import verify
from consent_server.outbound.errors import OAuthRefused, Unreachable
from consent_server.sandbox import bank as doors
from consent_server.sandbox.bank import report, views
from consent_server.sandbox.bank.bank import BankProcess, CapAddresses
from consent_server.sandbox.bank.book import Book
from consent_server.sandbox.layout import CLIENTS
from consent_server.scheme.messages import WITHDRAWAL_SUBJECT, withdrawal
from tests.bank.answers import answer, month
from tests.bank.played import PlayedOutside
from tests.browser import Browser
from tests.deployments import layout, settings_of
from tests.documents import sample
from tests.scheme.signing import signing_authority


class Played:
    """The bank's two doors; the CAP and the Directory, which it calls, are played."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.layout = layout()
        # Certificates arrive in a header and the revocation list comes from its file: no sockets here.
        changes = {
            "clients.arrival": "escaped-pem",
            "clients.proxies": ["127.0.0.1"],
            "revocation_list.source": str(self.layout.revocation_list),
            **more,
        }
        cap = CapAddresses(**json.loads(self.layout.bank.read_text()))
        self.bank = BankProcess(settings_of("fsp", "sqlite://", changes), cap, Book(folder))
        self.permissions = self.bank.permissions
        self.outside = PlayedOutside()
        played: Any = self.bank
        played.session = played.directory = self.outside
        played.upstream = self.upstream = self.outside.upstream
        played.callers = Callers(self.bank.settings, self.bank.revocations, played.directory)
        self.public = doors.public(self.bank)
        self.messages = doors.mutual_tls(self.bank)

    def browser(self) -> Browser:
        return Browser(self.public)

    def applied(self, **typed: str) -> Browser:
        return self.browser().open("/").click("apply", **typed)

    def back(self, browser: Browser, **changes: str) -> Browser:
        pushed = self.upstream.pushed[-1]
        query = {"code": "c", "state": pushed.state, "iss": self.layout.issuer("cap"), **changes}
        return browser.open(f"/callback?{urlencode({name: value for name, value in query.items() if value})}")

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
    return Played(tmp_path / "book")


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
    assert "tCO<sub>2</sub></th>" in browser.html
    signed = browser.html[browser.html.index("signers") :]
    assert signed.index("Energy data provider") < signed.index("Carbon accounting provider")
    assert bank.outside.asked.startswith(f"{bank.layout.resource('cap')}/emissions?from=")


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
    assert (browser.status, bank.permissions.all()) == (status, [])


def led(bank: Played, browser: Browser | None = None, **changes: str) -> Browser:
    """A browser that the CAP leads here, with what `changes` say is different."""
    query = {
        "iss": bank.layout.issuer("cap"),
        "scope": bank.layout.license("one_permission"),
        "login_hint": "h",
        **changes,
    }
    return (browser or bank.browser()).open(f"/apply?{urlencode(query)}")


def test_a_browser_that_the_cap_leads_here_goes_to_its_issuer_with_the_hint(bank: Played) -> None:
    browser = led(bank)
    assert browser.location.startswith(f"{bank.layout.issuer('cap')}/authorize?client_id=us")
    assert bank.upstream.pushed[0].license == bank.layout.license("one_permission")
    assert bank.upstream.beside == {"login_hint": "h"}
    bank.back(browser)
    assert [held.license for held in bank.permissions.all()] == [bank.layout.license("one_permission")]


@pytest.mark.parametrize(
    "changes",
    [{"iss": "https://evil.example"}, {"iss": ""}, {"scope": "https://evil.example/license"}, {"scope": "openid"}],
)
def test_the_bank_is_led_to_nobody_else_and_to_no_other_license(bank: Played, changes: dict[str, str]) -> None:
    browser = led(bank, **changes)
    assert (browser.status, browser.location, bank.upstream.pushed) == (400, "", [])


def test_who_is_led_here_by_a_stranger_gets_nothing_of_the_strangers(bank: Played) -> None:
    """Login CSRF: what a stranger began in its own browser cannot be finished in this one."""
    stranger, victim = (led(bank, scope=bank.layout.license("emissions")) for _ in range(2))
    assert victim.location
    bank.upstream.pushed.pop()  # the state of the stranger's request
    assert bank.back(victim).status == 400
    assert bank.back(stranger).status == 200


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
    ("body", "status", "says"),
    [
        pytest.param(answer(transfer={"to": "https://another.example"}), 502, "do not believe", id="another bank's"),
        pytest.param(answer([month(), month()]), 502, "do not believe", id="a month twice"),
        pytest.param(b'{"data": []}', 200, "No month is whole yet", id="no whole month"),
    ],
)
def test_what_is_believed(bank: Played, body: bytes, status: int, says: str) -> None:
    bank.outside.gives(body)
    browser = bank.back(bank.applied())
    assert (browser.status, says in browser.html) == (status, True)


def test_what_is_not_ready_or_not_there(bank: Played) -> None:
    bank.outside.gives(b"{}", 202, retry_after="5")
    browser = bank.back(bank.applied())
    assert browser.response.headers["Refresh"] == "5"
    for body, status in ((b"nonsense", 200), (b"{}", 200), (b"{}", 401)):
        bank.outside.gives(body, status)
        assert browser.open(browser.path).status == 502
    bank.upstream.fault = OAuthRefused("invalid_grant", "localhost", 400)
    assert "no longer holds" in browser.open(browser.path).html
    bank.upstream.fault = Unreachable("time", "localhost")
    assert browser.open(browser.path).status == 502
    assert bank.applied().status == 502
    for name in ("permission-none", "pending-x", "..%2Fsettings", "a" * 200):
        assert browser.open(f"/emissions/{name}").status == 404


def test_a_month_that_no_fuel_has_is_in_the_table_all_the_same(bank: Played) -> None:
    bank.outside.gives(answer([month(number, kilograms=1000.5) for number in range(12) if number != 4]))
    page = bank.back(bank.applied()).html
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td><td>', body)
    assert len(rows) == 12
    assert [(name, "not given" in cell) for name, cell in rows[3:6]] == [
        ("June 2025", False),
        ("July 2025", True),
        ("August 2025", False),
    ]
    bank.outside.gives(answer([]))
    page = bank.back(bank.applied()).html
    assert ("No month is whole yet." in page, "rounded afterwards" in page) == (True, False)


def test_totals_are_added_before_they_are_rounded_and_thousands_are_told_apart(bank: Played) -> None:
    bank.outside.gives(answer([month(number, kilograms=1_000_000.4) for number in range(12)]))
    page = bank.back(bank.applied()).html
    # 12 x 1,000.0004 t is 12,000.0048 t; twelve rounded months would say 12,000.000
    assert (page.count("<td>1,000.000</td>"), page.count("<td>12,000.005</td>")) == (12, 1)
    assert "Totals are rounded last" in page
    assert "<strong>12,000.005</strong>" in bank.browser().open("/portfolio").html


def test_the_portfolio(bank: Played) -> None:
    browser = bank.browser().open("/portfolio")
    assert "We hold no emissions" in browser.html
    bank.outside.gives(answer([month(number) for number in range(10)]))
    browser = bank.back(bank.applied(business="<b>=Bakery</b>"))
    page = browser.open("/portfolio").html
    said = (
        "<strong>12.345</strong>",
        "CO<sub>2</sub> in 10 of 12 months",
        "Live",
        "Brand ",
        "March 2025 to February 2026",
    )
    for shown in ("&lt;b&gt;=Bakery&lt;/b&gt;", *said):
        assert shown in page
    assert "No figure for January 2026 and February 2026." in page
    assert "PCAF score <strong>2</strong> of 5" in page
    table = browser.open("/portfolio.csv")
    assert table.response.headers["Content-Type"].startswith("text/csv")
    assert '"\'<b>=Bakery</b>"' in table.html
    bank.outside.gives(b"{}")
    browser.open(f"/emissions/permission-{bank.permissions.all()[0].id}")
    page = browser.open("/portfolio").html
    assert ("Not verified" in page, "12.345" in page) == (True, False)
    assert browser.open("/portfolio.csv").html.count("\n") == 1


def test_a_withdrawal_deletes_what_was_given_and_leaves_proof(bank: Played) -> None:
    browser = bank.back(bank.applied(business="Bakery"))
    page = browser.path
    answer = bank.withdraw("refresh-1")
    assert (answer.status_code, answer.get_json()) == (200, {"effect": "withdrawn"})
    (left,) = bank.permissions.all()
    assert left.deletion is not None
    assert bank.withdraw("refresh-1").get_json() == {"effect": "nothing"}
    assert "This permission was withdrawn" in browser.open(page).html
    portfolio = browser.open("/portfolio").html
    for shown in ("We hold no emissions", "Bakery", left.deletion.sha256, "in a withdrawal message"):
        assert shown in portfolio
    assert "14.814" not in portfolio


def test_an_unknown_token_changes_nothing(bank: Played) -> None:
    bank.back(bank.applied())
    assert bank.withdraw("another").get_json() == {"effect": "nothing"}
    assert bank.permissions.all()[0].deletion is None


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
    assert bank.withdraw("refresh-1", client="cap2").status_code == 403
    assert bank.permissions.all()[0].deletion is None


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


@pytest.fixture
def given(tmp_path: Path, held_clock: Any) -> Browser:
    """The page for reports of a bank whose Directory is that of the sample."""
    settings = {
        "scheme.trust_framework": sample.FRAMEWORK,
        "scheme.directory": sample.DIRECTORY,
        "member.url": sample.BANK,
        "member.application": f"{sample.DIRECTORY}/a/fsp",
    }
    bank = Played(tmp_path / "book", **settings)
    bank.bank.signing_root = signing_authority().root
    held = HeldPermission("1", "i", "m", "l", "Corner bakery", 0, b"", (), account=sample.GRANT.account)
    bank.permissions.put(held)
    return bank.browser().open("/portfolio").open("/report")


def sent(browser: Browser, *files: bytes, name: str = "report.pdf") -> Browser:
    return browser.click("verify", file=[(io.BytesIO(file), name) for file in files])


def test_a_report_that_a_business_has_given(given: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "verify_apart", verify)  # tests/documents has the process that it is done in
    file = sample.signed()
    html = sent(given, file).html
    assert "Verified</h2>" in html
    for shown in (
        "Acme &amp; Sons",
        "<strong>4.698</strong> tCO<sub>2</sub> in 12 of 12 months",
        "<strong>215.341</strong> tCO<sub>2</sub>e in 11 of 12 months",
        "Not known: for some certificate",
        "Ours for <strong>",
        "Corner bakery",
    ):
        assert shown in html
    html = sent(given, file + b"more").html
    assert "Verified</h2>" not in html
    assert "<dt>coverage</dt>" in html


def test_the_parts_of_a_report(given: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "verify_apart", verify)
    one, other = sample.parts()
    html = sent(given, other, one).html
    assert html.index("they add up to its totals") < html.index("Verified: March 2025 to September 2025")
    assert "<strong>215.341</strong> tCO<sub>2</sub>e in 11 of 12 months" in html
    html = sent(given, one).html
    assert "choose all of them" in html
    assert "215.341" not in html
    assert "<dt>parts</dt>" in sent(given, one, one).html


def test_a_file_that_is_not_taken(given: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sent(given, b"", name="").status == 422
    monkeypatch.setattr(report, "LARGEST_TOGETHER", 1000)
    assert "<dt>size</dt>" in sent(given, bytes(50_000)).html
    assert given.status == 413
    action, fields, _ = given.form_of("verify")
    assert given.post(action, {**fields, "csrf": "another"}).status == 403
    monkeypatch.setattr(report, "LONGEST_S", 0)
    monkeypatch.setattr(report, "_places", threading.BoundedSemaphore(1))
    with report._places:
        assert sent(given.open("/report"), b"%PDF").status == 503
    given.client.delete_cookie(views.COOKIE)
    assert given.post(action, fields).status == 403

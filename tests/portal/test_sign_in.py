"""Who is this: a code by e-mail, used once, in the browser that asked; and nothing that tells who has an account.

The rules of codes and the limits by themselves: tests/accounts.
"""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa

from consent_server import store
from consent_server.accounts import sign_in
from consent_server.store import accounts, rows
from consent_server.store.tables.accounts import SignInCode, SmeAccount
from consent_server.store.tables.limits import FailureCount
from consent_server.store.tables.sessions import SessionRow
from consent_server.web import csrf
from tests.portal.conftest import BANK, DIRECTORY

EMAIL = "office@kelham.example"


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite alone: what differs between the databases is met by the other tests of the portal."""
    return f"sqlite:///{tmp_path / 'store.db'}"


def at_code(portal: Any, email: str = " Office@Kelham.example ") -> Any:
    return portal.browser().open("/sign-in").click("continue", email=email)


def cookies_of(browser: Any) -> dict[str, str]:
    names = (f"{browser.cookie}-form", "__Host-cap-typed-asked")
    return {name: browser.client.get_cookie(name, domain="localhost").value for name in names}


def words(browser: Any, email: str) -> str:
    """A page without what differs for each request: the address, the form's token and the reference."""
    return re.sub(r"[0-9a-f]{24,}", "", browser.html.replace(email, ""))


def test_a_code_signs_in_and_lands_on_the_account(portal: Any) -> None:
    browser = at_code(portal)
    assert (browser.path, portal.mail.sent[-1][0]) == ("/sign-in/code", EMAIL)
    browser.click("continue", code=f"{portal.mail.code[:3]} {portal.mail.code[3:]}")
    assert (browser.status, browser.path) == (200, "/account")
    assert "Kelham Crumb Bakery Ltd" in browser.html


def test_signing_in_changes_the_handle_and_kills_the_one_before(portal: Any) -> None:
    browser = at_code(portal)
    before = cookies_of(browser)[f"{browser.cookie}-form"]
    browser.click("continue", code=portal.mail.code)
    assert browser.secret() != before
    other = portal.browser()
    other.client.set_cookie(other.cookie, before, domain="localhost", secure=True)
    assert other.open("/account").path == "/sign-in"


def test_a_handle_that_was_never_ours_is_worth_nothing(portal: Any) -> None:
    browser = portal.browser()
    browser.client.set_cookie(browser.cookie, "chosen-by-somebody-else", domain="localhost", secure=True)
    portal.signed_in(browser=browser)
    assert browser.secret() != "chosen-by-somebody-else"


@pytest.mark.parametrize("code", ["", "000000", "12345", "1234567", "abcdef", "٠١٢٣٤٥"])
def test_a_wrong_code(portal: Any, code: str) -> None:
    browser = at_code(portal)
    if code == portal.mail.code:
        code = "000001"
    browser.click("continue", code=code)
    assert (browser.status, browser.path) == (422, "/sign-in/code")
    assert browser.open("/account").path == "/sign-in"


def test_a_newer_code_kills_the_one_before(portal: Any) -> None:
    first, code = at_code(portal), portal.mail.code
    at_code(portal)
    assert first.click("continue", code=code).status == (422 if code != portal.mail.code else 200)


def test_P17_a_double_click_on_the_code_signs_in(portal: Any, held_clock: Any) -> None:
    browser = at_code(portal)
    action, fields, _ = browser.form_of("continue", code=portal.mail.code)
    before = cookies_of(browser)

    def clicked() -> Any:
        browser.client.delete_cookie(browser.cookie, domain="localhost")
        for name, value in before.items():
            browser.client.set_cookie(name, value, domain="localhost", secure=True)
        return browser.post(action, fields)

    clicked()
    held_clock.step(sign_in.REPEAT_S)
    assert clicked().path == "/account"
    assert sign_in.check_code(EMAIL, fields["code"], "192.0.2.1", "", "another browser") is None
    held_clock.step(1)
    assert clicked().status == 422, "later it is a code that was used"
    assert browser.open("/account").path == "/sign-in"


def test_an_old_code(portal: Any, held_clock: Any) -> None:
    browser = at_code(portal)
    held_clock.step(600)
    assert browser.click("continue", code=portal.mail.code).status == 422


def test_a_new_address_opens_an_account_by_the_same_pages(portal: Any) -> None:
    known, new = at_code(portal), at_code(portal, "new@bakery.example")
    assert words(known, EMAIL) == words(new, "new@bakery.example")
    new.click("continue", code=portal.mail.code)
    assert new.path == "/account"
    with store.reading() as c:
        row = accounts.by_email(c, "new@bakery.example")
    assert row is not None
    assert row.business == ""


@pytest.mark.parametrize(
    "email", ["", "x", "a b@c", "a@b@c", "<a@b>", "a" * 300 + "@b.example", "a@b\r\nBcc: c@d", "a\u200b@b.example"]
)
def test_what_is_no_address(portal: Any, email: str) -> None:
    browser = portal.browser().open("/sign-in")
    sent = browser.post("/sign-in", browser.form_of("continue", email=email)[1])
    assert sent.status in {400, 422}
    assert portal.mail.sent == []


def test_mail_that_is_down_is_said_so(portal: Any) -> None:
    portal.mail.down = True
    browser = at_code(portal)
    assert browser.status == 503
    assert browser.open("/sign-in/code").path == "/sign-in", "no code is on its way"


def test_H15_asking_for_a_code_leaves_no_session(portal: Any) -> None:
    at_code(portal)
    assert rows_kept().keys() == {"attempt", "sign_in_code", "account"}


def test_wrong_codes_are_slowed_and_the_right_one_is_too_by_a_minute_at_most(portal: Any, held_clock: Any) -> None:
    browser = at_code(portal)
    for _ in range(6):
        assert browser.click("continue", code="00000x").status == 422
    action, fields, _ = browser.form_of("continue", code=portal.mail.code)
    assert browser.post(action, fields).status == 429
    held_clock.step(int(browser.response.headers["Retry-After"]))
    assert browser.post(action, fields).path == "/account"


def test_mails_to_an_address_are_limited_and_the_newest_code_works(portal: Any) -> None:
    for _ in range(6):
        assert "no more for now" not in at_code(portal).html
    browser = at_code(portal)
    assert (browser.status, "no more for now" in browser.html, len(portal.mail.sent)) == (200, True, 6)
    assert browser.click("continue", code=portal.mail.code).path == "/account"


def rows_kept() -> dict[str, int]:
    with store.reading() as c:
        counts = {table: c.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in TABLES}
    return {table.name: count for table, count in counts.items() if count}


TABLES = tuple(rows.table_of(kind) for kind in (SessionRow, SignInCode, SmeAccount, FailureCount))


@pytest.mark.parametrize(
    "path",
    ["/", "/sign-in", "/account", "/connected", "/callback?state=x", "/start", f"/start?fsp={BANK}", "/start?fsp=x"],
)
def test_H15_an_anonymous_visit_keeps_nothing(portal: Any, path: str) -> None:
    before = rows_kept()
    for _ in range(3):
        portal.browser().open(path)
    assert {**rows_kept(), "attempt": 0} == {**before, "attempt": 0}


def test_H12_images_do_not_spend_the_networks_invitations(portal: Any) -> None:
    for number in range(60):
        path = f"/start?fsp={DIRECTORY}/m/nonsense{number}"
        portal.app.test_client().get(path, base_url="https://localhost", headers={"Sec-Fetch-Dest": "image"})
    assert "Wharfside Bank" in portal.browser().open(f"/start?fsp={BANK}").html


def test_H15_the_directory_is_not_asked_without_end(portal: Any) -> None:
    asked: list[str] = []
    member = portal.directory.member
    portal.directory.member = lambda url: (asked.append(url), member(url))[1]
    ours = portal.deployment.settings.member.url
    for fsp in (
        "",
        "x",
        "https://evil.example/m/bank",
        f"{DIRECTORY}/m/a?b",
        f"{DIRECTORY}/m/../a",
        f"{DIRECTORY}x/m/b",
    ):
        portal.browser().open(f"/start?{urlencode({'fsp': fsp})}")
    assert set(asked) <= {ours}, "what has not the form of a member is not asked about"
    for number in range(60):
        portal.browser().open(f"/start?fsp={DIRECTORY}/m/nonsense{number}")
    assert len(set(asked) - {ours}) == 31, "the network's budget, and one for the pause"
    browser = portal.browser()
    browser.client.environ_base["REMOTE_ADDR"] = "192.0.2.99"
    assert "Wharfside Bank" in browser.open(f"/start?fsp={BANK}").html, "another network's invitation is accepted"
    forged = portal.browser()
    forged.client.set_cookie("__Host-cap-invitation", f"00.{BANK.encode().hex()}", domain="localhost", secure=True)
    assert "Wharfside Bank" not in forged.open("/").html


@pytest.mark.parametrize("odd", [[], "x", 5, None, {"account": 5}, {"pending": []}, {"returning": {}}, {"email": None}])
@pytest.mark.parametrize("path", ["/", "/account", "/sign-in", "/sign-in/code", "/connected", "/callback?state=x"])
def test_a_session_with_odd_data_is_none(portal: Any, odd: Any, path: str) -> None:
    browser = portal.signed_in()
    with store.writing() as c:
        session = rows.table_of(SessionRow)
        c.execute(sa.update(session).values(data=odd if odd is not None else sa.JSON.NULL))
    assert browser.open(path).status < 500


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        pytest.param("/sign-in", {"email": EMAIL}, id="sign-in"),
        pytest.param("/sign-in/code", {"code": "123456"}, id="code"),
        pytest.param("/sign-out", {}, id="sign-out"),
        pytest.param("/connect", {"provider": "x"}, id="connect"),
        pytest.param("/connect/permission", {"agree": "yes"}, id="permission"),
        pytest.param("/connect/cancel", {}, id="cancel"),
        pytest.param("/permissions/withdraw", {"permission": "x"}, id="withdraw"),
    ],
)
@pytest.mark.parametrize("spoilt", ["missing", "another session's", "foreign origin", "cross-site"])
def test_a_form_that_is_not_ours(portal: Any, path: str, fields: dict[str, str], spoilt: str) -> None:
    browser = portal.signed_in()
    _, form, _ = browser.form_of("leave")
    told = {}
    if spoilt == "another session's":
        form = portal.signed_in("hello@wensum.example").form_of("leave")[1]
    elif spoilt == "foreign origin":
        told = {"Origin": "https://evil.example"}
    elif spoilt == "cross-site":
        told = {"Sec-Fetch-Site": "cross-site"}
    sent = {"a": "b"} | fields | ({} if spoilt == "missing" else form)
    assert browser.post(path, sent, headers=told).status == 403
    assert browser.open("/account").path == "/account", "still signed in"


def test_the_token_of_no_session_is_no_token(portal: Any) -> None:
    assert portal.browser().post("/sign-in", {"email": EMAIL, "csrf": csrf.token("")}).status == 403


def test_without_cookies_a_page_says_so(portal: Any) -> None:
    browser = portal.browser().open("/sign-in?cookie=set")
    assert browser.status == 400
    assert "cookies" in browser.html


def test_signing_out_ends_the_session_here_too(portal: Any) -> None:
    browser = portal.signed_in()
    secret = browser.secret()
    assert browser.click("leave").path == "/"
    browser.client.set_cookie(browser.cookie, secret, domain="localhost", secure=True)
    assert browser.open("/account").path == "/sign-in"


def test_a_session_ends_when_idle(portal: Any, held_clock: Any) -> None:
    browser = portal.signed_in()
    held_clock.step(1799)
    assert browser.open("/account").path == "/account"
    held_clock.step(1800)
    assert browser.open("/account").path == "/sign-in"


PAGES = (
    "/account",
    "/forecast",
    "/connect",
    "/permissions",
    "/result",
    "/connected",
    "/connect/permission",
    "/connect/declined",
)


@pytest.mark.parametrize("path", [*PAGES, "/permissions/withdraw", "/permissions/withdrawn"])
def test_every_page_of_an_account_asks_for_sign_in_and_comes_back(portal: Any, path: str) -> None:
    browser = portal.browser().open(path)
    assert browser.path == "/sign-in"
    browser.click("continue", email=EMAIL).click("continue", code=portal.mail.code)
    assert browser.status in {200, 404}
    assert browser.path != "/sign-in"


@pytest.mark.parametrize("query", ["next=https://evil.example", "next=//evil.example", "cookie=https://evil.example"])
def test_no_query_leads_out(portal: Any, query: str) -> None:
    browser = portal.browser()
    browser.open("/sign-in").open(f"/sign-in?{query}")
    browser.click("continue", email=EMAIL).click("continue", code=portal.mail.code)
    assert browser.path == "/account"


def test_a_banks_invitation_is_remembered_in_later_sessions_too(portal: Any) -> None:
    browser = portal.browser().open("/start?fsp=https://directory.example/m/bank")
    assert (browser.path, "Wharfside Bank" in browser.html) == ("/", True)
    portal.connected(browser=browser)
    (row,) = portal.connections()
    assert row.fsp == "https://directory.example/m/bank"
    portal.collected(row.id)
    assert "Wharfside Bank" in portal.signed_in().open("/connected").html


@pytest.mark.parametrize(
    "fsp",
    ["https://evil.example/", "https://directory.example/m/hartlebury", "https://directory.example/m/none", "", "x"],
)
def test_an_invitation_from_nobody_is_passed_over(portal: Any, fsp: str) -> None:
    browser = portal.browser().open(f"/start?fsp={fsp}")
    assert (browser.status, browser.path) == (200, "/")
    assert "You come from" not in browser.html

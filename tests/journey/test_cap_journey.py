"""The SME's journey at a CAP's issuer: sign in, code, read, decide; and the plug-in step of an EDP."""

import contextlib
from typing import Any

import gevent
import pytest

from consent_server import store
from consent_server.accounts import passkeys
from consent_server.issuer import decision
from consent_server.metering.register import Identified
from consent_server.outbound.errors import Unreachable
from consent_server.store import connections, links
from consent_server.store.tables.accounts import SmeAccount
from tests.journey.conftest import DIRECTORY, EMAIL, LIMITS
from tests.journey.plug_in import PlayedLogin
from tests.passkey import SoftwarePasskey


def at_code(cap: Any, email: str = " Owner@Acme.example ") -> Any:
    return cap.begun().click("continue", email=email)


def test_the_whole_journey(cap: Any) -> None:
    browser = at_code(cap)
    assert (browser.path, [to for to, _, _ in cap.mail.sent]) == ("/journey/code", [EMAIL])
    before = browser.secret()
    browser.click("continue", code="123 456")
    assert browser.path == "/journey/permission"
    assert browser.secret() != before
    browser.click("allow", agree="yes")
    granted = cap.grant()
    assert cap.permission_of(browser.landed["code"]) == granted.permission.id
    assert (granted.permission.sme, granted.permission.meters) == ("account-1", [])
    assert granted.permission.fuels == ["electricity", "gas"]
    assert granted.evidence.who["method"]


@pytest.mark.parametrize(("stays", "supports"), [(True, ["connection-1"]), (False, None)])
def test_a_provider_that_the_text_does_not_name_is_no_support(
    cap: Any, monkeypatch: pytest.MonkeyPatch, stays: bool, supports: list[str] | None
) -> None:
    """It connects between the comparison of the page and the grant, and the one that the text names stays or ends."""
    browser, conclude = at_code(cap).click("continue", code="123456"), decision.conclude

    def meanwhile(*decided: Any) -> str | None:
        with cap.app.app_context(), store.reading() as c:
            (named,) = connections.of_account(c, "account-1")
        cap.keep(named._replace(id="connection-2", member=f"{DIRECTORY}/m/another", refresh_mac="1" * 64))
        if not stays:
            cap.disconnect()
        return conclude(*decided)

    monkeypatch.setattr(decision, "conclude", meanwhile)
    browser.click("allow", agree="yes")
    if supports is None:
        assert (browser.status, cap.grants()) == (409, [])
        return
    with cap.app.app_context(), store.reading() as c:
        assert links.supports(c, cap.grant().permission.id) == supports


@pytest.mark.parametrize(
    "failure", [Unreachable("connect", "relay.example"), gevent.Timeout(1)], ids=["down", "a time-out"]
)
def test_a_mail_that_is_not_sent_leaves_the_journey_at_its_first_page(
    cap: Any, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(*_mail: str) -> None:
        raise failure

    browser = cap.begun()
    action, fields, _ = browser.form_of("continue", email=EMAIL)
    with monkeypatch.context() as broken:
        broken.setattr(cap.mail, "send", fail)
        with contextlib.suppress(gevent.Timeout):
            assert browser.post(action, fields).status == 503
    assert browser.open(action.replace("sign-in", "code")).path == "/journey/sign-in", "no code is on its way"
    assert browser.post(action, fields).path == "/journey/code"


@pytest.fixture
def device(cap: Any) -> SoftwarePasskey:
    """A passkey of the account."""
    made = SoftwarePasskey()
    with cap.app.app_context():
        account = SmeAccount("account-1", EMAIL, "Acme Widgets Ltd", 0)
        assert passkeys.add(account, "Phone", made.made(passkeys.to_add(account, [], "x"), cap.origin), "x") is None
    return made


def passkey(browser: Any, device: SoftwarePasskey, cap: Any) -> str:
    """What a device sends from the page."""
    (asked,) = [a["data-options"] for tag, a in browser.page.found if "data-options" in a]
    return device.used(asked, cap.origin)


def test_a_passkey_signs_in_without_a_code_and_the_evidence_says_so(cap: Any, device: SoftwarePasskey) -> None:
    browser = cap.begun()
    before = browser.secret()
    action, fields, _ = browser.form_of("use-passkey", passkey=passkey(browser, device, cap))
    assert browser.post(action, fields).path == "/journey/permission"
    after = browser.secret()
    assert before != after
    browser.client.set_cookie(browser.cookie, before, domain="localhost", secure=True)
    assert (browser.post(action, fields).path, browser.secret()) == ("/journey/permission", after), "a double click"
    browser.click("allow", agree="yes")
    granted = cap.grant()
    assert (granted.permission.sme, granted.evidence.who["method"]) == ("account-1", passkeys.METHOD)
    assert cap.mail.sent == []


def test_E04_a_passkey_that_is_not_accepted_leads_nowhere_and_a_code_is_needed_again(
    cap: Any, device: SoftwarePasskey
) -> None:
    other, browser = cap.begun(), cap.begun()
    browser.click("use-passkey", passkey=passkey(other, device, cap))
    assert (browser.status, passkeys.NOT_ACCEPTED in browser.html) == (422, True)
    journey = browser.response.request.args["journey"]
    assert browser.open(f"/journey/permission?journey={journey}").path == "/journey/sign-in"
    browser.click("use-passkey", passkey=passkey(browser, device, cap))
    browser.open(f"/journey/sign-in?journey={journey}").click("continue", email="nobody@acme.example")
    assert browser.open(f"/journey/permission?journey={journey}").path == "/journey/code"


def test_a_double_click_on_the_code_works_although_the_code_works_once(cap: Any) -> None:
    browser = at_code(cap)
    before = browser.secret()
    action, fields, _ = browser.form_of("continue", code="123456")
    browser.post(action, fields)
    browser.client.set_cookie(browser.cookie, before, domain="localhost", secure=True)
    assert browser.post(action, fields).path == "/journey/permission"


def test_an_address_without_account_is_answered_alike(cap: Any) -> None:
    known, unknown = at_code(cap), at_code(cap, "nobody@acme.example")
    assert [to for to, _, _ in cap.mail.sent] == [EMAIL, "nobody@acme.example"]
    assert not any(character.isdigit() for character in "".join(cap.mail.sent[-1])), (
        "no code: an issuer opens no account"
    )
    for browser in (known, unknown):
        browser.click("continue", code="999999")
        assert browser.status == 422
    words = [
        browser.html[browser.html.index("errors-title") : browser.html.index("<h1>")] for browser in (known, unknown)
    ]
    assert words[0] == words[1]


@pytest.mark.parametrize("email", ["", "x", "a b@c", "a@b@c", "<a@b>", "a" * 300 + "@b.example", "a@b\u200b.example"])
def test_what_is_no_address(cap: Any, email: str) -> None:
    browser = at_code(cap, email)
    assert (browser.status, browser.path, cap.mail.sent) == (422, "/journey/sign-in", [])


def test_the_code_page_is_not_reached_without_an_address(cap: Any) -> None:
    browser = cap.begun()
    journey = browser.form_of("continue")[0].partition("=")[2]
    assert browser.open(f"/journey/code?journey={journey}").path == "/journey/sign-in"


def test_wrong_codes_are_slowed_and_the_right_one_is_too_by_a_minute_at_most(cap: Any, held_clock: Any) -> None:
    browser = at_code(cap)
    for _ in range(LIMITS["tries_per_account_per_day"] + 1):
        assert browser.click("continue", code="000000").status == 422
    action, fields, _ = browser.form_of("continue", code="123456")
    assert browser.post(action, fields).status == 429
    held_clock.step(int(browser.response.headers["Retry-After"]))
    assert browser.post(action, fields).path == "/journey/permission"


def test_mails_to_one_address_are_limited_and_the_newest_code_works(cap: Any) -> None:
    """As at the portal."""
    for _ in range(LIMITS["mails_per_mailbox"] + 1):
        assert "no more for now" not in at_code(cap).html
    browser = at_code(cap)
    assert (browser.status, "no more for now" in browser.html) == (200, True)
    assert len(cap.mail.sent) == LIMITS["mails_per_mailbox"] + 1
    assert browser.click("continue", code="123456").path == "/journey/permission"


def test_an_account_without_connection_meets_connect_first(cap: Any) -> None:
    cap.disconnect()
    browser = at_code(cap).click("continue", code="123456")
    assert "connect-first" in browser.page.ids()
    assert "allow" not in browser.page.ids()
    assert browser.click("cancel").landed["error"] == "access_denied"


def test_a_connection_lost_while_reading_grants_nothing(cap: Any) -> None:
    browser = at_code(cap).click("continue", code="123456")
    cap.disconnect()
    browser.click("allow", agree="yes")
    assert "connect-first" in browser.page.ids()
    assert not cap.grants()


def test_there_is_nothing_to_manage_at_a_caps_issuer(cap: Any) -> None:
    assert cap.browser().open("/manage").status == 404


@pytest.fixture
def with_login(build_party: Any) -> Any:
    return build_party("edp", changes={"journey.steps": ["tests.journey.plug_in:step"]})


def test_an_edp_with_a_log_in_of_its_own_replaces_identify(with_login: Any) -> None:
    browser = with_login.begun()
    assert browser.path == "/journey/log-in"
    assert browser.click("continue", customer="C-1", password="wrong").status == 422
    assert 'value="wrong"' not in browser.html
    browser.click("continue", customer="C-1", password="right").click("allow", agree="yes")
    granted = with_login.grant()
    assert (granted.permission.sme, granted.evidence.who["method"]) == ("sme-7", "Customer log-in")


def test_passwords_are_counted_before_they_are_checked(with_login: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[dict[str, int]] = []
    check = PlayedLogin.check_password

    def checked(self: PlayedLogin, customer: str, password: str) -> Identified | None:
        counted.append(with_login.failures())
        return check(self, customer, password)

    monkeypatch.setattr(PlayedLogin, "check_password", checked)
    browser = with_login.begun().click("continue", customer="C-1", password="wrong")
    browser.click("continue", customer="C-1", password="right")
    everywhere = ("passwords-own", "passwords-network", "passwords-all")
    assert counted == [dict.fromkeys((*everywhere, "password"), number) for number in (1, 2)]
    assert with_login.failures() == dict.fromkeys(everywhere, 1), "the network keeps its failure, the customer has none"

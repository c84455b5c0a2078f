"""The SME's journey at an EDP: identify, read, decide; and each way in which it must not go (E01 to E15)."""

import unicodedata
from typing import Any

import pytest

from tests.deployments import layout
from tests.journey.conftest import ASKER, DIRECTORY, GOOD, WRONG_CHECK_DIGIT, Start


def identified(edp: Any, **typed: str) -> Any:
    return edp.begun().click("continue", **{**GOOD, **typed})


def test_the_whole_journey_ends_at_the_client_with_one_decision(edp: Any) -> None:
    browser = edp.begun()
    assert browser.path == "/journey/identify"
    assert {"postcode", "mpan", "mprn", "name", "capacity", "continue", "cancel"} <= set(browser.page.ids())
    browser.click("continue", **GOOD, name="Ada Smith", capacity="Director")
    assert browser.path == "/journey/permission"
    assert {"permission-text", "agree", "allow", "decline"} <= set(browser.page.ids())
    assert "cancel" not in browser.page.ids(), "one way to say no"
    for told in ("Carbon Accounting R Us Limited", "cap.example:8443", "Acme Widgets Ltd", "8902", "4403", "1 year"):
        assert told in browser.html
    assert "<li>your electricity</li>" in browser.html
    for hidden in ("1212345678902", "3938424403", "SW8 1AA"):
        assert hidden not in browser.html
    browser.click("allow", agree="yes")
    assert browser.status == 303
    assert browser.location.startswith("https://cap.example:8443/callback?a=1&")
    assert browser.landed["state"] == "s-1"
    granted = edp.grant()
    assert browser.landed["iss"] == edp.origin
    assert edp.permission_of(browser.landed["code"]) == granted.permission.id
    assert (granted.permission.sme, granted.permission.fuels) == ("sme-1", ["electricity", "gas"])
    assert [meter["id"] for meter in granted.permission.meters] == ["m-el", "m-gas"]
    assert granted.evidence.who["name"] == "Ada Smith"
    assert granted.evidence.who["method"]
    assert granted.evidence.text_shown == edp.text
    assert granted.evidence.names["client"] == "Carbon Accounting R Us Limited"


def test_H16_evidence_and_audit_have_an_id_of_ours(edp: Any) -> None:
    browser = identified(edp)
    action, fields, _ = browser.form_of("allow", agree="yes")
    browser.post(action, fields, headers={"X-Request-Id": "chosen-by-a-caller"})
    named = browser.response.headers["X-Request-Id"]
    assert named != "chosen-by-a-caller"
    assert edp.grant().evidence.correlation_id == named
    assert edp.audited("permission_granted") == [named]


def test_the_audit_trail_has_how_the_business_was_identified(edp: Any) -> None:
    """Beside the permission that came of it, and once, however often the same is proved."""
    browser = identified(edp)
    browser.open(browser.form_of("allow")[0].replace("/permission", "/identify")).click("continue", **GOOD)
    action, fields, _ = browser.form_of("allow", agree="yes")
    browser.post(action, fields)
    granted = edp.grant()
    (kept,) = edp.events("sme_identified")
    assert kept.fields["method"] == granted.evidence.who["method"]
    assert kept.fields["strength"] == granted.evidence.who["strength"]
    assert kept.fields.keys() == {"client_id", "journey", "method", "strength"}, "no number, no name"
    assert [each.event for each in edp.events(subject=granted.permission.id)] == [
        "sme_identified",
        "permission_granted",
    ]


def test_declining_is_access_denied(edp: Any) -> None:
    browser = identified(edp).click("decline")
    assert browser.landed["error"] == "access_denied"
    assert not edp.grants()
    assert edp.declined() == 1


def test_cancel_is_on_the_first_page_too(edp: Any) -> None:
    assert edp.begun().click("cancel").landed["error"] == "access_denied"


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        pytest.param({"postcode": "SW8 1AB"}, "postcode", id="mismatched postcode"),
        pytest.param({"mpan": "1200000000002"}, "postcode", id="unknown MPAN"),
        pytest.param({"postcode": "X"}, "postcode", id="no postcode"),
        pytest.param({"mpan": "", "mprn": ""}, "mpan", id="no number"),
        pytest.param({"mpan": "12"}, "mpan", id="short MPAN"),
        pytest.param({"mprn": "abc"}, "mprn", id="MPRN of letters"),
        pytest.param({"mprn": "'; DROP TABLE meter;--"}, "mprn", id="F05 SQL"),
        pytest.param({"mpan": "{{7*7}}"}, "mpan", id="E09 template text"),
        pytest.param({"postcode": "<script>alert(1)</script>"}, "postcode", id="E09 script"),
        pytest.param({"name": "x" * 101}, "name", id="endless name"),
    ],
)
def test_what_cannot_be_matched_is_the_same_page_with_what_was_typed(edp: Any, typed: Any, field: str) -> None:
    browser = identified(edp, **typed)
    assert (browser.status, browser.path) == (422, "/journey/identify")
    assert f'href="#{field}"' in browser.html
    kept = next(form["fields"] for form in browser.page.forms if "postcode" in form["fields"])
    assert all(kept[name] == text for name, text in {**GOOD, **typed}.items())
    assert "<script" not in browser.html
    assert not edp.grants()


@pytest.mark.parametrize(
    "typed",
    [
        {"mpan": "S 00 801 A10 12 1234 5678 902"},
        {"mpan": "12\t1234\t5678\t902\r\n"},
        {"mpan": "12\u200b1234\u00a05678\ufeff902"},
        {"mpan": "MPAN: 1212345678902", "postcode": "SW8-1AA."},
        {"postcode": "\tSW8\x0b1AA\x85", "mprn": "MPRN 3938 424 403"},
        {"name": "Ada\tSmith"},
    ],
    ids=ascii,
)
def test_D12_what_people_paste_is_understood(edp: Any, typed: dict[str, str]) -> None:
    assert identified(edp, **typed).path == "/journey/permission"


def test_unknown_and_mismatched_get_the_same_words(edp: Any) -> None:
    def words(**typed: str) -> str:
        html = identified(edp, **typed).html
        return html[html.index("errors-title") : html.index("<h1>")]

    # A check digit that fits, on a number that nobody has; and a known number with another postcode.
    assert words(mpan="1012345678903", mprn="") == words(postcode="SW8 2BB", mprn="")


def test_a_wrong_check_digit_is_pointed_out_once(edp: Any) -> None:
    browser = identified(edp, mpan=WRONG_CHECK_DIGIT, mprn="")
    assert browser.status == 422
    assert "does not fit" in browser.html
    assert edp.failures() == {}, "the register was not asked"
    browser.click("continue")
    assert browser.path == "/journey/permission"
    assert "Bakers Ltd" in browser.html, "the business that has this meter"


def test_missing_tick_is_the_same_page(edp: Any) -> None:
    browser = identified(edp).click("allow")
    assert (browser.status, browser.path) == (422, "/journey/permission")
    assert 'href="#agree"' in browser.html
    assert not edp.grants()
    browser.click("allow", agree="yes")
    assert len(edp.grants()) == 1


@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        pytest.param({"csrf": ""}, {}, id="no token"),
        pytest.param({"csrf": "0" * 40}, {}, id="wrong token"),
        pytest.param({}, {"Origin": "https://evil.example"}, id="foreign origin"),
        pytest.param({"csrf": ""}, {"Origin": "null"}, id="opaque origin, no token"),
        pytest.param({}, {"Origin": "null", "Sec-Fetch-Site": "cross-site"}, id="opaque origin, cross-site"),
        pytest.param({}, {"Sec-Fetch-Site": "cross-site"}, id="cross-site"),
        pytest.param({}, {"Sec-Fetch-Site": "same-site", "Origin": "https://edp.example"}, id="sibling host"),
    ],
)
@pytest.mark.parametrize("button", ["allow", "cancel"])
def test_e01_a_form_that_is_not_ours(edp: Any, button: str, changes: Any, headers: Any) -> None:
    browser = identified(edp) if button == "allow" else edp.begun()
    action, fields, _ = browser.form_of(button, agree="yes")
    browser.post(action, {**fields, **changes}, headers=headers)
    assert browser.status == 403
    assert not edp.grants()
    assert edp.declined() == 0


def test_e01_a_token_of_another_journey(edp: Any) -> None:
    other = identified(edp).form_of("allow")[1]["csrf"]
    browser = identified(edp)
    action, fields, _ = browser.form_of("allow", agree="yes")
    assert browser.post(action, {**fields, "csrf": other}).status == 403


@pytest.mark.parametrize("told", [{"Sec-Fetch-Site": "same-origin"}, {}], ids=["Fetch Metadata", "before it"])
def test_e01_the_form_of_a_browser_under_no_referrer_is_ours(edp: Any, told: dict[str, str]) -> None:
    browser = identified(edp)
    action, fields, _ = browser.form_of("allow", agree="yes")
    browser.post(action, fields, headers={"Origin": "null", **told})
    assert browser.status == 303


def test_e02_e08_e13_headers(edp: Any) -> None:
    headers = identified(edp).response.headers
    policy = headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' https://cap.example:8443;" in policy
    assert headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(("environment", "has_one"), [("production", True), ("sandbox", False)])
def test_e13_browsers_insist_on_tls_except_in_the_sandbox(build_party: Any, environment: str, has_one: bool) -> None:
    headers = build_party("edp", environment=environment).begun().response.headers
    assert headers.get("Strict-Transport-Security", "").startswith("max-age=") is has_one


def test_e03_the_secret_is_new_after_the_proof_and_the_one_before_opens_nothing(edp: Any, held_clock: Any) -> None:
    browser = edp.begun()
    planted = browser.secret()
    browser.click("continue", **GOOD)
    assert browser.secret() != planted
    path = f"{browser.path}?{browser.response.request.query_string.decode()}"
    thief = edp.browser(Start(path, browser.cookie, planted))
    assert thief.open(path).status == 403
    held_clock.step(31)
    assert thief.open(path).status == 403


def test_e03_a_double_click_on_the_proof_gets_the_same_answer(edp: Any, held_clock: Any) -> None:
    browser = edp.begun()
    before = browser.secret()
    action, fields, _ = browser.form_of("continue", **GOOD)
    browser.post(action, fields)
    after = browser.secret()
    browser.client.set_cookie(browser.cookie, before, domain="localhost", secure=True)
    browser.post(action, fields)
    assert (browser.status, browser.path, browser.secret()) == (200, "/journey/permission", after)
    browser.client.set_cookie(browser.cookie, before, domain="localhost", secure=True)
    assert browser.post(action, {**fields, "mprn": ""}).status == 403
    held_clock.step(31)
    assert browser.post(action, fields).status == 403


def test_e03_cookie_attributes(edp: Any) -> None:
    browser = edp.begun()
    action, fields, _ = browser.form_of("continue", **GOOD)
    set_cookie = browser.post(action, fields, follow=False).response.headers["Set-Cookie"]
    assert set_cookie.startswith("__Host-edp-journey-")
    for attribute in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax", "Max-Age=3600"):
        assert attribute in set_cookie
    assert "Domain" not in set_cookie


def test_e04_a_skipped_step_leads_back(edp: Any) -> None:
    browser = edp.begun()
    journey = browser.response.request.args["journey"]
    csrf = browser.form_of("continue")[1]["csrf"]
    sent = {"csrf": csrf, "agree": "yes", "decision": "allow", "shown": "0"}
    assert browser.post(f"/journey/permission?journey={journey}", sent).path == "/journey/identify"
    assert browser.open(f"/journey/permission?journey={journey}").path == "/journey/identify"
    assert not edp.grants()


@pytest.mark.parametrize("ending", ["allow", "decline"])
def test_e05_whatever_is_clicked_after_the_end_there_is_one_answer(edp: Any, ending: str) -> None:
    browser = identified(edp)
    action, fields, _ = browser.form_of(ending, agree="yes")
    first = browser.post(action, fields).location
    browser.post(action, fields)
    assert browser.status == 200
    assert "Your answer is recorded" in browser.html
    assert browser.open(action).status == 200
    browser.click("continue")
    assert browser.location == first, "the same answer once more"
    assert len(edp.grants()) + edp.declined() == 1


def test_e05_a_code_that_was_used_is_not_sent_again(edp: Any) -> None:
    browser = identified(edp)
    action, fields, _ = browser.form_of("allow", agree="yes")
    edp.redeem(browser.post(action, fields).landed["code"])
    browser.post(action, fields)
    browser.click("continue")
    assert browser.status == 200
    assert "Your answer is recorded" in browser.html


def test_e05_the_page_of_the_end_does_not_time_out(edp: Any, held_clock: Any) -> None:
    browser = identified(edp)
    action, fields, _ = browser.form_of("decline")
    browser.post(action, fields)
    held_clock.step(1000)
    assert "Your answer is recorded" in browser.open(action).html


def test_e06_two_tabs_never_mix(edp: Any) -> None:
    first, second = edp.journey(state="one"), edp.journey(state="two", redirect_uri="https://other.example/back?b=2")
    browser = edp.browser()
    for began in (first, second):
        browser.client.set_cookie(began.cookie, began.value, domain="localhost", secure=True)
    browser.open(first.path).click("continue", **GOOD)
    tab = (browser.form_of("allow", agree="yes"), browser.html)
    browser.open(second.path).click("continue", **GOOD)
    assert "other.example" in browser.html
    assert "other.example" not in tab[1]
    browser.click("allow", agree="yes")
    assert browser.landed["state"] == "two"
    (action, fields, _), _ = tab
    assert browser.post(action, fields).landed["state"] == "one"


@pytest.mark.parametrize(
    "swap",
    [
        pytest.param(lambda edp: setattr(edp, "text", edp.text + "And tariffs."), id="text"),
        pytest.param(lambda edp: edp.directory.name(ASKER, "Other", "Other Ltd"), id="asker"),
        pytest.param(lambda edp: setattr(edp, "fuels", frozenset({"gas"})), id="fuels"),
    ],
)
def test_e07_what_changed_between_reading_and_agreeing_is_shown_again(edp: Any, swap: Any) -> None:
    browser = identified(edp)
    swap(edp)
    browser.click("allow", agree="yes")
    assert browser.status == 409
    assert 'href="#permission-text"' in browser.html
    assert not edp.grants()
    browser.click("allow", agree="yes")
    assert len(edp.grants()) == 1


def test_e07_the_question_that_was_shown_last_is_the_one_that_is_answered(edp: Any) -> None:
    browser = identified(edp)
    action, fields, _ = browser.form_of("allow", agree="yes")
    read_first = edp.text
    edp.text = read_first + "And tariffs."
    browser.open(action)
    edp.text = read_first
    assert browser.post(action, fields).status == 409
    assert not edp.grants()


def test_e07_an_edited_form(edp: Any) -> None:
    browser = identified(edp)
    assert browser.click("allow", agree="yes", shown="0" * 64).status == 409
    assert not edp.grants()


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "{{7*7}}", "Bank‮kcabdrawkcab", "A" * 5000, "Zero​Width", "line\nbreak"]
)
def test_e09_a_hostile_name_is_inert_text(edp: Any, name: str) -> None:
    edp.directory.name(ASKER, name, name)
    browser = identified(edp)
    assert "<script" not in browser.html
    assert "‮" not in browser.html
    assert "​" not in browser.html
    assert ">49<" not in browser.html
    assert "A" * 200 not in browser.html
    assert "cap.example:8443" in browser.html


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        pytest.param("B\u0430rclays", "B\u0430rclays", id="Cyrillic"),
        pytest.param("\uff22\uff21\uff2e\uff2b", "\uff22\uff21\uff2e\uff2b", id="full width"),
        pytest.param("\u2067knaB\u2069 \u200fof\u061c", "knaB of", id="direction"),
        pytest.param("Ba\u00adnk\u2060 \ufeffof\u180e us", "Bank of us", id="invisible"),
        pytest.param("Bank\u2028of\u2029us\u0085", "Bank of us", id="lines"),
        pytest.param("B\U000e0061nk \ue000of\ufff9 us", "Bnk of us", id="tags, private use and annotation"),
    ],
)
def test_E09_a_look_alike_stands_beside_the_legal_name_and_the_host(edp: Any, name: str, shown: str) -> None:
    """A name may look like another's; the host that the browser goes back to is ASCII and cannot (issuer/redirect_uri.py)."""
    edp.directory.name(ASKER, name, f"{name} Limited")
    browser = identified(edp)
    assert f"<strong><bdi>{shown} Limited</bdi></strong>" in browser.html
    assert '<span class="host">cap.example:8443</span>' in browser.html
    assert not [each for each in browser.html if unicodedata.category(each) in {"Cf", "Co", "Cn", "Zl", "Zp"}]
    assert [a["src"] for tag, a in browser.page.found if tag == "img"] == ["/logos/own"], "no picture of the asker's"
    assert {tag for tag, _ in browser.page.found}.isdisjoint({"picture", "svg", "object"})
    browser.click("allow", agree="yes")
    managed = edp.browser().open("/manage").click("continue", **{**GOOD, "mprn": ""})
    assert f"<bdi>{shown} Limited</bdi>" in managed.html
    receipt = managed.open(f"/evidence/{edp.grant().evidence.id}")
    assert '<span class="host">cap.example:8443</span>' in receipt.html
    assert not [each for each in receipt.html + managed.html if unicodedata.category(each) == "Cf"]


@pytest.mark.parametrize("cookie", [None, "guess"])
def test_e10_the_link_alone_is_worthless(edp: Any, cookie: str | None) -> None:
    began = edp.journey()
    stranger = edp.browser()
    if cookie:
        for name in (began.cookie, "__Host-edp-journey-unknown"):
            stranger.client.set_cookie(name, cookie, domain="localhost", secure=True)
    assert stranger.open(began.path).status == 403
    assert "Go back to the app" in stranger.html
    assert stranger.open("/journey/identify?journey=unknown").status == 403
    assert edp.browser().open("/journey/identify").status == 403


def test_e11_a_meter_is_tried_ten_times_a_day_and_then_once_a_minute(edp: Any, held_clock: Any) -> None:
    for _ in range(11):
        assert identified(edp, postcode="SW8 2BB", mprn="").status == 422
    browser = identified(edp, mprn="")
    assert browser.status == 429
    assert "we check one at a time" in browser.html
    held_clock.step(int(browser.response.headers["Retry-After"]))
    assert identified(edp, mprn="").path == "/journey/permission"


def test_e11_a_success_clears_the_count_of_its_meter(edp: Any) -> None:
    for _ in range(3):
        for _ in range(9):
            assert identified(edp, postcode="SW8 2BB", mprn="").status == 422
        assert identified(edp, mprn="").path == "/journey/permission"


def test_e11_one_postcode_is_tried_with_few_numbers(edp: Any, held_clock: Any) -> None:
    """Whoever knows the postcode and guesses the number meets each number once: the postcode has a budget of its own."""
    tried = 0
    for number in range(40):
        browser = edp.begun().click(
            "continue", postcode="SW8 2BB", mprn=f"{number:06}", mpan="", checked=f"{number:06}"
        )
        tried += browser.status == 422
    assert tried == 31
    assert int(browser.response.headers["Retry-After"]) <= 60


@pytest.mark.parametrize(("wait", "status"), [(899, 200), (900, 410), (960, 410)])
def test_e12_idle(edp: Any, held_clock: Any, wait: int, status: int) -> None:
    browser = identified(edp)
    path = browser.form_of("allow")[0]
    held_clock.step(wait)
    assert browser.open(path).status == status
    if status == 410:
        assert "Go back to the app" in browser.html
        held_clock.step(-wait)
        assert browser.open(path).status == 200


def test_e12_an_hour_in_all(edp: Any, held_clock: Any) -> None:
    browser = identified(edp)
    path, fields, _ = browser.form_of("allow", agree="yes")
    for _ in range(4):
        held_clock.step(890)
        assert browser.open(path).status == 200
    held_clock.step(890)
    assert browser.post(path, fields).status == 410
    assert not edp.grants()


def test_e15_further_fields_are_ignored(edp: Any) -> None:
    browser = identified(edp, mprn="")
    browser.click("allow", agree="yes", account="x", expires="9", scope="y", client_id="z", sme="sme-2", fuels="gas")
    permission = edp.grant().permission
    assert (permission.sme, permission.fuels) == ("sme-1", ["electricity"])


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"csrf=a&csrf=b", 400, id="doubled"),
        pytest.param(b"postcode=%00", 400, id="NUL"),
        pytest.param(b"postcode=%ff", 400, id="not UTF-8"),
        pytest.param(b"postcode=" + b"9" * 100_000, 413, id="large"),
        pytest.param(b"postcode=1e999&mpan=%F0%9F%92%A1", 403, id="well-formed, but not ours"),
    ],
)
def test_f05_malformed_forms_are_pages(edp: Any, data: bytes, status: int) -> None:
    browser = edp.begun()
    path = browser.form_of("continue")[0]
    sent = {"data": data, "content_type": "application/x-www-form-urlencoded", "base_url": "https://localhost"}
    response = browser.client.post(path, **sent)
    assert (response.status_code, response.mimetype) == (status, "text/html")


def test_a_license_for_electricity_covers_no_gas(edp: Any) -> None:
    edp.fuels = frozenset({"electricity"})
    identified(edp).click("allow", agree="yes")
    permission = edp.grant().permission
    assert permission.fuels == ["electricity"]
    # The gas meter is known, so that a client can be told 403 for it, and it is not among what may be read.
    assert [meter["id"] for meter in permission.meters] == ["m-el", "m-gas"]
    browser = identified(edp, mpan="")
    assert "not about these meters" in browser.html
    assert "cancel" in browser.page.ids()
    assert "allow" not in browser.page.ids()


BANK = f"{DIRECTORY}/m/bank"
COMBINED = layout().license("one_permission")


def test_the_bank_is_named_with_who_told_us(edp: Any) -> None:
    edp.directory.name(BANK, "Money 4U Bank", "Money 4U Bank plc")
    browser = edp.begun(license=COMBINED, fsp=BANK).click("continue", **GOOD)
    assert "for <bdi>Money 4U Bank</bdi>?" in browser.html, "in the question"
    assert "<title>Your decision, for Money 4U Bank" in browser.html
    receives, _, after = browser.html.partition("<dt>Who else</dt>")[2].partition("</dd>")
    assert "<bdi>Carbon Accounting R Us</bdi> told us so" in receives
    assert "told us so" not in after


def test_a_client_that_names_no_bank_is_said_not_to_have(edp: Any) -> None:
    browser = edp.begun(license=COMBINED).click("continue", **GOOD)
    assert "has not told us which bank that is" in browser.html
    assert "read-there" not in browser.page.ids()
    assert "Step 2 of 2" in browser.html
    other = edp.begun(text_read="0" * 64).click("continue", **GOOD)  # the license's text was another when it was pushed
    assert "read-there" not in other.page.ids()
    assert "Who else" not in edp.begun().click("continue", **GOOD).html, "under a license that names none"


def test_what_was_read_at_the_client_is_said_and_counted_and_shown_whole(edp: Any) -> None:
    read = edp.deployment.licenses[edp.license].text_sha256
    browser = edp.begun(text_read=read).click("continue", **GOOD)
    assert {"read-there", "permission-text", "agree"} <= set(browser.page.ids())
    assert "Step 3 of 4" in browser.html
    assert "<span>Your result</span>" in browser.html, "each step has its words"
    order = [
        browser.html.index(f'id="{name}"') for name in ("in-short", "agree", "allow", "read-there", "permission-text")
    ]
    assert order == sorted(order), "summary and decision lead"
    assert "<details" not in browser.html, "never closed"


def test_another_bank_than_was_shown_is_shown_again(edp: Any) -> None:
    """The question's digest has the bank: a form of one journey does not answer another's (E06, E07)."""
    for number in ("", "2"):
        edp.directory.name(f"{BANK}{number}", f"Bank{number}", f"Bank{number} plc")
    one, two = (edp.begun(license=COMBINED, fsp=f"{BANK}{number}").click("continue", **GOOD) for number in ("", "2"))
    shown = [browser.form_of("allow")[1]["shown"] for browser in (one, two)]
    assert len(set(shown)) == 2
    two.click("allow", agree="yes", shown=shown[0])
    assert two.status == 409
    assert not edp.grants()


def test_other_meters_can_be_named_before_deciding(edp: Any) -> None:
    browser = identified(edp)
    journey = browser.form_of("allow")[0].partition("=")[2]
    browser.open(f"/journey/identify?journey={journey}").click("continue", **{**GOOD, "mprn": ""})
    browser.click("allow", agree="yes")
    assert [meter["id"] for meter in edp.grant().permission.meters] == ["m-el"]


def test_an_unknown_step_is_a_404_page(edp: Any) -> None:
    assert edp.browser().open("/journey/elsewhere").status == 404

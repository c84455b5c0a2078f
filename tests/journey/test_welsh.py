"""Pages in Welsh: which language a page is in, the switch on it, and the mail that follows from it."""

from typing import Any

from consent_server import clock, store
from consent_server.receipts import links, mails
from consent_server.store import mails as owed
from tests.jose import decoded
from tests.journey.conftest import GOOD

WELSH = {"Accept-Language": "cy"}


#: (Accept-Language, the cookie of the switch, the language of the page)
CHOICES = (
    ("", "", "en-GB"),
    ("en-GB,en;q=0.9", "", "en-GB"),
    ("cy-GB,en;q=0.5", "", "cy"),
    ("fr,cy;q=0.4,en;q=0.2", "", "cy"),
    ("fr", "", "en-GB"),
    ("en", "cy", "cy"),
    ("cy", "en", "en-GB"),
    ("en", "../../etc/passwd", "en-GB"),
    ("cy;q=x,,;;*", "", "en-GB"),
)
#: Pages to which the switch does not lead.
ELSEWHERE = (
    *("https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "/ /evil.example", "manage"),
    *("javascript:alert(1)", "/a\r\nSet-Cookie: a=b", "/\t/evil.example", "", "/é"),
)
NO_LANGUAGES = ("", "fr", "cy; Domain=example.com", "en\r\nX: y")
OTHER_SITES = ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"})


def test_the_language_of_a_page(edp: Any) -> None:
    for asked, cookie, shown in CHOICES:
        client = edp.browser().client
        if cookie:
            client.set_cookie("__Host-language", cookie, domain="localhost", secure=True)
        response = client.get("/manage", headers={"Accept-Language": asked})
        assert f'<html lang="{shown}">' in response.text, asked
        assert response.headers["Content-Language"] == shown, asked
        assert {"Accept-Language", "Cookie"} <= set(response.vary)
        assert ("Eich caniatadau" in response.text) == (shown == "cy"), asked


def test_the_switch_keeps_the_page_and_changes_nothing_else(edp: Any) -> None:
    client = edp.browser().client
    there = client.post("/language", data={"language": "cy", "page": "/errors/not_found?a=%C3%A9"})
    assert (there.status_code, there.headers["Location"]) == (303, "/errors/not_found?a=%C3%A9")
    assert there.headers["Set-Cookie"].startswith("__Host-language=cy; ")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(there.headers["Set-Cookie"].split("; "))
    assert "Beth i’w wneud" in client.get("/errors/not_found").text
    browser = edp.browser().open("/manage?permission=p")
    assert 'name="page" value="/manage?permission=p"' in browser.html
    assert client.get("/language").status_code == 405


def test_the_switch_leads_nowhere_else(edp: Any) -> None:
    for page in ELSEWHERE:
        there = edp.browser().client.post("/language", data={"language": "cy", "page": page})
        assert there.headers.get("Location", "/manage") == "/manage", f"{page!r}: or refused"
        assert there.status_code in {303, 400}, page


def test_the_switch_knows_its_languages(edp: Any) -> None:
    for language in NO_LANGUAGES:
        there = edp.browser().client.post("/language", data={"language": language, "page": "/manage"})
        assert "Set-Cookie" not in there.headers, language


def test_another_site_does_not_switch(edp: Any) -> None:
    asked = {"language": "cy", "page": "/manage"}
    for headers in OTHER_SITES:
        there = edp.browser().client.post("/language", data=asked, headers=headers)
        assert (there.status_code, "Set-Cookie" in there.headers) == (403, False), headers


def test_evidence_is_switched_by_a_link_and_sets_no_cookie(edp: Any) -> None:
    edp.keep_grant(1)
    path = f"/evidence/{edp.grants()[0].evidence.id}"
    page = edp.browser().open(path)
    assert "<form" not in page.html
    assert 'href="?language=cy"' in page.html
    response = page.client.get(f"{path}?language=cy")
    assert "Tystiolaeth o ganiatâd" in response.text
    assert "Set-Cookie" not in response.headers
    assert 'id="permission-text" class="text" lang="en"' in response.text
    assert "Mae’r testun hwn yn Saesneg" in response.text


def test_permissions_in_welsh_to_the_end(edp: Any) -> None:
    edp.keep_grant(1)
    browser = edp.browser()
    browser.client.set_cookie("__Host-language", "cy", domain="localhost", secure=True)
    browser.open("/manage").click("continue", **{**GOOD, "postcode": "x"})
    assert "Gwall: Eich caniatadau" in browser.html
    browser.click("continue", **GOOD)
    assert "Mewn grym" in browser.html
    browser.open("/manage/withdraw?permission=p-1")
    assert "Daw i rym ar unwaith, ac ni ellir ei ddadwneud." in browser.html
    browser.click("confirm")
    assert "Mae’r caniatâd wedi’i dynnu’n ôl" in browser.html
    assert "amser y DU" in browser.html


def test_errors_of_programs_stay_english(edp: Any) -> None:
    response = edp.browser().client.get("/openapi/nothing.json", headers=WELSH)
    assert response.json["error_description"] == "There is nothing at this address."


def test_a_mail_speaks_the_language_in_which_the_business_acted(cap: Any) -> None:
    browser = cap.begun()
    browser.client.set_cookie("__Host-language", "cy", domain="localhost", secure=True)
    browser.open(browser.path + "?" + browser.response.request.query_string.decode())
    browser.click("continue", email="owner@acme.example").click("continue", code="123456").click("allow", agree="yes")
    (grant,) = cap.grants()
    with cap.app.app_context(), store.writing() as c:
        mails.owe(c, grant.permission.id, grant.permission.sme, mails.Kind.TOMORROW, clock.now())  # by a job
        assert [mail.language for mail in owed.unsent(c)] == ["cy", None]
    cap.mail.sent.clear()
    with cap.app.app_context():
        assert mails.send_due() == 0
    (_, given, text), (_, reminder, _) = sorted(cap.mail.sent, key=lambda mail: "yfory" in mail[1])
    assert given.startswith("Derbynneb: eich caniatâd i ")
    assert "Sut i’w ddadwneud: agorwch y ddolen hon" in text
    assert reminder.endswith(" yn dod i ben yfory")


def test_a_record_is_in_english_whoever_asks(cap: Any) -> None:
    browser = cap.begun().click("continue", email="owner@acme.example").click("continue", code="123456")
    browser.click("allow", agree="yes")
    (grant,) = cap.grants()
    with cap.app.app_context():
        path = links.make_path(grant.permission.id)
    client = cap.browser().client
    assert "Derbynneb am ganiatâd" in client.get(path, headers=WELSH).text
    payload = client.get(f"{path}/consent.json", headers=WELSH).json["payload"]
    record = decoded(payload).decode()
    assert "monthly emissions" in record
    assert "allyriadau" not in record

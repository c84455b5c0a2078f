"""Whom a person can ask: what the settings name is on every page, and on error pages with the reference to say."""

from typing import Any

import pytest

from consent_server.scheme.meters import parse_mpan, parse_mprn
from consent_server.settings.doors import ContactSettings

NAMED = {
    "public.contact.email": "help@example.org",
    "public.contact.telephone": "+44 20 7946 0000",
    "public.contact.privacy": "https://example.org/privacy",
    "public.contact.complaints": "https://example.org/complaints",
    "public.contact.accessibility": "https://example.org/accessibility",
}


@pytest.mark.parametrize(
    ("path", "status"), [("/manage", 200), ("/nowhere", 404), ("/authorize", 400), ("/receipt/unknown", 404)]
)
def test_P10_every_page_names_whom_to_ask_and_an_error_page_how(build_party: Any, path: str, status: int) -> None:
    browser = build_party("edp", changes=NAMED).browser().open(path)
    assert browser.status == status
    links = [a.get("href") for tag, a in browser.page.found if tag == "a"]
    assert {"mailto:help@example.org", "tel:+442079460000", *list(NAMED.values())[2:]} <= set(links)
    asked = browser.html.partition("Ask a person")[2].partition("</main>")[0]
    assert bool(asked) is (status != 200)
    assert ('href="tel:+442079460000"' in asked) is (status != 200), "to be tapped where it is read"
    assert ("onward" in browser.page.ids()) is (status == 404)
    assert browser.html.count(browser.response.headers["X-Request-Id"]) == (1 if status == 200 else 2)


def test_P21_what_cannot_be_read_is_said_without_a_programmers_words(build_party: Any) -> None:
    browser = build_party("edp").browser().open("/manage?permission=%ff&permission=%00")
    assert browser.status == 200, "nothing reads it"
    browser = build_party("edp").browser().open("/journey/identify?journey=%ff")
    said = browser.html.partition("<details")[0]
    assert (browser.status, "cannot be read" in said, "UTF-8" in said) == (400, True, False)


def test_P10_what_is_not_named_is_not_shown(build_party: Any) -> None:
    none = {"public.contact.email": "", "public.contact.telephone": ""}
    html = build_party("edp", changes=none).browser().open("/nowhere").html
    assert "Ask a person" not in html
    assert "mailto:" not in html


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": "help@example.org?cc=x@y"},
        {"email": "a b@c"},
        {"email": "<a@b>"},
        {"telephone": "javascript:1"},
        {"privacy": "http://example.org"},
        {"complaints": "javascript:alert(1)"},
    ],
)
def test_P10_what_is_no_contact_is_refused_at_the_start(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        ContactSettings(**wrong)


def test_P16_a_bill_is_drawn_with_words_for_who_cannot_see_it(build_party: Any) -> None:
    """And the numbers in the picture pass their check digits: whoever copies them is told that nobody has them."""
    edp = build_party("edp", changes=NAMED)
    browser = edp.browser().open("/manage")
    drawn = next(a for tag, a in browser.page.found if tag == "svg")
    assert (drawn["role"], drawn["aria-labelledby"]) == ("img", "bill-words")
    assert 'id="bill-words">On an electricity bill' in browser.html
    assert (
        'A person can help: <a href="mailto:help@example.org">help@example.org</a>, '
        '<a href="tel:+442079460000">+44 20 7946 0000</a>' in browser.html
    )
    assert parse_mpan("12 1234 5678 902").check_digit_ok
    assert parse_mprn("3938424403").check_digit_ok

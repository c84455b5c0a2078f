"""docs/walkthrough.md: nothing in it is secret, and the sandbox still does what it tells."""

import re

import pytest

from consent_server.sandbox.smes import SMES
from scripts import walkthrough
from scripts.box import running

PAGE = walkthrough.PAGE


def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_it_holds_no_token_no_meter_number_and_no_address() -> None:
    text = page()
    assert not re.search(r"[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}", text)
    assert not re.search(r"request_uri:[A-Za-z0-9]", text)
    assert not re.search(r"(?<![A-Za-z-])(?=[a-z%~-]*[A-Z])(?=\S*[0-9])[A-Za-z0-9_-]{22,}", text)
    for sme in SMES:
        typed = sme.identification()
        assert not [value for name, value in typed.items() if name in {"mpan", "mprn", "postcode"} and value in text]
        assert sme.email not in text


def test_the_walkthrough_has_every_step() -> None:
    text = page()
    assert len(re.findall(r"^## \d+\. ", text, re.MULTILINE)) >= 9
    for what in ("POST /par", "GET /authorize", "POST /token", "GET /emissions", "POST /permission"):
        assert f"**{what}" in text
    assert "HTTP 401" in text
    assert "HTTP 403" in text


@pytest.mark.long
def test_the_sandbox_still_does_what_the_page_tells() -> None:
    with running() as layout:
        told = walkthrough.tell(layout)
    assert walkthrough.skeleton(told) == walkthrough.skeleton(page()), "run: python -m scripts.walkthrough"

"""Passkeys in Debian's Chromium with a virtual authenticator: the script, the policy and the forms together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from consent_server.accounts import passkeys
from tests.deployments import deploy, settings_of
from tests.journey.test_in_chromium import Served
from tests.portal.conftest import SETTINGS, Portal

pytestmark = pytest.mark.browser

EMAIL = "office@kelham.example"
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Portal]]:
    there = Served(Flask("placeholder"))
    own = {"public.origin": there.origin, "issuer": there.origin}
    portal = Portal(deploy(settings_of("cap", f"sqlite:///{tmp_path / 'store.db'}", {**SETTINGS, **own})))
    there.server.app = portal.app
    with portal.started():
        yield there.origin, portal
    there.server.shutdown()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A tab with scripts, and the faults that its console has said."""
    context = chromium.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    said: list[str] = []
    page.on("console", lambda line: said.append(line.text))
    page.on("pageerror", lambda fault: said.append(str(fault)))
    yield page
    context.close()
    assert [line for line in said if "status of 422" not in line] == []


def test_a_passkey_is_made_and_signs_in(served: tuple[str, Portal], page: Any, tab: Any) -> None:
    origin, portal = served
    device = page.context.new_cdp_session(page)
    device.send("WebAuthn.enable")
    ours = device.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})["authenticatorId"]
    page.goto(f"{origin}/sign-in?next=/passkeys")
    page.fill("#email", EMAIL)
    page.click("#continue")
    page.wait_for_selector("#code")
    page.fill("#code", portal.mail.code)
    page.click("#continue")
    page.fill("#name", "Office laptop")
    page.click("#add")
    page.wait_for_selector("h2:has-text('Office laptop')")
    page.click("#leave")
    page.goto(f"{origin}/sign-in?next=/passkeys")
    page.click("#use-passkey")
    page.wait_for_selector("text=Last used on")
    page.click("#remove")
    page.wait_for_selector("text=You have none.")
    page.goto(f"{origin}/sign-in")
    page.click("#use-passkey")
    page.wait_for_selector(f"text={passkeys.NOT_ACCEPTED}")
    device.send("WebAuthn.setUserVerified", {"authenticatorId": ours, "isUserVerified": False})
    page.click("#use-passkey")
    page.wait_for_selector("[role=alert]:has-text('No passkey was used'):visible")
    assert page.is_enabled("#use-passkey")
    tab.goto(f"{origin}/sign-in")  # without scripts
    assert not tab.is_visible("#use-passkey")
    assert tab.is_visible("#continue")

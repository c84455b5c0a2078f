"""How a party's pages look by its settings, and the logo of the party that asks, from our own origin alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consent_server.deployment import Deployment
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.session import Response
from consent_server.settings import BadSettings
from tests.brand.pictures import GOOD, HOSTILE, png, svg
from tests.journey.conftest import ASKER, DIRECTORY, with_meters
from tests.journey.conftest import GOOD as GOOD_BILL

LOGO = f"{DIRECTORY}/logo"


def logos_on(browser: Any) -> list[str]:
    return [a["src"] for tag, a in browser.page.found if tag == "img"]


@pytest.mark.parametrize(("content", "media_type"), [GOOD["SVG"], GOOD["PNG"]])
def test_P15_our_logo_and_colour_are_those_of_the_settings(
    build_party: Any, tmp_path: Path, content: bytes, media_type: str
) -> None:
    (tmp_path / "logo").write_bytes(content)
    colours = {"public.brand.colour": "#1d4f91", "public.brand.dark_colour": "#8fb8f0"}
    browser = build_party("edp", changes={"public.brand.logo": str(tmp_path / "logo"), **colours}).browser()
    assert logos_on(browser.open("/manage")) == ["/logos/own"]
    shown = browser.client.get("/logos/own", base_url="https://localhost")
    assert (shown.data, shown.mimetype) == (content, media_type)
    assert shown.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in shown.headers["Content-Security-Policy"]
    assert "sandbox" in shown.headers["Content-Security-Policy"]
    css = browser.client.get("/static/style.css", base_url="https://localhost").text
    assert css.count("--brand: #1d4f91;") == 2, "on screen and on paper"
    assert css.count("--brand: #8fb8f0;") == 1


def test_P15_a_party_without_a_logo_shows_its_name_and_an_icon_in_its_colour(build_party: Any) -> None:
    party = build_party("edp", changes={"public.brand.logo": "", "public.brand.colour": "#5b2a86"})
    browser = party.browser().open("/manage")
    assert logos_on(browser) == []
    assert browser.client.get("/logos/own", base_url="https://localhost").status_code == 404
    assert 'fill="#5b2a86"' in browser.client.get("/static/icon.svg", base_url="https://localhost").text


@pytest.mark.parametrize("content", [HOSTILE["a script"][0], HOSTILE["HTML as PNG"][0], None])
def test_P15_a_logo_that_may_not_be_shown_is_refused_at_the_start(
    build_party: Any, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "logo").write_bytes(content)
    with pytest.raises(BadSettings, match=r"public\.brand\.logo: "):
        build_party("edp", changes={"public.brand.logo": str(tmp_path / "logo")})


def fetch(deployment: Deployment, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the worker fetch the asker's logo, which is `content`."""
    answer = Response(200, {}, "directory.example", content)
    monkeypatch.setattr(deployment.session, "get", lambda *_, **__: answer)
    deployment.logos.fetch(deployment.directory.member(ASKER))


@pytest.mark.parametrize("party", ["edp", "cap"])
def test_the_logo_of_who_asks_is_shown_once_it_was_fetched(
    build_party: Any, monkeypatch: pytest.MonkeyPatch, party: str
) -> None:
    world = build_party(party, changes={"public.brand.logo": ""})
    world.directory.members[ASKER] = replace(world.directory.members[ASKER], logo=LOGO)
    browser = world.begun()
    assert logos_on(browser) == [], "no page waits for it"
    with world.app.app_context():
        fetch(world.deployment, png(), monkeypatch)
    browser = world.begun()
    (address,) = logos_on(browser)
    shown = browser.client.get(address, base_url="https://localhost")
    assert (shown.data, shown.mimetype) == (png(), "image/png")
    assert shown.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    again = browser.client.get(address, base_url="https://localhost", headers={"If-None-Match": shown.headers["ETag"]})
    assert again.status_code == 304
    world.keep_grant(1)
    assert logos_on(world.browser().open(f"/evidence/{world.grant().evidence.id}")) == [address]
    if party == "edp":
        managed = with_meters(world).browser().open("/manage").click("continue", **GOOD_BILL)
        assert logos_on(managed) == logos_on(managed.open("/manage/receipt?permission=p-1")) == [address]


def test_E09_a_hostile_logo_is_on_no_page_and_at_no_address(build_party: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = build_party("edp", changes={"public.brand.logo": ""})
    world.directory.members[ASKER] = replace(world.directory.members[ASKER], logo=LOGO)
    with world.app.app_context():
        fetch(world.deployment, svg(), monkeypatch)
        name = world.deployment.logos.name_of(world.directory.members[ASKER])
        with pytest.raises(Unreachable):
            fetch(world.deployment, HOSTILE["a script"][0], monkeypatch)
    browser = world.begun()
    assert logos_on(browser) == []
    assert browser.client.get(f"/logos/{name}", base_url="https://localhost").status_code == 404

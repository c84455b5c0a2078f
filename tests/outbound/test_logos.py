"""Other members' logos: what is kept and shown, what is refused, and that nobody is asked more often than needed."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from consent_server.outbound import page_time
from consent_server.outbound.directory import Member
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.logos import FRESH_S, RETRY_S, Logos
from tests.brand.pictures import HOSTILE, png, svg
from tests.outbound.conftest import Answer


@pytest.fixture
def logos(settings: Any, session_of: Any, cache: Any, held_clock: Any) -> Logos:
    session = session_of(settings)
    session.allow_hosts(lambda: {"member.example"})
    return Logos(settings, session, cache)


def asking(url: str | None) -> Member:
    return Member("https://directory.example/m/cap", "Acme", None, (), None, True, logo=url)


@pytest.mark.parametrize(("content", "media_type"), [(svg(), "image/svg+xml"), (png(), "image/png")])
def test_a_logo_of_the_directory_is_kept_and_shown_whatever_its_server_calls_it(
    logos: Logos, settings: Any, trust: Any, content: bytes, media_type: str
) -> None:
    member = asking(f"{settings.scheme.directory}/logo")
    trust.routes["/logo"] = Answer(200, content, {"Content-Type": "text/html"})
    assert logos.name_of(member) is None
    assert logos.is_due(member)
    logos.fetch(member)
    name = logos.name_of(member)
    assert name is not None
    assert logos.kept(name) == (content, media_type)
    assert not logos.is_due(member)
    assert len(trust.asked) == 1


def _redirect(settings: Any) -> Answer:
    return Answer(302, b"", {"Location": "https://evil.example/logo.svg"})


def _drip(_settings: Any) -> Answer:
    return Answer(raw=lambda out: out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n<svg"))


def _large(_settings: Any) -> Answer:
    return Answer(200, b" " * 10_000_000, {})


def _of(content: bytes) -> Callable[[Any], Answer]:
    return lambda _settings: Answer(200, content, {"Content-Type": "image/svg+xml"})


BAD: dict[str, Callable[[Any], Answer]] = {
    "a redirect to another host": _redirect,
    "a server that breaks off": _drip,
    "10 MB": _large,
    "not found": lambda _settings: Answer(404),
    "an error": lambda _settings: Answer(500, svg()),
    **{name: _of(HOSTILE[name][0]) for name in ("a script", "an entity from a file", "HTML as PNG", "a bomb")},
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
def test_E09_a_logo_that_cannot_be_had_or_is_hostile_is_absent_with_one_line_in_the_log(
    logos: Logos, settings: Any, trust: Any, held_clock: Any, caplog: Any, answer: Any
) -> None:
    member = asking(f"{settings.scheme.directory}/logo")
    trust.routes["/logo"] = answer(settings)
    with pytest.raises(Unreachable), caplog.at_level(logging.WARNING):
        logos.fetch(member)
    assert logos.name_of(member) is None
    assert [each.getMessage()[:43] for each in caplog.records] == ["the logo of https://directory.example/m/cap"]
    assert not logos.is_due(member), "not asked again at once"
    held_clock.step(RETRY_S)
    assert logos.is_due(member)


@pytest.mark.parametrize(
    "url", ["https://evil.example/x.svg", "https://127.0.0.1/x.svg", "https://directory.example/x"]
)
def test_F01_a_logo_is_fetched_from_the_directory_or_an_allowlisted_host_alone(
    logos: Logos, trust: Any, url: str
) -> None:
    with pytest.raises(Unreachable, match="allowlist"):
        logos.fetch(asking(url))
    assert trust.asked == []


@pytest.mark.parametrize(("status", "shown"), [(500, True), (404, False), (302, False)])
def test_the_copy_bridges_an_outage_and_nothing_else(
    logos: Logos, settings: Any, trust: Any, held_clock: Any, status: int, shown: bool
) -> None:
    member = asking(f"{settings.scheme.directory}/logo")
    trust.routes["/logo"] = Answer(200, svg())
    logos.fetch(member)
    trust.routes["/logo"] = Answer(status, b"", {"Location": "https://evil.example/"})
    held_clock.step(FRESH_S)
    with pytest.raises(Unreachable):
        logos.fetch(member)
    assert (logos.name_of(member) is not None) is shown
    held_clock.step(6 * FRESH_S + 1)
    assert logos.name_of(member) is None, "a week is the longest"
    assert logos.name_of(replace(member, logo=None)) is None


def test_a_slow_server_is_given_up_in_the_time_of_one_page(
    logos: Logos, settings: Any, trust: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_time, "PAGE_CONFIGURED_S", 0.1)
    given_up = threading.Event()
    trust.routes["/logo"] = Answer(raw=lambda _: given_up.wait(60))
    with pytest.raises(Unreachable, match="time"):
        logos.fetch(asking(f"{settings.scheme.directory}/logo"))
    given_up.set()

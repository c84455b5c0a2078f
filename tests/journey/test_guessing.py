"""Guesses that arrive at the same instant: each is counted before it is judged, so that no volley gets past a limit (E11).

Sign-in codes: tests/accounts.
"""

import time
from pathlib import Path
from typing import Any

import pytest

from bench import guessing
from consent_server.journey.steps import bill
from consent_server.metering import sources
from consent_server.metering.register import Identified
from consent_server.metering.sources import SourceUnavailable
from consent_server.settings.issuer import LimitsSettings
from consent_server.web import budgets
from tests.journey import conftest

GOOD = {**conftest.GOOD, "mprn": ""}
WRONG = {**GOOD, "postcode": "SW8 2BB"}

TYPED = bill.Typed("SW8 1AA", "1200000000013", None)
ADDRESS = "192.0.2.7"
#: What an identification counts under beside its meter.
OTHERS = ("meters-own", "meters-network", "postcode", "meters-all")


@pytest.mark.parametrize("known", [True, False])
def test_an_identification_is_counted_before_the_register_is_asked(
    edp: Any, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    counted: dict[str, int] = {}

    class Register:
        def find(self, *_typed: Any) -> Identified | None:
            counted.update(edp.failures())
            return Identified("s", "Acme Widgets Ltd", []) if known else None

    monkeypatch.setattr(sources, "register", Register)
    with edp.app.app_context():
        budgets.identification(ADDRESS, TYPED.postcode, TYPED.subjects(), None).take()
        bill.match(TYPED, ADDRESS, "")
    assert counted == dict.fromkeys((*OTHERS, "meter"), 2)
    # Network and postcode keep the failures that they had: one known meter must not allow more guesses at others.
    assert edp.failures() == (dict.fromkeys(OTHERS, 1) if known else counted)


@pytest.mark.parametrize("fault", [SourceUnavailable("down"), KeyError("a plug-in's own fault")], ids=["down", "fault"])
def test_H06_a_register_that_is_down_costs_the_owner_no_try(
    edp: Any, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    class Register:
        def find(self, *_typed: Any) -> Identified | None:
            raise fault

    monkeypatch.setattr(sources, "register", Register)
    with edp.app.app_context():
        for _ in range(20):
            with pytest.raises(type(fault)):
                bill.match(TYPED, ADDRESS, "")
    assert not any(edp.failures().values())


def holding(held_clock: Any) -> Any:
    return lambda instant: setattr(held_clock, "instant", instant)


@pytest.mark.parametrize(
    ("addresses", "minutes", "every"),
    [pytest.param(40, 60, 6), pytest.param(10_000, 1440, 96, marks=pytest.mark.long)],
)
def test_E11_what_many_addresses_gain_and_what_the_owner_waits(
    database_url: str, held_clock: Any, addresses: int, minutes: int, every: int
) -> None:
    """The figures of docs/guessing.md, against the limits themselves."""
    with guessing.limited(database_url) as limits:
        outcome = guessing.day(holding(held_clock), addresses, minutes, every)
    owners = sum(len(waits) for waits in outcome.waits.values())
    most = guessing.most_tries(limits, addresses, minutes * 60, owners)
    assert addresses * limits.own_tries_per_day < outcome.tries <= most
    for kind in (
        "types it right",
        "mistypes once",
        "mistypes twice",
        "shares a network with the guesser, known browser",
    ):
        assert set(outcome.waits[kind]) == {0}, kind


def test_E11_the_page_has_the_figures_of_the_default_settings() -> None:
    page = (Path(guessing.__file__).parents[1] / "docs/guessing.md").read_text(encoding="utf-8")
    most = guessing.most_tries(LimitsSettings(), 10_000)
    assert f"{most:,}" in page
    assert f"{most / guessing.POSTCODES:.1%}" in page


def manage(edp: Any, address: str, kept: str = "") -> Any:
    """A browser at the page where permissions are looked after, on a network; `kept` is what an older one kept of its own."""
    browser = edp.browser()
    browser.client.environ_base["REMOTE_ADDR"] = address
    if kept:
        browser.client.set_cookie("__Host-edp-known", kept, domain="localhost", secure=True)
    return browser.open("/manage")


def kept_by(browser: Any) -> str:
    return browser.client.get_cookie("__Host-edp-known", domain="localhost").value


def test_H06_the_owner_withdraws_while_others_guess(edp: Any) -> None:
    edp.keep_grant(1)
    statuses = [manage(edp, f"198.51.100.{number // 5}").click("continue", **WRONG).status for number in range(100)]
    assert statuses.count(429) > 25, "guessing is slowed"
    owner = manage(edp, "192.0.2.1").click("continue", **GOOD)
    assert owner.path == "/manage/permissions"
    owner.click("withdraw").click("confirm")
    assert edp.withdrawn() == ["p-1"]


def test_H06_a_browser_in_which_the_owner_was_recognised_does_not_wait(edp: Any) -> None:
    owner = edp.begun().click("continue", **GOOD)
    assert owner.path == "/journey/permission"
    for _ in range(20):
        guesser = manage(edp, "192.0.2.1").click("continue", **WRONG)
    assert guesser.status == 429
    assert manage(edp, "192.0.2.1").click("continue", **GOOD).status == 429, (
        "another browser on that network waits a minute"
    )
    same = manage(edp, "192.0.2.1", kept_by(owner)).click("continue", **WRONG)
    assert same.status == 422
    assert same.click("continue", **GOOD).path == "/manage/permissions"


def test_a_known_browser_has_a_budget_of_its_own_and_is_known_for_its_own_meters_alone(edp: Any) -> None:
    kept = kept_by(manage(edp, "192.0.2.1").click("continue", **GOOD))
    mine = [manage(edp, "192.0.2.1", kept).click("continue", **WRONG).status for _ in range(13)]
    assert mine == [422] * 11 + [429] * 2
    others = {**GOOD, "mpan": "", "mprn": conftest.GOOD["mprn"], "postcode": "SW8 2BB"}
    theirs = [manage(edp, "192.0.2.1", kept).click("continue", **others).status for _ in range(13)]
    assert theirs == [422] * 11 + [429] * 2, "as everybody"
    for forged in ("x", "x.y", f"{'0' * 16}.{'0' * 32}", "_" * 2000, kept.swapcase()):
        assert manage(edp, "192.0.2.1", forged).click("continue", **others).status == 429


@pytest.mark.long
@pytest.mark.alone
def test_E11_a_known_and_an_unknown_number_take_the_same_time(build_party: Any) -> None:
    """The processor time of the whole request tells as much of a number as a coin would."""
    many = dict.fromkeys(
        ("tries_per_network", "tries_in_all", "tries_per_meter_per_day", "tries_per_postcode_per_day"), 10**6
    )
    changes = {f"limits.{name}": str(most) for name, most in many.items()}
    edp = conftest.with_meters(build_party("edp", changes=changes))
    browser = edp.browser().open("/manage")
    action, fields, _ = browser.form_of("continue", **WRONG)
    known, unknown = fields, {**fields, "mpan": "1200000000002"}
    taken: dict[str, list[float]] = {"known": [], "unknown": []}
    for number in range(1500):
        for name, form in (("known", known), ("unknown", unknown))[:: 1 if number % 2 else -1]:
            started = time.process_time()
            status = browser.post(action, form).status
            taken[name].append(time.process_time() - started)
            assert (status, "could not match" in browser.html) == (422, True)
    told = area_under_curve(taken["known"][100:], taken["unknown"][100:])
    print(f"{told:.3f} where 0.5 tells nothing")
    assert 0.45 <= told <= 0.55


def area_under_curve(some: list[float], others: list[float]) -> float:
    """How often a time of `some` is longer than one of `others`; 0.5 when they cannot be told apart."""
    ranked = sorted([(each, 1) for each in some] + [(each, 0) for each in others])
    ranks = sum(rank for rank, (_, is_some) in enumerate(ranked, 1) if is_some)
    return (ranks - len(some) * (len(some) + 1) / 2) / (len(some) * len(others))

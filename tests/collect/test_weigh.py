"""Electricity waits for the grid's figures by itself: late ones, places that the grid does not know, and none at all."""

from typing import Any

import pytest

from consent_server import store
from consent_server.collect import figures, gather, report, weigh
from consent_server.collect.report import NothingYet
from consent_server.jobs import retention
from consent_server.outbound.errors import BadAnswer, Unreachable
from consent_server.scheme.instant import DAY
from consent_server.scheme.provenance.container import verify
from consent_server.scheme.provenance.steps import GrantedPermission, trust_framework_url
from consent_server.scheme.report import GapReason
from consent_server.store.tables.collecting import MeterMonth
from consent_server.withdrawal.withdraw import Withdrawal, withdraw
from tests.collect.conftest import FEBRUARY, FIRST_REGION, LICENSE, MARCH, Cap, Meter, report_on_acme
from tests.scheme.signing import DIRECTORY, NOW, REGISTRY, signing_authority

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

JANUARY = FEBRUARY - 31 * DAY
LONDON_MPAN = "1212345678902"  # brief vector 121234567890 with its check digit


def kilograms() -> dict[str, float]:
    return {month.fuel: month.figure.kilograms for month in report_on_acme(FEBRUARY, MARCH).months}


def test_D8_a_grid_that_is_down_leaves_gas_and_costs_no_fetch(cap: Cap, caplog: pytest.LogCaptureFixture) -> None:
    cap.late = Unreachable("time", "grid.example")
    provider = cap.provider("edp", Meter("e"), Meter("g", "gas"))
    cap.collected(provider)
    assert set(kilograms()) == {"gas"}
    assert (cap.row().trouble, cap.row().collect_due) == (None, NOW + DAY), "the provider did nothing wrong"
    assert cap.kept().troubles == [("electricity", weigh.UNREACHABLE, 1)]
    assert weigh.UNREACHABLE in caplog.text, "the SME and the log read the same words"
    asked = list(provider.windows)
    cap.late = None
    cap.clock.step(60)
    cap.collect()
    assert kilograms() == {"electricity": pytest.approx(134.4), "gas": pytest.approx(2777671.68)}
    assert (provider.windows, provider.fetched, cap.kept().troubles) == (asked, 1, [])


def test_the_time_that_the_grid_names_is_waited_for(cap: Cap) -> None:
    cap.late = BadAnswer("status 503", "grid.example", 503, retry_after=5000)
    cap.collected(cap.provider())
    assert cap.kept().of["meter-1"][FEBRUARY].weigh_due == NOW + 5000


def test_a_report_waits_until_the_grid_was_asked(cap: Cap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weigh, "weigh_due", lambda: 0)
    cap.collected(cap.provider())
    with pytest.raises(NothingYet):
        report_on_acme(FEBRUARY, MARCH)
    assert report_on_acme(FEBRUARY, MARCH, ("gas",)).months == ()
    cap.clock.step(report.LONGEST_WEIGHING_S)  # nobody works it out
    (gap,) = report_on_acme(FEBRUARY, MARCH).gaps
    assert gap.reason is GapReason.NO_FACTOR


def test_what_goes_wrong_with_one_month_leaves_the_others(cap: Cap, monkeypatch: pytest.MonkeyPatch) -> None:
    worked_out = figures.electricity

    def fails(month: MeterMonth, *more: Any) -> MeterMonth:
        return worked_out(month, *more) if month.datasource == "a" else 1 // 0

    cap.connect(cap.provider("edp", Meter("a"), Meter("b")))
    with monkeypatch.context() as broken:
        broken.setattr(figures, "electricity", fails)
        cap.collect()
    kept = cap.kept()
    assert kept.of["a"][FEBRUARY].complete
    assert kept.troubles == [("electricity", weigh.FAULT, 1)]
    cap.clock.step(weigh.LACKING_S)
    weigh.weigh_due()
    assert cap.kept().of["b"][FEBRUARY].complete
    for broken_part in ("region_of", "fetch"):
        with monkeypatch.context() as broken:
            owner = weigh if broken_part == "region_of" else cap.deployment.intensity
            broken.setattr(owner, broken_part, lambda *_: 1 // 0)
            month = cap.kept().of["a"][FEBRUARY]._replace(readings=b"", weigh_due=0)
            assert weigh._weigh("issuer", [month], weigh._Grid()) == 1


def test_a_figure_that_is_published_later_is_taken_then(cap: Cap) -> None:
    cap.intensity = lambda start, outcode: None if start == FEBRUARY else 100.0
    provider = cap.provider()
    cap.collected(provider)
    assert kilograms() == {}
    assert cap.kept().troubles == [("electricity", weigh.LACKING, 1)]
    cap.intensity = lambda start, outcode: 100.0
    cap.clock.step(weigh.LACKING_S)
    cap.collect()
    assert kilograms() == {"electricity": pytest.approx(134.4)}
    assert len(provider.windows) == 1


@pytest.mark.parametrize(
    ("datasource", "outcode", "region", "by"),
    [
        ("m", "SW8", FIRST_REGION, "outcode"),
        (LONDON_MPAN, "W3", 13, "distributor"),
        (f"S01801101{LONDON_MPAN}", "W3", 13, "distributor"),
        (f"{LONDON_MPAN[:-1]}3", "EH9", 2, "district"),  # a wrong check digit: the id is no supply number
        (f"24{LONDON_MPAN[2:]}", "EH9", 2, "district"),  # an independent network
        ("m", "W3", 15, "nation"),
        ("m", "PA20", 16, "nation"),
        (LONDON_MPAN, None, 13, "distributor"),
    ],
)
def test_the_region_of_a_place_that_the_grid_does_not_know(
    cap: Cap, datasource: str, outcode: str | None, region: int, by: str
) -> None:
    cap.unknown = {"W3", "EH9", "PA20"}
    cap.collected(cap.provider("edp", Meter(datasource, outcode=outcode)))
    month = cap.kept().of[datasource][FEBRUARY]
    assert (month.region, month.region_by, month.complete) == (region, by, True)
    reported = report_on_acme(FEBRUARY, MARCH)
    grant = GrantedPermission(account="a", license=LICENSE, granted=NOW - 60, expires=NOW + DAY, fuels=("electricity",))
    with store.reading() as c:
        readings = report.records(c, reported)
    proven = report.provenance(reported, readings, grant, f"{DIRECTORY}/m/fsp")
    assert proven is not None
    steps = verify(proven.record, trust_framework_url(REGISTRY), signing_authority().root)
    (said,) = (
        step["perseus:assurance"]["missingData"].rpartition("/")[2]
        for step in steps
        if step["type"] == "origin" and step["sourceType"].endswith("/GridCarbonIntensity")
    )
    assert said == ("Complete" if by == "outcode" else "Substituted")


@pytest.mark.parametrize(("outcode", "trouble"), [("BT1", weigh.ANOTHER_GRID), (None, weigh.NO_REGION)])
def test_a_place_without_any_region_is_said_and_gas_stands(cap: Cap, outcode: str | None, trouble: str) -> None:
    cap.collected(cap.provider("edp", Meter("e", outcode=outcode), Meter("g", "gas", outcode=outcode)))
    assert set(kilograms()) == {"gas"}
    assert cap.kept().troubles == [("electricity", trouble, 1)]
    assert cap.asked == []


def test_many_invented_outcodes_of_one_issuer_delay_no_other(cap: Cap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weigh, "BATCH", 2)
    monkeypatch.setattr(weigh, "MOST_UNKNOWN", 3)
    invented = [f"EH9{letter}" for letter in "ABCDEFG"]
    cap.unknown = {*invented, "W3"}
    cap.connect(cap.provider("a-hostile", *(Meter(each, outcode=each) for each in invented)), "hostile")
    gather.collect_due()
    cap.clock.step(1)
    cap.connect(cap.provider("honest", Meter("known"), Meter("unknown", outcode="W3")), "honest")
    cap.collect()
    first_round = [*invented[:2], "SW8", "W3"]
    assert cap.looked_up == [*first_round, invented[2]], "each issuer in turn, and no more than MOST_UNKNOWN of one"
    regions = {of[FEBRUARY].region_by for of in cap.kept("hostile").of.values()}
    assert (regions, cap.kept("honest").troubles) == ({"district"}, [])
    left = next(each for each in invented if each not in cap.looked_up)
    issuer = cap.providers["a-hostile"].issuer
    for day in (0, 1):
        cap.clock.step(day * DAY)
        weigh.region_of("m", left, issuer)
        assert (left in cap.looked_up) == bool(day), "tomorrow some more are asked for"


@pytest.mark.parametrize("outcode", ["ZZ1", "QQ9", "J1", "BT1", "GY1"])
def test_the_grid_is_not_asked_for_a_place_that_it_cannot_know(cap: Cap, outcode: str) -> None:
    assert weigh.region_of("m", outcode, "https://edp.example") is None
    found = weigh.region_of(LONDON_MPAN, outcode, "https://edp.example")
    assert (found, cap.looked_up) == (None if outcode in {"BT1", "GY1"} else (13, "distributor"), [])


def test_withdrawn_while_the_grid_is_asked_leaves_nothing_behind(cap: Cap, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = cap._fetch

    def withdrawn(*span: int) -> None:
        withdraw("c", Withdrawal(by="sme", where="here", why="asked"))
        fetch(*span)

    monkeypatch.setattr(cap.deployment.intensity, "fetch", withdrawn)
    cap.connect(cap.provider())
    cap.collect()
    assert cap.kept().months == cap.kept().meters == []


def test_a_worker_that_died_leaves_a_lease_that_runs_out(cap: Cap, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(weigh, "_weigh", lambda issuer, months, grid: 0)
        cap.collected(cap.provider())
    assert weigh.weigh_due() == 0
    assert cap.kept().of["meter-1"][FEBRUARY].weigh_due == NOW + weigh.LEASE_S
    cap.clock.step(weigh.LEASE_S)
    weigh.weigh_due()
    assert kilograms() == {"electricity": pytest.approx(134.4)}


# What is asked for again, and how long readings are kept


def windows(provider: Any) -> list[tuple[str, int, int]]:
    asked = list(provider.windows)
    provider.windows.clear()
    return asked


def test_D9_what_is_there_is_not_fetched_again(cap: Cap) -> None:
    cap.configure(months=13)
    provider = cap.provider("edp", Meter("e"), Meter("g", "gas"))
    cap.collected(provider)
    assert {(start, end) for _, start, end in windows(provider)} == {
        (min(cap.kept().of["e"]), JANUARY),
        (JANUARY, FEBRUARY),
        (FEBRUARY, MARCH),
    }
    for _ in range(6):
        cap.clock.step(DAY)
        assert cap.collect() == 1
        assert windows(provider) == []
    cap.clock.step(DAY)
    assert cap.collect() == 1
    assert windows(provider) == [("e", FEBRUARY, MARCH), ("g", FEBRUARY, MARCH)], (
        "it may still be revised, and January no more"
    )


def test_a_new_month_is_fetched_alone_and_the_oldest_goes(cap: Cap) -> None:
    provider = cap.provider()
    cap.configure(months=2)
    cap.collected(provider)
    windows(provider)
    cap.configure(revision_days=7)
    cap.clock.step(21 * DAY)  # 2 April
    assert cap.collect() == 1
    assert windows(provider) == [("meter-1", MARCH, MARCH + 31 * DAY)]
    assert list(cap.kept().of["meter-1"]) == [FEBRUARY, MARCH]
    assert [row.window_start for row in cap.kept().windows] == [FEBRUARY, MARCH]


@pytest.mark.parametrize("fuel", ["electricity", "gas"])
def test_a_revised_reading_revises_the_month_and_the_report_says_so(cap: Cap, fuel: str) -> None:
    meter = Meter("m", fuel)
    cap.collected(cap.provider("edp", meter))
    before = report_on_acme(FEBRUARY, MARCH).months[0]
    meter.amount = lambda start: 500.0 if start == FEBRUARY else 1000.0
    cap.clock.step(7 * DAY)
    assert cap.collect() == 1
    (after,) = report_on_acme(FEBRUARY, MARCH).months
    assert (before.revised, after.revised, after.taken_at) == (None, NOW + 7 * DAY, NOW + 7 * DAY)
    assert after.figure.kilograms == pytest.approx(before.figure.kilograms * 1343.5 / 1344)
    assert [row.window_start for row in cap.kept().windows] == [FEBRUARY], (
        "the record of the older readings is replaced"
    )
    cap.clock.step(7 * DAY)
    assert cap.collect() == 1
    assert report_on_acme(FEBRUARY, MARCH).months == (after,), "the same readings change nothing"


def test_a_gap_that_is_filled_is_no_revision(cap: Cap) -> None:
    meter = Meter("m", amount=lambda start: None if start == FEBRUARY else 1000.0)
    provider = cap.provider("edp", meter)
    cap.collected(provider)
    assert kilograms() == {}
    meter.amount = lambda start: 1000.0
    cap.clock.step(DAY)
    assert cap.collect() == 1
    (month,) = report_on_acme(FEBRUARY, MARCH).months
    assert (month.figure.kilograms, month.revised) == (pytest.approx(134.4), None)


def test_readings_are_kept_while_their_month_may_be_revised_and_no_longer(cap: Cap) -> None:
    cap.configure(months=3)
    cap.collected(cap.provider("edp", Meter("e"), Meter("g", "gas"), Meter("gap", amount=lambda at: at % DAY or None)))

    def kept() -> dict[str, list[bool]]:
        return {name: [month.readings is not None for month in of.values()] for name, of in cap.kept().of.items()}

    # December ended more than 40 days ago; what is whole of it is done, and what lacks half-hours may yet come.
    assert kept() == {"e": [False, True, True], "g": [False, True, True], "gap": [True, True, True]}
    cap.clock.step(MARCH + 40 * DAY - NOW - 1)
    retention.forget_readings()
    assert kept() == {"e": [False, False, True], "g": [False, False, True], "gap": [True, True, True]}
    cap.clock.step(1)
    retention.forget_readings()
    assert kept() == {"e": [False, False, False], "g": [False, False, False], "gap": [True, True, True]}
    cap.clock.step(NOW + 40 * DAY - cap.clock.instant + 1)
    retention.forget_readings()
    assert kept()["gap"] == [False, False, False]
    assert set(kilograms()) == {"gas"}


def test_H09_many_meters_are_collected_turn_by_turn(cap: Cap) -> None:
    """A turn ends after its time, and the other customers of the provider have theirs."""
    provider = cap.provider("edp", *(Meter(f"m-{number}", "gas", amount=lambda start: None) for number in range(30)))
    order: list[str] = []
    readings = provider.readings

    def slowly(token: str, source: str, *span: Any) -> Any:
        order.append(source)
        cap.clock.step(7)
        return readings(token, source, *span)

    provider.readings = slowly  # type: ignore[method-assign]
    cap.connect(provider, "large")
    cap.connect(provider, "small")
    assert cap.collect() >= 2
    assert sorted(order) == sorted(2 * [f"m-{number}" for number in range(30)])
    assert (cap.row("large").collected, cap.row("small").collected) != (None, None)
    assert {meter.trouble for meter in cap.kept("large").meters} == {None}

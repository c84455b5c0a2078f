"""Whole months over all connections, held against figures made by hand, and the record that goes with them."""

from typing import Any

import pytest

from consent_server import store
from consent_server.collect import report
from consent_server.collect.provider import WRONG
from consent_server.collect.report import NothingYet
from consent_server.scheme import instant
from consent_server.scheme.factors import INTENSITY_ORIGIN
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.permission import Act
from consent_server.scheme.provenance.container import verify
from consent_server.scheme.provenance.steps import (
    GrantedPermission,
    process_url,
    scheme_url,
    trust_framework_url,
)
from consent_server.scheme.report import FUELS, Figure, Report, ReportedMonth
from consent_server.store import connections
from consent_server.withdrawal.withdraw import Withdrawal, withdraw
from tests.collect.conftest import FEBRUARY, MARCH, RETRY_S, SERVICE, Cap, Meter, report_on_acme
from tests.scheme.signing import (
    CAP_ROLE,
    DIRECTORY,
    EDP_ROLE,
    NOW,
    REGISTRY,
    SMART_METERS,
    SigningAuthority,
    signing_authority,
)

# Sums and records do not depend on the database; test_gather.py collects and reports on both.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

JANUARY = instant.parse("2026-01-01T00:00:00Z")
APRIL = instant.parse("2026-04-01T00:00:00Z")
FSP = f"{DIRECTORY}/m/fsp"
LICENSE = f"{REGISTRY}/scheme/perseus/license/emissions-cap-fsp/2026-03-12"
WITHDRAWN = Withdrawal(by="sme", where="here", why="asked")


def found(start: int = JANUARY, end: int = APRIL, **more: Any) -> Report:
    return report_on_acme(start, end, **more)


def figures(start: int = JANUARY, end: int = APRIL, **more: Any) -> dict[tuple[str, int], float]:
    return {(month.fuel, month.start): month.figure.kilograms for month in found(start, end, **more).months}


def every_other(start: int) -> bool:
    return start % (2 * HALF_HOUR) == 0


def silent_from(first: int) -> Meter:
    return Meter("m", amount=lambda start: None if start >= first else 1000.0)


# the sums


def test_a_month_of_each_fuel(cap: Cap) -> None:
    gas = Meter("g", "gas", amount=lambda start: 2.0)
    cap.collected(cap.provider("edp", Meter("e", amount=lambda start: 1000.0 if every_other(start) else 500.0), gas))
    cap.intensity = lambda start, outcode: 1.0  # collected already: what is reported rests on what was kept
    # 672 hours of 1 kWh and 0.5 kWh at 100 g/kWh; 1344 half-hours of 2 m3 at 2.06672 kg/m3. March is not over.
    assert found().months == (
        ReportedMonth(
            FEBRUARY,
            MARCH,
            Figure("electricity", pytest.approx(1008.0), None, pytest.approx(100.8)),
            filled=0,
            taken_at=NOW,
            revised=None,
        ),
        # 2,688 m3; in kWh by 2.06672 / 0.18296
        ReportedMonth(
            FEBRUARY,
            MARCH,
            Figure("gas", pytest.approx(30363.70, abs=0.01), pytest.approx(2688.0), pytest.approx(5555.34336)),
            filled=0,
            taken_at=NOW,
            revised=None,
        ),
    )


def test_each_half_hour_is_weighed_by_its_own_intensity(cap: Cap) -> None:
    cap.intensity = lambda start, outcode: 100.0 if every_other(start) else 300.0
    cap.collected(cap.provider("edp", Meter("e", amount=lambda start: 1000.0 if every_other(start) else 500.0)))
    # 672 times (1 kWh at 100 g and 0.5 kWh at 300 g)
    assert figures() == {("electricity", FEBRUARY): pytest.approx(168.0)}


def test_two_meters_in_two_regions(cap: Cap) -> None:
    cap.intensity = lambda start, outcode: {"SW8": 100.0, "AB1": 20.0}[outcode or ""]
    cap.collected(cap.provider("edp", Meter("south"), Meter("north", outcode="AB1", amount=lambda start: 3000.0)))
    # 134.4 in the south, 1344 half-hours of 3 kWh at 20 g in the north
    assert figures() == {("electricity", FEBRUARY): pytest.approx(134.4 + 80.64)}


def test_two_connections_are_added(cap: Cap) -> None:
    cap.collected(cap.provider("one", Meter("e")), "c1")
    cap.clock.step(60)
    cap.collected(cap.provider("two", Meter("e", amount=lambda start: 500.0), Meter("g", "gas")), "c2")
    months = found().months
    # gas: 1344 half-hours of 1000 m3
    assert [month.figure.kilograms for month in months] == [pytest.approx(134.4 + 67.2), pytest.approx(2777671.68)]
    assert [month.taken_at for month in months] == [NOW + 60, NOW + 60]
    assert {each.connection for each in found().sources} == {"c1", "c2"}


def test_the_fuels_that_are_asked_for(cap: Cap) -> None:
    cap.collected(cap.provider("edp", Meter("e"), Meter("g", "gas")))
    assert set(figures(fuels=("gas",))) == {("gas", FEBRUARY)}


@pytest.mark.parametrize(
    ("start", "end", "there"),
    [(JANUARY, FEBRUARY, False), (FEBRUARY, MARCH, True), (MARCH, APRIL, False), (FEBRUARY, FEBRUARY, False)],
    ids=["before", "exactly", "not-over-yet", "nothing"],
)
def test_only_months_within_the_window(cap: Cap, start: int, end: int, there: bool) -> None:
    cap.collected(cap.provider())
    assert bool(figures(start, end)) is there


# what is left out


def test_a_month_with_a_gap_is_left_out(cap: Cap) -> None:
    gap = Meter("e", amount=lambda start: None if start == FEBRUARY + 9 * DAY else 1000.0)
    cap.collected(cap.provider("edp", gap, Meter("g", "gas")))
    assert set(figures()) == {("gas", FEBRUARY)}


@pytest.mark.parametrize(
    "other",
    [silent_from(FEBRUARY + 20 * DAY), silent_from(FEBRUARY), silent_from(0)],
    ids=["from-within-the-month", "from-its-beginning", "always"],
)
@pytest.mark.parametrize("window", [(JANUARY, APRIL), (FEBRUARY, MARCH)], ids=["months-around", "that-month-alone"])
def test_a_month_that_one_connection_lacks_is_left_out(cap: Cap, other: Meter, window: tuple[int, int]) -> None:
    """Half of what an SME uses must not be told as all of it, whichever months are asked for."""
    cap.configure(months=2)
    cap.collected(cap.provider("one", Meter("e")), "c1")
    cap.collected(cap.provider("two", other), "c2")
    assert ("electricity", FEBRUARY) not in figures(*window)


def test_a_connection_for_gas_alone_takes_no_electricity_away(cap: Cap) -> None:
    cap.collected(cap.provider("one", Meter("e")), "c1")
    cap.collected(cap.provider("two", Meter("g", "gas")), "c2")
    assert set(figures()) == {("electricity", FEBRUARY), ("gas", FEBRUARY)}


def test_an_account_without_connections_has_nothing(cap: Cap) -> None:
    assert (found().months, found().sources, found().fuels, found().gaps) == ((), (), (), ())


@pytest.mark.parametrize("ending", ["expired", "withdrawn"])
def test_a_connection_that_has_ended_counts_no_more(cap: Cap, ending: str) -> None:
    cap.collected(cap.provider("one", Meter("e")), "c1")
    cap.connect(cap.provider("two", Meter("e")), "c2", expires=NOW + 60)
    assert cap.collect() == 1
    if ending == "expired":
        cap.clock.step(60)
    else:
        withdraw("c2", WITHDRAWN)
    assert figures() == {("electricity", FEBRUARY): pytest.approx(134.4)}
    assert [each.connection for each in found().sources] == ["c1"]


def test_nothing_is_reported_before_the_first_collection(cap: Cap) -> None:
    cap.collected(cap.provider("one", Meter("e")), "c1")
    late = cap.provider("two", Meter("e"))
    cap.connect(late, "c2")
    with pytest.raises(NothingYet) as waiting:
        found()
    assert (waiting.value.retry_after, waiting.value.trouble) == (report.SOON_S, "")
    late.answers = lambda body: body.update(provenance={})
    cap.collect()
    with pytest.raises(NothingYet) as waiting:
        found()
    assert waiting.value.retry_after == RETRY_S
    assert waiting.value.trouble == WRONG


def test_a_renewed_connection_takes_the_place_of_the_old_one(cap: Cap) -> None:
    """As the portal renews: the old one ends with its data, the new one is collected anew and nothing counts twice."""
    provider = cap.provider()
    cap.collected(provider, "old")
    cap.connect(provider, "new")
    with store.writing() as c:
        connections.end(c, connections.find(c, "old"), Act.SUPERSEDE, at=NOW, by="sme", why="renewed by new")
        connections.forget_data(c, "old")
    with pytest.raises(NothingYet):
        found()
    assert cap.collect() == 1
    assert figures() == {("electricity", FEBRUARY): pytest.approx(134.4)}
    assert [each.connection for each in found().sources] == ["new"]


# from when there is anything


def available_from(*fuels: str) -> int:
    with store.reading() as c:
        return report.available_from(c, "acme", fuels, NOW)


def test_D13_months_are_available_from_the_earliest_that_is_held(cap: Cap) -> None:
    cap.configure(months=13)
    assert available_from("electricity") == instant.parse("2025-02-01T00:00:00Z"), "13 months back"
    cap.connect(
        cap.provider("edp", Meter("e", amount=lambda start: 1.0 if start >= JANUARY else None), Meter("g", "gas"))
    )
    assert available_from("gas") == instant.parse("2025-02-01T00:00:00Z"), "on their way"
    assert cap.collect() == 1
    available = {fuel: available_from(fuel) for fuel in FUELS}
    assert available == {"electricity": JANUARY, "gas": instant.parse("2025-02-01T00:00:00Z")}
    assert available_from(*FUELS) == instant.parse("2025-02-01T00:00:00Z")


# the record


def grant(*fuels: str) -> GrantedPermission:
    return GrantedPermission(
        account="account at the cap", license=LICENSE, granted=NOW - 60, expires=NOW + 86400, fuels=fuels
    )


def proven(reported: Report, under: GrantedPermission | None = None) -> report.Proven | None:
    with store.reading() as c:
        readings = report.records(c, reported)
    return report.provenance(reported, readings, under or grant("electricity", "gas"), FSP)


def record(reported: Report, under: GrantedPermission | None = None) -> Any:
    found = proven(reported, under)
    assert found is not None
    return found.record


def steps_of(signed: Any, root: Any = None) -> list[dict[str, Any]]:
    return verify(signed, trust_framework_url(REGISTRY), root or signing_authority().root)


def origins(steps: list[dict[str, Any]]) -> list[tuple[str, str, str | None]]:
    """(signing member, kind of source, outcode) of every origin."""
    return [
        (
            step["_signature"]["signed"]["member"].rpartition("/")[2],
            step["sourceType"].rpartition("/")[2],
            step["perseus:scheme"].get("postcode"),
        )
        for step in steps
        if step["type"] == "origin"
    ]


def test_the_record_verifies_and_names_every_origin(cap: Cap) -> None:
    cap.collected(cap.provider("one", Meter("e"), Meter("far", outcode="AB1"), Meter("g", "gas")), "c1")
    cap.collected(cap.provider("two", Meter("e", outcode="EH1")), "c2")
    steps = steps_of(record(found()))
    assert sorted(origins(steps), key=str) == sorted(
        [
            ("one", "Meter", "SW8"),
            ("one", "Meter", "AB1"),
            ("one", "Meter", "SW8"),
            ("two", "Meter", "EH1"),
            *(("cap", "GridCarbonIntensity", outcode) for outcode in ("AB1", "EH1", "SW8")),
            ("cap", "GasGreenhouseGasFactor", None),
        ],
        key=str,
    )
    assert {step["origin"] for step in steps if step["type"] == "origin"} == {
        SMART_METERS.service,
        INTENSITY_ORIGIN,
        "https://www.gov.uk/government/publications/greenhouse-gas-reporting-conversion-factors-2025",
    }


def test_the_record_leads_from_each_receipt_through_the_calculation_to_the_receiver(cap: Cap) -> None:
    cap.collected(cap.provider("edp", Meter("e"), Meter("g", "gas")))
    steps = steps_of(record(found(start=FEBRUARY)))
    by_id = {step["id"]: step for step in steps}
    own = [step for step in steps if not step["_signature"]["includedBy"]]
    (permission,) = (step for step in own if step["type"] == "permission")
    assert permission["account"] == "account at the cap"
    processes = [step for step in own if step["type"] == "process"]
    assert [step["process"] for step in processes] == [process_url(REGISTRY, fuel) for fuel in ("electricity", "gas")]
    for process in processes:
        (relied_on,) = (by_id[each] for each in process["permissions"])
        assert relied_on["account"] == "account at edp"
        assert relied_on["timestamp"] <= process["timestamp"] < relied_on["expires"]
        assert [by_id[each]["type"] for each in process["inputs"]] == ["receipt", "origin"]
        assert process["perseus:assurance"]["missingData"].endswith("/Complete")
    transfers = [step for step in own if step["type"] == "transfer"]
    assert all(step["permissions"] == [permission["id"]] for step in transfers)
    assert [(step["of"], step["to"], step["service"], step["license"]) for step in transfers] == [
        (process["id"], FSP, SERVICE, LICENSE) for process in processes
    ]
    assert transfers[0]["parameters"] == {"from": "2026-02-01T00:00:00Z", "to": "2026-04-01T00:00:00Z"}
    assert {step["scheme"] for step in steps} == {scheme_url(REGISTRY)}
    assert own[-1]["_signature"]["signed"]["roles"] == [CAP_ROLE]


def test_D13_a_process_names_the_permission_that_was_in_force_when_the_readings_came(cap: Cap) -> None:
    cap.collected(cap.provider())
    cap.clock.step(600)  # only now the SME permits the bank
    granted = cap.clock.instant - 60
    later = GrantedPermission(
        account="account at the cap", license=LICENSE, granted=granted, expires=granted + 86400, fuels=("electricity",)
    )
    steps = steps_of(record(found(), later))
    at = {step["id"]: step["timestamp"] for step in steps}
    for step in steps:
        assert all(at[each] <= step["timestamp"] for each in step.get("permissions", [])), step["type"]
    (process,) = (step for step in steps if step["type"] == "process")
    assert process["timestamp"] == instant.text(NOW)
    assert [at[each] for each in process["permissions"]] == [instant.text(NOW - 60)]


@pytest.mark.parametrize(
    ("lacking", "fills", "start", "said"),
    [
        (0, False, FEBRUARY, "Complete"),
        (0, False, JANUARY, "Missing"),
        (2, True, FEBRUARY, "Substituted"),
        (2, True, JANUARY, "Missing"),
    ],
    ids=["whole", "a month left out", "filled", "filled, and a month left out"],
)
def test_the_process_says_what_is_missing(cap: Cap, lacking: int, fills: bool, start: int, said: str) -> None:
    gap = [FEBRUARY + 9 * DAY + number * HALF_HOUR for number in range(lacking)]
    cap.configure(fill_gaps=fills)
    cap.collected(cap.provider("edp", Meter("e", amount=lambda at: None if at in gap else 1000.0)))
    reported = found(start=start)
    # Each filled half-hour has 1 kWh before and after it: 134.4 kg as if nothing had been missing.
    assert [(month.figure.kilograms, month.filled) for month in reported.months] == [(pytest.approx(134.4), lacking)]
    (process,) = (step for step in steps_of(record(reported)) if step["type"] == "process")
    assert process["perseus:assurance"]["missingData"].endswith(f"/{said}")


def test_windows_outside_the_months_are_not_in_the_record(cap: Cap) -> None:
    provider = cap.provider()
    provider.cut = MARCH
    cap.collected(provider)
    reported = found(FEBRUARY, MARCH)
    meters = [kind for _, kind, _ in origins(steps_of(record(reported)))]
    assert meters == ["Meter", "GridCarbonIntensity"]


def test_the_record_has_the_fuels_of_the_report_alone(cap: Cap) -> None:
    cap.collected(cap.provider("edp", Meter("e"), Meter("g", "gas")))
    kinds = {kind for _, kind, _ in origins(steps_of(record(found(fuels=("electricity",)))))}
    assert kinds == {"Meter", "GridCarbonIntensity"}


def test_a_report_without_months_has_no_record(cap: Cap) -> None:
    cap.collected(cap.provider())
    assert proven(found(JANUARY, FEBRUARY)) is None


def test_withdrawn_between_the_months_and_their_record(cap: Cap) -> None:
    cap.collected(cap.provider())
    reported = found()
    withdraw("c", WITHDRAWN)
    with pytest.raises(NothingYet):
        record(reported)


def test_gas_takes_the_factor_of_its_day(cap: Cap) -> None:
    """The set of 2025 was published on 10 June 2025 at 08:30:03 UTC: half-hours from 09:00 on take it."""
    june, july = instant.parse("2025-06-01T00:00:00Z"), instant.parse("2025-07-01T00:00:00Z")
    cap.clock.instant = july + 5 * DAY
    authority = SigningAuthority("Earlier", now=cap.clock.instant)
    provider = cap.provider("edp", Meter("g", "gas", amount=lambda start: 1.0))
    provider.signs = authority.signer("edp", EDP_ROLE)
    cap.deployment.signing_root, cap.deployment.signer = authority.root, authority.signer("cap", CAP_ROLE)
    cap.collected(provider)
    # 450 m3 at 2.04542 and 990 m3 at 2.06672
    assert figures(june, july) == {("gas", june): pytest.approx(2966.4918)}
    steps = steps_of(record(found(june, july)), authority.root)
    factors = [
        (step["origin"].rpartition("-")[2], step["perseus:scheme"]["meteringPeriod"]["from"])
        for step in steps
        if step["type"] == "origin" and step["origin"] != SMART_METERS.service
    ]
    assert factors == [("2024", "2025-06-01T00:00:00Z"), ("2025", "2025-06-10T09:00:00Z")]

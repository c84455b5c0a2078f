"""The sources that the settings name, and the contract that each of them is held to."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Any

import orjson
import pytest

from consent_server import store
from consent_server.metering import contract, sources
from consent_server.metering.own import OwnReadings, OwnRegister
from consent_server.metering.readings import Held, Readings, ReadingsRequest
from consent_server.metering.register import Register
from consent_server.sandbox.readings import Troubled
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.provenance.steps import COMPLETE, MISSING, SUBSTITUTED
from consent_server.scheme.readings import HalfHour, ReadingError, day_block, join
from consent_server.settings import BadSettings
from consent_server.settings.metering import MeteringSettings
from consent_server.store import meters, readings
from tests.metering import plug_ins
from tests.metering.conftest import NOW
from tests.metering.plug_ins import FARM, FIRST, OVEN, SHOP

PLUG_IN = MeteringSettings(
    register_source="tests.metering.plug_ins:register", readings_source="tests.metering.plug_ins:archive"
)
BILL = {"postcode": "SW8 1AA", "mpan": "1212345678902", "mprn": "3938424403", "at": NOW}
OURS = {**BILL, "mpan": "1200000000001"}


def filled() -> None:
    with store.writing() as c:
        for row in meters.of_sme(c, "acme", NOW):
            days = range(FIRST, FIRST + 5 * DAY, DAY)
            blocks = {day: day_block(row.fuel, day, [*range(47), None], 0) for day in days}
            readings.put_days(c, readings.EDP, row.id, "import", blocks)


SOURCES: dict[str, tuple[Register, Readings, dict[str, Any]]] = {
    "own": (OwnRegister(vouches=True), OwnReadings(), OURS),
    "own, not vouched for": (OwnRegister(vouches=False), OwnReadings(), OURS),
    "own, a meter that changed hands": (
        OwnRegister(True),
        OwnReadings(),
        {**OURS, "mpan": "1200000000005", "mprn": None},
    ),
    "sandbox": (OwnRegister(vouches=True), Troubled(), OURS),
    "own, a customer": (OwnRegister(vouches=False), OwnReadings(), {**OURS, "customer": "C-acme"}),
    "plug-in": (plug_ins.register, plug_ins.archive, BILL),
    "plug-in, a customer": (plug_ins.register, plug_ins.archive, {**BILL, "customer": "C-1"}),
    "plug-in, without a bill": (plug_ins.register, plug_ins.archive, {"at": NOW}),
}


@pytest.mark.parametrize("name", SOURCES)
def test_D4_every_source_keeps_the_contract(edp: Any, name: str) -> None:
    filled()
    register, archive, bill = SOURCES[name]
    verdicts = list(contract.verdicts(contract.Sample(register, archive, **bill)))
    assert [verdict for verdict in verdicts if verdict.fault] == []
    assert [verdict.name for verdict in verdicts] == [check.__name__ for check in contract.CHECKS]
    assert all(verdict.right.endswith(".") for verdict in verdicts)


def changed(kind: type, methods: dict[str, Callable[..., Any]]) -> Any:
    return type("Changed", (kind,), {name: staticmethod(method) for name, method in methods.items()})()


def _late(request: ReadingsRequest) -> Held:
    held = plug_ins.archive.half_hours(request)
    return replace(held, days={day: block.replace(b'"from":"', b'"from":"x') for day, block in held.days.items()})


def _own_archive(request: ReadingsRequest) -> Held:
    return plug_ins.archive.half_hours(replace(request, meter="shop"))


GOOD = plug_ins.register


def found(*bill: Any, **changes: Any) -> Any:
    """What the good register finds, changed."""
    identified = GOOD.find(*bill)
    return identified and replace(identified, **changes)


def customers(customer: str, at: int, **changes: Any) -> Any:
    identified = GOOD.of_customer(customer, at)
    return identified and replace(identified, **changes)


CUSTOMER = "a_log_in_leads_to_its_business"
NO_BUSINESS, NO_METER = "an_unknown_business_has_nothing", "an_unknown_meter_has_no_readings"
FULL = replace(SHOP, masked="1212345678902")
#: What is wrong -> the methods that are, and a check that must say so.
REGISTERS: dict[str, tuple[dict[str, Callable[..., Any]], str]] = {
    "finds everybody": (
        {"find": lambda *_: found("SW8 1AA", BILL["mpan"], None, NOW)},
        "nobodys_numbers_are_found_by_nobody",
    ),
    "finds nobody": ({"find": lambda *_: None}, "a_bill_leads_to_its_business"),
    "sites of all": ({"sites": lambda sme, at: (FARM,)}, NO_BUSINESS),
    "tenancies of all": ({"tenancies": lambda sme, meters: dict.fromkeys(meters, SHOP)}, NO_BUSINESS),
    "fails": ({"sites": lambda sme, at: 1 / 0}, NO_BUSINESS),
    "all meters": (
        {"find": lambda *bill: found(*bill, meters=[SHOP, OVEN, FARM])},
        "what_was_typed_is_found_and_no_more",
    ),
    "full numbers": ({"find": lambda *bill: found(*bill, meters=[FULL, OVEN])}, "a_meter_is_described_in_full"),
    "any postcode": ({"find": lambda postcode, *bill: found("SW8 1AA", *bill)}, "another_postcode_leads_nowhere"),
    "any time": ({"find": lambda *bill: found(*bill[:3], NOW)}, "tenancies_begin_before_they_end"),
    "any customer": ({"of_customer": lambda customer, at: GOOD.of_customer("C-1", at)}, CUSTOMER),
    "no customer": ({"of_customer": lambda customer, at: None}, CUSTOMER),
    "a customer's meter left out": (
        {"of_customer": lambda customer, at: customers(customer, at, meters=[FARM])},
        CUSTOMER,
    ),
    "another's meter for a customer": (
        {
            "of_customer": lambda customer, at: customers(
                customer, at, meters=[SHOP, OVEN, replace(FARM, meter="other")]
            )
        },
        CUSTOMER,
    ),
    "no tenancies": ({"tenancies": lambda sme, meters: {}}, "what_is_found_is_held_now"),
    "all tenancies": (
        {"tenancies": lambda sme, meters: {each.meter: each for each in GOOD.sites(sme, 0)}},
        "tenancies_are_those_that_were_asked_for",
    ),
    "a site twice": ({"sites": lambda sme, at: 2 * tuple(GOOD.sites(sme, at))}, "sites_are_the_businesss_own"),
}
ARCHIVES: dict[str, tuple[dict[str, Callable[..., Any]], str]] = {
    "any meter": ({"half_hours": _own_archive}, NO_METER),
    "late beginning": (
        {"begin": lambda meters: dict.fromkeys(set(meters) & {"shop", "oven"}, FIRST + DAY)},
        "readings_begin_where_they_say",
    ),
    "no JSON of the standard": ({"half_hours": _late}, "half_hours_are_the_standards"),
    "whole days": (
        {
            "half_hours": lambda asked: plug_ins.archive.half_hours(
                replace(asked, start=asked.start - asked.start % DAY)
            )
        },
        "a_window_is_the_sum_of_its_parts",
    ),
}


@pytest.mark.parametrize("name", [*REGISTERS, *ARCHIVES])
def test_D4_the_contract_says_what_a_source_breaks(name: str) -> None:
    methods, broken = (REGISTERS | ARCHIVES)[name]
    register = changed(plug_ins.Customers, methods) if name in REGISTERS else plug_ins.register
    archive = changed(plug_ins.Archive, methods) if name in ARCHIVES else plug_ins.archive
    verdicts = contract.verdicts(contract.Sample(register, archive, **BILL, customer="C-1"))
    assert broken in {verdict.name for verdict in verdicts if verdict.fault}


def test_a_plug_in_takes_the_tables_place() -> None:
    assert sources.register_of(PLUG_IN) is plug_ins.register
    assert sources.readings_of(PLUG_IN) is plug_ins.archive
    assert isinstance(sources.register_of(MeteringSettings()), OwnRegister)
    assert isinstance(sources.readings_of(MeteringSettings()), OwnReadings)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tabel", "module:name"),
        ("no.such.module:f", "cannot be loaded: ModuleNotFoundError"),
        ("tests.metering.plug_ins:nothing", "cannot be loaded: AttributeError"),
        ("tests.metering.plug_ins:Customers", "is a class"),
        (
            "tests.metering.plug_ins:NOW",
            r"has no find\(postcode, mpan, mprn, at\) and no of_customer\(customer, at\) and no sites",
        ),
        ("tests.metering.plug_ins:half_a_register", r"has no sites\(sme, at\) and no tenancies\(sme, meters\)$"),
        ("tests.metering.plug_ins:archive", "has no find"),
    ],
)
def test_D4_a_plug_in_that_cannot_be_used_stops_the_start(name: str, says: str) -> None:
    with pytest.raises(BadSettings, match=r"^metering\.register_source: .*" + says):
        sources.register_of(MeteringSettings(register_source=name))


def test_a_module_may_be_a_plug_in() -> None:
    with pytest.raises(BadSettings, match=r"readings_source: .* has no half_hours\(request\) and no begin\(meters\)"):
        sources.readings_of(MeteringSettings(readings_source="tests.metering:plug_ins"))


# what a source says of its half-hours


def request(start: int, end: int, fuel: str = "electricity") -> ReadingsRequest:
    return ReadingsRequest("shop", fuel, "import", start, end, "account-1", NOW + DAY)


@pytest.mark.parametrize(("fuel", "code"), [("gas", 16_777.215), ("electricity", 4_294_967_295)])
def test_D1_a_sources_error_code_is_a_missing_half_hour(fuel: str, code: float) -> None:
    window = request(FIRST, FIRST + DAY, fuel)
    values = [HalfHour(start, code if start == FIRST else 1) for start in range(FIRST, FIRST + DAY, HALF_HOUR)]
    held = Held.of(window, values, (FIRST, FIRST + DAY))
    assert (held.count, held.missing_data) == (47, MISSING)


def test_what_the_source_said_is_what_leaves() -> None:
    held = plug_ins.archive.half_hours(request(FIRST, FIRST + DAY))
    data = orjson.loads(join(held.blocks))
    assert (len(data), held.count, held.missing_data, held.origin) == (47, 47, MISSING, plug_ins.ORIGIN)
    assert data[0]["takenAt"] == data[0]["from"][:11] + "01:23:20Z"
    assert [each["cumulative"]["value"] for each in data[:3]] == [1000, 1001, 1003]
    assert data[0]["energy"] == {"value": 10.0, "unitCode": "WHR"}
    after = plug_ins.archive.half_hours(request(FIRST + DAY, FIRST + 3 * DAY))
    assert after.missing_data == COMPLETE
    some = plug_ins.archive.half_hours(request(FIRST + 3 * HALF_HOUR, FIRST + DAY))
    assert some.missing_data == SUBSTITUTED


def test_a_source_that_knows_values_alone() -> None:
    window = request(FIRST + DAY - HALF_HOUR, FIRST + DAY + HALF_HOUR, "gas")
    values = [HalfHour(window.start + HALF_HOUR, 0.25), HalfHour(window.start, 0.5)]
    held = Held.of(window, values, (window.start, window.end))
    data = orjson.loads(join(held.blocks))
    assert list(held.days) == [FIRST, FIRST + DAY]
    assert [each["cumulative"] for each in data] == [
        {"value": 0.5, "unitCode": "MTQ"},
        {"value": 0.75, "unitCode": "MTQ"},
    ]
    assert data[1]["takenAt"] == data[1]["from"][:11] + "01:00:00Z"
    assert held.missing_data == COMPLETE


@pytest.mark.parametrize(
    "order", permutations([FIRST, FIRST + HALF_HOUR, FIRST + DAY, FIRST + DAY + HALF_HOUR]), ids=str
)
def test_half_hours_may_come_in_any_order(order: tuple[int, ...]) -> None:
    window = request(FIRST, FIRST + 2 * DAY)
    values = [HalfHour(start, start - FIRST) for start in order]
    whole = Held.of(window, sorted(values), (window.start, window.end))
    assert list(whole.days) == [FIRST, FIRST + DAY]
    assert Held.of(window, values, (window.start, window.end)) == whole
    with pytest.raises(ReadingError, match="twice"):
        Held.of(window, [*values, values[0]], (window.start, window.end))


@pytest.mark.parametrize(
    "wrong",
    [
        [HalfHour(FIRST + 60, 1)],
        [HalfHour(FIRST, -1)],
        [HalfHour(FIRST, float("nan"))],
        [HalfHour(FIRST, "1")],  # type: ignore[arg-type]
        [HalfHour(FIRST, 1, taken_at=FIRST + HALF_HOUR)],
        [HalfHour(FIRST, 1, cumulative=-1)],
        [HalfHour(FIRST, 1, taken_at=10**12)],
        [HalfHour(FIRST, 1, taken_at=FIRST + 5000.5)],  # type: ignore[arg-type]
        [HalfHour(FIRST, -1, cumulative=1)],
        [HalfHour(FIRST, float("nan"), cumulative=1)],
        [HalfHour(FIRST, "1", cumulative=1)],  # type: ignore[arg-type]
        [HalfHour(FIRST - HALF_HOUR, 1)],
        [HalfHour(FIRST + DAY, 1)],
        [HalfHour(FIRST, 1), HalfHour(FIRST, 2)],
        [HalfHour(FIRST, 1, cumulative=1), HalfHour(FIRST + HALF_HOUR, 1, cumulative=float("nan"))],
        [HalfHour(FIRST, 1, cumulative=1), HalfHour(FIRST + HALF_HOUR, 1, cumulative="2")],  # type: ignore[arg-type]
        [HalfHour(FIRST, 1, cumulative=1), HalfHour(FIRST + HALF_HOUR, 1, cumulative=[2])],  # type: ignore[arg-type]
        [HalfHour(FIRST, 1, cumulative=1), HalfHour(FIRST + HALF_HOUR, 1, cumulative=True)],
        [HalfHour(FIRST, 1, cumulative=1), HalfHour(FIRST + HALF_HOUR, 1, cumulative=-1e-07)],
        [HalfHour(FIRST, 1, cumulative=1), HalfHour(FIRST + HALF_HOUR, 1, cumulative=1e16)],
        [HalfHour(FIRST, 1), HalfHour(float(FIRST + HALF_HOUR), 1)],  # type: ignore[arg-type]
        [HalfHour(FIRST, 1), HalfHour(FIRST + 2**64, 1)],
    ],
    ids=[
        "off the half-hour",
        "negative",
        "no number",
        "text",
        "early",
        "register",
        "after the last year",
        "half a second",
        "negative beside a register",
        "no number beside a register",
        "text beside a register",
        "before",
        "after",
        "twice",
        "no number after a number",
        "text after a number",
        "a list after a number",
        "a truth value after a number",
        "just below zero",
        "beyond any meter",
        "a start that is no whole number",
        "a start beyond all time",
    ],
)
def test_D4_what_no_meter_can_have_read_is_refused(wrong: list[HalfHour]) -> None:
    with pytest.raises(ReadingError):
        Held.of(request(FIRST, FIRST + DAY), wrong, (FIRST, FIRST + DAY))

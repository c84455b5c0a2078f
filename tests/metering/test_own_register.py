"""Which business numbers belong to, since when and until when; and one answer for everything that is wrong."""

from typing import Any

import pytest
import sqlalchemy as sa

from consent_server import store
from consent_server.metering.own import OwnRegister
from consent_server.metering.register import Identified, Tenancy
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.store import meters
from consent_server.store.database import db
from consent_server.store.tables.metering import Meter
from tests.metering.conftest import METERS, MOVED_IN, MOVED_OUT, NOW, next_half_hour

REGISTER = OwnRegister(vouches=True)


def ids(found: Identified | None) -> list[str]:
    return [meter.meter for meter in found.meters] if found else []


@pytest.mark.parametrize(
    ("postcode", "mpan", "mprn", "expected"),
    [
        ("SW8 1AA", "1200000000001", None, ["acme-e"]),
        ("SW8 1AA", None, "3938424403", ["acme-g"]),
        ("SW8 1AA", "1200000000001", "3938424403", ["acme-e", "acme-g"]),
        ("N1 9GU", "1200000000003", None, ["chain-e1"]),
        ("M1 1AE", "1600000000004", "1234567810", ["chain-e2", "chain-g2"]),
        ("SW8 1AA", "1200000000009", None, []),
        ("SW8 1AB", "1200000000001", None, []),
        ("SW8 1AA", "1200000000001", "1234567810", []),
        ("SW8 1AA", "1200000000002", "3938424403", []),
        ("SW8 1AA", "3938424403", None, []),
        ("SW8 1AA", None, None, []),
        ("", "1200000000001", None, []),
    ],
    ids=[
        "electricity",
        "gas",
        "both",
        "H13 one of several sites",
        "H13 both fuels of one of several sites",
        "unknown number",
        "another postcode",
        "gas number of another postcode",
        "two businesses at one postcode",
        "gas number as MPAN",
        "no number",
        "no postcode",
    ],
)
def test_find(edp: Any, postcode: str, mpan: str | None, mprn: str | None, expected: list[str]) -> None:
    assert ids(REGISTER.find(postcode, mpan, mprn, NOW)) == expected


def test_what_the_evidence_will_say(edp: Any) -> None:
    found = REGISTER.find("SW8 1AA", "1200000000001", None, NOW)
    assert found is not None
    assert (found.sme, found.business) == ("acme", "Acme")
    assert (found.method, found.strength) == ("postcode and meter number", "knowledge, not authority")
    (meter,) = found.meters
    assert meter.masked.endswith("0001")
    assert "1200000000001" not in repr(found)
    assert "acme-e" not in repr(found)


def test_unknown_and_mismatched_cost_the_same_look_ups(edp: Any) -> None:
    counts = []
    for postcode, mpan in (("SW8 1AA", "1200000000009"), ("XX1 1XX", "1200000000001"), ("SW8 1AA", "1200000000002")):
        asked: list[str] = []

        def note(_c: object, _cursor: object, statement: str, *_: object, asked: list[str] = asked) -> None:
            asked.append(statement)

        sa.event.listen(db.engine, "before_cursor_execute", note)
        assert REGISTER.find(postcode, mpan, "3938424403", NOW) is None
        sa.event.remove(db.engine, "before_cursor_execute", note)
        counts.append(asked)
    assert counts == counts[:1] * 3
    assert sum("FROM meter" in statement for statement in counts[0]) == 2


def test_sites_are_offered_only_where_the_table_vouches_for_them(edp: Any) -> None:
    assert [meter.meter for meter in REGISTER.sites("chain", NOW)] == ["chain-e2", "chain-g2", "chain-e1"]
    assert not OwnRegister(vouches=False).sites("chain", NOW)
    assert not REGISTER.sites("nobody", NOW)


@pytest.mark.parametrize(
    ("at", "sme"),
    [
        (MOVED_OUT - 300 * DAY - 1, None),
        (MOVED_OUT - 300 * DAY, "cafe"),
        (MOVED_OUT - 1, "cafe"),
        (MOVED_OUT, None),
        (MOVED_IN - 1, None),
        (MOVED_IN, "florist"),
        (NOW + 1000 * DAY, "florist"),
    ],
)
def test_H23_a_meter_is_found_in_the_hands_in_which_it_is(edp: Any, at: int, sme: str | None) -> None:
    found = REGISTER.find("SW8 1AA", "1200000000005", None, at)
    assert (found.sme if found else None) == sme
    for each in ("cafe", "florist"):
        assert [meter.meter for meter in REGISTER.sites(each, at)] == (["moved"] if each == sme else [])


def test_H23_each_has_its_own_time_and_only_its_own(edp: Any) -> None:
    before, after = (REGISTER.tenancies(sme, ["moved", "acme-e", "nothing"]) for sme in ("cafe", "florist"))
    assert before.keys() == after.keys() == {"moved"}
    window = (MOVED_OUT - DAY, NOW - NOW % HALF_HOUR)
    assert before["moved"].clamp(*window) == (MOVED_OUT - DAY, MOVED_OUT)
    assert after["moved"].clamp(*window) == (next_half_hour(MOVED_IN), window[1])


def test_a_business_that_came_back_has_its_newest_time(edp: Any) -> None:
    with store.writing() as c:
        back = ("moved", "cafe", "Cafe", "electricity", "1200000000005", "SW8 1AA", "SW8", ["import"])
        meters.add(c, Meter(*back, since=NOW + DAY))
    assert REGISTER.tenancies("cafe", ["moved"])["moved"].since == NOW + DAY


def test_a_register_with_two_hands_at_once_finds_neither(edp: Any) -> None:
    with store.writing() as c:
        other = ("moved", "thief", "Thief", "electricity", "1200000000005", "SW8 1AA", "SW8", ["import"])
        meters.add(c, Meter(*other, since=MOVED_IN + 1))
    assert REGISTER.find("SW8 1AA", "1200000000005", None, NOW) is None


@pytest.mark.parametrize(
    ("since", "until", "window", "clamped"),
    [
        (0, None, (0, 3600), (0, 3600)),
        (1, None, (0, 3600), (1800, 3600)),
        (1800, None, (0, 3600), (1800, 3600)),
        (0, 3599, (0, 3600), (0, 1800)),
        (0, 3600, (0, 7200), (0, 3600)),
        (0, 7200, (0, 3600), (0, 3600)),
        (1, 3599, (0, 7200), (1800, 1800)),
    ],
)
def test_H23_only_half_hours_that_are_wholly_the_businesss(
    since: int, until: int | None, window: tuple[int, int], clamped: tuple[int, int]
) -> None:
    assert Tenancy("m", "gas", ("import",), "SW8", "", since=since, until=until).clamp(*window) == clamped


def test_thousands_of_meters_at_once(edp: Any) -> None:
    asked = ["chain-e1", *(f"none-{number}" for number in range(40_000)), "chain-e2"]
    assert REGISTER.tenancies("chain", asked).keys() == {"chain-e1", "chain-e2"}


@pytest.mark.parametrize(
    ("customer", "at", "expected"),
    [
        ("C-acme", NOW, ["acme-e", "acme-g"]),
        ("C-cafe", MOVED_OUT - 1, ["moved"]),
        ("C-cafe", MOVED_OUT, []),
        ("C-florist", MOVED_IN - 1, []),
        ("C-florist", NOW, ["moved"]),
        ("C-two", NOW, []),
        ("c-acme", NOW, []),
        ("C-acme ", NOW, []),
        ("C-%", NOW, []),
        ("", NOW, []),
    ],
    ids=[
        *("both meters", "before moving out", "after it", "before moving in", "after it, the other"),
        *("a log-in of two businesses", "another case", "a space", "a pattern", "nobody"),
    ],
)
def test_O1_whose_meters_a_customer_has(edp: Any, customer: str, at: int, expected: list[str]) -> None:
    for register in (REGISTER, OwnRegister(vouches=False)):
        assert sorted(ids(register.of_customer(customer, at))) == expected


def test_O1_a_meter_that_a_customer_has_twice_at_once_lets_nobody_in(edp: Any) -> None:
    (first, *_) = METERS
    with store.writing() as c:
        meters.add(c, Meter(business="Acme", outcode="SW8", measures=["import"], **first, since=60))
    assert REGISTER.of_customer("C-acme", NOW) is None
    assert sorted(ids(REGISTER.of_customer("C-acme", 59))) == ["acme-e", "acme-g"]

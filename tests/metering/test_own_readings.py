"""What the EDP holds, as its data API asks for it."""

from itertools import count
from typing import Any

import pytest

from consent_server import store
from consent_server.metering.data_sources import Source, behind
from consent_server.metering.own import OwnReadings, OwnRegister
from consent_server.metering.readings import Held, ReadingsRequest
from consent_server.metering.register import Tenancy
from consent_server.parties.operator import packing
from consent_server.sandbox import synthetic
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.packed import unpack
from consent_server.scheme.provenance.steps import COMPLETE, MISSING
from consent_server.scheme.readings import join
from consent_server.store import data_sources, meters, readings

NOW = instant.parse("2026-03-12T09:30:00Z")
START, END = synthetic.span(NOW)


def half_hours(start: int, end: int, meter: str = "acme-e") -> ReadingsRequest:
    return ReadingsRequest(meter, "electricity", "import", start, end, account="account-1", expires=NOW + 365 * DAY)


@pytest.fixture
def filled(edp: Any) -> Any:
    with store.writing() as c:
        (row,) = meters.of_sme(c, "acme", NOW)[:1]
        assert synthetic.fill(c, [row], NOW) == (END - START) // DAY
    return edp


def test_fill_goes_on_where_it_was(filled: Any) -> None:
    with store.writing() as c:
        (row,) = meters.of_sme(c, "acme", NOW)[:1]
        assert synthetic.fill(c, [row], NOW) == 0
        assert synthetic.fill(c, [row], NOW + 2 * DAY) == 2
        assert readings.extent(c, "edp", "acme-e", "import") == (START, END + DAY)


@pytest.mark.parametrize(
    ("start", "end", "metered"),
    [
        (END - 3 * DAY, END, (END - 3 * DAY, END)),
        (END - DAY + HALF_HOUR, END - HALF_HOUR, (END - DAY + HALF_HOUR, END - HALF_HOUR)),
        (END - DAY - HALF_HOUR, END - DAY + HALF_HOUR, (END - DAY - HALF_HOUR, END - DAY + HALF_HOUR)),
        (END - DAY, NOW, (END - DAY, END)),
        (START - 5 * DAY, START + DAY, (START, START + DAY)),
        (START - 5 * DAY, START, None),
        (END, NOW, None),
        (END - DAY, END - DAY, None),
        (-(10**10), -(10**10) + DAY, None),
    ],
    ids=[
        "days",
        "within a day",
        "over midnight",
        "up to now",
        "before the first",
        "too early",
        "too late",
        "empty",
        "long ago",
    ],
)
def test_windows(filled: Any, start: int, end: int, metered: tuple[int, int] | None) -> None:
    held = OwnReadings().half_hours(half_hours(start, end))
    assert held.metered == metered
    expected = (metered[1] - metered[0]) // HALF_HOUR if metered else 0
    assert held.count == join(held.blocks).count(b'"from"') == expected
    assert held.missing_data == (COMPLETE if metered else MISSING)


def test_a_meter_without_readings_has_none(edp: Any) -> None:
    assert OwnReadings().half_hours(half_hours(START, END, "acme-g")) == Held()


def test_readings_begin_on_their_first_day(filled: Any) -> None:
    assert OwnReadings().begin(["acme-e", "acme-g", *(str(number) for number in range(20_000))]) == {"acme-e": START}
    assert OwnReadings().begin([]) == {}


def test_a_data_source_leads_to_its_meter(edp: Any) -> None:
    register = OwnRegister(vouches=False)
    with store.writing() as c:
        known = data_sources.ids_for(c, "https://directory.example/a/cap", "acme", ["acme-g"])["acme-g"]
        gone = data_sources.ids_for(c, "https://directory.example/a/cap", "acme", ["bakery-e"])["bakery-e"]
    tenancy = Tenancy("acme-g", "gas", ("import",), "SW8", "•••••• 4403", place="SW8 1AA ")
    found = behind(["x.1", gone, known, "unknown"], register)
    assert found == [Source(known, "acme", tenancy)], "one is not this business's"
    assert "acme-g" not in repr(found)


def test_days_that_an_older_release_kept_are_read_packed_and_unpacked(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "AT_ONCE", 100)
    everything = half_hours(START + 30 * DAY + HALF_HOUR, END - HALF_HOUR)

    def kept() -> list[bytes]:
        with store.reading() as c:
            return [bytes(row.body) for row in readings.days(c, "edp", "acme-e", "import", START, END)]

    packed, released = kept(), OwnReadings().half_hours(everything)
    assert packing.repack(undo=True) == len(packed)
    assert packing.repack(undo=True) == 0
    plain = kept()
    assert plain == [unpack(body, 0) for body in packed] != packed
    as_older = OwnReadings().half_hours(everything)
    assert (as_older.blocks, as_older.count, as_older.missing_data) == (
        released.blocks,
        released.count,
        released.missing_data,
    )
    repack, calls = readings.repack, count()

    def cut_off(*arguments: Any, **named: Any) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return repack(*arguments, **named)

    monkeypatch.setattr(readings, "repack", cut_off)
    with pytest.raises(KeyboardInterrupt):
        packing.repack(undo=False)
    assert kept() == packed[:200] + plain[200:], "what was done stays"
    assert OwnReadings().half_hours(everything).blocks == released.blocks
    packing.repack(undo=False)
    assert kept() == packed

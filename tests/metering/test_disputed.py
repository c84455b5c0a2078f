"""A register of an EDP's own in which a meter is two businesses' at once: that time is nobody's, and the doctor says so."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from consent_server import store
from consent_server.metering import sources
from consent_server.metering.rows import undisputed
from consent_server.parties.operator.doctor import house
from consent_server.scheme.instant import DAY
from consent_server.store import data_sources, locks
from consent_server.store.database import opened
from consent_server.store.tables.metering import Meter
from tests.conftest import HeldClock
from tests.database import make_tables
from tests.deployments import settings_of
from tests.metering import foreign
from tests.metering.foreign import CUSTOMER, FARM, FIRST, NOW, OVEN, SHOP

Time = tuple[int, int | None]


def held(sme: str, time: Time) -> Meter:
    return Meter("m-1", sme, sme, "electricity", "1200000000001", "SW8 1AA", "SW8", ["import"], *time)


@pytest.mark.parametrize(
    ("own", "others", "left"),
    [
        ((0, None), [], (0, None)),
        ((100, None), [(0, 100)], (100, None)),
        ((0, 100), [(100, None)], (0, 100)),
        ((0, None), [(100, None)], (0, 100)),
        ((100, None), [(0, None)], None),
        ((100, None), [(100, None)], None),
        ((0, None), [(10, 20)], (20, None)),
        ((50, None), [(0, 60)], (60, None)),
        ((0, 100), [(90, None)], (0, 90)),
        ((0, 100), [(40, 100)], (0, 40)),
        ((20, 30), [(0, 100)], None),
        ((0, None), [(10, 20), (15, None)], (0, 10)),
        ((0, 100), [(10, 20), (30, 40)], (40, 100)),
        ((0, None), [(0, 20), (20, None)], None),
    ],
)
def test_what_is_left_of_a_tenancy_is_its_newest_part_alone(own: Time, others: list[Time], left: Time | None) -> None:
    row = held("acme", own)
    rows = [*(held(f"other-{number}", time) for number, time in enumerate(others)), row, held("acme", (0, None))]
    assert undisputed(row, rows) == (left and held("acme", left))


def test_H23_a_meter_that_two_businesses_have_at_once_is_nobodys(
    tmp_path: Path, held_clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = foreign.a_sqlite_file(tmp_path)
    register, bill = sources.register_of(place), ("SW8 1AA", "1212345678902", None)
    before = register.find(*bill, NOW)
    assert before is not None
    with sqlite3.connect(tmp_path / "meters.sqlite") as connection:
        (row,) = (each for each in foreign.tenancies() if each["meter"] == SHOP and each["sme"] == "customer-1")
        row = {**row, "sme": "customer-9", "since": FIRST + DAY}
        connection.execute(f"INSERT INTO tenancy VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
    connection.close()

    assert register.find(*bill, NOW) is None
    assert register.find(*bill, FIRST) == replace(before, meters=[replace(before.meters[0], until=FIRST + DAY)])
    times = {sme: register.tenancies(sme, [SHOP]).get(SHOP) for sme in ("customer-1", "customer-9", "customer-0")}
    assert {sme: time and (time.since, time.until) for sme, time in times.items()} == {
        "customer-1": (FIRST - DAY, FIRST + DAY),
        "customer-9": None,
        "customer-0": (FIRST - 99 * DAY, FIRST - 2 * DAY),
    }
    assert [meter.meter for meter in register.sites("customer-1", NOW)] == [OVEN, FARM]
    with sqlite3.connect(tmp_path / "meters.sqlite") as connection:
        connection.execute("UPDATE tenancy SET customer = 'C-9' WHERE sme = 'customer-9'")
    connection.close()
    named = register.of_customer(CUSTOMER, NOW)
    assert named is not None
    assert [each.meter for each in named.meters] == [OVEN, FARM]
    assert register.of_customer("C-9", NOW) is None

    settings = settings_of("edp", f"sqlite:///{tmp_path / 'ours.db'}").model_copy(update={"metering": place})
    with opened(settings.database, make=True):
        make_tables()
        with store.writing() as c:
            locks.lock_business(c, "customer-1")
            for client in ("client", "another client"):
                data_sources.ids_for(c, client, "customer-1", [SHOP, OVEN])
    fine, failing = house.metering(settings, NOW)
    assert "respond" in fine.what
    assert (failing.level, failing.what) == ("FAIL", f"metering: two businesses have the same meter at once: {SHOP}")
    monkeypatch.setattr(house, "_MOST_LOOKED_UP", 2)
    _, doubtful, failing = house.metering(settings, NOW)
    assert (doubtful.level, doubtful.what, failing.level) == (
        "warn",
        "metering: 2 meters were looked up for a second business, and no others",
        "FAIL",
    )

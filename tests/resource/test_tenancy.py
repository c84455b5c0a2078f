"""H23: the register's dates are asked again at each release, and only half-hours of the business's own time leave."""

from typing import Any

import pytest
import sqlalchemy as sa

from consent_server import clock, store
from consent_server.metering.readings import Held
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.provenance.container import verify
from consent_server.scheme.readings import HalfHour, parse
from consent_server.store import permissions
from consent_server.store.rows import table_of
from consent_server.store.tables.metering import Meter
from tests.resource.conftest import FIRST, TODAY, ResourceServer, day_blocks

IMPORT = "/datasources/acme.0/import"
WINDOW = (TODAY - 10 * DAY, TODAY)
MOVED = TODAY - 4 * DAY + 60  # a minute into a half-hour, which is nobody's whole


def query(start: int, end: int) -> str:
    return f"{IMPORT}?from={instant.text(start)}&to={instant.text(end)}"


def register_says(**tenancy: Any) -> None:
    meter = table_of(Meter)
    with store.writing() as c:
        c.execute(sa.update(meter).where(meter.c.id == "m-1").values(**tenancy))


def starts(edp: ResourceServer, start: int = WINDOW[0], end: int = WINDOW[1]) -> list[int]:
    answer = edp.get(query(start, end))
    assert answer.status_code == 200
    return list(parse(answer.json["data"]).start)


def test_H23_nothing_from_before_the_tenancy_leaves(edp: ResourceServer) -> None:
    register_says(since=MOVED)
    first = MOVED - MOVED % HALF_HOUR + HALF_HOUR
    assert starts(edp) == list(range(first, TODAY, HALF_HOUR))
    assert [asked.start for asked in edp.source.asked] == [first]
    assert starts(edp, FIRST, FIRST + 30 * DAY) == []
    assert len(edp.source.asked) == 1, "the source is not asked for another's half-hours"


def test_H23_a_meter_that_is_let_go_yields_nothing_more_and_its_holder_is_told(edp: ResourceServer) -> None:
    assert "dataAvailableTo" not in edp.get("/datasources").get_data(as_text=True)
    register_says(until=MOVED)
    last = MOVED - MOVED % HALF_HOUR
    assert starts(edp)[-1] == last - HALF_HOUR
    assert starts(edp, last, TODAY) == []
    listed = {row["id"]: row for row in edp.get("/datasources").json["data"]}
    assert listed["acme.0"]["dataAvailableTo"] == instant.text(last)
    assert "dataAvailableFrom" not in listed["acme.0"]
    assert "dataAvailableTo" not in listed["acme.1"]
    register_says(since=FIRST + 1)
    assert edp.get("/datasources").json["data"][0]["dataAvailableFrom"] == instant.text(FIRST + HALF_HOUR)


def test_H23_the_provenance_covers_the_tenancy_and_no_more(edp: ResourceServer) -> None:
    register_says(since=MOVED)
    answer = edp.get(query(*WINDOW))
    origin, transfer = verify(answer.json["provenance"], edp.layout.trust_framework, edp.deployment.signing_root)[1:]
    begin = instant.text(MOVED - MOVED % HALF_HOUR + HALF_HOUR)
    assert origin["perseus:scheme"]["meteringPeriod"] == {"from": begin, "to": instant.text(TODAY)}
    assert origin["perseus:assurance"]["missingData"].endswith("/Complete")
    assert transfer["parameters"]["from"] == instant.text(WINDOW[0]), "what was asked for"


@pytest.mark.parametrize("change", [{"sme": "another"}, {"id": "m-9"}], ids=["another's", "gone"])
def test_H23_a_meter_of_which_the_register_knows_no_tenancy_is_none(
    edp: ResourceServer, change: dict[str, str]
) -> None:
    register_says(**change)
    assert edp.get(query(*WINDOW)).status_code == 404
    assert [row["id"] for row in edp.get("/datasources").json["data"]] == ["acme.1"]
    assert not edp.source.asked


def test_H23_data_are_available_from_the_tenancy_on(edp: ResourceServer) -> None:
    with store.reading() as c:
        granted = permissions.find(c, "permission-1")
    assert granted is not None
    granted = granted._replace(meters=[{"id": "m-1", "fuel": "electricity", "measures": ["import"]}])
    available = edp.deployment.party.data_available_from
    assert available(granted) == FIRST
    register_says(since=MOVED)
    assert available(granted) == MOVED - MOVED % HALF_HOUR + HALF_HOUR
    register_says(since=0, until=FIRST)
    assert available(granted) == granted.granted, "no half-hour is the business's"
    register_says(sme="another")
    assert available(granted) == granted.granted


@pytest.mark.parametrize(
    "held",
    [
        Held.of_days({}, (WINDOW[0] - HALF_HOUR, WINDOW[1])),
        Held.of_days({}, (WINDOW[0], WINDOW[1] + HALF_HOUR)),
    ],
    ids=["before", "after"],
)
def test_D4_a_source_that_gives_more_than_was_asked_for_is_not_believed(edp: ResourceServer, held: Held) -> None:
    edp.source.held = held
    answer = edp.get(query(*WINDOW))
    assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable")
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize("day", [WINDOW[0] - DAY, WINDOW[1]], ids=["before", "after"])
@pytest.mark.parametrize("metered", [WINDOW, None], ids=["metered", "never metered"])
def test_H23_days_of_a_source_outside_the_tenancy_do_not_leave(
    edp: ResourceServer, monkeypatch: Any, day: int, metered: tuple[int, int] | None
) -> None:
    """Another business's days, from a source that gives back more than the window."""
    days = {day: day_blocks("electricity")[TODAY]}
    monkeypatch.setattr(type(edp.source), "half_hours", lambda *_: Held(days, 48, metered))
    assert edp.get(query(*WINDOW)).status_code == 503
    if metered:
        monkeypatch.setattr(type(edp.source), "half_hours", lambda *_: Held.of_days(days, metered))
        assert edp.get(query(*WINDOW)).status_code == 503


def test_D4_impossible_readings_of_a_source_are_not_passed_on(edp: ResourceServer, monkeypatch: Any) -> None:
    monkeypatch.setattr(
        type(edp.source), "half_hours", lambda _, asked: Held.of(asked, [HalfHour(asked.start, -1)], WINDOW)
    )
    answer = edp.get(query(*WINDOW))
    assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable")
    assert clock.now() > TODAY

"""What probes say: when a part is asked again, when it is down, and the sums of a day."""

from datetime import date

import pytest

from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.status import measured, working_days
from consent_server.status.measured import Span
from consent_server.store.tables.status import Probe, ProbeDay

MIDNIGHT = instant.parse("2026-03-12T00:00:00Z")


def probes(*looks: tuple[int, bool]) -> list[Probe]:
    """Probes at seconds after midnight."""
    return [Probe("data", MIDNIGHT + at, answered, 5, "" if answered else "time") for at, answered in looks]


@pytest.mark.parametrize(
    ("looks", "first", "last"),
    [
        pytest.param([], None, 0, id="never asked"),
        pytest.param([(0, True)], 59, 60, id="each minute"),
        pytest.param([(0, True), (60, False)], 65, 66, id="sooner after a failure"),
        pytest.param([(0, False), (6, False), (12, False), (18, False)], 23, 24, id="the fifth"),
        pytest.param([(0, False), (6, False), (12, False), (18, False), (24, False)], 83, 84, id="down: each minute"),
        pytest.param([(0, False), (6, True)], 65, 66, id="well again"),
        pytest.param([(500, True)], None, 100, id="a clock that was stepped back"),
    ],
)
def test_when_a_part_is_asked_again(looks: list[tuple[int, bool]], first: int | None, last: int) -> None:
    newest_first = probes(*looks)[::-1]
    assert measured.is_due(newest_first, MIDNIGHT + last)
    assert first is None or not measured.is_due(newest_first, MIDNIGHT + first)


FOUR = [(0, True), (60, False), (66, False), (72, False), (78, False), (84, True)]
FIVE = [(0, True), (60, False), (66, False), (72, False), (78, False), (84, False), (144, True)]


@pytest.mark.parametrize(
    ("looks", "planned", "until", "sums"),
    [
        pytest.param([], [], 600, (0, 0, 0, 0, 0), id="nobody asked"),
        pytest.param([(0, True), (60, True)], [], 120, (2, 2, 120, 0, 0), id="well"),
        pytest.param([(0, True)], [], DAY, (1, 1, 180, 0, 0), id="a probe holds for three minutes"),
        pytest.param([(0, True), (4000, True)], [], 4060, (2, 2, 240, 0, 0), id="a gap is not counted"),
        pytest.param(FOUR, [], 144, (6, 2, 144, 0, 0), id="four in a row"),
        pytest.param(FIVE, [], 204, (7, 2, 204, 84, 0), id="five in a row: down from the first to the next answer"),
        pytest.param(FIVE, [(60, 144)], 204, (7, 2, 204, 0, 84), id="planned"),
        pytest.param(FIVE, [(100, 300)], 204, (7, 2, 204, 40, 104), id="planned for a part of it"),
        pytest.param(FIVE, [(60, 100), (60, 100)], 204, (7, 2, 204, 44, 40), id="planned twice"),
        pytest.param(
            [(-20, False), (-14, False), (-8, False), (-2, False), (4, False), (64, True)], [], 124,
            (2, 1, 124, 64, 0), id="past midnight",
        ),
    ],
)  # fmt: skip
def test_the_sums_of_a_day(
    looks: list[tuple[int, bool]], planned: list[tuple[int, int]], until: int, sums: tuple[int, ...]
) -> None:
    spans = [Span(MIDNIGHT + start, MIDNIGHT + end) for start, end in planned]
    found = measured.day("data", MIDNIGHT, probes(*looks), spans, MIDNIGHT + until)
    assert found == ProbeDay("data", MIDNIGHT, *sums)


@pytest.mark.parametrize(
    ("year", "holidays"),
    [  # as proclaimed (gov.uk, bank holidays in England and Wales)
        (2022, "01-03 04-15 04-18 05-02 05-30 08-29 12-26 12-27"),
        (2024, "01-01 03-29 04-01 05-06 05-27 08-26 12-25 12-26"),
        (2026, "01-01 04-03 04-06 05-04 05-25 08-31 12-25 12-28"),
        (2027, "01-01 03-26 03-29 05-03 05-31 08-30 12-27 12-28"),
    ],
)
def test_bank_holidays(year: int, holidays: str) -> None:
    # Of 2022 the spring holiday was moved to 2 June by a proclamation, which no rule can know.
    found = sorted(f"{day:%m-%d}" for day in working_days.bank_holidays(year))
    assert found == holidays.split()


@pytest.mark.parametrize(
    ("first", "last", "days"),
    [
        ("2026-03-12", "2026-03-12", 0),
        ("2026-03-12", "2026-03-13", 0),
        ("2026-03-12", "2026-03-19", 4),  # Friday, Monday, Tuesday, Wednesday
        ("2026-03-12", "2026-03-20", 5),
        ("2026-04-01", "2026-04-10", 4),  # Good Friday and Easter Monday between them
        ("2026-04-01", "2026-04-11", 5),
    ],
)
def test_working_days_between(first: str, last: str, days: int) -> None:
    begin = date.fromisoformat(first)
    assert working_days.between(begin, date.fromisoformat(last)) == days
    assert working_days.between(begin, working_days.after(begin, 5)) == 5

"""Day blocks on their way out, readings on their way in."""

import contextlib
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.readings import MeterReadings, ReadingError, answer, day_block, join, parse, slice_block

MIDNIGHT = instant.parse("2026-03-12T00:00:00Z")
FULL_DAY = [float(100 + slot) for slot in range(48)]


def half_hour(**changes):
    reading = {
        "type": "electricity",
        "from": "2026-03-12T09:30:00Z",
        "to": "2026-03-12T10:00:00Z",
        "takenAt": "2026-03-12T10:05:00Z",
        "energy": {"value": 976, "unitCode": "WHR"},
        "cumulative": {"value": 1810.5, "unitCode": "WHR"},
    }
    reading.update(changes)
    return {name: value for name, value in reading.items() if value is not None}


def test_a_block_is_the_objects_of_the_standard():
    block = day_block("electricity", MIDNIGHT, [976, 834.5] + [None] * 46, 1000)
    assert json.loads(join([block])) == [
        {
            "type": "electricity",
            "from": "2026-03-12T00:00:00Z",
            "to": "2026-03-12T00:30:00Z",
            "takenAt": "2026-03-12T01:00:00Z",
            "energy": {"value": 976, "unitCode": "WHR"},
            "cumulative": {"value": 1976, "unitCode": "WHR"},
        },
        {
            "type": "electricity",
            "from": "2026-03-12T00:30:00Z",
            "to": "2026-03-12T01:00:00Z",
            "takenAt": "2026-03-12T01:30:00Z",
            "energy": {"value": 834.5, "unitCode": "WHR"},
            "cumulative": {"value": 2810.5, "unitCode": "WHR"},
        },
    ]


def test_the_last_half_hour_ends_at_the_next_midnight():
    (last,) = json.loads(join([day_block("gas", MIDNIGHT, [None] * 47 + [0.25], 0)]))
    assert (last["from"], last["to"], last["takenAt"]) == (
        "2026-03-12T23:30:00Z",
        "2026-03-13T00:00:00Z",
        "2026-03-13T00:30:00Z",
    )
    assert last["energy"] == {"value": 0.25, "unitCode": "MTQ"}


def test_missing_half_hours_are_left_out_and_days_without_any_vanish():
    empty = day_block("gas", MIDNIGHT, [None] * 48, 5)
    assert empty == b""
    assert join([empty, empty]) == b"[]"
    block = day_block("gas", MIDNIGHT, [None, 1.5, None] + [2.0] * 45, 5)
    assert len(json.loads(join([empty, block, empty]))) == 46


def test_cumulative_carries_no_floating_point_dust():
    objects = json.loads(join([day_block("gas", MIDNIGHT, [0.1] * 48, 0)]))
    assert [item["cumulative"]["value"] for item in objects[:3]] == [0.1, 0.2, 0.3]


@settings(deadline=None)
@given(st.lists(st.none() | st.integers(0, 10**7) | st.floats(0, 1e7), min_size=48, max_size=48))
def test_what_goes_out_comes_in_the_same(values):
    for fuel in ("electricity", "gas"):
        found = parse(json.loads(join([day_block(fuel, MIDNIGHT, values, 12.5)])))
        assert list(zip(found.start, found.value, strict=True)) == [
            (MIDNIGHT + slot * HALF_HOUR, value) for slot, value in enumerate(values) if value is not None
        ]


@pytest.mark.parametrize(
    ("fuel", "day", "values", "before"),
    [
        pytest.param("water", MIDNIGHT, FULL_DAY, 0, id="unknown fuel"),
        pytest.param("gas", MIDNIGHT + HALF_HOUR, FULL_DAY, 0, id="not midnight"),
        pytest.param("gas", MIDNIGHT, FULL_DAY[:-1], 0, id="47 values"),
        pytest.param("gas", MIDNIGHT, [*FULL_DAY, 1.0], 0, id="49 values"),
        pytest.param("gas", MIDNIGHT, [-0.1, *FULL_DAY[1:]], 0, id="below zero"),
        pytest.param("gas", MIDNIGHT, [math.nan, *FULL_DAY[1:]], 0, id="not a number"),
        pytest.param("gas", MIDNIGHT, [math.inf, *FULL_DAY[1:]], 0, id="infinite"),
        pytest.param("gas", MIDNIGHT, [True, *FULL_DAY[1:]], 0, id="a truth value"),
        pytest.param("gas", MIDNIGHT, ["1", *FULL_DAY[1:]], 0, id="text"),
        pytest.param("gas", MIDNIGHT, FULL_DAY, math.nan, id="cumulative not a number"),
    ],
)
def test_a_block_refuses(fuel, day, values, before):
    with pytest.raises(ReadingError):
        day_block(fuel, day, values, before)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        pytest.param(0, DAY, range(48), id="the whole day"),
        pytest.param(-DAY, 3 * DAY, range(48), id="more than the day"),
        pytest.param(HALF_HOUR, 3 * HALF_HOUR, range(1, 3), id="from is inside and to outside"),
        pytest.param(1, HALF_HOUR + 1, range(1, 2), id="between half-hours"),
        pytest.param(DAY - 1, 2 * DAY, range(0), id="after the last from"),
        pytest.param(5, 5, range(0), id="nothing"),
        pytest.param(DAY, 0, range(0), id="reversed"),
    ],
)
def test_slices_keep_what_begins_in_the_window(start, end, expected):
    for fuel in ("electricity", "gas"):
        piece = slice_block(day_block(fuel, MIDNIGHT, FULL_DAY, 0), MIDNIGHT + start, MIDNIGHT + end)
        assert parse(json.loads(join([piece]))).value == [100 + slot for slot in expected]


def test_a_slice_of_nothing_is_nothing():
    assert slice_block(b"", MIDNIGHT, MIDNIGHT + DAY) == b""


def test_a_reading_is_read():
    assert parse([half_hour()]) == MeterReadings(
        "electricity", [MIDNIGHT + 19 * HALF_HOUR], [MIDNIGHT + 36300], [976.0]
    )
    assert parse([]) == MeterReadings(None, [], [], [])


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        pytest.param({"energy": {"value": 1.001, "unitCode": "KWH"}}, 1001.0, id="kilowatt-hours"),
        pytest.param({"type": "gas", "energy": {"value": 1.25, "unitCode": "MTQ"}, "cumulative": None}, 1.25, id="gas"),
        pytest.param({"cumulative": None}, 976.0, id="no cumulative"),
        pytest.param({"takenAt": "2026-03-12T10:00:00Z"}, 976.0, id="taken at the end"),
        pytest.param({"from": "2026-03-12T10:30:00+01:00"}, 976.0, id="another zone"),
        pytest.param({"quality": "actual"}, 976.0, id="a member of a later version"),
    ],
)
def test_other_spellings_of_a_reading_are_read(changes, value):
    found = parse([half_hour(**changes)])
    assert (found.start, found.value) == ([MIDNIGHT + 19 * HALF_HOUR], [value])


def test_readings_come_in_order_of_time():
    day = json.loads(join([day_block("gas", MIDNIGHT, FULL_DAY, 0)]))
    assert parse(day[::-1]) == parse(day)


def test_a_response_is_read_from_its_text_to_the_same():
    day = join([day_block("gas", MIDNIGHT, FULL_DAY, 0)])
    assert answer(b'{"more":1,"data":%s,"provenance":{"steps":[]}}' % day) == (parse(json.loads(day)), {"steps": []})


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"data":[],"provenance":{}', id="cut off"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b'{"provenance":{}}', id="no data"),
        pytest.param(b'{"data":{},"provenance":{}}', id="data no list"),
        pytest.param(b'{"data":[]}', id="no provenance"),
        pytest.param(b'{"data":[],"provenance":[]}', id="provenance no object"),
        pytest.param(b'{"data":[],"provenance":{"a":' + b"[" * 100_000, id="nested without end"),
        pytest.param(b'{"data":[],"provenance":{"a":"\xff"}}', id="not UTF-8"),
    ],
)
def test_what_is_no_response_is_refused(body):
    with pytest.raises(ReadingError, match=r"^data: "):
        answer(body)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"type": "Electricity"}, "type", id="capital fuel"),
        pytest.param({"type": ["gas"]}, "type", id="fuel in a list"),
        pytest.param({"type": None}, "type", id="no fuel"),
        pytest.param({"type": "gas"}, "type", id="another fuel"),
        pytest.param({"energy": {"value": 1, "unitCode": "MTQ"}}, "energy.unitCode", id="electricity in cubic metres"),
        pytest.param({"energy": {"value": 1, "unitCode": "whr"}}, "energy.unitCode", id="unit in small letters"),
        pytest.param({"energy": {"value": 1, "unitCode": {}}}, "energy.unitCode", id="unit an object"),
        pytest.param({"energy": {"unitCode": "WHR"}}, "energy.value", id="no value"),
        pytest.param({"energy": {"value": -1, "unitCode": "WHR"}}, "energy.value", id="below zero"),
        pytest.param({"energy": {"value": "1", "unitCode": "WHR"}}, "energy.value", id="value as text"),
        pytest.param({"energy": {"value": True, "unitCode": "WHR"}}, "energy.value", id="value a truth value"),
        pytest.param({"energy": {"value": math.nan, "unitCode": "WHR"}}, "energy.value", id="value not a number"),
        pytest.param({"energy": {"value": math.inf, "unitCode": "WHR"}}, "energy.value", id="value infinite"),
        pytest.param({"energy": {"value": 10**400, "unitCode": "WHR"}}, "energy.value", id="value beyond floats"),
        pytest.param({"energy": 976}, "energy", id="energy a number"),
        pytest.param({"cumulative": {"value": -1, "unitCode": "WHR"}}, "cumulative.value", id="cumulative below zero"),
        pytest.param({"cumulative": {"value": 1, "unitCode": "MTQ"}}, "cumulative.unitCode", id="cumulative unit"),
        pytest.param({"from": "2026-03-12T09:31:00Z"}, "from", id="off the half-hour"),
        pytest.param({"from": "2026-03-12"}, "from", id="a date alone"),
        pytest.param({"from": None}, "from", id="no from"),
        pytest.param({"to": "2026-03-12T10:30:00Z"}, "to", id="an hour long"),
        pytest.param({"to": "2026-03-12T09:00:00Z"}, "to", id="backwards"),
        pytest.param({"to": "2026-02-31T10:00:00Z"}, "to", id="a day that does not exist"),
        pytest.param({"takenAt": "2026-03-12T09:59:59Z"}, "takenAt", id="taken before the end"),
        pytest.param({"takenAt": 5}, "takenAt", id="takenAt a number"),
    ],
)
def test_a_fault_is_named_by_index_and_field(changes, field):
    good = half_hour(**{"from": "2026-03-11T09:30:00Z", "to": "2026-03-11T10:00:00Z"})
    with pytest.raises(ReadingError, match=rf"^reading 1: {field}: "):
        parse([good, half_hour(**changes)])


def test_a_fault_does_not_repeat_what_was_sent():
    for name in ("type", "from", "energy"):
        sent = "canary\n" * 1000
        with pytest.raises(ReadingError) as refused:
            parse([half_hour(**{name: {"value": 1, "unitCode": sent} if name == "energy" else sent})])
        assert "canary" not in str(refused.value)


def test_a_half_hour_comes_once():
    with pytest.raises(ReadingError, match=r"^reading 1: from: "):
        parse([half_hour(), half_hour(energy={"value": 1, "unitCode": "WHR"})])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["gas", "WHR", "MTQ"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "from", "to", "takenAt", "energy", "value", "unitCode"]) | st.text(max_size=3),
            inner,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(json_values)
def test_whatever_comes_only_reading_errors_go(data):
    with contextlib.suppress(ReadingError):
        parse(data)
    with contextlib.suppress(ReadingError):
        answer(json.dumps({"data": data, "provenance": {}}).encode())


@settings(deadline=None)
@given(st.sampled_from(sorted(half_hour())), json_values)
def test_whatever_a_member_holds_only_reading_errors_go(member, value):
    with contextlib.suppress(ReadingError):
        parse([half_hour() | {member: value}])

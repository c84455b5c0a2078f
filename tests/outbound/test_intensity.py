"""The Carbon Intensity API with its faults (brief 8.1), and the sandbox's own in the same shape."""

import re

import flask
import pytest

from consent_server.outbound.cache import FOR_EVER, Copy
from consent_server.outbound.errors import BadAnswer
from consent_server.outbound.intensity import WINDOW, Intensity, RegionUnknown
from consent_server.sandbox import intensity as sandbox
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR

MARCH = instant.parse("2025-03-01T00:00:00Z")
PATH = re.compile(r"/intensity/regional/intensity/(.+)/(.+)/(postcode|regionid)/(.+)")


@pytest.fixture
def grid(serve):
    """The sandbox's grid intensity behind a real server."""
    app = flask.Flask("grid")
    app.register_blueprint(sandbox.blueprint())
    server = serve()

    def answer(asked):
        got = app.test_client().get(asked.path)
        from_app = {"Content-Type": got.content_type, "Cache-Control": "max-age=60"}
        return type("FromApp", (), {"status": got.status_code, "body": got.data, "headers": from_app, "raw": None})()

    server.routes["*"] = answer
    return server


@pytest.fixture
def client_of(settings_of, session_of, cache, held_clock):
    """client_of(server): collects from that server, without pauses; `known` regions by outcode are not looked up."""

    def make(server, **known):
        for outcode, region in known.items():
            cache.put(f"intensity region {outcode}", Copy(str(region).encode(), {}, 0, FOR_EVER))
        settings = settings_of(server.port, collection={"intensity": server.url("/intensity")})
        return Intensity(settings, session_of(settings), cache, pause_s=0, retry_s=0)

    return make


def asked(server):
    return [PATH.fullmatch(each.path).groups() for each in server.asked]


def test_every_half_hour_of_a_span_and_no_other(grid, client_of):
    start, end = MARCH + 9 * HALF_HOUR, MARCH + 31 * DAY + HALF_HOUR
    series = client_of(grid).series(start, end, outcode="SW8")
    assert list(series) == list(range(start, end, HALF_HOUR))
    assert series == {at: sandbox.forecast(13, at) for at in series}


def test_windows_are_13_days_at_most_and_the_grid_is_not_asked_twice(grid, client_of):
    client = client_of(grid)
    client.series(MARCH, MARCH + 31 * DAY, outcode="SW8")
    questions = asked(grid)
    for since, until, _, _ in questions:
        assert 0 < instant.parse(until[:-1] + ":00Z") - instant.parse(since[:-1] + ":00Z") <= WINDOW
    client.series(MARCH + 3 * DAY, MARCH + 30 * DAY, outcode="SW8")
    assert asked(grid) == questions


def test_a_span_that_reaches_now_is_asked_again(grid, client_of, held_clock):
    client = client_of(grid, M1=3)
    end = held_clock.instant - held_clock.instant % HALF_HOUR
    for _ in range(2):
        assert len(client.series(end - DAY, end, outcode="M1")) == 48
    assert len(grid.asked) in {2, 4}
    assert client.series(end, end, outcode="SW8") == {}


@pytest.mark.parametrize(
    ("outcode", "region"),
    [("SW8", 13), ("BN3", 14)],  # the postcode route says 13 for BN3, and the name South East England
)
def test_the_region(grid, client_of, outcode, region):
    assert client_of(grid).region_of(outcode) == region


@pytest.mark.parametrize("outcode", ["BT1", "W3", None, "GIR", "sw8", "../x"])  # W3: 400, no postcode match
def test_no_region(grid, client_of, outcode):
    with pytest.raises(RegionUnknown):
        client_of(grid).region_of(outcode)
    assert all(each[3] == "W3" for each in asked(grid))


def region_answer(start, values, **more):
    slots = [
        {"from": f"{instant.text(start + i * HALF_HOUR)[:16]}Z", "intensity": {"forecast": value}}
        for i, value in enumerate(values)
    ]
    return {"regionid": 13, "shortname": "London", "data": slots, **more}


@pytest.mark.parametrize("shape", [lambda region: [region], lambda region: region], ids=["list", "object"])
def test_both_shapes_of_the_body(serve, client_of, wire, shape):
    server = serve()
    server.routes["*"] = wire.json({"data": shape(region_answer(MARCH - HALF_HOUR, [1, 2, 3]))})
    assert client_of(server).series(MARCH, MARCH + 2 * HALF_HOUR, outcode="SW8") == {MARCH: 2, MARCH + HALF_HOUR: 3}


def test_half_hours_without_a_forecast_are_gaps(serve, client_of, wire):
    server = serve()
    slots = region_answer(MARCH, [10, None, "nan", 13, -1, True])
    slots["data"] += [{"from": "soon", "intensity": {"forecast": 1}}, {"from": None}, 7]
    server.routes["*"] = wire.json({"data": slots})
    assert client_of(server, SW8=13).series(MARCH, MARCH + DAY, outcode="SW8") == {
        MARCH: 10,
        MARCH + 3 * HALF_HOUR: 13,
    }


def test_an_incomplete_piece_is_not_kept(serve, client_of, wire):
    server = serve()
    server.routes["*"] = wire.json({"data": region_answer(MARCH, [10])})
    client = client_of(server, SW8=13)
    for _ in range(2):
        client.series(MARCH, MARCH + HALF_HOUR, outcode="SW8")
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [200, 500, 502])
def test_sporadic_faults_are_tried_again(serve, client_of, wire, status):
    server = serve()
    answers = iter([wire.json({}, status)] * 2)
    server.routes["*"] = lambda asked: next(answers, wire.json({"data": region_answer(MARCH, [10])}))
    assert client_of(server, SW8=13).series(MARCH, MARCH + HALF_HOUR, outcode="SW8") == {MARCH: 10}
    assert len(server.asked) == 3


@pytest.mark.parametrize(("status", "calls"), [(200, 4), (500, 4), (400, 1), (403, 1)])
def test_lasting_faults_are_said(serve, client_of, wire, status, calls):
    server = serve()
    server.routes["*"] = wire.json({}, status)
    with pytest.raises(BadAnswer):
        client_of(server, SW8=13).series(MARCH, MARCH + HALF_HOUR, outcode="SW8")
    assert len(server.asked) == calls


def test_a_postcode_route_that_is_down_stops_only_outcodes_never_seen(serve, client_of, wire):
    server = serve()
    server.routes["*"] = lambda asked: (
        wire.json({}, 500) if "postcode" in asked.path else wire.json({"data": region_answer(MARCH, [10])})
    )
    client = client_of(server, SW8=13)
    assert client.series(MARCH, MARCH + HALF_HOUR, outcode="SW8") == {MARCH: 10}
    with pytest.raises(BadAnswer):
        client.series(MARCH, MARCH + HALF_HOUR, outcode="M1")

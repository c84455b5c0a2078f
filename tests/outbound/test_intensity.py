"""The Carbon Intensity API with its faults (brief 8.1), and the sandbox's own in the same shape."""

import re

import flask
import pytest

from consent_server.outbound.errors import BadAnswer
from consent_server.outbound.intensity import AGAIN_S, LONGEST, Intensity
from consent_server.outbound.session import Limits
from consent_server.sandbox import intensity as sandbox
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR

MARCH = instant.parse("2025-03-01T00:00:00Z")
PATH = re.compile(r"/intensity/regional/intensity/(.+)/(.+)/(postcode|regionid)/(.+)")


@pytest.fixture
def grid(serve):
    """The sandbox's grid intensity behind a real server."""
    app = flask.Flask("grid")
    app.register_blueprint(sandbox.routes)
    server = serve()

    def answer(asked):
        got = app.test_client().get(asked.path)
        from_app = {"Content-Type": got.content_type, "Cache-Control": "max-age=60"}
        return type("FromApp", (), {"status": got.status_code, "body": got.data, "headers": from_app, "raw": None})()

    server.routes["*"] = answer
    return server


class Kept:
    """The store's place, in memory."""

    def __init__(self):
        self.days = {}

    def get(self, region, start, end):
        return [each for (of, day), each in sorted(self.days.items()) if of == region and start <= day < end]

    def put(self, days):
        self.days.update({(each.region, each.day): each for each in days})


@pytest.fixture
def client_of(settings_of, session_of, cache, held_clock):
    """client_of(server): fetches from that server, without pauses."""
    kept = Kept()

    def make(server):
        settings = settings_of(server.port, collection={"intensity": server.url("/intensity")})
        # patient: no test here is about the time that a call takes
        return Intensity(settings, session_of(settings, limits=Limits()), cache, kept, pause_s=0, retry_s=0)

    return make


def fetched(client, start, end, region=13):
    client.fetch(region, start, end)
    return client.kept(region, start, end)


def asked(server):
    return [PATH.fullmatch(each.path).groups() for each in server.asked]


def test_every_half_hour_of_a_span_and_no_other(grid, client_of):
    start, end = MARCH + 9 * HALF_HOUR, MARCH + 31 * DAY + HALF_HOUR
    series = fetched(client_of(grid), start, end)
    assert list(series) == list(range(start, end, HALF_HOUR))
    assert series == {at: sandbox.forecast(13, at) for at in series}


def test_queries_are_13_days_at_most_and_the_grid_is_not_asked_twice(grid, client_of):
    fetched(client_of(grid), MARCH, MARCH + 31 * DAY)
    questions = asked(grid)
    for since, until, _, _ in questions:
        assert 0 < instant.parse(until[:-1] + ":00Z") - instant.parse(since[:-1] + ":00Z") <= LONGEST
    assert len(questions) == 3
    fetched(client_of(grid), MARCH + 3 * DAY, MARCH + 30 * DAY)  # another process of the party
    assert asked(grid) == questions


def test_a_fetch_that_was_broken_off_goes_on_where_it_stopped(grid, client_of, wire):
    answer = grid.routes["*"]
    grid.routes["*"] = lambda each: answer(each) if len(grid.asked) == 1 else wire.json({}, 403)
    with pytest.raises(BadAnswer):
        client_of(grid).fetch(13, MARCH, MARCH + 31 * DAY)
    grid.routes["*"] = answer
    assert len(fetched(client_of(grid), MARCH, MARCH + 31 * DAY)) == 31 * 48
    assert [each[0][:10] for each in asked(grid)] == ["2025-03-01", "2025-03-14", "2025-03-14", "2025-03-27"]


def test_a_day_that_is_not_over_is_fetched_again_an_hour_later(grid, client_of, held_clock):
    client, today = client_of(grid), held_clock.instant - held_clock.instant % DAY
    client.fetch(13, today - DAY, today + 2 * DAY)
    client.fetch(13, today - DAY, today + 2 * DAY)
    assert len(grid.asked) == 1
    held_clock.step(AGAIN_S)
    client.fetch(13, today - DAY, today + 2 * DAY)
    assert [each[0][:10] for each in asked(grid)[1:]] == [instant.text(today)[:10]]


@pytest.mark.parametrize(
    ("outcode", "region"),
    [("SW8", 13), ("BN3", 14)],  # the postcode route says 13 for BN3, and the name South East England
)
def test_the_region(grid, client_of, outcode, region):
    client = client_of(grid)
    before = client.has_looked_up(outcode)
    assert (client.region_of(outcode), before, client.has_looked_up(outcode)) == (region, False, True)


@pytest.mark.parametrize("outcode", ["", "W3", "GIR", "sw8", "../x"])  # W3: 400, no postcode match
def test_no_region(grid, client_of, held_clock, outcode):
    client = client_of(grid)
    assert [client.region_of(outcode), client.region_of(outcode)] == [None, None]
    assert [each[3] for each in asked(grid)] == ["W3"] * (outcode == "W3")
    held_clock.step(DAY)
    client.region_of(outcode)
    assert len(grid.asked) == 2 * (outcode == "W3"), "what the API does not know, it may know tomorrow"


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
    assert fetched(client_of(server), MARCH, MARCH + 2 * HALF_HOUR) == {MARCH: 2, MARCH + HALF_HOUR: 3}


def test_half_hours_without_a_forecast_are_gaps(serve, client_of, wire):
    server = serve()
    slots = region_answer(MARCH, [10, None, "nan", 13, -1, True])
    slots["data"] += [{"from": "soon", "intensity": {"forecast": 1}}, {"from": None}, 7]
    server.routes["*"] = wire.json({"data": slots})
    assert fetched(client_of(server), MARCH, MARCH + DAY) == {
        MARCH: 10,
        MARCH + 3 * HALF_HOUR: 13,
    }


def test_an_incomplete_day_is_asked_for_again(serve, client_of, wire, held_clock):
    server = serve()
    server.routes["*"] = wire.json({"data": region_answer(MARCH, [10])})
    client = client_of(server)
    for _ in range(2):
        assert fetched(client, MARCH, MARCH + HALF_HOUR) == {MARCH: 10}
        held_clock.step(AGAIN_S)
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [200, 500, 502])
def test_sporadic_faults_are_tried_again(serve, client_of, wire, status):
    server = serve()
    answers = iter([wire.json({}, status)] * 2)
    server.routes["*"] = lambda asked: next(answers, wire.json({"data": region_answer(MARCH, [10])}))
    assert fetched(client_of(server), MARCH, MARCH + HALF_HOUR) == {MARCH: 10}
    assert len(server.asked) == 3


@pytest.mark.parametrize(("status", "calls"), [(200, 4), (500, 4), (400, 1), (403, 1)])
def test_lasting_faults_are_said_and_the_api_is_left_alone(serve, client_of, wire, held_clock, status, calls):
    server = serve()
    server.routes["*"] = wire.json({}, status)
    client = client_of(server)
    for _ in range(2):
        with pytest.raises(BadAnswer):
            client.fetch(13, MARCH, MARCH + HALF_HOUR)
        assert len(server.asked) == calls
    held_clock.step(60)
    server.routes["*"] = wire.json({"data": region_answer(MARCH, [10])})
    assert fetched(client, MARCH, MARCH + HALF_HOUR) == {MARCH: 10}


@pytest.mark.parametrize("status", [429, 503])
def test_the_time_that_the_api_names_is_waited_for(serve, client_of, wire, held_clock, status):
    server = serve()
    server.routes["*"] = wire.json({}, status, Retry_After="600")
    client = client_of(server)
    for wait_s in (0, 599):
        held_clock.step(wait_s)
        with pytest.raises(BadAnswer) as said:
            client.fetch(13, MARCH, MARCH + HALF_HOUR)
        assert said.value.retry_after == 600 - wait_s
    assert len(server.asked) == 1
    held_clock.step(1)
    with pytest.raises(BadAnswer):
        client.fetch(13, MARCH, MARCH + HALF_HOUR)
    assert len(server.asked) == 2

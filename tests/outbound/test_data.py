"""The consumption API: ids in paths, windows, 202, and tokens that are no longer good."""

import time
from urllib.parse import unquote

import orjson
import pytest

from consent_server.outbound import data as client_data
from consent_server.outbound.data import WINDOW, ConsumptionData
from consent_server.outbound.errors import BadAnswer, NotReady, TokenRefused, Unreachable
from consent_server.scheme import instant

MARCH = instant.parse("2026-03-01T00:00:00Z")


@pytest.fixture
def api(serve):
    return serve(ask_client=True)


@pytest.fixture
def data(session, api):
    return ConsumptionData(session, api.url("/consumption/"))


def readings(data, source="a/b+c=", start=MARCH, end=MARCH + 86400):
    return list(data.readings("at-canary", source, "import", start, end))


BODY = {"data": [{"type": "electricity"}], "location": {"ukPostcodeOutcode": "SW8"}, "provenance": {"steps": []}}


def test_data_sources(data, api, wire):
    electric = {"id": "a/b+c=", "type": "electricity", "location": {"ukPostcodeOutcode": "SW8"}}
    gas = {"id": " x ", "type": "Gas", "availableMeasures": ["import"]}
    api.routes["/consumption/datasources"] = wire.json(
        {"data": [{**electric, "availableMeasures": ["import", "export"]}, gas]}
    )
    first, second = data.datasources("at-canary")
    assert (first.id, first.type, first.outcode, first.measures) == (
        "a/b+c=",
        "electricity",
        "SW8",
        ("import", "export"),
    )
    assert (second.id, second.type, second.outcode) == (" x ", "gas", None)
    assert api.asked[0].headers["authorization"] == "Bearer at-canary"
    assert api.asked[0].certificate is not None


@pytest.mark.parametrize("document", [[], {"data": "x"}, {"data": [{"id": ""}]}, {"data": [{"id": 7, "type": "gas"}]}])
def test_data_sources_that_cannot_be_read(data, api, wire, document):
    api.routes["/consumption/datasources"] = wire.json(document)
    with pytest.raises(BadAnswer):
        data.datasources("t")


def test_an_id_is_one_path_segment(data, api, wire):
    api.routes["*"] = wire.json(BODY)
    [window] = readings(data)
    assert api.asked[0].path == "/consumption/datasources/a%2Fb%2Bc%3D/import"
    assert unquote(api.asked[0].path).endswith("a/b+c=/import")
    assert api.asked[0].query == {"from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z"}
    assert (window.start, window.end, orjson.loads(window.body)) == (MARCH, MARCH + 86400, BODY)
    assert "steps" not in repr(window)


def test_long_spans_are_asked_in_windows_one_at_a_time(data, api, wire):
    api.routes["*"] = wire.json(BODY)
    end = MARCH + WINDOW + 7 * 86400
    windows = data.readings("t", "x", "import", MARCH, end)
    assert next(windows).end == MARCH + WINDOW
    assert len(api.asked) == 1
    [last] = windows
    assert (last.start, last.end) == (MARCH + WINDOW, end)
    assert list(data.readings("t", "x", "import", MARCH, MARCH)) == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5),
        ("0", 1),
        ("999999", 86400),
        ("Thu, 12 Mar 2026 09:31:30 GMT", 90),
        ("Thu, 12 Mar 2020 09:31:30 GMT", 1),
        ("soon", 60),
        ("-5", 60),
        ("٥", 60),
    ],
)
def test_data_that_are_not_ready(data, api, wire, held_clock, value, seconds):
    api.routes["*"] = wire.answer(202, b'{"message":"wait"}', {"Retry-After": value.encode().decode("latin-1")})
    with pytest.raises(NotReady) as refused:
        readings(data)
    assert refused.value.retry_after == seconds


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (401, "status 401", TokenRefused),
        (403, "status 403", BadAnswer),
        (404, "status 404", BadAnswer),
        (422, "status 422", BadAnswer),
        (500, "status 500", BadAnswer),
    ],
)
def test_refusals(data, api, wire, status, kind, error):
    api.routes["*"] = wire.json({"error": "canary"}, status)
    with pytest.raises(BadAnswer) as refused:
        readings(data)
    assert (type(refused.value), refused.value.kind, refused.value.status) == (error, kind, status)
    assert "canary" not in str(refused.value)


def test_a_year_of_one_meter_fits(data, api, wire):
    api.routes["*"] = wire.json({**BODY, "data": [{"takenAt": "x" * 300}] * 19_200})
    [window] = readings(data, end=MARCH + WINDOW)
    assert len(orjson.loads(window.body)["data"]) == 19_200


def test_one_collection_has_an_end_however_slowly_each_call_is_answered(data, api, wire, monkeypatch):
    """10,000 meters, 30 seconds each: whoever waits behind a hostile provider would wait for days."""
    api.routes["/consumption/datasources"] = wire.json({"data": []})
    began = time.monotonic()
    assert data.datasources("at-canary") == []
    monkeypatch.setattr(client_data, "monotonic", lambda: began + client_data.LONGEST_S + 60)
    with pytest.raises(Unreachable, match="time"):
        data.datasources("at-canary")

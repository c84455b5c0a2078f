"""The consumption data API, to the letter of consumption-data@2026-03-12."""

import logging
from collections.abc import Callable
from urllib.parse import quote

import pytest
from sqlalchemy import select, update

from consent_server import clock, store
from consent_server.metering.readings import Held
from consent_server.scheme import instant
from consent_server.scheme.packed import unpack
from consent_server.scheme.provenance.container import verify
from consent_server.scheme.provenance.duties import ExpectedTransfer, receipt_check
from consent_server.scheme.readings import day_block, parse
from consent_server.store import audit_events, readings, rows
from consent_server.store.tables.metering import DayBlock
from consent_server.store.tables.permissions import Permission, ReleasedData
from consent_server.tokens.data_sources import DataSources
from tests.resource.conftest import ResourceServer

IMPORT = "/datasources/acme.0/import"
FEBRUARY = "from=2026-02-01T00:00:00Z&to=2026-03-01T00:00:00Z"


def test_data_sources_are_listed_as_the_api_has_them(edp: ResourceServer) -> None:
    answer = edp.get("/datasources")
    assert answer.status_code == 200
    assert answer.json == {
        "data": [
            {
                "id": "acme.0",
                "type": "electricity",
                "location": {"ukPostcodeOutcode": "SW8"},
                "availableMeasures": ["import", "export"],
            },
            {
                "id": "acme.1",
                "type": "gas",
                "location": {"ukPostcodeOutcode": "SW8"},
                "availableMeasures": ["import"],
            },
        ]
    }
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.mimetype == "application/json"


def test_a_slash_at_the_end_changes_nothing(edp: ResourceServer) -> None:
    assert edp.get("/datasources/").json == edp.get("/datasources").json


def test_an_electricity_only_token_lists_no_gas_and_is_refused_it(edp: ResourceServer) -> None:
    assert [row["id"] for row in edp.get("/datasources", fuels=("electricity",)).json["data"]] == ["acme.0"]
    answer = edp.get(f"/datasources/acme.1/import?{FEBRUARY}", fuels=("electricity",))
    assert (answer.status_code, answer.json["error"]) == (403, "insufficient_scope")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert not edp.source.asked


def test_unknown_and_other_peoples_data_sources_get_the_same_404(edp: ResourceServer) -> None:
    bodies = []
    for datasource in ("another.0", "unknown", "acme.2", "acme.00", "acme.0.0", "a%2Fb%2B", "a/b"):
        answer = edp.get(f"/datasources/{datasource}/import?{FEBRUARY}")
        assert answer.status_code == 404
        body = dict(answer.json)
        assert body.pop("correlation_id")
        bodies.append(body)
    assert bodies == bodies[:1] * len(bodies)
    assert bodies[0]["error"] == "not_found"
    assert not edp.source.asked


def test_an_unknown_measure_is_404(edp: ResourceServer) -> None:
    for datasource, measure in (("acme.1", "export"), ("acme.0", "voltage")):
        answer = edp.get(f"/datasources/{datasource}/{measure}?{FEBRUARY}")
        assert (answer.status_code, answer.json["error"]) == (404, "not_found")
        assert "availableMeasures" in answer.json["error_description"]


def test_a_data_source_that_lost_its_meter_is_404(edp: ResourceServer) -> None:
    answer = edp.get(f"/datasources/gone.0/import?{FEBRUARY}", datasources=DataSources.of(["gone.0"]))
    assert answer.status_code == 404


@pytest.mark.parametrize(("datasource", "unit"), [("acme.0", "WHR"), ("acme.1", "MTQ")])
def test_readings_come_with_location_and_provenance(edp: ResourceServer, datasource: str, unit: str) -> None:
    answer = edp.get(f"/datasources/{quote(datasource, safe='')}/import?{FEBRUARY}")
    assert answer.status_code == 200
    assert answer.json.keys() == {"data", "location", "provenance"}
    assert answer.json["location"] == {"ukPostcodeOutcode": "SW8"}
    readings = parse(answer.json["data"])
    assert len(readings.start) == 28 * 48
    assert answer.json["data"][0]["energy"]["unitCode"] == unit
    assert all(taken > start + 1800 for start, taken in zip(readings.start, readings.taken_at, strict=True))
    assert int(answer.headers["Content-Length"]) == len(answer.data)


def test_the_provenance_stands_up_to_the_receivers_duties(edp: ResourceServer) -> None:
    answer = edp.get(f"{IMPORT}?{FEBRUARY}")
    layout = edp.layout
    steps = verify(answer.json["provenance"], layout.trust_framework, edp.deployment.signing_root)
    transfers = receipt_check(
        steps,
        ExpectedTransfer(
            recipients=(layout.member("cap"),),
            signer_member=layout.member("edp"),
            signer_application=layout.application("edp_service"),
            signer_role=layout.roles_of("edp_service")[0],
            scheme=layout.scheme,
            standard=layout.consumption_standard,
            license=layout.license("electricity_and_gas"),
            service=layout.data_service("edp"),
            path="/datasources/{id}/{measure}",
            parameters={"measure": "import", "from": "2026-02-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
            at=clock.now(),
        ),
    )
    assert len(transfers) == 1
    permission, origin, _ = steps
    assert permission["account"] == "account-1"
    assert permission["timestamp"] == instant.text(clock.now() - 60)
    assert origin["perseus:assurance"]["missingData"].endswith("/Complete")
    assert "acme.0" not in str(steps)


def test_missing_readings_are_said_to_be_missing_and_what_was_metered_is_stated(edp: ResourceServer) -> None:
    start, end = instant.parse("2026-02-02T00:00:00Z"), instant.parse("2026-02-03T00:00:00Z")
    block = day_block("electricity", start, [None, *[5] * 47], 0)
    with store.writing() as c:
        readings.put_days(c, readings.EDP, "m-1", "export", {start: block})
    answer = edp.get(f"/datasources/acme.0/export?{FEBRUARY}")
    origin = verify(answer.json["provenance"], edp.layout.trust_framework, edp.deployment.signing_root)[1]
    assert origin["perseus:assurance"]["missingData"].endswith("/Missing")
    assert origin["perseus:scheme"]["meteringPeriod"] == {"from": instant.text(start), "to": instant.text(end)}
    assert len(answer.json["data"]) == 47


def test_outside_the_readings_the_list_is_empty(edp: ResourceServer) -> None:
    answer = edp.get(f"{IMPORT}?from=2001-01-01T00:00:00Z&to=2001-02-01T00:00:00Z")
    assert (answer.status_code, answer.json["data"]) == (200, [])
    assert answer.json["provenance"]["origins"]


def test_readings_that_are_not_ready_are_202_while_the_list_is_200(edp: ResourceServer) -> None:
    edp.source.held = Held(retry_after=5)
    answer = edp.get(f"{IMPORT}?{FEBRUARY}")
    assert answer.status_code == 202
    assert answer.headers["Retry-After"] == "5"
    assert list(answer.json) == ["message"]
    assert edp.get("/datasources").status_code == 200


@pytest.mark.parametrize(
    ("query", "start", "end"),
    [
        ("from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"),
        ("from=2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-03-12T09:30:00Z"),
        ("from=2026-03-01T00:29:59Z&to=2026-03-01T01:45:00Z", "2026-03-01T00:00:00Z", "2026-03-01T01:30:00Z"),
        ("from=2026-03-29T00:30:00Z&to=2026-03-29T02:00:00Z", "2026-03-29T00:30:00Z", "2026-03-29T02:00:00Z"),
        ("from=2026-03-29T02:00:00%2B01:00&to=2026-03-29T02:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"),
        ("from=2026-03-01T00:00:00.5Z&to=2026-03-01T00:00:00.5Z", "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z"),
        ("from=2025-02-05T00:00:00Z&to=2026-03-12T00:00:00Z", "2025-02-05T00:00:00Z", "2026-03-12T00:00:00Z"),
        ("to=2026-03-02T00:00:00Z&other=1&from=2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"),
        ("from=2030-01-01T00:00:00Z&to=2030-01-02T00:00:00Z", "2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z"),
        ("from=2026-03-01&to=2026-03-29", "2026-03-01T00:00:00Z", "2026-03-29T00:00:00Z"),
    ],
    ids=[
        "whole days",
        "to is now",
        "edges snap back",
        "the clocks go forward and UTC does not care",
        "offset",
        "empty",
        "400 days",
        "other parameters",
        "the future",
        "dates alone",
    ],
)
def test_windows(edp: ResourceServer, query: str, start: str, end: str) -> None:
    answer = edp.get(f"{IMPORT}?{query}")
    assert answer.status_code == 200
    transfer = verify(answer.json["provenance"], edp.layout.trust_framework, edp.deployment.signing_root)[-1]
    assert transfer["parameters"] == {"measure": "import", "from": start, "to": end}
    asked = [(instant.text(each.start), instant.text(each.end), each.account) for each in edp.source.asked]
    assert asked == ([(start, end, "account-1")] if start < end else [])
    assert {each.expires for each in edp.source.asked} <= {clock.now() + 365 * 86400}


@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ("", [("from", "missing")]),
        ("to=2026-03-01T00:00:00Z", [("from", "missing")]),
        ("from=", [("from", "date-time")]),
        ("from=2026-3-1", [("from", "date-time")]),
        ("from=20260301", [("from", "date-time")]),
        ("from=2026-03-01T00:00:00", [("from", "date-time")]),
        ("from=2026-03-01T00:00:00+01:00", [("from", "date-time")]),
        ("from=2026-02-31T00:00:00Z", [("from", "date-time")]),
        ("from=1773307800000", [("from", "date-time")]),
        ("from=9999", [("from", "date-time")]),
        ("from=9999-12-31T23:59:59Z", [("from", "reversed")]),
        ("from=2026-02-01T00:00:00Z&to=9999-12-31T23:59:59Z", [("from", "too_long")]),
        ("from=1926-01-01T00:00:00Z", [("from", "too_long")]),
        ("from=2025-02-05T00:00:00Z&to=2026-03-12T00:30:00Z", [("from", "too_long")]),
        ("from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", [("to", "reversed")]),
        ("from=2026-03-01T00:00:00Z&from=2026-03-02T00:00:00Z", [("from", "doubled")]),
        ("from=x&to=y", [("from", "date-time"), ("to", "date-time")]),
        ("from=%FF%FE&to=%00", [("from", "date-time"), ("to", "date-time")]),
        ("from=2026-03-01T00:00:00Z&to=1e999", [("to", "date-time")]),
    ],
)
def test_bad_windows_are_422_with_the_details_of_the_api(
    edp: ResourceServer, query: str, faults: list[tuple[str, str]]
) -> None:
    answer = edp.get(f"{IMPORT}?{query}")
    assert answer.status_code == 422
    assert [(fault["loc"], fault["type"]) for fault in answer.json["detail"]] == [
        (["query", name], kind) for name, kind in faults
    ]
    assert all(fault["msg"] for fault in answer.json["detail"])
    assert answer.json.keys() == {"error", "error_description", "error_uri", "correlation_id", "detail"}
    assert not edp.source.asked


def test_token_faults_come_before_window_faults(edp: ResourceServer) -> None:
    assert edp.call(IMPORT).status_code == 401
    edp.withdraw()
    answer = edp.get(IMPORT)
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_token")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_each_release_is_audited_without_the_meter(edp: ResourceServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "consent_server.audit"):
        edp.get(f"{IMPORT}?{FEBRUARY}")
    (line,) = [record.message for record in caplog.records if '"data_released"' in record.message]
    assert '"readings":1344' in line
    assert '"permission":"account-1"' in line
    with edp.app.app_context(), store.reading() as c:
        (permission,) = rows.every(c, Permission, rows.table_of(Permission).select())
        assert [each.event for each in audit_events.newest(c, subject=permission.id)] == ["data_released"]


def test_what_was_given_out_is_noted_for_whoever_permitted_it(edp: ResourceServer) -> None:
    edp.get(f"{IMPORT}?{FEBRUARY}")
    with edp.app.app_context(), store.reading() as c:
        (noted,) = rows.every(c, ReleasedData, rows.table_of(ReleasedData).select())
    assert (instant.text(noted.first), instant.text(noted.last)) == ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")


def test_only_get_is_there(edp: ResourceServer) -> None:
    assert edp.call("/datasources", method="POST").status_code == 405


@pytest.mark.parametrize("valid", ["not_before", "not_after"])
def test_nothing_leaves_with_provenance_that_no_receiver_would_take(
    edp: ResourceServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, valid: str
) -> None:
    caplog.set_level(logging.INFO, "consent_server.audit")
    at = clock.now()
    monkeypatch.setattr(edp.deployment.signer, valid, at - 1 if valid == "not_after" else at + 1)
    answer = edp.get(f"{IMPORT}?{FEBRUARY}")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3600")
    assert answer.json["error_uri"].endswith("/errors/signing_certificate_not_valid")
    assert "data_released" not in caplog.text
    assert "renew keys.signing_certificate" in caplog.text
    assert edp.get("/datasources").status_code == 200  # nothing is signed there


@pytest.mark.parametrize("accepted", [None, "zstd", "gzip"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda block: block[:-9],
        lambda block: block[:40] + bytes([block[40] ^ 1]) + block[41:],
        lambda block: b"\0" + block[1:],
        lambda block: unpack(block, 0)[:-9],
    ],
    ids=["cut short", "another bit", "no block", "not packed, cut short"],
)
def test_a_damaged_day_is_refused_before_anything_is_released(
    edp: ResourceServer,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
    accepted: str | None,
) -> None:
    day = instant.parse("2026-02-12T00:00:00Z")
    blocks = rows.table_of(DayBlock)
    this = (blocks.c.meter == "m-1", blocks.c.measure == "import", blocks.c.day == day)
    with store.writing() as c:
        body = c.execute(select(blocks.c.body).where(*this)).scalar_one()
        c.execute(update(blocks).where(*this).values(body=damage(bytes(body)), marks="n" * 48))
    caplog.set_level(logging.INFO)
    headers = {"Authorization": f"Bearer {edp.token()}"} | ({"Accept-Encoding": accepted} if accepted else {})
    answer = edp.call(f"{IMPORT}?{FEBRUARY}", headers)
    assert (answer.status_code, answer.json["error"], answer.headers["Retry-After"]) == (
        503,
        "temporarily_unavailable",
        "60",
    )
    assert "m-1" not in answer.text
    assert "data_released" not in caplog.text
    assert "readings: acme.0, import: the day block of 2026-02-12 is damaged" in caplog.text

"""What every data service of the scheme has: a heartbeat, and bodies that are compressed for who asks."""

import zlib

import orjson
import pytest

from consent_server.metering.readings import Held
from consent_server.resource.encoding import zstd  # type: ignore[attr-defined]  # by the version of Python
from consent_server.scheme import instant
from consent_server.store.database import db
from tests.deployments import START
from tests.resource.conftest import ResourceServer

IMPORT = "/datasources/acme.0/import?from=2026-02-01&to=2026-03-01"
READ = {"zstd": zstd.decompress, "gzip": lambda body: zlib.decompress(body, wbits=31), None: bytes}


@pytest.fixture(params=["edp", "cap"])
def service(request: pytest.FixtureRequest) -> ResourceServer:
    server: ResourceServer = request.getfixturevalue(request.param)
    return server


def test_the_heartbeat_is_for_any_good_member_and_needs_no_token(service: ResourceServer) -> None:
    answer = service.call("/heartbeat")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "timestamp": instant.text(START)})
    assert service.call("/heartbeat", method="POST").status_code == 405


def test_the_heartbeat_asks_nothing_of_the_store(service: ResourceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db.engine, "connect", lambda: pytest.fail("the store was asked"))
    assert service.call("/heartbeat").status_code == 200


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("zstd;q=0, gzip;q=0.1", "gzip"),
        ("gzip;q=0", None),
        ("*", "gzip"),
        ("zstd", "zstd"),
        ("gzip;q=0.1, zstd", "zstd"),
        ("gzip; q=x", None),
    ],
)
def test_a_body_comes_in_the_coding_that_is_asked_for(edp: ResourceServer, accepted: str, coding: str | None) -> None:
    bearer = {"Authorization": f"Bearer {edp.token()}"}
    answer = edp.call(IMPORT, bearer | ({"Accept-Encoding": accepted} if accepted else {}))
    assert answer.status_code == 200
    assert answer.headers.get("Content-Encoding") == coding
    assert "Accept-Encoding" in answer.vary
    body = READ[coding](answer.data)
    assert len(orjson.loads(body)["data"]) == 28 * 48
    assert coding is None or len(answer.data) < len(body) / 5
    assert int(answer.headers["Content-Length"]) == len(answer.data)


def test_small_bodies_stay_as_they_are(edp: ResourceServer) -> None:
    edp.source.held = Held(retry_after=5)
    answer = edp.call(IMPORT, {"Authorization": f"Bearer {edp.token()}", "Accept-Encoding": "gzip"})
    assert (answer.status_code, answer.headers.get("Content-Encoding")) == (202, None)
    assert list(answer.json) == ["message"]

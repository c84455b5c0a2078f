"""Which business numbers belong to; and one answer for everything that is wrong."""

from typing import Any

import pytest
import sqlalchemy as sa

from consent_server import store
from consent_server.metering.register import Identified, identify, register
from consent_server.settings import BadSettings
from consent_server.store.database import db


def ids(found: Identified | None) -> list[str]:
    return [meter["id"] for meter in found.meters] if found else []


@pytest.mark.parametrize(
    ("postcode", "mpan", "mprn", "meters"),
    [
        ("SW8 1AA", "1200000000001", None, ["acme-e"]),
        ("SW8 1AA", None, "3938424403", ["acme-g"]),
        ("SW8 1AA", "1200000000001", "3938424403", ["acme-e", "acme-g"]),
        ("N1 9GU", "1200000000003", None, ["chain-e1", "chain-e2"]),
        ("M1 1AE", "1600000000004", "1234567810", ["chain-e1", "chain-e2", "chain-g2"]),
        ("SW8 1AA", "1200000000009", None, []),
        ("SW8 1AB", "1200000000001", None, []),
        ("SW8 1AA", "1200000000001", "1234567810", []),
        ("SW8 1AA", "1200000000002", "3938424403", []),
        ("SW8 1AA", "3938424403", None, []),
        ("SW8 1AA", None, None, []),
        ("", "1200000000001", None, []),
    ],
    ids=[
        "electricity",
        "gas",
        "both",
        "several sites by one of them",
        "several sites, both fuels",
        "unknown number",
        "another postcode",
        "gas number of another postcode",
        "two businesses at one postcode",
        "gas number as MPAN",
        "no number",
        "no postcode",
    ],
)
def test_identify(edp: Any, postcode: str, mpan: str | None, mprn: str | None, meters: list[str]) -> None:
    assert ids(identify(postcode, mpan, mprn)) == meters


def test_what_the_evidence_will_say(edp: Any) -> None:
    found = identify("SW8 1AA", "1200000000001", None)
    assert found is not None
    assert (found.sme, found.business) == ("acme", "Acme")
    assert (found.method, found.strength) == ("postcode and meter number", "knowledge, not authority")
    (meter,) = found.meters
    assert meter.keys() == {"id", "fuel", "measures", "outcode", "masked"}
    assert meter["masked"].endswith("0001")
    assert "1200000000001" not in repr(found)


def test_unknown_and_mismatched_cost_the_same_look_ups(edp: Any) -> None:
    counts = []
    for postcode, mpan in (("SW8 1AA", "1200000000009"), ("XX1 1XX", "1200000000001"), ("SW8 1AA", "1200000000002")):
        asked: list[str] = []

        def note(_c: object, _cursor: object, statement: str, *_: object, asked: list[str] = asked) -> None:
            asked.append(statement)

        sa.event.listen(db.engine, "before_cursor_execute", note)
        assert identify(postcode, mpan, "3938424403") is None
        sa.event.remove(db.engine, "before_cursor_execute", note)
        counts.append(asked)
    assert counts == counts[:1] * 3
    assert sum("FROM meter" in statement for statement in counts[0]) == 3


def customers(postcode: str, mpan: str | None, mprn: str | None) -> Identified | None:
    """A plug-in as an EDP would write it."""
    return Identified("sme", "Business", [], "customer log-in", "authority")


def test_a_plug_in_takes_the_tables_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "customers", customers, raising=False)
    found = register("consent_server.store:customers")("SW8 1AA", None, None)
    assert found == customers("SW8 1AA", None, None)
    assert register("table") is identify


@pytest.mark.parametrize(
    "name", ["tabel", "no.such.module:f", "consent_server.store:nothing", "consent_server.store:__all__"]
)
def test_a_plug_in_that_cannot_be_loaded_stops_the_start(name: str) -> None:
    with pytest.raises(BadSettings, match=r"metering\.register_source"):
        register(name)

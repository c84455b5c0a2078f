"""An EDP's database with a few businesses in its register; one meter has passed from hand to hand."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from consent_server import store
from consent_server.sandbox.authority import Authority
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.settings.metering import MeteringSettings
from consent_server.store import meters
from consent_server.store.schema import migrate
from consent_server.store.tables.metering import Meter
from tests.database import new_database
from tests.metering import foreign
from tests.outbound.conftest import WireServer, authority, serve, wire

__all__ = ["authority", "serve", "wire"]  # fixtures of a real TLS server

NOW = instant.parse("2026-03-12T09:30:00Z")
#: When the café moved out and the florist moved in, a day later; the new hands begin at no whole half-hour.
MOVED_OUT, MOVED_IN = NOW - 30 * DAY, NOW - 29 * DAY + 60

METERS: list[dict[str, Any]] = [
    {"id": "acme-e", "sme": "acme", "fuel": "electricity", "number": "1200000000001", "postcode": "SW8 1AA"}
    | {"customer": "C-acme"},
    {"id": "acme-g", "sme": "acme", "fuel": "gas", "number": "3938424403", "postcode": "SW8 1AA"}
    | {"customer": "C-acme"},
    {"id": "bakery-e", "sme": "bakery", "fuel": "electricity", "number": "1200000000002", "postcode": "SW8 1AA"}
    | {"customer": "C-two"},
    {"id": "chain-e1", "sme": "chain", "fuel": "electricity", "number": "1200000000003", "postcode": "N1 9GU"}
    | {"customer": "C-two"},
    {"id": "chain-e2", "sme": "chain", "fuel": "electricity", "number": "1600000000004", "postcode": "M1 1AE"}
    | {"customer": "C-two"},
    {"id": "chain-g2", "sme": "chain", "fuel": "gas", "number": "1234567810", "postcode": "M1 1AE"},
    {"id": "moved", "sme": "cafe", "fuel": "electricity", "number": "1200000000005", "postcode": "SW8 1AA"}
    | {"since": MOVED_OUT - 300 * DAY, "until": MOVED_OUT, "customer": "C-cafe"},
    {"id": "moved", "sme": "florist", "fuel": "electricity", "number": "1200000000005", "postcode": "SW8 1AA"}
    | {"since": MOVED_IN, "customer": "C-florist"},
]


@pytest.fixture
def edp(database_url: str) -> Iterator[Flask]:
    with new_database(database_url, migrate) as app:
        with store.writing() as c:
            for meter in METERS:
                outcode = meter["postcode"].split()[0]
                row = Meter(business=meter["sme"].title(), outcode=outcode, measures=["import"], **meter)
                meters.add(c, row)
        yield app


def next_half_hour(at: int) -> int:
    return -(-at // HALF_HOUR) * HALF_HOUR


@pytest.fixture
def warehouse(postgresql_server: str) -> str:
    """The URL of an empty schema on PostgreSQL, as `database_url` has it."""
    schema = f"warehouse_{secrets.token_hex(4)}"
    engine = sa.create_engine(postgresql_server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {schema}"))
    engine.dispose()
    return f"{postgresql_server}{'&' if '?' in postgresql_server else '?'}options=-csearch_path%3D{schema}"


@dataclass
class OwnService:
    """An EDP's service on a real TLS server, and the settings that lead to it."""

    server: WireServer
    settings: MeteringSettings


@pytest.fixture
def own_service(serve: Any, authority: Authority, wire: Any, tmp_path: Path) -> OwnService:
    """It requires our certificate and our token."""
    server = serve(ask_client=True)
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text("a-secret\n", encoding="ascii")
    ours = authority.directory / "client" / "ours"
    values = foreign.documented("[metering.http]")
    values["http"] = {
        "url": f"https://localhost:{server.port}/v1",
        "roots": authority.server_root,
        "certificate": next(ours.glob("chain*.pem")),
        "key": next(ours.glob("*key*.pem")),
        "token": tmp_path / "token",
        "longest_s": 20,
    }
    server.routes["*"] = foreign.served(wire)
    return OwnService(server, MeteringSettings(**values, vouches_for_sites=True))

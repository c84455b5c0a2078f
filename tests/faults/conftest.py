"""An EDP's issuer on both databases, as its own tests have it, and two nodes of it for races."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from tests.collect.conftest import SETTINGS, Cap
from tests.deployments import deploy, in_new_database, opened, settings_of
from tests.faults.portal import Portal
from tests.faults.racing import pauses
from tests.issuer.conftest import Issuer, certificates, changed, issuer

__all__ = ["certificates", "changed", "issuer"]


@pytest.fixture
def nodes(issuer: Issuer, changed: Any) -> Iterator[list[Issuer]]:
    """Two machines on one database, whose statements are made after small pauses."""
    with pauses():
        yield [issuer, changed()]


@pytest.fixture
def another_url(database_url: str) -> str:
    """A second empty database beside the first, for another party."""
    if database_url.startswith("sqlite"):
        return database_url.replace("store.db", "another.db")
    engine = sa.create_engine(database_url)
    with engine.begin() as c:
        schema = c.execute(sa.text("SHOW search_path")).scalar_one()
        c.execute(sa.text(f"CREATE SCHEMA {schema}_another"))
    engine.dispose()
    return database_url.replace(schema, f"{schema}_another")


@pytest.fixture
def portal(another_url: str, held_clock: Any) -> Iterator[Portal]:
    """A CAP beside the EDP."""
    deployment = deploy(settings_of("cap", another_url, SETTINGS))
    with in_new_database(opened(deployment, "mutual_tls")):
        yield Portal(Cap(deployment, held_clock))

"""A migrated database for tests of the store, and a party's public door on it."""

from collections.abc import Iterator

import pytest
from flask import Flask

from consent_server.store.schema import migrate
from tests.database import new_database


@pytest.fixture
def app(database_url: str) -> Iterator[Flask]:
    with new_database(database_url, migrate) as app:
        yield app

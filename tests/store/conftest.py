"""A migrated database for tests of the store, and a party's public door on it."""

from collections.abc import Iterator

import pytest
from flask import Flask

from consent_server import store
from consent_server.store.database import db
from consent_server.store.schema import migrate
from tests.database import make_tables


@pytest.fixture
def app(database_url: str) -> Iterator[Flask]:
    app = Flask("store-test")
    store.init(app, database_url)
    with app.app_context():
        make_tables(migrate)
        yield app
        db.engine.dispose()

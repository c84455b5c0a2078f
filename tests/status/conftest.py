"""A party's public door, on a database of the test's own."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from tests.conftest import HeldClock
from tests.deployments import deploy, in_new_database, opened, settings_of


@pytest.fixture
def app(database_url: str, held_clock: HeldClock) -> Iterator[Flask]:
    with in_new_database(opened(deploy(settings_of("edp", database_url)), "public")) as made:
        yield made


@pytest.fixture
def browser(app: Flask) -> Any:
    return app.test_client()

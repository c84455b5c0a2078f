"""Where tests of the loop that runs jobs have their runs recorded."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from consent_server import store
from tests.deployments import in_new_database


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """An application whose database the runs of jobs are recorded in."""
    app = Flask("jobs-test")
    store.init(app, f"sqlite:///{tmp_path / 'jobs.db'}")
    with in_new_database(app):
        yield app

"""Where tests of the loop that runs jobs have their runs recorded."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.database import new_database


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """An application whose database the runs of jobs are recorded in."""
    with new_database(f"sqlite:///{tmp_path / 'jobs.db'}") as app:
        yield app

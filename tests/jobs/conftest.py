"""A job for tests of the loop that runs jobs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from consent_server import store
from consent_server.jobs.job import Job
from tests.deployments import in_new_database


class PlayedJob(Job):
    """A job whose work is a function of the test."""

    def __init__(self, name: str, every_s: int, work: Callable[[], object]) -> None:
        super().__init__(every_s)
        self.name = name
        self.work = work

    def run(self) -> int:
        self.work()
        return 0


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """An application whose database the runs of jobs are recorded in."""
    app = Flask("jobs-test")
    store.init(app, f"sqlite:///{tmp_path / 'jobs.db'}")
    with in_new_database(app):
        yield app

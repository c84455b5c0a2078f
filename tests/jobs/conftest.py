"""A job for tests of the loop that runs jobs."""

from collections.abc import Callable

from consent_server.jobs.job import Job


class PlayedJob(Job):
    """A job whose work is a function of the test."""

    def __init__(self, name: str, every_s: int, work: Callable[[], object]) -> None:
        super().__init__(every_s)
        self.name = name
        self.work = work

    def run(self) -> object:
        return self.work()

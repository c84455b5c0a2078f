"""A worker of a door dies or hangs under load: whoever it had in hand loses a connection, and nobody sees an error of ours."""

import os
import signal
from pathlib import Path

import pytest

from tests.serving.test_restart import Load, until_booted

CLIENTS = 4


def workers(door):
    return {int(pid) for pid in Path(f"/proc/{door.process.pid}/task/{door.process.pid}/children").read_text().split()}


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP], ids=["memory", "crash", "hang"])
def test_G03_a_worker_that_dies_or_hangs_is_replaced_and_the_others_go_on(open_door, certificates, monkeypatch, end):
    # What runs out of memory is killed by the kernel with SIGKILL; what hangs is killed after gunicorn's time-out.
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--timeout 5")
    door = open_door("public", overrides={"public.workers": 3})
    until_booted(door, 3)
    with Load(certificates, door.port, clients=CLIENTS) as load:
        load.more(20)
        before = workers(door)
        victim = min(before)
        os.kill(victim, end)
        load.more(20)
        until_booted(door, 4)
        load.more(20)
    assert len(load.failed) <= CLIENTS, "the requests that it had in hand, and no more"
    assert all(isinstance(each, str) for each in load.failed), "a connection that broke, and no status"
    assert victim not in workers(door)
    assert len(workers(door)) == 3


def test_G03_a_door_that_is_stopped_while_its_workers_start_does_not_wait_for_them(open_door, monkeypatch):
    """A signal that a starting worker loses would leave it serving until the time to stop is over, and then kill it."""
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--graceful-timeout 120")
    door = open_door("public", overrides={"public.workers": 4})
    until_booted(door, 4)
    door.process.send_signal(signal.SIGTERM)
    door.process.wait(60)

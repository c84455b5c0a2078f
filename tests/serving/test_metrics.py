"""What the workers of a door count together: over the death of a worker, a SIGHUP and the end of the door."""

import contextlib
import os
import re
import signal
import socket
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

from consent_server.metrics.counts import Counts
from consent_server.serving import worker_counts
from consent_server.serving.exporter import SumOfWorkers
from consent_server.web.tally import ResponseTimes
from tests.conftest import free_ports
from tests.waiting import until

REQUEST = b"GET /small HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
COUNTED = re.compile(r'^consent_requests_total\{client="-",door="(\w+)",endpoint="-",outcome="2xx"\} (\d+)\.0$', re.M)


def scraped(port, path="/metrics"):
    """Return the status and the text of a scrape, once the exporter listens."""
    for _ in range(1200):
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except ConnectionRefusedError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise AssertionError("nothing listens")


def ask(door, times):
    for _ in range(times):
        with door.connect() as connection:
            connection.sendall(REQUEST)
            while connection.recv(4096):
                pass


def counted_of(port, count):
    """What is counted of requests, once that is so many: a worker writes its counts each second."""
    for _ in range(1200):
        found = COUNTED.findall(scraped(port)[1])
        if found == [("public", str(count))]:
            break
        time.sleep(0.05)
    return found


def folder_of(door):
    """Where the workers of a door count: its master holds the lock in there."""
    with contextlib.suppress(FileNotFoundError):  # a descriptor that was closed meanwhile
        opened = [Path(os.readlink(each)) for each in Path(f"/proc/{door.process.pid}/fd").iterdir()]
        return next(
            (each.parent for each in opened if each.match(f"{worker_counts.IN_MEMORY}/consent-server-metrics-*/lock")),
            None,
        )


def workers(door):
    return [
        int(re.search(r"pid: (\d+)", line["message"])[1]) for line in door.lines("log") if "Booting" in line["message"]
    ]


@pytest.mark.skipif(worker_counts.IN_MEMORY is None, reason="no /dev/shm")
def test_counts_outlive_workers_and_files_do_not_pile_up(open_door):
    port = free_ports(3)
    door = open_door("public", overrides={"metrics.bind": f"127.0.0.1:{port}", "public.workers": "2"})
    folder = until(lambda: folder_of(door), "no folder of its counts")
    ask(door, 4)
    assert counted_of(port, 4) == [("public", "4")]
    for number in (1, 2):
        os.kill(workers(door)[-1], signal.SIGKILL)
        until(lambda: len(workers(door)) == 2 + number, "no worker takes its place")  # noqa: B023 - asked at once
    ask(door, 4)
    assert counted_of(port, 8) == [("public", "8")]
    files = {f"{kind}_{number}.db" for kind in ("counter", "histogram") for number in (0, 1)}
    assert {each.name for each in folder.iterdir()} <= {"lock", *files}
    assert scraped(port, "/")[0] == scraped(port, "/metrics?x")[0] == 404
    door.stop()
    until(lambda: not folder.exists(), "its folder stays")
    with pytest.raises(ConnectionRefusedError):  # noqa: PT012 - the exporter ends by itself, after it has removed the folder
        for _ in range(1200):
            socket.create_connection(("127.0.0.1", port)).close()
            time.sleep(0.05)


def test_the_exporter_adds_up_what_workers_have_counted(tmp_path, monkeypatch):
    """As prometheus_client's own collector does: workers that counted the same, and something that the others have not."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for worker, rules in enumerate((("/par", "/token"), ("/token", "/health"), ("/token",))):
        monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue(lambda worker=worker: worker))
        times = ResponseTimes()
        times.counts[worker], times.counts[-1], times.seconds = 3, worker, 0.5
        counts = Counts(registry=None)
        counts.requests("mutual_tls", {(0, "GET", rule, 'a "client"', 2): times for rule in rules})
        counts.events([{"event": "refused", "refusal": "token_expired"}])
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    ours.register(SumOfWorkers(tmp_path))
    MultiProcessCollector(theirs, tmp_path)
    text = generate_latest(ours).decode()
    assert sorted(text.splitlines()) == sorted(generate_latest(theirs).decode().splitlines())
    assert 'consent_request_seconds_count{door="mutual_tls",endpoint="/token"} 12.0' in text


def test_what_killed_doors_have_left_is_removed_and_nothing_in_use(tmp_path):
    in_use = worker_counts.WorkerCounts("public", ("127.0.0.1", 0), tmp_path)
    left = worker_counts.WorkerCounts("public", ("127.0.0.1", 0), tmp_path)
    left._lock.close()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lock").touch()
    (tmp_path / "consent-server-metrics-link").symlink_to(elsewhere)
    (tmp_path / "consent-server-metrics-other").mkdir()
    worker_counts.WorkerCounts("public", ("127.0.0.1", 0), tmp_path)
    assert not left.folder.exists()
    assert in_use.folder.exists()
    assert elsewhere.exists()
    assert (tmp_path / "consent-server-metrics-other").exists()

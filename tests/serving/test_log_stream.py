"""Lines whose reader is slow, stalls or has gone: what writes them goes on."""

import json
import os
import socket
import subprocess
import sys

import pytest

from consent_server.serving.log_stream import MOST_BYTES, LogStream
from tests.serving.test_doors import get

LINE = "x" * 99  # with its end a hundred bytes


def pipe():
    read, write = os.pipe()
    return os.fdopen(read, "rb"), write


def unix_socket():
    """As systemd connects a unit to its journal."""
    ours, theirs = socket.socketpair()
    return theirs.makefile("rb"), ours.detach()


@pytest.mark.parametrize("connected", [pipe, unix_socket])
def test_lines_wait_for_a_reader_up_to_a_limit_and_then_are_dropped_with_their_number(connected):
    reader, writer = connected()
    stream = LogStream(writer)
    count = 2 * MOST_BYTES // 100
    for number in range(count):
        stream.line(f"{number:099d}")
    assert stream._bytes <= MOST_BYTES
    assert os.get_blocking(writer), "others share it"
    read = [reader.readline() for _ in range(count - stream._dropped + 1)]
    *lines, said = read
    assert [int(line) for line in lines] == list(range(len(lines)))
    assert len(lines) > MOST_BYTES // 100
    assert json.loads(said)["lines"] == count - len(lines)
    stream.line("again")
    assert reader.readline() == b"again\n"


def test_a_reader_that_never_catches_up_is_told_what_was_dropped_where_it_was():
    reader, writer = pipe()
    stream = LogStream(writer)
    for _ in range(2 * MOST_BYTES // 100):
        stream.line(LINE)
    dropped = stream._dropped
    while stream._bytes > MOST_BYTES * 3 // 4:
        reader.readline()
    stream.line(LINE)
    assert stream._dropped == dropped + 1, "until half of what waits is taken"
    while stream._bytes > MOST_BYTES // 4:
        reader.readline()
    stream.line("again")
    assert stream._bytes > 0, "it has not caught up"
    while (line := reader.readline()) == LINE.encode() + b"\n":
        pass
    assert json.loads(line)["lines"] == dropped + 1
    assert reader.readline() == b"again\n"


def test_a_line_longer_than_a_pipe_arrives_whole():
    reader, writer = pipe()
    stream = LogStream(writer)
    stream.line("y" * 200_000)
    stream.line(LINE)
    assert [len(reader.readline()) for _ in range(2)] == [200_001, 100]


def test_a_line_that_nobody_reads_any_more_stops_nothing():
    reader, writer = pipe()
    stream = LogStream(writer)
    stream.line(LINE)
    reader.close()
    for _ in range(3):
        stream.line(LINE)
    assert not stream._waiting


def test_a_file_is_written_on_from_where_others_are(tmp_path):
    with (tmp_path / "log").open("wb", buffering=0) as file:
        file.write(b"before\n")
        LogStream(file.fileno()).line("a line")
        file.write(b"after\n")
    assert (tmp_path / "log").read_text() == "before\na line\nafter\n"


def test_what_waits_is_written_once_though_the_process_forks_and_ends():
    """By the process that was given it, in its last second."""
    script = """
import os
from consent_server.serving import log_stream
log_stream.LAST_MS = 60_000
for number in range(2000):
    log_stream.of(1).line(f"{number:099d}")
if os.fork() == 0:
    log_stream.of(1).line("of the child")
    os.write(2, b"full\\n")
else:
    os.wait()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == b"full\n"
        read = process.stdout.read().splitlines()
    assert sorted(read) == sorted([*(b"%099d" % number for number in range(2000)), b"of the child"])


def test_lines_of_a_thread_beside_the_greenlets_of_a_worker_are_written_too():
    """What waits is written although that thread, where a driver waits in C, runs no greenlet."""
    script = """
from gevent import monkey
monkey.patch_all()
import os, signal
from gevent.threadpool import ThreadPoolExecutor
from consent_server.serving.log_stream import LogStream

def write():
    for _ in range(1000):
        stream.line("x" * 99)

signal.alarm(60)
reader, writer = os.pipe()
stream = LogStream(writer)
ThreadPoolExecutor(1).submit(write).result()
read = 0
while read < 100_000:
    read += len(os.read(reader, 1 << 16))
print(read, flush=True)
os._exit(0)
"""
    assert subprocess.check_output([sys.executable, "-c", script]) == b"100000\n"


def test_G05_a_door_whose_log_nobody_reads_serves_on(open_door):
    reader, writer = pipe()
    door = open_door("public", output=writer)
    os.close(writer)
    assert next(line for line in reader if b"Booting" in line)
    with door.connect() as connection:
        assert {get(connection)[0] for _ in range(600)} == {200}
    requests = 0
    while requests < 600:
        requests += json.loads(reader.readline())["event"] == "request"
    door.process.terminate()
    assert b'"event":"request"' not in reader.read()

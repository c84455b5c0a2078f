"""The lines that a process writes, and what it leaves behind besides."""

import datetime
import json
import os
import re
import socket
import subprocess
import sys

import pytest

from consent_server import audit


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        'a "quote" and a \\',
        "\x1b[31m\r\n\t\0\x7f",
        "\x9b31m",  # the same to a terminal, in one character
        "café\u2028\u202e",
        "\ud800",
        2**70,
        datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC),
        {1: [None, True, 0.5]},
        {"a"},
    ],
)
def test_S21_a_log_line_is_printable_ASCII_whatever_it_says(value):
    text = audit.as_json({"value": value})
    assert text == json.dumps({"value": value}, separators=(",", ":"), default=str)
    assert text.isascii()
    assert text.isprintable()


def test_F06_no_process_leaves_a_core_file(public_door):
    shown = "from consent_server.serving import lines; lines.install('work'); print(open('/proc/self/limits').read())"
    work = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True).stdout
    with open(f"/proc/{public_door.process.pid}/limits", encoding="utf-8") as door:
        for limits in (work, door.read()):
            assert re.search(r"Max core file size +[01] +[01] ", limits)


WRITTEN = """
import logging
from consent_server.serving import lines
lines.install("work")
log = logging.getLogger("consent_server.example")
log.info("a")
log.warning("b")
log.error("c")
"""


@pytest.mark.parametrize(("journal", "levels"), [(True, ["", "<4>", "<3>"]), (False, ["", "", ""])])
def test_the_journal_learns_the_level_of_a_line(journal, levels):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        place = os.fstat((theirs if journal else ours).fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{place.st_dev}:{place.st_ino}"}
        subprocess.run([sys.executable, "-c", WRITTEN], env=environment, stderr=theirs.fileno(), check=True)
        written = ours.recv(65536).decode().splitlines()
    assert [line.partition("{")[0] for line in written] == levels
    assert [json.loads(line[line.index("{") :])["message"] for line in written] == ["a", "b", "c"]

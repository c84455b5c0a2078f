"""Work in a separate process, with limits on time and memory and without access to our secrets.

Such a module is run as `python -m`: it reads one JSON object from its input and writes its result as another. Meanwhile it may
ask the process that started it for what it cannot have itself, such as a signature.
"""

import os
import resource
import subprocess
import sys
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

import orjson

#: Of processor time; on a busy machine it may last three times as long.
SECONDS: Final = 20
MEMORY: Final = 1024 * 1024 * 1024
#: Bytes of what a process may say at once: a report, and the text around it.
_LONGEST_LINE: Final = 64 * 1024 * 1024

_NOTHING: Final[Mapping[str, Callable[[bytes], bytes]]] = MappingProxyType({})

Ask = Callable[[str, bytes], bytes]


class OutOfBounds(Exception):
    """The work took more time or memory than it may, or failed in a way that it has no word for."""


def run(module: str, question: Mapping[str, Any], given: Mapping[str, Callable[[bytes], bytes]] = _NOTHING) -> Any:
    """Return what a module makes of a question. `given` are the functions that it may ask for, by name. Raise OutOfBounds."""
    child = subprocess.Popen(  # noqa: S603  # a module of ours, which its caller names
        # -P: the stranger's files may lie in the working directory, and none of them is a module of ours.
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # The environment of a server may have secrets in it, such as the database's password.
        env={name: os.environ[name] for name in ("PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    watch = threading.Timer(3 * SECONDS, child.kill)
    watch.start()
    line = orjson.dumps(question)
    try:
        while True:
            try:
                child.stdin.write(line + b"\n")
                child.stdin.flush()
                said = orjson.loads(child.stdout.readline(_LONGEST_LINE))
            except (BrokenPipeError, orjson.JSONDecodeError):
                raise OutOfBounds(f"more than {SECONDS} s, or more memory than there is") from None
            if "done" in said:
                return said["done"]
            if said["ask"] not in given:
                raise OutOfBounds("it asks for what it is not given")
            line = orjson.dumps(b64encode(given[said["ask"]](b64decode(said["data"]))).decode())
    finally:
        watch.cancel()
        child.kill()
        with suppress(BrokenPipeError):  # what it has not read
            child.stdin.close()
        child.stdout.close()
        child.wait()


def work(does: Callable[[dict[str, Any], Ask], Any], *, nice: int = 0) -> None:
    """Do the work of a module that is run apart: `does` returns what came of the question that it is given."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(nice)
    _say({"done": does(orjson.loads(sys.stdin.buffer.readline()), _ask)})


def _ask(name: str, data: bytes) -> bytes:
    _say({"ask": name, "data": b64encode(data).decode()})
    return b64decode(orjson.loads(sys.stdin.buffer.readline()))


def _say(what: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(what) + b"\n")
    sys.stdout.buffer.flush()

"""Where the lines of a process go: written at once where they can be, and never waited for.

A line that is written into a full pipe or socket makes the whole process wait for the program that reads the lines: every
request of a worker, and gunicorn's master as well. So lines that are not taken wait in memory, up to MOST_BYTES of them. What
does not fit is dropped, and a line says how many were.
"""

import _socket
import _thread
import atexit
import contextlib
import json
import os
import select
import stat
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Final

from gevent.monkey import get_original

from consent_server import clock

#: Of the lines that a process holds while they are not read: some four thousand lines.
MOST_BYTES: Final = 1 << 20
#: Milliseconds for which a process that ends waits for them to be taken.
LAST_MS: Final = 1000


class LogStream:
    """Lines for one file descriptor, as a stream that loggers write to. Nothing is raised when nobody reads any more.

    To write switches to no other greenlet: a line may be written within a transaction, which must not yield.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._put = _without_waiting(descriptor)
        self._begin()
        os.register_at_fork(after_in_child=self._begin)
        atexit.register(self._finish)

    def _begin(self) -> None:
        # In a process that was forked, what waits is its parent's to write, and the thread that writes it is not there.
        # Neither is gevent's: a thread beside a worker's greenlets (aside) writes lines too, and would run no other greenlet.
        # The greenlets of a thread do not wait for the lock, and do not switch while one of them holds it.
        self._lock = _thread.RLock()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0
        self._flushes = False

    def line(self, text: str) -> None:
        """Write one line, given without its end."""
        self.write(f"{text}\n")

    def write(self, text: str) -> None:
        """Write whole lines."""
        line = text.encode("ascii", "backslashreplace")
        with self._lock:
            rest = line if self._waiting else self._left(line)
            if not rest:
                return
            # Once a line is dropped, so are those after it until half of what waits is taken: if the reader stays too slow, the
            # line that counts them would otherwise follow each that is kept.
            if self._bytes + len(rest) > (MOST_BYTES // 2 if self._dropped else MOST_BYTES):
                self._dropped += 1
                return
            self._hold_what_was_dropped()
            self._hold(rest)
            starts, self._flushes = not self._flushes, True
        if starts:
            # not threading's, which waits until the thread has begun
            get_original("_thread", "start_new_thread")(self._flush, ())

    def flush(self) -> None:
        """Do nothing: a line is written when it is there."""

    def _left(self, line: bytes) -> bytes:
        """Write a line; return what of it was not taken."""
        try:
            return line[self._put(line) :]
        except BlockingIOError:
            return line
        except OSError:
            return b""  # nobody reads any more

    def _hold(self, line: bytes) -> None:
        self._waiting.append(line)
        self._bytes += len(line)

    def _hold_what_was_dropped(self) -> None:
        if self._dropped:
            self._hold(_dropped(self._dropped))
            self._dropped = 0

    def _flush(self) -> None:
        """Write what waits, as it is taken."""
        while not self._flushed():
            self._poll(None)

    def _finish(self) -> None:
        for _ in range(10):
            if self._flushed():
                return
            self._poll(LAST_MS // 10)

    def _poll(self, wait_ms: int | None) -> None:
        ready = get_original("select", "poll")()
        ready.register(self._descriptor, select.POLLOUT)
        ready.poll(wait_ms)

    def _flushed(self) -> bool:
        """Write what can be written now; return whether nothing waits any more."""
        with self._lock:
            while self._waiting:
                line = self._waiting[0]
                rest = self._left(line)
                self._bytes -= len(line) - len(rest)
                if rest:
                    self._waiting[0] = rest
                    return False
                self._waiting.popleft()
                if not self._waiting:
                    self._hold_what_was_dropped()
            self._flushes = False
            return True


@cache
def of(descriptor: int) -> LogStream:
    """Return the one stream of this process for a file descriptor."""
    return LogStream(descriptor)


def _without_waiting(descriptor: int) -> Callable[[bytes], int]:
    """Return what writes to a descriptor and, where that is a pipe or a socket, raises BlockingIOError instead of waiting.

    Whether a descriptor waits is a property of what is open, which other programs share. So a pipe is opened once more.
    """
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(kind):
        same = _socket.socket(fileno=os.dup(descriptor))  # not gevent's, which would wait
        return lambda line: same.send(line, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
    if stat.S_ISFIFO(kind):
        with contextlib.suppress(OSError):  # nobody reads it, or it is another user's, for whose reader we wait
            descriptor = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
    return lambda line: os.write(descriptor, line)


def _dropped(lines: int) -> bytes:
    said = {"at": clock.now(), "event": "log_lines_dropped", "lines": lines}
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"

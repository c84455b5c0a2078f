"""When the call in progress must have ended, whatever its server does."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic  # durations only: the clock may be stepped by a sandbox, a deadline may not

from consent_server.outbound.errors import Unreachable

_IDLE_S = 3600.0  # between two looks while there is no call


class _Call:
    """A call in progress: when its time is up, and the connections that it has used."""

    def __init__(self, seconds: float) -> None:
        self.ends = monotonic() + seconds
        self.sockets: list[socket.socket] = []
        self._ended = False
        self._lock = threading.Lock()

    def end(self) -> None:
        with self._lock:
            self._ended = True

    def break_off(self) -> None:
        """Shut the connections, so that whatever waits for them returns."""
        with self._lock:
            for used in () if self._ended else self.sockets:
                try:
                    # By another descriptor of the same connection: TLS sockets are not shut while another thread reads.
                    with socket.socket(fileno=os.dup(used.fileno())) as twin:
                        twin.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # closed already


class _Watch:
    """One thread that breaks off calls whose time is up: a timer for each call would be a thread for each."""

    def __init__(self) -> None:
        self._calls: set[_Call] = set()
        self._changed = threading.Condition()
        self._looks_at = 0.0
        self._thread: threading.Thread | None = None

    def add(self, call: _Call) -> None:
        with self._changed:
            self._calls.add(call)
            if self._thread is None or not self._thread.is_alive():  # in a process that was forked it is not
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif call.ends < self._looks_at:
                self._changed.notify()

    def discard(self, call: _Call) -> None:
        with self._changed:
            self._calls.discard(call)

    def _run(self) -> None:
        while True:
            with self._changed:
                now = monotonic()
                over = [call for call in self._calls if call.ends <= now]
                self._calls.difference_update(over)
                self._looks_at = min((call.ends for call in self._calls), default=now + _IDLE_S)
                if not over:
                    self._changed.wait(self._looks_at - now)
            for call in over:
                call.break_off()


class Deadline:
    """The end of the current call, which limits every wait on the network.

    Each thread and each greenlet has its own. Time-outs of single waits do not suffice: gevent begins one anew at each piece
    of a TLS record that arrives, and so a server that drips would be waited for without end.
    """

    def __init__(self) -> None:
        self._call: ContextVar[_Call | None] = ContextVar("call", default=None)
        self._watch = _Watch()

    @contextmanager
    def of(self, seconds: float) -> Iterator[None]:
        call = _Call(seconds)
        before = self._call.set(call)
        try:
            self._watch.add(call)
            yield
        finally:
            call.end()
            self._call.reset(before)
            self._watch.discard(call)

    def using(self, connection: socket.socket) -> None:
        """Take note of a connection that must end with the time of the call."""
        call = self._call.get()
        if call is not None and connection not in call.sockets:
            call.sockets.append(connection)

    def kind(self, otherwise: str) -> str:
        """Return the kind of a fault: "time" once the call has had its time, whatever its connection then says."""
        call = self._call.get()
        return "time" if call is not None and monotonic() >= call.ends else otherwise

    def cut(self, timeout: float | None, host: str) -> float | None:
        call = self._call.get()
        if call is None:
            return timeout
        left = call.ends - monotonic()
        if left <= 0:
            raise Unreachable("time", host)
        return left if timeout is None else min(left, timeout)

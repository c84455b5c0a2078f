"""How long a transaction waits: for its turn in this process, and for another process's lock on SQLite's file."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import sqlalchemy as sa
from flask import has_request_context, request
from sqlalchemy.engine import Connection, RootTransaction

from consent_server.store.faults import StoreUnavailable, is_locked

#: Seconds for which all transactions of one request together wait for others; outside of requests, each transaction.
LOCK_WAIT_S = 5.0
#: Seconds after which a page, or another request that only asks, gives up on a file that another process keeps locked.
STUCK_S = 1.0
#: Seconds for which a request tries by itself before it takes a lock for stuck. One that was stuck for the requests
#: before may have been released since, and what it meets now be another's short transaction.
OWN_LOOK_S = 0.25
#: Seconds between two attempts: the first pause, doubled up to the last.
PAUSES_S = (0.002, 0.05)
#: A lock at which nobody has looked for so many seconds may have been released and taken again.
_LOOKS_S = 0.5
_KEY = "consent_server.lock_wait"
_page_ended: ContextVar[bool] = ContextVar("page_ended", default=False)


class LockWait:
    """The seconds for which one request may still wait for the database; outside of requests, one transaction.

    All transactions of a request share them. Where one of them was refused none are left: the page that says so must not wait
    a second time.
    """

    def __init__(self, left_s: float, stuck_s: float) -> None:
        self.left_s = left_s
        self.stuck_s = stuck_s
        self._waited_s = 0.0

    def spend(self, seconds: float, stuck_s: float) -> None:
        """Count a wait for a lock that has been stuck for `stuck_s` seconds. Raise StoreUnavailable when no time is left."""
        self.left_s -= seconds
        self._waited_s += seconds
        if self.left_s <= 0 or (stuck_s >= self.stuck_s and self._waited_s >= OWN_LOOK_S):
            self.left_s = 0
            raise StoreUnavailable("locked: another process does not finish its transaction")


def end_page() -> None:
    """Let each transaction of this context wait by itself, in what goes on after the request that it began in."""
    _page_ended.set(True)


def lock_wait_of_this_request() -> LockWait:
    """Return what this request has left; outside of requests, what each transaction has."""
    if _page_ended.get() or not has_request_context():
        return LockWait(LOCK_WAIT_S, LOCK_WAIT_S)
    environ = request.environ
    if _KEY not in environ:
        environ[_KEY] = LockWait(LOCK_WAIT_S, STUCK_S if request.method in ("GET", "HEAD") else LOCK_WAIT_S)
    found: LockWait = environ[_KEY]
    return found


class Writers:
    """Those who write to one SQLite file in this process, one after the other; one alone polls for another process's lock.

    A lock is stuck while it is held and nobody commits. A busy file is waited for longer than a stuck one.
    """

    def __init__(self) -> None:
        self.broken = ""
        self._lock = threading.Lock()
        self._stuck_since = self._looked = 0.0

    @contextmanager
    def turn(self, wait: LockWait) -> Iterator[None]:
        """Hold the right to write. Raise StoreUnavailable."""
        while True:
            began = time.monotonic()
            if self._lock.acquire(timeout=PAUSES_S[1]):
                break
            wait.spend(time.monotonic() - began, self._stuck_s())
        try:
            yield
        finally:
            self._lock.release()

    def begin(self, connection: Connection, wait: LockWait) -> RootTransaction:
        """Return a transaction once no other process has one open. Raise StoreUnavailable."""
        seen = None
        pause, longest = PAUSES_S
        while True:
            try:
                transaction = connection.begin()
            except sa.exc.OperationalError as error:
                if not is_locked(error):
                    raise
            else:
                self._looked = 0.0
                return transaction
            version = _data_version(connection)
            self._look(committed=seen is not None and version != seen)
            seen = version
            wait.spend(pause, self._stuck_s())
            time.sleep(pause)  # gevent's in a worker of a door
            pause = min(2 * pause, longest)

    def _look(self, *, committed: bool) -> None:
        now = time.monotonic()
        if committed or now - self._looked > _LOOKS_S:
            self._stuck_since = now
        self._looked = now

    def _stuck_s(self) -> float:
        return self._looked - self._stuck_since if time.monotonic() - self._looked <= _LOOKS_S else 0.0


def _data_version(connection: Connection) -> int:
    """Return a number that changes when another connection commits (PRAGMA data_version)."""
    raw: Any = connection.connection.driver_connection
    try:
        return int(raw.execute("PRAGMA data_version").fetchone()[0])
    except sqlite3.OperationalError:  # locked for readers as well
        return -1

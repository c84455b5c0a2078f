"""Those who write to SQLite in one process: one after the other, and several in one transaction.

COMMIT waits for the disk, which takes longer than all else in a short act. Whoever waits for a turn meanwhile shares the next
transaction: an act that fails is undone by itself (SAVEPOINT), and none returns before the COMMIT that includes it. Under
gevent that runs in a thread, so that the other greenlets of a worker do not wait for the disk.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RootTransaction

from consent_server.aside import to_the_end
from consent_server.store.faults import StoreUnavailable, is_locked
from consent_server.store.kept import KeptConnections
from consent_server.store.waiting import PAUSES_S, LockWait

#: Acts in one transaction: other processes wait until it is committed.
MOST_ACTS: Final = 32
#: A lock at which nobody has looked for so many seconds may have been released and taken again.
_LOOKS_S: Final = 0.5


class _Shared:
    """A transaction, how many acts it has, and why it was not committed, where it was not."""

    def __init__(self, connection: Connection, transaction: RootTransaction) -> None:
        self.connection = connection
        self.acts = 0
        self.fault: Exception | None = None
        self.ended = threading.Event()
        self._transaction = transaction
        self._raw: Any = connection.connection.driver_connection

    @contextmanager
    def act(self) -> Iterator[None]:
        """Run one act in it. Where the act fails, what the others did stays."""
        if self.acts:
            self._raw.execute("SAVEPOINT act")
        try:
            yield
        except BaseException:
            if self.acts and self._raw.in_transaction:
                self._raw.execute("ROLLBACK TO act")
                self._raw.execute("RELEASE act")
            raise
        finally:
            if not self._raw.in_transaction:  # SQLite has rolled all of it back, as when the disk is full
                self.fault = StoreUnavailable("SQLite has ended the transaction")
        if self.acts and self.fault is None:
            self._raw.execute("RELEASE act")
        self.acts += 1

    def end(self, kept: KeptConnections) -> None:
        """Commit what succeeded."""
        done = False
        try:
            if self.acts and self.fault is None:
                to_the_end(self._transaction.commit, "commit")
            else:
                self._transaction.rollback()
            done = self.fault is None
        except Exception as error:
            self.fault = error
        finally:
            if done:
                kept.keep(self.connection)
            else:  # also where Ctrl-C has broken off the commit
                self.connection.close()
            self.ended.set()


class Writers:
    """Those who write to one SQLite file in this process; one alone polls for another process's lock.

    A lock is stuck while it is held and nobody commits. A busy file is waited for longer than a stuck one.
    """

    def __init__(self, kept: KeptConnections) -> None:
        self.broken = ""
        self._kept = kept
        self._turn = threading.Lock()
        self._waiting: set[object] = set()
        self._shared: _Shared | None = None
        self._stuck_since = self._looked = 0.0

    @contextmanager
    def act(self, wait: LockWait, connect: Callable[[], Connection]) -> Iterator[Connection]:
        """Yield a connection in a transaction; return when it is committed, or raise.

        An act that fails waits as well: what it saw may be another's, and not be on the disk yet.
        """
        failure: BaseException | None = None
        self._take_turn(wait)
        try:
            shared = self._shared = self._shared or self._begun(wait, connect)
            try:
                with shared.act():
                    yield shared.connection
            except BaseException as error:
                failure = error
            if not self._waiting or not 0 < shared.acts < MOST_ACTS or shared.fault is not None:
                self._end(shared)
        finally:
            self._turn.release()
        self._wait_for(shared)
        if failure is not None:
            raise failure
        if shared.fault is not None:
            raise shared.fault

    def _take_turn(self, wait: LockWait) -> None:
        if self._turn.acquire(blocking=False):
            return
        me = object()
        self._waiting.add(me)
        try:
            while True:
                began = time.monotonic()
                if self._turn.acquire(timeout=PAUSES_S[1]):
                    return
                wait.spend(time.monotonic() - began, self._stuck_s())
        finally:
            self._waiting.discard(me)

    def _end(self, shared: _Shared) -> None:
        self._shared = None
        shared.end(self._kept)

    def _wait_for(self, shared: _Shared) -> None:
        """Wait until whoever shares the transaction has ended it; end it if those who waited for a turn have given up."""
        while not shared.ended.wait(PAUSES_S[1]):
            if self._turn.acquire(blocking=False):
                try:
                    if self._shared is shared:
                        self._end(shared)
                finally:
                    self._turn.release()

    def _begun(self, wait: LockWait, connect: Callable[[], Connection]) -> _Shared:
        """Return a transaction once no other process has one open. Raise StoreUnavailable."""
        connection = self._kept.take() or connect()
        try:
            return _Shared(connection, self._begin(connection, wait))
        except BaseException:
            connection.close()
            raise

    def _begin(self, connection: Connection, wait: LockWait) -> RootTransaction:
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

"""How long a transaction waits: for its turn in this process, and for another process's lock on SQLite's file."""

from contextvars import ContextVar

from flask import has_request_context, request

from consent_server.store.faults import StoreUnavailable

#: Seconds for which all transactions of one request together wait for others; outside of requests, each transaction.
LOCK_WAIT_S = 5.0
#: Seconds after which a page, or another request that only asks, gives up on a file that another process keeps locked.
STUCK_S = 1.0
#: Seconds for which a request tries by itself before it takes a lock for stuck. One that was stuck for the requests
#: before may have been released since, and what it meets now be another's short transaction.
OWN_LOOK_S = 0.25
#: Seconds between two attempts: the first pause, doubled up to the last.
PAUSES_S = (0.002, 0.05)
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
    found: LockWait | None = environ.get(_KEY)
    if found is None:
        only_asks = environ["REQUEST_METHOD"] in ("GET", "HEAD")
        found = environ[_KEY] = LockWait(LOCK_WAIT_S, STUCK_S if only_asks else LOCK_WAIT_S)
    return found

"""Name look-ups within the deadline of a call: the time-outs of the system's resolver are too long."""

import threading
from concurrent.futures import Future, wait
from contextvars import copy_context

from consent_server.outbound.addresses import Resolve
from consent_server.outbound.deadline import Deadline
from consent_server.outbound.errors import Unreachable


class LookUps:
    """A Resolve that is waited for no longer than `longest_s`, nor than the call in progress may take.

    Each look-up has a thread of its own, which all callers of one name share: a name server that does not answer holds one
    for each of its names, whatever the number of calls.
    """

    def __init__(self, look_up: Resolve, deadline: Deadline, longest_s: float) -> None:
        self._look_up = look_up
        self._deadline = deadline
        self._longest_s = longest_s
        self._under_way: dict[tuple[str, int], Future[list[str]]] = {}
        self._lock = threading.Lock()

    def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses. Raise OSError, and Unreachable (time)."""
        longest_s = self._deadline.cut(self._longest_s, host)
        with self._lock:
            found = self._under_way.get((host, port))
            if found is None:
                found = self._under_way[host, port] = Future()
                run = copy_context().run
                threading.Thread(target=run, args=(self._run, host, port, found), name="look-up", daemon=True).start()
        wait((found,), longest_s)
        if not found.done():
            raise Unreachable("time", host)
        return found.result()

    def _run(self, host: str, port: int, found: Future[list[str]]) -> None:
        try:
            addresses = self._look_up(host, port)
        except BaseException as error:  # whatever it is, those who wait get it
            self._ended(host, port)
            found.set_exception(error)
        else:
            self._ended(host, port)
            found.set_result(addresses)

    def _ended(self, host: str, port: int) -> None:
        # Before the result is known: whoever has it and asks again gets a look-up of its own.
        with self._lock:
            del self._under_way[host, port]

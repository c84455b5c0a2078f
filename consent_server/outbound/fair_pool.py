"""A pool of threads, shared fairly between the parties that we call: a slow party delays only the calls to itself."""

import logging
import threading
from collections.abc import Callable, Iterable
from contextvars import copy_context
from dataclasses import dataclass, field
from time import monotonic  # durations only: see deadline
from typing import Final

from consent_server import clock

log = logging.getLogger("consent_server.outbound")

#: The longest that a party is left alone, so that a clock that was stepped back shuts none out.
LONGEST_PAUSE_S: Final = 3600
FAULT_PAUSE_S: Final = 5
LOOK_S: Final = 0.5  # between two looks for what has become due, while turns are under way

#: Given a party and how many of its turns failed in a row: make some of the calls that are due to it. Return the seconds for
#: which it must be left alone; 0 when it went well.
Turn = Callable[[str, int], int]


@dataclass
class Tally:
    """Acts that succeeded and that failed, counted by several threads."""

    done: int = 0
    failed: int = 0
    _counting: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, succeeded: bool) -> None:
        with self._counting:
            self.done += succeeded
            self.failed += not succeeded


@dataclass
class _PartyState:
    running: int = 0
    failures: int = 0
    slow: bool = False
    resumes: int = 0
    started: int = 0  # its place in the order of all starts

    @property
    def unreliable(self) -> bool:
        return self.failures > 0 or self.slow


class FairPool:
    """Turns of parties on threads: at most `most` at once, and `each` for one party.

    A party is unreliable if its last turn failed, or took longer than `slow_s`, or one that is under way has. It has one at a
    time, and all such parties share `most_unreliable` threads. None of them is one of the `most`: those wait for nobody who is
    known to be unreliable, and no longer than `slow_s` for those that are about to be.
    """

    def __init__(self, *, most: int, most_unreliable: int, each: int = 1, slow_s: float) -> None:
        self._most = most
        self._most_unreliable = most_unreliable
        self._each = each
        self._slow_s = slow_s
        self._parties: dict[str, _PartyState] = {}
        self._turns: dict[int, tuple[_PartyState, float]] = {}  # those under way: whose, and when it began
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._starts = 0

    def serve(self, waiting: Callable[[], Iterable[str]], turn: Turn, for_s: float) -> None:
        """Give turns to the parties that `waiting` names, the one that waits longest first, until none can have one.

        After `for_s` seconds this returns as well; turns that are under way then end by themselves.
        """
        ends = monotonic() + for_s
        while True:
            self._ended.clear()
            self._note_slow()
            for party in sorted(waiting(), key=lambda party: self._state_of(party).started):
                self._start(party, turn)
            left = ends - monotonic()
            if left <= 0 or self._is_idle():
                return
            self._ended.wait(min(left, LOOK_S))

    def _state_of(self, party: str) -> _PartyState:
        return self._parties.setdefault(party, _PartyState())

    def _is_idle(self) -> bool:
        """Return whether no turn is under way, and none has ended since `waiting` was asked."""
        with self._lock:
            return not self._ended.is_set() and not self._turns

    def _note_slow(self) -> None:
        with self._lock:
            for state, began in self._turns.values():
                state.slow |= monotonic() - began > self._slow_s

    def _start(self, party: str, turn: Turn) -> None:
        with self._lock:
            state = self._state_of(party)
            if not self._is_free(state):
                return
            self._starts += 1
            state.started = place = self._starts
            state.running += 1
            self._turns[place] = state, monotonic()
        run = copy_context().run
        threading.Thread(target=run, args=(self._run, party, place, turn), name=f"call {party}", daemon=True).start()

    def _is_free(self, state: _PartyState) -> bool:
        if 0 < state.resumes - clock.now() <= LONGEST_PAUSE_S:
            return False
        each, most = (1, self._most_unreliable) if state.unreliable else (self._each, self._most)
        alike = sum(other.unreliable == state.unreliable for other, _ in self._turns.values())
        return state.running < each and alike < most

    def _run(self, party: str, place: int, turn: Turn) -> None:
        (state, began), pause_s = self._turns[place], FAULT_PAUSE_S
        try:
            pause_s = min(turn(party, state.failures), LONGEST_PAUSE_S)
        except Exception:
            log.exception("a turn of %s", party)
        finally:
            with self._lock:
                del self._turns[place]
                state.running -= 1
                state.failures = state.failures + 1 if pause_s else 0
                state.slow = monotonic() - began > self._slow_s
                state.resumes = clock.now() + pause_s if pause_s else 0
                self._ended.set()

"""How many failures are allowed before the response is 429."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from consent_server import clock, store
from consent_server.refusal import Refusal
from consent_server.store import limits


class Counted(StrEnum):
    """What a limit counts: the page of its refusal names it."""

    METERS = "meters"
    CODES = "codes"
    MAILS = "mails"
    SIGN_IN = "sign_in"
    EVIDENCE = "evidence"
    REQUESTS = "requests"


class TooMany(Refusal):
    """Too many failures of one subject. `counted` says what was counted."""

    code = "too_many_attempts"
    error = "temporarily_unavailable"
    status = 429
    public = "There were too many failed attempts. Wait for the time in Retry-After before you try again."
    help = (
        "Wait for the number of seconds in Retry-After. Only failures are counted, so an honest client never sees this."
    )
    clause = "RFC 6585 4; ASVS 5.0 6.3.1"

    def __init__(self, private: str, counted: Counted, retry_after: int) -> None:
        super().__init__(private, headers={"Retry-After": str(retry_after)})
        self.counted = counted


@dataclass(frozen=True)
class Period:
    """At most `most` failures in each `seconds` seconds."""

    most: int
    seconds: int

    @property
    def start(self) -> int:
        """Return when the window of this moment began."""
        return clock.now() // self.seconds * self.seconds

    @property
    def left(self) -> int:
        """Return how many seconds are left of it."""
        return max(1, self.start + self.seconds - clock.now())


@dataclass(frozen=True)
class Limit:
    """A limit on the failures of one subject, in one window of time or in several, each of which must hold.

    The subject is kept as a digest: it may be a meter number.
    """

    name: str
    counted: Counted
    windows: tuple[Period, ...]

    def check(self, subject: str) -> None:
        """Raise TooMany when the subject has used up its failures."""
        with store.reading() as c:
            for window in self.windows:
                self._judge(window, limits.count(c, self._key(subject, window), window.start) + 1)

    def failed(self, subject: str) -> None:
        """Count a failure."""
        with store.writing() as c:
            for window in self.windows:
                limits.add(c, self._key(subject, window), window.start)

    def take(self, subject: str) -> None:
        """Count an attempt before it is made; raise TooMany, and count nothing, when there were too many.

        Guesses are counted this way: those sent at the same instant cannot all pass a `check` together.
        """
        with store.writing() as c:  # an attempt that one window refuses counts in none: the refusal rolls back
            for window in self.windows:
                self._judge(window, limits.add(c, self._key(subject, window), window.start))

    def give_back(self, subject: str) -> None:
        """Uncount an attempt that has succeeded. The failures before it still count."""
        with store.writing() as c:
            for window in self.windows:
                limits.take_back(c, self._key(subject, window), window.start)

    def clear(self, subject: str) -> None:
        """Forget all failures of the subject, after a success that shows that they were its owner's."""
        with store.writing() as c:
            for window in self.windows:
                limits.clear(c, self._key(subject, window))

    def _judge(self, window: Period, count: int) -> None:
        if count > window.most:
            raise TooMany(f"{self.name}: {window.most} in {window.seconds} s", self.counted, window.left)

    def _key(self, subject: str, window: Period) -> str:
        return f"{self.name}/{window.seconds}:{hashlib.sha256(subject.encode()).hexdigest()[:40]}"

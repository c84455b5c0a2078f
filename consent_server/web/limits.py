"""How many failures are borne before the answer is 429."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from consent_server import clock
from consent_server.refusal import Refusal
from consent_server.store import limits

Transaction = Callable[[], AbstractContextManager[Any]]


class TooMany(Refusal):
    """Too many failures under one key."""

    code = "too_many_attempts"
    error = "temporarily_unavailable"
    status = 429
    public = "There were too many failed attempts. Wait for the time in Retry-After before you try again."
    help = (
        "Wait for the number of seconds in Retry-After. Only failures are counted, so an honest client never sees this."
    )
    clause = "RFC 6585 4; ASVS 5.0 6.3.1"


@dataclass(frozen=True)
class Limit:
    """At most `most` failures of one subject in each window of `window_s` seconds.

    `reading` and `writing` open the store's transactions. The subject is kept as a digest: it may be a meter number.
    """

    name: str
    most: int
    window_s: int
    reading: Transaction
    writing: Transaction

    def check(self, subject: str) -> None:
        """Raise TooMany when the subject has used up its failures."""
        with self.reading() as c:
            self._judge(limits.count(c, self._key(subject), self._window()) + 1)

    def failed(self, subject: str) -> None:
        """Count a failure."""
        with self.writing() as c:
            limits.add(c, self._key(subject), self._window())

    def take(self, subject: str) -> None:
        """Count one attempt before it is made, and raise TooMany when there were too many.

        What is guessed at is counted this way: guesses sent at the same instant cannot all pass a `check` together.
        """
        with self.writing() as c:
            count = limits.add(c, self._key(subject), self._window())
        self._judge(count)

    def give_back(self, subject: str) -> None:
        """The attempt that was taken has succeeded: count it no more, and leave the failures before it standing."""
        with self.writing() as c:
            limits.take_back(c, self._key(subject), self._window())

    def clear(self, subject: str) -> None:
        """Forget the subject's failures, for a success that shows them to have been its own."""
        with self.writing() as c:
            limits.clear(c, self._key(subject))

    def _judge(self, count: int) -> None:
        if count > self.most:
            wait = self._window() + self.window_s - clock.now()
            raise TooMany(self.name, headers={"Retry-After": str(max(1, wait))})

    def _window(self) -> int:
        return clock.now() // self.window_s * self.window_s

    def _key(self, subject: str) -> str:
        return f"{self.name}:{hashlib.sha256(subject.encode()).hexdigest()[:40]}"


@dataclass(frozen=True)
class Several:
    """Several limits on the same subject, each of which must hold: so many in ten minutes, and so many in a day."""

    limits: tuple[Limit, ...]

    def check(self, subject: str) -> None:
        """Raise TooMany when any of them is used up."""
        for limit in self.limits:
            limit.check(subject)

    def failed(self, subject: str) -> None:
        for limit in self.limits:
            limit.failed(subject)

    def take(self, subject: str) -> None:
        """Count one attempt under each before it is made, and raise TooMany when there were too many under any."""
        self.check(subject)
        for limit in self.limits:
            limit.take(subject)

    def give_back(self, subject: str) -> None:
        for limit in self.limits:
            limit.give_back(subject)

    def clear(self, subject: str) -> None:
        for limit in self.limits:
            limit.clear(subject)

"""How failures are counted, and who waits because of them. docs/guessing.md has the arithmetic.

A limit slows down guessing and refuses nobody for long: when a budget is used up, tries are accepted one at a time, with a
pause between them. Whoever has not failed today is not slowed by those who have.
"""

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from consent_server import audit, clock, store
from consent_server.deployment import current
from consent_server.refusal import Refusal
from consent_server.settings.values import ip_address
from consent_server.store import limits


class Counted(StrEnum):
    """What a limit counts: the page of its refusal names it."""

    METERS = "meters"
    CODES = "codes"
    PASSKEYS = "passkeys"
    PASSWORDS = "passwords"
    LOG_INS = "log-ins"
    MAILS = "mails"
    INVITATIONS = "invitations"
    EVIDENCE = "evidence"
    RECEIPTS = "receipts"
    REQUESTS = "requests"
    REPORTS = "reports"


class TooMany(Refusal):
    """Too many failures of one subject. `counted` says what was counted."""

    code = "too_many_attempts"
    error = "temporarily_unavailable"
    status = 429
    public = "There were too many failed attempts. Wait for the time in Retry-After before you try again."
    help = (
        "Wait for the number of seconds in Retry-After: at most a minute where you have to prove something. Only "
        "failures are counted."
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
    """A budget of failures for each subject, in one window of time or in several, each of which must hold.

    Beyond it one try is accepted in every `pause_s` seconds, or none before the window ends where `pause_s` is None. The
    subject is kept as a keyed digest: of a plain one of a meter number, a postcode or an address all values could be tried.
    """

    name: str
    counted: Counted
    windows: tuple[Period, ...]
    pause_s: int | None = None

    def budget(self, subject: str) -> limits.Budget:
        """Return what one statement counts by, of a limit that has one window."""
        (window,) = self.windows
        return limits.Budget(self._key(subject, window), window.start, window.most)

    def count(self, c: store.Connection, subject: str) -> dict[Period, int]:
        """Count an attempt; return how many each window then has."""
        return {each: limits.add(c, self._key(subject, each), each.start) for each in self.windows}

    def take(self, c: store.Connection, subject: str, *, waits: bool = True) -> bool:
        """Count an attempt before it is made; return whether it is beyond the budget.

        Raise TooMany when it must wait; the transaction must then be rolled back, so that it counts nowhere. An attempt
        that never `waits` is counted all the same. Guesses sent at the same instant cannot all pass together.
        """
        counts = self.count(c, subject)
        over = [window for window, count in counts.items() if count > window.most]
        if over and waits:
            self._wait(c, subject, max(window.left for window in over))
        for window in over:
            if counts[window] == window.most + 1:
                audit.event("budget_used_up", budget=self.name, most=window.most, seconds=window.seconds)
        return bool(over)

    def look(self, c: store.Connection, subject: str) -> None:
        """Raise TooMany if the budget is used up, and count nothing: for the work before `take`. `pause_s` does not apply."""
        for window in self.windows:
            if limits.count(c, self._key(subject, window), window.start) >= window.most:
                raise TooMany(f"{self.name}: the budget is used up", self.counted, window.left)

    def failed(self, subject: str) -> None:
        """Count a failure, in a transaction of its own. Raise TooMany, and count nothing, when there were too many."""
        with store.writing() as c:
            self.take(c, subject)

    def give_back(self, c: store.Connection, subject: str, *, pause: bool = False) -> None:
        """Uncount an attempt that has succeeded, and with `pause` that another must wait for it. Earlier failures count."""
        for window in (*self.windows, *(self._pause if pause else ())):
            limits.take_back(c, self._key(subject, window), window.start)

    def clear(self, c: store.Connection, subject: str) -> None:
        """Forget all failures of the subject, after a success that shows that they were its owner's."""
        for window in (*self.windows, *self._pause):
            limits.clear(c, self._key(subject, window))

    @property
    def _pause(self) -> tuple[Period, ...]:
        return (Period(1, self.pause_s),) if self.pause_s is not None else ()

    def _wait(self, c: store.Connection, subject: str, left: int) -> None:
        for pause in self._pause:
            if limits.add(c, self._key(subject, pause), pause.start) <= pause.most:
                return
            left = pause.left
        raise TooMany(f"{self.name}: the budget is used up", self.counted, left)

    def _key(self, subject: str, window: Period) -> str:
        return f"{self.name}/{window.seconds}:{current().sealer.mac(f'limit {subject}')[:40]}"


@dataclass(frozen=True)
class Guess:
    """One attempt, which may be a guess, and the limits that it is counted under until it has succeeded.

    `own` counts the failures of the place that it comes from. While that place has failed less often than `own` allows, the
    attempt waits for none of the limits, so that nobody can use them up for others.
    """

    limits: tuple[tuple[Limit, str], ...]
    own: tuple[Limit, str]

    def take(self) -> None:
        """Count the attempt before it is made. Raise TooMany, and count nothing, when it must wait."""
        with store.writing() as c:
            limit, place = self.own
            waits = any(count > window.most for window, count in limit.count(c, place).items())
            for limit, subject in self.limits:
                limit.take(c, subject, waits=waits)

    def succeeded(self, *cleared: tuple[Limit, str]) -> None:
        """Uncount the attempt, and forget all failures of what is `cleared`, whose owner has proved itself."""
        with store.writing() as c:
            for limit, subject in (self.own, *self.limits):
                limit.give_back(c, subject)
        if not cleared:
            return
        with store.writing() as c:  # by itself: every transaction locks what it counts in the order of `take`
            for limit, subject in cleared:
                limit.clear(c, subject)


def network_of(address: str) -> str:
    """Return the network of an address: an IPv4 address itself, of IPv6 the first 64 bits, which one customer holds."""
    return _first_bits(address, 64)


def place_of(address: str) -> str:
    """Return the same with 48 bits of IPv6: as much as one customer may get."""
    return _first_bits(address, 48)


def _first_bits(address: str, bits: int) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(ipaddress.ip_network((int(parsed), bits), strict=False))

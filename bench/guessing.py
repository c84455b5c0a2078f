"""What guessing at one meter gains, and what it costs the meter's owner: python -m bench.guessing [ADDRESSES]

A day of it against the limits of the code with their default settings, on a SQLite file and with a clock that is played. The
guesser has ADDRESSES (10,000) and spends each as well as it can: what a place may fail without waiting, and in every minute
the one try that the meter allows, which it takes before the owner asks for it. The owner comes now and then; the table says
how long it waited. docs/guessing.md has the arithmetic.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flask import Flask

from consent_server import clock, deployment, store
from consent_server.scheme.instant import DAY
from consent_server.settings.issuer import LimitsSettings
from consent_server.store.database import db
from consent_server.tokens.sealing import Sealer
from consent_server.web import budgets
from consent_server.web.limits import Guess, TooMany

MINUTE = 60
#: Midnight, when the budgets of the day begin.
START = 1_790_000_000 // DAY * DAY
METER, POSTCODE = "electricity:1200000000013", "SW8 1AA"
SHARED = "100.64.0.1"
#: Postcodes in use in the United Kingdom, those of one district, numbers of an MPAN that vary, meters behind one postcode.
POSTCODES, IN_DISTRICT, NUMBERS, AT_POSTCODE = 1_700_000, 570, 10**10, 30
#: Minutes after which a visitor who still has to wait goes away.
PATIENCE = 10

#: Who comes -> (its address, what its browser is known by, how often it mistypes before it types what is right).
VISITORS = {
    "types it right": ("10.{}.0.1", None, 0),
    "mistypes once": ("10.{}.0.2", None, 1),
    "mistypes twice": ("10.{}.0.3", None, 2),
    "shares a network with the guesser, known browser": (SHARED, "browser {}", 1),
    "shares a network with the guesser, new browser": (SHARED, None, 0),
}


@dataclass
class Outcome:
    """How many tries of the guesser were judged, and how many seconds each visitor waited; None for one that went away."""

    tries: int = 0
    waits: dict[str, list[int | None]] = field(default_factory=lambda: {kind: [] for kind in VISITORS})


@dataclass
class Visitor:
    kind: str
    address: str
    known: str | None
    mistypes: int
    came: int
    again: int


def most_tries(limits: LimitsSettings, addresses: int, seconds: int = DAY, owners: int = 0) -> int:
    """How many tries at one meter the limits allow; each success of its owner gives it its budget once more."""
    of_meter = (limits.tries_per_meter_per_day + 1) * (1 + owners)
    return of_meter + seconds // limits.pause_s + limits.own_tries_per_day * addresses


def guess(address: str, known: str | None = None) -> Guess:
    return budgets.identification(address, POSTCODE, [METER], known)


def tried(address: str) -> bool:
    try:
        guess(address).take()
    except TooMany:
        return False
    return True


def day(at: Any, addresses: int, minutes: int = DAY // MINUTE, every: int = 96) -> Outcome:
    """Let a guesser guess and one visitor after the other come, each `every` minutes; `at` holds the clock at an instant."""
    outcome, waiting = Outcome(), []
    fresh = (f"10.{number // 65536 + 128}.{number // 256 % 256}.{number % 256}" for number in range(addresses))
    own = deployment.current().settings.limits.own_tries_per_day
    kinds = list(VISITORS)
    for minute in range(minutes):
        at(START + minute * MINUTE)
        for _ in range(addresses * (minute + 1) // minutes - addresses * minute // minutes):
            address = next(fresh)
            outcome.tries += sum(tried(address) for _ in range(own))
        outcome.tries += sum(tried(SHARED) for _ in range(3))
        if minute % every == every // 2:
            number = minute // every
            address, known, mistypes = VISITORS[kinds[number % len(kinds)]]
            browser = known.format(number) if known else None
            now = clock.now()
            waiting.append(Visitor(kinds[number % len(kinds)], address.format(number), browser, mistypes, now, now))
        waiting = [visitor for visitor in waiting if _waits(visitor, outcome)]
    return outcome


def _waits(visitor: Visitor, outcome: Outcome) -> bool:
    """Let a visitor try; return whether it must wait."""
    now = clock.now()
    if now < visitor.again:
        return True
    attempt = guess(visitor.address, visitor.known)
    try:
        for _ in range(visitor.mistypes):
            attempt.take()
            visitor.mistypes -= 1
        attempt.take()
    except TooMany as refused:
        visitor.again = now + int(refused.answer_headers["Retry-After"])
        if now - visitor.came < PATIENCE * MINUTE:
            return True
        outcome.waits[visitor.kind].append(None)
        return False
    attempt.succeeded((budgets.meter(), METER))
    outcome.waits[visitor.kind].append(now - visitor.came)
    return False


@contextmanager
def limited(url: str) -> Iterator[LimitsSettings]:
    """Run the block in an application that has the limits of the default settings, and a new store."""
    limits = LimitsSettings()
    app = Flask("guessing")
    played: Any = SimpleNamespace(settings=SimpleNamespace(limits=limits), sealer=Sealer(bytes(32)))
    deployment.install(app, played)
    store.init(app, url)
    with app.app_context():
        db.create_all()
        yield limits
        db.engine.dispose()


def report(outcome: Outcome, limits: LimitsSettings, addresses: int) -> None:
    owners = sum(wait is not None for waits in outcome.waits.values() for wait in waits)
    most = most_tries(limits, addresses, owners=owners)
    print(f"a guesser with {addresses:,} addresses, in a day: {outcome.tries:,} tries at one meter (at most {most:,})")
    for what, chance in (
        ("number known, postcode among all of the country", outcome.tries / POSTCODES),
        ("number and district known", outcome.tries / IN_DISTRICT),
        ("postcode known, number among those of a network", outcome.tries * AT_POSTCODE / NUMBERS),
    ):
        print(f"  {what + ':':52} {'certain' if chance >= 1 else f'{chance:.2g}'}")
    print("the owner, meanwhile")
    for kind, waits in outcome.waits.items():
        told = ", ".join("went away" if wait is None else f"{wait} s" for wait in waits)
        print(f"  {kind + ':':52} {told}")


def main(addresses: int) -> None:
    shm = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder,
        limited(f"sqlite:///{folder}/x") as limits,
    ):
        report(day(hold, addresses), limits, addresses)


def hold(instant: int) -> None:
    clock.now = lambda: instant


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)

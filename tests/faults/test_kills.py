"""A process at work is killed at a random moment, again and again: what it had acknowledged is there, and nothing is half done.

It says before each act what it begins and afterwards that it is done. A model applies what is said: the store must hold what
follows from the acts that were done, with or without the one that was under way.
"""

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from consent_server.store import outbox
from consent_server.store.digests import digest
from consent_server.withdrawal import outbox as dispatching
from tests.faults import edp
from tests.faults.crashing import Forked
from tests.faults.seeds import many, seeded
from tests.issuer.conftest import BOTH, ELECTRICITY, Granted, Issuer

LICENSES = {"electricity": ELECTRICITY, "both": BOTH}
#: A worker is killed after it has said up to so many lines, two for each act, and a moment more.
MOST_LINES = 20
LONGEST_PAUSE_S = 0.02


@dataclass
class Grant:
    """What is known outside of one permission."""

    sme: str
    license: str
    redeemed: bool = False
    ended: tuple[str, str] | None = None  # as what, by whom


class Model:
    """Grants by their code, in the order in which they were made."""

    def __init__(self) -> None:
        self.grants: dict[str, Grant] = {}

    def apply(self, act: dict[str, str]) -> None:
        if act["act"] in {"grant", "redeem", "withdraw", "revoke"}:
            getattr(self, act["act"])(**{name: value for name, value in act.items() if name != "act"})

    def grant(self, code: str, sme: str, license_: str) -> None:
        self.grants[code] = Grant(sme, license_)

    def redeem(self, code: str) -> None:
        new = self.grants[code]
        if new.redeemed:
            new.ended = new.ended or ("withdrawn", "issuer")
        elif new.ended is None:
            new.redeemed = True
            for old in self.grants.values():
                if old is new:
                    break
                if old.sme == new.sme and old.ended is None and new.license in {"both", old.license}:
                    old.ended = ("superseded", "newer")

    def withdraw(self, code: str) -> None:
        self.grants[code].ended = self.grants[code].ended or ("withdrawn", "sme")

    def revoke(self, code: str) -> None:
        self.grants[code].ended = self.grants[code].ended or ("withdrawn", "client")


class Worker:
    """Acts at random, each on what the acts before it left."""

    def __init__(self, issuer: Issuer, rng: random.Random, smes: list[str], say: Callable[[Any], None]) -> None:
        self._issuer, self._rng, self._smes, self._say = issuer, rng, smes, say
        self._codes: list[Granted] = []
        self._ids: dict[str, str] = {}
        self._tokens: dict[str, str] = {}

    def work(self) -> None:
        while True:
            self._rng.choice(
                [self.grant, self.grant, self.redeem, self.redeem, self.withdraw, self.revoke, self.send]
            )()

    def _do(self, act: str, do: Callable[[], Any], **facts: str) -> Any:
        self._say({"act": act, **facts})
        result = do()
        self._say("done")
        return result

    def grant(self) -> None:
        sme, license_ = self._rng.choice(self._smes), self._rng.choice(list(LICENSES))
        ask = edp.asked(self._issuer, LICENSES[license_])
        (journey,) = ask.journeys
        decided = ask.decided(journey, sme)
        location = self._do(
            "grant", lambda: self._issuer.decide(journey, decided), code=decided.code, sme=sme, license_=license_
        )
        self._codes.append(edp.granted_by(location, ask.verifier))

    def redeem(self) -> None:
        if self._codes:
            granted = self._rng.choice(self._codes)
            answer = self._do("redeem", lambda: self._issuer.redeem(granted), code=granted.code)
            assert answer.status_code in {200, 400}
            if answer.status_code == 200:
                self._tokens[granted.code] = answer.get_json()["refresh_token"]

    def withdraw(self) -> None:
        if self._codes:
            code = self._rng.choice(self._codes).code
            row = next(each for sme in self._smes for each in edp.kept(self._issuer, sme) if each.is_of(digest(code)))
            self._do("withdraw", lambda: edp.withdrawn(self._issuer, row.permission.id), code=code)

    def revoke(self) -> None:
        if self._tokens:
            code = self._rng.choice(list(self._tokens))
            self._do("revoke", lambda: self._issuer.post("/revoke", {"token": self._tokens[code]}), code=code)

    def send(self) -> None:
        self._do("send", lambda: dispatched(self._issuer, lambda token: self._say({"received": token})))


def dispatched(issuer: Issuer, receive: Callable[[str], None]) -> int:
    with issuer.mutual_tls.app_context(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatching, "address_of", lambda *_: "")
        patch.setattr(dispatching, "deliver", lambda _s, _to, message: receive(message["body"]["token"]))
        return dispatching.dispatch().done


def killed(issuer: Issuer, rng: random.Random, smes: list[str]) -> list[Any]:
    """What a worker says until it is killed."""
    issuer.close()
    worker = Forked(lambda say: Worker(issuer, rng, smes, say).work())
    worker.kill(after_lines=rng.randint(0, MOST_LINES), and_s=rng.uniform(0, LONGEST_PAUSE_S))
    said, was_killed = worker.heard()
    assert was_killed
    return said


def expected(said: list[Any]) -> list[Model]:
    """The model after all acts that were done, and also after the one that was begun."""
    model, begun = Model(), None
    for line in said:
        if line == "done":
            assert begun is not None
            model.apply(begun)
            begun = None
        elif "act" in line:
            begun = line
    after = copy.deepcopy(model)
    if begun is not None:
        after.apply(begun)
    return [model, after]


def held(issuer: Issuer, smes: list[str]) -> dict[str, tuple[str, bool, str | None]]:
    """What the store holds, by the digest of each code."""
    found = [each for sme in smes for each in edp.consistent(issuer, sme)]
    return {
        each.code.digest: (each.permission.sme, each.permission.redeemed is not None, each.permission.ended_as)
        for each in found
        if each.code is not None
    }


@pytest.mark.parametrize("trials", [25, many(1_000)])
def test_G01_G02_killed_at_any_moment(issuer: Issuer, held_clock: Any, trials: int) -> None:
    received: list[str] = []
    done = 0
    for number in range(trials):
        smes = [f"sme-{number}-{each}" for each in range(2)]
        said = killed(issuer, seeded(number), smes)
        done += said.count("done")
        received += [line["received"] for line in said if isinstance(line, dict) and "received" in line]
        allowed = [
            {digest(code): (g.sme, g.redeemed, g.ended and g.ended[0]) for code, g in model.grants.items()}
            for model in expected(said)
        ]
        assert held(issuer, smes) in allowed, said
    assert done > trials, "a worker lives long enough to do something"
    held_clock.step(dispatching.LEASE_S + 1)
    while dispatched(issuer, received.append):
        pass
    with issuer.public.app_context(), edp.store.reading() as c:
        assert outbox.waiting(c) == []
    owed = [call for number in range(trials) for each in range(2) for call in owed_by(issuer, f"sme-{number}-{each}")]
    assert len(set(received)) == len(owed)


def owed_by(issuer: Issuer, sme: str) -> list[Any]:
    return [call for each in edp.kept(issuer, sme) for call in each.owed]

"""FairPool: how much of a worker one party may hold, by its own history, and who is next."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from consent_server.outbound import fair_pool
from consent_server.outbound.fair_pool import LONGEST_PAUSE_S, FairPool, Tally


class Parties:
    """Parties with work; each turn takes one piece, and waits while its party is held."""

    def __init__(self, **work: int) -> None:
        self.work = Counter(work)
        self.held: dict[str, threading.Event] = {}
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.order: list[str] = []
        self.pause: Callable[[str], int] = lambda party: 0
        self._lock = threading.Lock()

    def waiting(self) -> list[str]:
        with self._lock:
            return [party for party, left in self.work.items() if left > 0]

    def turn(self, party: str, failures: int) -> int:
        with self._lock:
            if self.work[party] <= 0:
                return 0
            self.work[party] -= 1
            self.running[party] += 1
            self.most[party] = max(self.most[party], self.running[party])
            self.most["all"] = max(self.most["all"], self.running.total())
            self.order.append(party)
        if party in self.held:
            self.held[party].wait(30)
        with self._lock:
            self.running[party] -= 1
        return self.pause(party)


def pool(**changes: Any) -> FairPool:
    return FairPool(**{"most": 6, "most_unreliable": 2, "each": 1, "slow_s": 30} | changes)


@pytest.mark.parametrize("each", [1, 3])
def test_no_party_has_more_than_its_share_and_all_together_no_more_than_there_is(each: int) -> None:
    parties = Parties(**{f"p{number}": 20 for number in range(10)})
    pool(each=each).serve(parties.waiting, parties.turn, 30)
    assert not parties.waiting()
    assert parties.most.pop("all") <= 6
    assert max(parties.most.values()) <= each


def test_H07_a_party_that_does_not_answer_leaves_the_others_their_turns() -> None:
    parties = Parties(slow=5, a=20, b=20)
    parties.held["slow"] = threading.Event()
    through = pool()
    through.serve(parties.waiting, parties.turn, 0.5)
    assert parties.waiting() == ["slow"]
    assert parties.running == Counter(slow=1, a=0, b=0)
    # The next run finds it still under way, and does not wait for it either.
    parties.work["a"] = 5
    through.serve(parties.waiting, parties.turn, 0.5)
    assert parties.waiting() == ["slow"]
    parties.held["slow"].set()
    through.serve(parties.waiting, parties.turn, 30)
    assert parties.waiting() == []


def test_H07_parties_with_a_history_share_a_part_and_the_rest_is_for_the_others() -> None:
    """A dozen that failed or were slow before, and then do not answer at all."""
    bad = [f"bad{number}" for number in range(12)]
    parties = Parties(**dict.fromkeys(bad, 1))
    through = pool(slow_s=0)  # whoever has had one turn is slow
    through.serve(parties.waiting, parties.turn, 30)
    parties.work.update({**dict.fromkeys(bad, 3), **{f"well{number}": 1 for number in range(4)}})
    release = threading.Event()
    parties.held = dict.fromkeys(bad, release)
    through.serve(parties.waiting, parties.turn, 0.5)
    assert not any(party.startswith("well") for party in parties.waiting())
    assert sum(parties.running[party] for party in bad) == 2
    release.set()
    through.serve(parties.waiting, parties.turn, 30)
    assert parties.waiting() == []


def test_H07_a_hundred_that_are_well_wait_for_none_that_is_bad(
    held_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty stop answering at once, eight times as many as there are threads, and fail in the end."""
    bad, well = [f"bad{number}" for number in range(50)], [f"well{number}" for number in range(100)]
    parties, through, now = Parties(), pool(slow_s=5), [0]
    parties.pause = lambda party: int(party in bad)
    monkeypatch.setattr(fair_pool, "monotonic", lambda: now[0])
    monkeypatch.setattr(fair_pool, "LOOK_S", 0.01)
    silent: list[int] = []

    def waiting() -> list[str]:
        left, running = parties.waiting(), sum(parties.running[party] for party in bad)
        if set(left) <= set(bad) and not release.is_set():
            silent.append(running)
            release.set()
        elif not silent and len(through._turns) == running:
            now[0] += 6  # it passes while none that is well acts
        return left

    for _ in range(2):
        release = threading.Event()
        parties.held = dict.fromkeys(bad, release)
        parties.work.update(dict.fromkeys([*bad, *well], 2))
        through.serve(waiting, parties.turn, 1000)
        assert set(parties.waiting()) <= set(bad)
        held_clock.step(60)
    assert silent[0] > 6, "each has held a thread for five seconds at most"
    assert silent[1] == 2, "and later none of them does, so that no time need pass"


def test_the_party_that_waits_longest_is_next() -> None:
    parties = Parties(a=3, b=3, c=3)
    pool(most=1).serve(parties.waiting, parties.turn, 30)
    assert parties.order == ["a", "b", "c"] * 3


def test_a_party_is_left_alone_as_long_as_its_turn_said(held_clock: Any) -> None:
    parties = Parties(a=3)
    parties.pause = lambda party: 100
    through = pool()
    for step, left in ((0, 2), (99, 2), (1, 1), (-50, 1), (LONGEST_PAUSE_S, 0)):
        held_clock.step(step)
        through.serve(parties.waiting, parties.turn, 30)
        assert parties.work["a"] == left


def test_a_clock_that_was_stepped_back_shuts_nobody_out(held_clock: Any) -> None:
    parties, through = Parties(a=2), pool()
    parties.pause = lambda party: 100
    through.serve(parties.waiting, parties.turn, 30)
    held_clock.step(-400 * 86400)
    through.serve(parties.waiting, parties.turn, 30)
    assert parties.work["a"] == 0


def test_a_fault_of_ours_in_a_turn_ends_that_turn_alone(held_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    parties = Parties(a=1, b=2)

    def pause(party: str) -> int:
        if party == "a":
            raise KeyError("key-canary")
        return 0

    parties.pause = pause
    pool().serve(parties.waiting, parties.turn, 30)
    assert parties.waiting() == []
    assert "a turn of a" in caplog.text


def test_how_often_a_party_failed_in_a_row_is_known_to_its_turn(held_clock: Any) -> None:
    seen: list[int] = []
    outcomes = [1, 1, 0, 1, 0]

    def turn(_party: str, failures: int) -> int:
        seen.append(failures)
        return outcomes[len(seen) - 1]

    through = pool()
    for _ in outcomes:
        through.serve(lambda: ["a"] if len(seen) < len(outcomes) else [], turn, 0)
        held_clock.step(1)
        through.serve(list, turn, 30)
    assert seen == [0, 1, 2, 0, 1][: len(seen)]


def test_a_tally_counts_from_many_threads() -> None:
    tally = Tally()
    threads = [threading.Thread(target=lambda: [tally.add(number % 3 > 0) for number in range(300)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tally.done, tally.failed) == (1600, 800)

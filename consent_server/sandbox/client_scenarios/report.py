"""What each client is to meet, what it has met, and how its software behaved afterwards as far as a server can see.

Each client has two files in the sandbox: what it is to meet from now on, and the requests that it has sent since it first
met something. No token is kept: a request and its credential are known again by a digest.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from consent_server import clock
from consent_server.issuer.metadata import PAR, TOKEN
from consent_server.sandbox.client_scenarios.table import SCENARIOS, Duty
from consent_server.sandbox.journal import Journal, write_whole
from consent_server.sandbox.layout import APPLICATIONS, Layout

#: Seconds without meeting a scenario after which the next time is judged by itself.
APART_S: Final = 60
#: A client that is left alone with its scenario does not fill the disk. To choose again begins a new journal.
_LARGEST_JOURNAL: Final = 1 << 20
#: Calls in a minute that are few enough for software that backs off, and for software that stops.
_MOST_BACKING_OFF: Final = 5
_MOST_STOPPED: Final = 3

AS_EXPECTED: Final = "as expected"
NOT_AS_EXPECTED: Final = "not as expected"
NOT_KNOWN_YET: Final = "not known yet"
NOT_VISIBLE: Final = "not visible to the server"


@dataclass(frozen=True)
class Seen:
    """One request of a client. `scenario` is what it met; "" for one that met nothing."""

    at: int
    endpoint: str
    status: int
    request: str
    credential: str = ""
    scenario: str = ""
    retry_after: int = 0


@dataclass(frozen=True)
class Judged:
    """The last time that a client met a scenario."""

    client: str
    scenario: str
    at: int
    met: int
    verdict: str
    why: str


# what a client is to meet


def choose(layout: Layout, client: str, scenario: str, *, once: bool = False) -> None:
    """Make a client (a name in APPLICATIONS) meet a scenario from now on, or the next time alone."""
    layout.client_scenarios.mkdir(exist_ok=True)
    write_whole(_choice(layout, client), json.dumps({"scenario": scenario, "once": once}).encode())
    path = _journal(layout, client)
    if not _has_room(path):
        path.unlink()
    Journal(path).add({"chosen": scenario})


def stop(layout: Layout, client: str) -> None:
    """Let a client meet nothing any more."""
    _choice(layout, client).unlink(missing_ok=True)


def chosen(layout: Layout, client: str) -> tuple[str, bool] | None:
    """Return the scenario that a client is to meet, and whether that is for once; None for none."""
    try:
        choice = json.loads(_choice(layout, client).read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    # A directory that was kept may name what another version had.
    return (choice["scenario"], choice["once"]) if choice["scenario"] in SCENARIOS else None


def all_chosen(layout: Layout) -> dict[str, str]:
    """Return client -> scenario for each that is to meet one."""
    found = {client: chosen(layout, client) for client in APPLICATIONS}
    return {client: choice[0] for client, choice in found.items() if choice is not None}


# what it has met


def keep(layout: Layout, client: str, seen: Seen) -> None:
    """Keep a request of a client that meets a scenario now, or has met one before."""
    path = _journal(layout, client)
    if seen.scenario:
        layout.client_scenarios.mkdir(exist_ok=True)
    elif not path.exists():
        return
    if _has_room(path):
        Journal(path).add(asdict(seen))


def report(layout: Layout) -> list[Judged]:
    """Return the last time that each client met each scenario, in the order of clients and then of time."""
    found: list[Judged] = []
    for client in APPLICATIONS:
        last = {times[0].scenario: times for times in _times(Journal(_journal(layout, client)).entries())}
        found += sorted((_judged(client, times, clock.now()) for times in last.values()), key=lambda each: each.at)
    return found


def _times(entries: Sequence[dict[str, Any]]) -> list[list[Seen]]:
    """Return each time that a scenario was met, with the requests after it until another is met or chosen."""
    times: list[list[Seen]] = []
    ends = 0  # the instant from which the scenario of now, met again, is another time
    for entry in entries:
        if "chosen" in entry:
            ends = 0
            continue
        seen = Seen(**entry)
        if seen.scenario and seen.scenario not in SCENARIOS:
            continue
        if seen.scenario and (not times or seen.scenario != times[-1][0].scenario or seen.at >= ends):
            times.append([])
        if times:
            times[-1].append(seen)
        if seen.scenario:
            ends = seen.at + seen.retry_after + APART_S
    return times


def _judged(client: str, times: Sequence[Seen], now: int) -> Judged:
    first = times[0]
    verdict, why = _JUDGES[SCENARIOS[first.scenario].duty](times, now)
    return Judged(client, first.scenario, first.at, sum(bool(each.scenario) for each in times), verdict, why)


def _has_room(path: Path) -> bool:
    return not path.exists() or path.stat().st_size < _LARGEST_JOURNAL


def _choice(layout: Layout, client: str) -> Path:
    return layout.client_scenarios / f"{client}.json"


def _journal(layout: Layout, client: str) -> Path:
    return layout.client_scenarios / f"{client}.jsonl"


# How each duty is judged, from the request that met the scenario and those after it.

Verdict = tuple[str, str]


def _waits(times: Sequence[Seen], now: int) -> Verdict:
    again = 0
    for position, met in enumerate(times):
        after = next((each for each in times[position + 1 :] if each.endpoint == met.endpoint), None)
        if not met.scenario or after is None:
            continue
        if after.at - met.at < met.retry_after:
            return NOT_AS_EXPECTED, f"asked again after {after.at - met.at} s of {met.retry_after}"
        again += 1
    return (AS_EXPECTED, "waited, and asked again") if again else (NOT_KNOWN_YET, "has not asked again")


def _backs_off(times: Sequence[Seen], now: int) -> Verdict:
    return _few_calls([each for each in times if each.endpoint == times[0].endpoint], _MOST_BACKING_OFF, now)


def _stops(times: Sequence[Seen], now: int) -> Verdict:
    return _few_calls(times, _MOST_STOPPED, now)


def _few_calls(calls: Sequence[Seen], most: int, now: int) -> Verdict:
    first = calls[0].at
    within = sum(each.at - first < APART_S for each in calls[1:])
    if within > most:
        return NOT_AS_EXPECTED, f"{within} more calls within a minute"
    if now - first < APART_S:
        return NOT_KNOWN_YET, "a minute is not over"
    return AS_EXPECTED, f"{within} more calls within a minute"


def _corrects(times: Sequence[Seen], now: int) -> Verdict:
    if any(each.request == times[0].request for each in times[1:]):
        return NOT_AS_EXPECTED, "sent the same request again"
    return _after_a_minute(times, now, "did not send the same request again")


def _refreshes(times: Sequence[Seen], now: int) -> Verdict:
    for each in times[1:]:
        if each.credential == times[0].credential:
            return NOT_AS_EXPECTED, f"used the same access token again at {each.endpoint}"
        if each.endpoint == TOKEN:
            return AS_EXPECTED, "asked for another access token"
    return NOT_KNOWN_YET, "has not asked for another access token"


def _asks_again(times: Sequence[Seen], now: int) -> Verdict:
    spent = {(each.endpoint, each.credential) for each in times[:1] if each.credential}
    for each in times[1:]:
        if (each.endpoint, each.credential) in spent:
            return NOT_AS_EXPECTED, f"sent a spent value again to {each.endpoint}"
        if each.scenario:
            spent.add((each.endpoint, each.credential))
        if each.endpoint == PAR:
            return AS_EXPECTED, "pushed a new authorization request"
    return _after_a_minute(times, now, "did not send a spent value again")


def _discards(times: Sequence[Seen], now: int) -> Verdict:
    if any(each.endpoint == TOKEN and each.credential == times[0].credential for each in times[1:]):
        return NOT_AS_EXPECTED, "redeemed the code of a response that it should have refused"
    return _after_a_minute(times, now, "did not redeem the code")


def _deletes(times: Sequence[Seen], now: int) -> Verdict:
    refused = sum(400 <= each.status < 500 for each in times)
    if refused > len(("the data", "the refresh")):
        return NOT_AS_EXPECTED, f"{refused} refused calls after the withdrawal"
    return _after_a_minute(times, now, f"{refused} refused calls after the withdrawal")


def _after_a_minute(times: Sequence[Seen], now: int, good: str) -> Verdict:
    return (AS_EXPECTED, good) if now - times[0].at >= APART_S else (NOT_KNOWN_YET, "a minute is not over")


def _verifies(times: Sequence[Seen], now: int) -> Verdict:
    return NOT_VISIBLE, "look at the client's own log"


_JUDGES: Final[dict[Duty, Callable[[Sequence[Seen], int], Verdict]]] = {
    Duty.WAIT: _waits,
    Duty.BACK_OFF: _backs_off,
    Duty.CORRECT: _corrects,
    Duty.REFRESH: _refreshes,
    Duty.ASK_AGAIN: _asks_again,
    Duty.STOP: _stops,
    Duty.DISCARD: _discards,
    Duty.DELETE: _deletes,
    Duty.VERIFY: _verifies,
}

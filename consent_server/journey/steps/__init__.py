"""The journey's steps for each party, and how far a journey has come.

A journey begins with the SME showing who it is. An EDP may offer several ways to do so, each a step: the first is opened,
and the pages of all of them lead to the others.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from consent_server.deployment import current
from consent_server.journey.decide import Decide
from consent_server.journey.step import Step
from consent_server.journey.steps.account import EnterCode, SignIn
from consent_server.journey.steps.bill import Bill
from consent_server.journey.steps.log_in import LogIn
from consent_server.journey.steps.sites import Sites
from consent_server.settings import BadSettings
from consent_server.settings.journey import JourneySettings
from consent_server.settings.plug_in import plug_in
from consent_server.store.tables.journeys import Progress

_ACCOUNT: Final = (SignIn(), EnterCode(), Decide())
_BEHIND: Final = (Sites(), Decide())
_OURS: Final = {"bill": Bill(), "login": LogIn()}
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")


def ways() -> tuple[Step, ...]:
    """Return the steps by which an SME may show who it is, in the order in which they are offered; a CAP has one."""
    settings = current().settings
    return ways_of(settings.journey) if settings.party == "edp" else _ACCOUNT[:1]


@lru_cache(maxsize=8)
def ways_of(journey: JourneySettings) -> tuple[Step, ...]:
    """Return the steps that `journey.steps` names. Raise BadSettings."""
    found = tuple(_OURS.get(name) or _plug_in(name) for name in journey.steps)
    names = [step.name for step in (*found, *_BEHIND)]
    if len(set(names)) < len(names):
        raise BadSettings("journey.steps: two steps have one name")
    return found


def step_named(name: str) -> Step | None:
    """Return a step of this party's journey."""
    return next((step for step in (*ways(), *_behind()) if step.name == name), None)


def steps(progress: Progress, wanted: Step | None = None) -> tuple[Step, ...]:
    """Return the steps that a journey of this party has, in order, as far as its progress tells.

    It begins with the way to show who one is that is `wanted`, else the one by which the SME has shown it, else the first.
    """
    offered = ways()
    used = next((step for step in offered if step.name == progress.get("way")), offered[0])
    first = wanted if wanted in offered else used
    return first, *(step for step in _behind() if step.needed(progress))


def path_of(step: Step, journey_id: str) -> str:
    """Return a step's address. The id names the journey, so that two tabs never mix; it gives no access."""
    return f"/journey/{step.name}?journey={journey_id}"


def open_step(steps: Sequence[Step], progress: Progress) -> Step:
    """Return the first step that is not done."""
    done = progress.get("done", ())
    return next((step for step in steps if step.name not in done), steps[-1])


def done_after(steps: Sequence[Step], step: Step) -> list[str]:
    """Return what is done once `step` is: those behind it must be done again, since they rested on it."""
    return [each.name for each in steps[: steps.index(step) + 1]]


def _behind() -> tuple[Step, ...]:
    return _BEHIND if current().settings.party == "edp" else _ACCOUNT[1:]


def _plug_in(name: str) -> Step:
    found = plug_in("journey.steps", name, "bill, login")
    if not isinstance(found, Step) or not _NAME.fullmatch(found.name):
        raise BadSettings(f"journey.steps: {name} is no Step with a name of small letters")
    return found

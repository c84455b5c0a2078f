"""The journey's steps for each party, and how far a journey has come."""

from collections.abc import Mapping, Sequence
from typing import Final

from consent_server.deployment import current
from consent_server.journey.decide import Decide
from consent_server.journey.step import Step
from consent_server.journey.steps.account import EnterCode, SignIn
from consent_server.journey.steps.bill import Bill
from consent_server.journey.steps.sites import Sites
from consent_server.store.tables import Progress

STEPS: Final[Mapping[str, tuple[Step, ...]]] = {
    "edp": (Bill(), Sites(), Decide()),
    "cap": (SignIn(), EnterCode(), Decide()),
}


def step_named(name: str) -> Step | None:
    """Return a step of this party's journey."""
    return next((step for step in STEPS[current().settings.party] if step.name == name), None)


def steps(progress: Progress) -> tuple[Step, ...]:
    """Return the steps that a journey of this party has, in order, as far as its progress tells."""
    return tuple(step for step in STEPS[current().settings.party] if step.needed(progress))


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

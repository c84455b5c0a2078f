"""The journey's steps for each party, and how far a journey has come."""

from collections.abc import Mapping, Sequence
from typing import Final

from consent_server.deployment import current
from consent_server.journey.decide import Decide
from consent_server.journey.step import Step
from consent_server.journey.steps.account import EnterCode, SignIn
from consent_server.journey.steps.bill import Bill
from consent_server.store.tables import Progress

STEPS: Final[Mapping[str, tuple[Step, ...]]] = {
    "edp": (Bill(), Decide()),
    "cap": (SignIn(), EnterCode(), Decide()),
}


def steps() -> tuple[Step, ...]:
    """Return the steps of this party's journey, in order."""
    return STEPS[current().settings.party]


def path_of(step: Step, journey_id: str) -> str:
    """Return a step's address. The id names the journey, so that two tabs never mix; it gives no access."""
    return f"/journey/{step.name}?journey={journey_id}"


def open_step(steps: Sequence[Step], progress: Progress) -> int:
    """Return the index of the first step that is not done."""
    done = progress.get("done", ())
    return next((index for index, step in enumerate(steps) if step.name not in done), len(steps) - 1)


def done_after(steps: Sequence[Step], index: int) -> list[str]:
    """Return what is done once the step at `index` is: those behind it must be done again, since they rested on it."""
    return [step.name for step in steps[: index + 1]]

"""The journey's steps, as each party declares them, and where a journey stands."""

from collections.abc import Sequence
from typing import Any

from consent_server.journey import decide, identify, sign_in
from consent_server.journey.step import Step

EDP_STEPS = (identify.STEP, decide.STEP)
CAP_STEPS = (sign_in.SIGN_IN, sign_in.CODE, decide.STEP)

COOKIE_MAX_AGE_S = 3600


def path_of(step: Step, journey_id: str) -> str:
    """A step's address. The id names the journey, so that two tabs never mix; it opens nothing."""
    return f"/journey/{step.name}?journey={journey_id}"


def open_step(steps: Sequence[Step], progress: dict[str, Any]) -> int:
    """The index of the first step that is not done."""
    done = progress.get("done", [])
    return next((index for index, step in enumerate(steps) if step.name not in done), len(steps) - 1)


def done_after(steps: Sequence[Step], index: int) -> list[str]:
    """What is done once the step at `index` is: those behind it must be done again, since they rested on it."""
    return [step.name for step in steps[: index + 1]]

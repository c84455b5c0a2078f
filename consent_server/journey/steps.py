"""The journey's steps, as each party declares them, and where a journey stands."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from consent_server import clock
from consent_server.journey import decide, identify, sign_in
from consent_server.journey.parts import JourneyParts
from consent_server.journey.step import Step

EDP_STEPS = (identify.STEP, decide.STEP)
CAP_STEPS = (sign_in.SIGN_IN, sign_in.CODE, decide.STEP)

COOKIE_MAX_AGE_S = 3600


@dataclass(frozen=True)
class JourneyStart:
    """Where /authorize sends the browser, and the cookie that it sets: the journey is this browser's from now on."""

    path: str
    cookie: str
    value: str = field(repr=False)
    max_age: int = COOKIE_MAX_AGE_S


def start(parts: JourneyParts, request: Any) -> JourneyStart:
    """Begin a journey for a pushed request that was opened in time, under a new id and a new secret."""
    journey_id, secret = secrets.token_urlsafe(16), secrets.token_urlsafe(32)
    parts.storage.open(journey_id, secret, request, clock.now())
    return JourneyStart(path_of(parts.steps[0], journey_id), parts.cookie(journey_id), secret)


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

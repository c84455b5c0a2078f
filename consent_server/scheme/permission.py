"""A permission's life: granted once, ended once, and never alive again."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    GRANTED = "granted"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Act(StrEnum):
    SUPERSEDE = "supersede"
    EXPIRE = "expire"
    WITHDRAW = "withdraw"


TRANSITIONS: Mapping[tuple[State, Act], State] = MappingProxyType(
    {
        (State.GRANTED, Act.SUPERSEDE): State.SUPERSEDED,
        (State.GRANTED, Act.EXPIRE): State.EXPIRED,
        (State.GRANTED, Act.WITHDRAW): State.WITHDRAWN,
    }
)


class NotPossible(ValueError):
    """The act has no row in TRANSITIONS: the permission has already ended."""


def after(state: State, act: Act) -> State:
    """The state that the act leads to; NotPossible when the permission has ended already."""
    try:
        return TRANSITIONS[state, act]
    except KeyError:
        raise NotPossible(f"a permission that is {state} cannot {act}") from None


def state_at(ended: int | None, ended_as: str | None, expires: int, now: int) -> State:
    """The state of a stored permission at the instant `now`.

    Expiry needs no job and no leeway: from `expires` on it has expired. An end that is on record counts whatever its
    instant, so that a node whose clock is behind never sees a withdrawn permission alive. ValueError when the record
    contradicts itself.
    """
    if (ended is None) != (ended_as is None):
        raise ValueError("an ended permission has both an instant and a reason")
    if ended_as is not None:
        state = State(ended_as)
        if state is State.GRANTED:
            raise ValueError("a permission cannot end as granted")
        return state
    return State.EXPIRED if now >= expires else State.GRANTED

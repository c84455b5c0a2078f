"""The states of a permission: it is granted once, ends once, and never becomes valid again."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NotRequired, TypedDict


class GrantedSource(TypedDict):
    """A data source of a permission: `id` is the client's name for `meter`, which is never sent."""

    id: str
    meter: str


class Who(TypedDict):
    """Who gave a permission, and how we know: `name` and `capacity` are as stated by the person who acted for it.

    `account` is the account at a CAP that agreed to connect a provider: nothing else names it until there is a connection.
    """

    business: str
    name: NotRequired[str]
    capacity: NotRequired[str]
    account: NotRequired[str]
    method: str
    strength: str


class State(StrEnum):
    GRANTED = "granted"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, kw_only=True)
class PermissionAt:
    """A permission at an instant: its state, and whether the other side has ever collected it."""

    state: State
    redeemed: bool = True

    @property
    def open(self) -> bool:
        """Return whether it can still be withdrawn."""
        return self.state is State.GRANTED

    @property
    def live(self) -> bool:
        """Return whether the other side may use it: one whose code was never redeemed has given it no token."""
        return self.open and self.redeemed


class Act(StrEnum):
    SUPERSEDE = "supersede"
    EXPIRE = "expire"
    WITHDRAW = "withdraw"


TRANSITIONS: Mapping[tuple[State, Act], State] = MappingProxyType(
    {
        (State.GRANTED, Act.SUPERSEDE): State.SUPERSEDED,
        (State.GRANTED, Act.EXPIRE): State.EXPIRED,
        (State.GRANTED, Act.WITHDRAW): State.WITHDRAWN,
        # The message of a withdrawal may arrive after expiry: the collected data are then still deleted.
        (State.EXPIRED, Act.WITHDRAW): State.WITHDRAWN,
    }
)


class NoSuchTransition(ValueError):
    """The act has no row in TRANSITIONS: the permission has already ended."""


def after(state: State, act: Act) -> State:
    """Return the state that the act leads to. Raise NoSuchTransition when the permission has ended already."""
    try:
        return TRANSITIONS[state, act]
    except KeyError:
        raise NoSuchTransition(f"a permission that is {state} cannot {act}") from None


def state_at(ended: int | None, ended_as: str | None, expires: int, now: int) -> State:
    """Return the state of a stored permission at the instant `now`.

    It has expired from `expires` on, without a job and without leeway. A recorded end counts whatever its instant, so that
    a machine whose clock is slow never treats a withdrawn permission as valid. Raise ValueError for a contradictory record.
    """
    if (ended is None) != (ended_as is None):
        raise ValueError("an ended permission has both an instant and a reason")
    if ended_as is not None:
        state = State(ended_as)
        if state is State.GRANTED:
            raise ValueError("a permission cannot end as granted")
        return state
    return State.EXPIRED if now >= expires else State.GRANTED


def ended_at(state: State, ended: int | None, expires: int) -> int | None:
    """Return when a stored permission in this state ended, in whatever way; None while it is in force."""
    return expires if state is State.EXPIRED else ended

"""An SME looks after its permissions: which there are, what it read, and how it takes one back."""

from collections.abc import Sequence
from dataclasses import dataclass

from consent_server.journey.evidence import GrantView, view
from consent_server.journey.parts import Grant


@dataclass(frozen=True)
class Row:
    """A live permission and the id of its button: the newest has `withdraw`, the others `withdraw-2` and on."""

    grant: GrantView
    button: str


@dataclass(frozen=True)
class Overview:
    """Everything that an SME has permitted, newest first."""

    live: tuple[Row, ...]
    past: tuple[GrantView, ...]


def overview(grants: Sequence[Grant], at: int) -> Overview:
    """The overview at the instant `at`."""
    views = [view(grant, at) for grant in sorted(grants, key=lambda grant: grant.permission.granted, reverse=True)]
    live = [grant for grant in views if grant.live]
    rows = (Row(grant, "withdraw" if number == 1 else f"withdraw-{number}") for number, grant in enumerate(live, 1))
    return Overview(tuple(rows), tuple(grant for grant in views if not grant.live))


def own(grants: Sequence[Grant], permission_id: str, at: int) -> GrantView | None:
    """One of the SME's own permissions by its id: another's and an unknown one are None alike."""
    return next((view(grant, at) for grant in grants if grant.permission.id == permission_id), None)

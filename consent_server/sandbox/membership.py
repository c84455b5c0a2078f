"""The present state of the sandbox's members: who is suspended, and which applications are withdrawn."""

import json
import os
import threading
import time
from typing import Final, Literal

from consent_server.sandbox.layout import Layout

Kind = Literal["member", "application"]

STATUSES: Final[dict[Kind, tuple[str, str]]] = {
    "member": ("active", "suspended"),
    "application": ("active", "withdrawn"),
}

# Short, so that a change is seen at once: how long the Directory's entries are fresh, and how long a door's verdict is.
MAX_AGE_S: Final = 2
REMEMBERED_S: Final = 2
# When both have expired, counted in the whole seconds of our clock.
_SETTLED_AFTER_S = MAX_AGE_S + REMEMBERED_S + 1

_one_at_a_time = threading.Lock()


def suspended(layout: Layout) -> frozenset[str]:
    """Return the suspended members, as names in MEMBERS."""
    return frozenset(_held(layout)["member"])


def withdrawn(layout: Layout) -> frozenset[str]:
    """Return the withdrawn applications, as names in APPLICATIONS."""
    return frozenset(_held(layout)["application"])


def change(layout: Layout, kind: Kind, name: str, status: str) -> None:
    """Give a member or an application one of its STATUSES."""
    with _one_at_a_time:
        held = _held(layout)
        others = [each for each in held[kind] if each != name]
        held[kind] = others if status == "active" else [*others, name]
        unfinished = layout.memberships.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(held), encoding="ascii")
        os.replace(unfinished, layout.memberships)


def wait_until_effective() -> None:
    """Wait until no door uses an older entry or verdict."""
    time.sleep(_SETTLED_AFTER_S)


def _held(layout: Layout) -> dict[Kind, list[str]]:
    try:
        held: dict[Kind, list[str]] = json.loads(layout.memberships.read_text(encoding="ascii"))
        return held
    except FileNotFoundError:
        return {"member": [], "application": []}

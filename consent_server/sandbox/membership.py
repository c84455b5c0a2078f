"""The present state of the sandbox's members: who is suspended, and which applications are withdrawn."""

import json
import threading
import time
from typing import Final, Literal

from consent_server.sandbox.journal import write_whole
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
    return frozenset(_kept(layout)["member"])


def withdrawn(layout: Layout) -> frozenset[str]:
    """Return the withdrawn applications, as names in APPLICATIONS."""
    return frozenset(_kept(layout)["application"])


def change(layout: Layout, kind: Kind, name: str, status: str) -> None:
    """Give a member or an application one of its STATUSES."""
    with _one_at_a_time:
        kept = _kept(layout)
        others = [each for each in kept[kind] if each != name]
        kept[kind] = others if status == "active" else [*others, name]
        write_whole(layout.memberships, json.dumps(kept).encode())


def wait_until_effective() -> None:
    """Wait until no door uses an older entry or verdict."""
    time.sleep(_SETTLED_AFTER_S)


def _kept(layout: Layout) -> dict[Kind, list[str]]:
    try:
        kept: dict[Kind, list[str]] = json.loads(layout.memberships.read_text(encoding="ascii"))
        return kept
    except FileNotFoundError:
        return {"member": [], "application": []}

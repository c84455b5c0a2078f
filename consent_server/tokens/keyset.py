"""The fingerprints of a node's keys, and how the keys of two nodes differ."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, TypedDict

Difference = Literal["behind", "ahead", "apart"]
#: One key: the instant from which it is used, and its fingerprint.
NamedKey = tuple[int, str]


class KeySet(TypedDict):
    """The keys of one node. `signing` and `refresh` are in the order of use, as [instant of first use, fingerprint]."""

    signing: Sequence[Sequence[int | str]]
    refresh: Sequence[Sequence[int | str]]
    sealing: str


def differences(ours: KeySet, theirs: KeySet, at: int) -> Mapping[str, Difference]:
    """Return how our keys differ from those of another node, for each kind that differs in what is used at an instant.

    A node that is behind refuses what the other issues. One that is ahead has what the other will need. Where each lacks
    what the other uses, they are apart.
    """
    found: dict[str, Difference] = {}
    for kind, our_keys, their_keys in (
        ("signing", _named(ours["signing"]), _named(theirs["signing"])),
        ("refresh", _named(ours["refresh"]), _named(theirs["refresh"])),
    ):
        our_current, their_current = in_use(our_keys, at), in_use(their_keys, at)
        lacks, lacked = their_current not in our_keys, our_current not in their_keys
        if lacks and lacked:
            found[kind] = "apart"
        elif lacks:
            found[kind] = "behind" if their_current > our_current else "ahead"
        elif lacked:
            found[kind] = "ahead"
    if ours["sealing"] != theirs["sealing"]:
        found["sealing"] = "apart"
    return found


def _named(keys: Sequence[Sequence[int | str]]) -> list[NamedKey]:
    return [(int(used_from), str(name)) for used_from, name in keys]


def in_use(keys: Collection[NamedKey], at: int) -> NamedKey:
    """Return the newest key in use at an instant, or the next where there is none (the older was removed in an emergency)."""
    started = [key for key in keys if key[0] <= at]
    return max(started) if started else min(keys)

"""The chain in a verified record, as a tree of text: which step rests on which, and what is wrong although it is signed.

`container.verify()` has checked signatures, certificates and references. Here the steps are compared with each other: whether a
step was allowed, when it was made, by the permissions that it names, and whether data were received by the party that they were
sent to. The cost is linear in the number of steps and references, whatever a record says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from consent_server.scheme.provenance.container import CLOCK_SKEW, VerifiedStep
from consent_server.scheme.provenance.deployed import licenses_of
from consent_server.scheme.provenance.permitted import Permitted, made_at, permitted
from consent_server.scheme.provenance.step import as_object

_LONGEST_TEXT = 200
_MOST_FAULTS = 20


@dataclass(frozen=True)
class StepInWords:
    """A step in words: what it is, and who signed it when. `sources` are the ids of the steps that it rests on."""

    id: str
    kind: str
    text: str
    signer: str
    member: str
    at: str
    sources: tuple[str, ...]
    permissions: tuple[str, ...]


def in_words(steps: Sequence[VerifiedStep]) -> dict[str, StepInWords]:
    """Return every step in words, by id and in order."""
    return {step["id"]: _in_words(step) for step in steps}


def tree(steps: Sequence[VerifiedStep]) -> list[str]:
    """Return the record as lines: each step that nothing rests on, and below it what it rests on, each step once.

    The permissions follow, which steps name by number.
    """
    known = in_words(steps)
    numbers = {step["id"]: number for number, step in enumerate((s for s in steps if s["type"] == "permission"), 1)}
    named = {source for each in known.values() for source in each.sources}
    lines: list[str] = []
    seen: set[str] = set()
    waiting = [(0, each.id) for each in reversed(known.values()) if each.id not in named and each.kind != "permission"]
    while waiting:
        depth, identifier = waiting.pop()
        each = known[identifier]
        under = ", ".join(f"P{numbers[permission]}" for permission in dict.fromkeys(each.permissions))
        lines.append("  " * min(depth, 40) + _line(each) + (f", under {under}" if under else ""))
        sources = list(dict.fromkeys(each.sources))
        again = sum(source in seen for source in sources)
        if again:
            lines.append("  " * min(depth + 1, 40) + f"and {again} shown above")
        fresh = [source for source in sources if source not in seen]
        seen.update(fresh)
        waiting += [(depth + 1, source) for source in reversed(fresh)]
    return lines + [f"P{number} {_line(known[identifier])}" for identifier, number in numbers.items()]


def faults(steps: Sequence[VerifiedStep]) -> list[str]:
    """Return what does not hold between the steps, the first few of it."""
    by_id = {step["id"]: step for step in steps}
    # Each is read once: a step may name thousands of permissions, and a permission thousands of licenses.
    permissions = {step["id"]: permitted(step) for step in steps if step["type"] == "permission"}
    receipted = {step["transfer"] for step in steps if step["type"] == "receipt"}
    found: list[str] = []
    for step in steps:
        if step["type"] == "receipt":
            found += _receipt_faults(step, by_id[step["transfer"]])
        if step["type"] == "transfer" and step["_signature"]["includedBy"] and step["id"] not in receipted:
            found.append(f"{_name(step)}: nobody has signed a receipt for it")
        found += _permission_faults(step, [permissions[each] for each in dict.fromkeys(_named(step))])
        if len(found) >= _MOST_FAULTS:
            return [*found[:_MOST_FAULTS], "and perhaps more"]
    return found


def _receipt_faults(receipt: VerifiedStep, transfer: VerifiedStep) -> Iterator[str]:
    signed = receipt["_signature"]["signed"]
    if transfer.get("to") not in (signed["member"], signed["application"]):
        yield f"{_name(receipt)}: signed by {plain(signed['member'])}, and sent to another"
    if made_at(receipt) < made_at(transfer) - CLOCK_SKEW:
        yield f"{_name(receipt)}: received before it was sent"


def _permission_faults(step: VerifiedStep, permissions: Sequence[Permitted]) -> Iterator[str]:
    at, kind = made_at(step), step["type"]
    if not all(each.is_given(at) for each in permissions):
        yield f"{_name(step)}: made before its permission was given"
    if any(each.is_over(at) for each in permissions):
        yield f"{_name(step)}: made after its permission had expired"
    if kind in ("transfer", "process") and not any(each.allows(step) for each in permissions):
        yield f"{_name(step)}: no permission that it names allows its {'license' if kind == 'transfer' else 'process'}"


def _name(step: VerifiedStep) -> str:
    return f"{step['type']} {plain(step['id'])}"


# In words


def _line(each: StepInWords) -> str:
    return f"{each.text}, signed by {each.signer} at {each.at}"


def _in_words(step: VerifiedStep) -> StepInWords:
    signed = step["_signature"]["signed"]
    return StepInWords(
        step["id"],
        step["type"],
        _WORDS[step["type"]](step),
        plain(signed["name"]),
        plain(signed["member"]),
        plain(step["_signature"]["timestamp"]),
        _sources(step),
        _named(step),
    )


def _sources(step: VerifiedStep) -> tuple[str, ...]:
    if step["type"] == "process":
        return tuple(step.get("inputs", ()))
    return tuple(step[name] for name in ("of", "transfer") if name in step and step["type"] in ("transfer", "receipt"))


def _named(step: VerifiedStep) -> tuple[str, ...]:
    """Return the permissions that a step names: container.verify() has looked at these kinds of step."""
    return tuple(step.get("permissions", ())) if step["type"] in ("origin", "transfer", "process") else ()


def _permission(step: VerifiedStep) -> str:
    listed = ", ".join(_end(each) for each in licenses_of(step, deployed=True)[:5]) or "nothing"
    return f"permission of {plain(step['timestamp'])} until {plain(step.get('expires'))} for {listed}"


def _origin(step: VerifiedStep) -> str:
    details = as_object(step.get("perseus:scheme"))
    place = f" in {plain(details['postcode'])}" if "postcode" in details else ""
    what = f"origin {_end(step.get('sourceType'))}{place} from {plain(step.get('origin'))}"
    return f"{what}{_stretch(details.get('meteringPeriod'))}{_assurance(step)}"


def _transfer(step: VerifiedStep) -> str:
    return f"transfer of {_end(step.get('standard'))} to {plain(step.get('to'))}{_stretch(step.get('parameters'))}"


def _receipt(_step: VerifiedStep) -> str:
    return "receipt"


def _process(step: VerifiedStep) -> str:
    return f"process {_end(step.get('process'))}{_assurance(step)}"


_WORDS = {
    "permission": _permission,
    "origin": _origin,
    "transfer": _transfer,
    "receipt": _receipt,
    "process": _process,
}


def _stretch(period: object) -> str:
    found = as_object(period)
    return f", {plain(found.get('from'))} to {plain(found.get('to'))}" if found else ""


def _assurance(step: VerifiedStep) -> str:
    return f", missing data: {_end(as_object(step.get('perseus:assurance')).get('missingData'))}"


def _end(url: object) -> str:
    """Return the name and the version with which a Registry URL ends."""
    *_, last, newest = ["", *plain(url).rstrip("/").split("/")]
    return f"{last} {newest}" if newest[:4].isdigit() and last else newest


def plain(value: object) -> str:
    """Return text of a record for a terminal or a page: short, and without what would move a cursor."""
    text = value if isinstance(value, str) else "nothing" if value is None else str(type(value).__name__)
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[:_LONGEST_TEXT])

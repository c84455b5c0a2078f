"""One step of a provenance record: its text, its members, and what it may refer to (IB1 Provenance Records 1.0).

Its text is JSON in URL-safe Base64 with padding. What Perseus writes into steps is in steps.py.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from consent_server.scheme import instant

MAX_STEP_CHARACTERS = 131_072
MAX_STEP_NESTING = 12
MAX_ID_CHARACTERS = 200

STEP_TYPES = frozenset({"permission", "origin", "transfer", "receipt", "process"})
# Which member of a step refers to which types of step.
_ONE_REFERENCE = {
    ("transfer", "of"): frozenset({"origin", "receipt", "process"}),
    ("receipt", "transfer"): frozenset({"transfer"}),
}
_MANY_REFERENCES = {
    ("process", "inputs"): frozenset({"origin", "receipt", "process"}),
    ("origin", "permissions"): frozenset({"permission"}),
    ("transfer", "permissions"): frozenset({"permission"}),
    ("process", "permissions"): frozenset({"permission"}),
}

_BASE64 = re.compile(r"[A-Za-z0-9_-]+={0,2}", re.ASCII)

Step = dict[str, Any]


class ProvenanceError(ValueError):
    """A record that cannot be made or is not accepted. The text says what must be different."""


def as_object(value: object) -> dict[str, Any]:
    """Return the value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


# Its text


def encode_step(step: Mapping[str, Any]) -> bytes:
    """Return a step as JSON. Raise ProvenanceError for what is not plain JSON."""
    try:
        return json.dumps(step, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise ProvenanceError("a step must be plain JSON") from None


def require_text_of_step(element: str) -> None:
    """Refuse other characters before anything is signed: only these keep the joined text unambiguous."""
    if len(element) > MAX_STEP_CHARACTERS or not _BASE64.fullmatch(element):
        raise ProvenanceError("a step must be URL-safe Base64, and not too long")


def decode_step(text: bytes) -> Step:
    """Return a step. Raise ProvenanceError for what is not strict JSON."""
    try:
        step = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_without_doubles,
            parse_constant=_refuse_constant,
        )
    except ProvenanceError:
        raise
    except (ValueError, RecursionError):
        raise ProvenanceError("a step must be JSON") from None
    if not isinstance(step, dict):
        raise ProvenanceError("a step must be a JSON object")
    return step


def decode_base64(text: str) -> bytes:
    """Return what URL-safe, padded and canonical Base64 holds: one step or signature has one spelling."""
    try:
        data = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ProvenanceError("a step or signature must be URL-safe Base64 with padding") from None
    if base64.urlsafe_b64encode(data).decode() != text:
        raise ProvenanceError("a step or signature must be canonical Base64")
    return data


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ProvenanceError("a step has a member twice")
    return members


def _refuse_constant(name: str) -> None:
    raise ProvenanceError("a step must be JSON, which has no such number")


def _require_plain(step: Step) -> None:
    """Refuse deep nesting, infinite numbers, and text that cannot be encoded again (a lone surrogate)."""
    values: list[object] = [step]
    for _ in range(MAX_STEP_NESTING):
        within: list[object] = []
        for value in values:
            if isinstance(value, list):
                within += value
            elif isinstance(value, dict):
                within += value.values()
                _require_text("".join(value))
            elif isinstance(value, str):
                _require_text(value)
            elif isinstance(value, float) and not math.isfinite(value):  # such as 1e999
                raise ProvenanceError("a step's number is too large")
        if not within:
            return
        values = within
    raise ProvenanceError("a step is nested too deeply")


def _require_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ProvenanceError("a step's text must be Unicode") from None


# Its place in a record


class StepSequence:
    """The rules between the steps of one record, applied to each in turn."""

    def __init__(self) -> None:
        self.origins: list[str] = []
        self._type_of: dict[str, str] = {}

    def append(self, step: Step) -> None:
        """Raise ProvenanceError for a step that may not come next."""
        identifier, kind = self._identified(step)
        _require_common_properties(step)
        for (of, name), types in _ONE_REFERENCE.items():
            if kind == of:
                self._require_earlier(step.get(name), name, types)
        for (of, name), types in _MANY_REFERENCES.items():
            if kind == of and name in step:
                if not isinstance(step[name], list):
                    raise ProvenanceError(f"{name} must be a list of step ids")
                for reference in step[name]:
                    self._require_earlier(reference, name, types)
        self._type_of[identifier] = kind
        if kind == "origin":
            self.origins.append(identifier)

    def _identified(self, step: Step) -> tuple[str, str]:
        identifier, kind = step.get("id"), step.get("type")
        if not isinstance(identifier, str) or not 0 < len(identifier) <= MAX_ID_CHARACTERS:
            raise ProvenanceError("a step has an id")
        if identifier in self._type_of:
            raise ProvenanceError("two steps have the same id")
        if not isinstance(kind, str) or kind not in STEP_TYPES:
            raise ProvenanceError(f"a step's type must be one of {', '.join(sorted(STEP_TYPES))}")
        return identifier, kind

    def _require_earlier(self, reference: object, name: str, types: frozenset[str]) -> None:
        if not isinstance(reference, str) or self._type_of.get(reference) not in types:
            raise ProvenanceError(f"{name} must refer to an earlier step of type {' or '.join(sorted(types))}")


def _require_common_properties(step: Step) -> None:
    try:
        instant.parse(step.get("timestamp"))
    except ValueError:
        raise ProvenanceError("a step's timestamp must be an RFC 3339 date-time") from None
    # Provenance Records 1.0, Common properties: reserved for what a library adds on decoding
    if any(name.startswith("_") for name in step):
        raise ProvenanceError("a step has no member whose name begins with an underscore")
    _require_plain(step)

"""The costliest provenance record of about 1 MB that a provider could send, for each thing of which there can be many."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from consent_server.scheme import instant
from consent_server.scheme.provenance import container
from consent_server.scheme.provenance.container import SignedRecord, Signer
from consent_server.scheme.provenance.step import MAX_STEP_CHARACTERS
from tests.scheme.signing import EDP_ROLE, NOW, REGISTRY, member_signer, signing_authority

FRAMEWORK = f"{REGISTRY}/trust-framework"
SIZE = 1_000_000
_LONGEST_STEP = MAX_STEP_CHARACTERS * 3 // 4 - 2


_BRACKETS = container.MAX_BRACKETS // (SIZE // MAX_STEP_CHARACTERS) - 20  # in each of a megabyte's longest steps
ORIGIN = {"id": "o", "timestamp": instant.text(NOW), "type": "origin"}


@cache
def edp() -> Signer:
    return member_signer("edp", EDP_ROLE)


def signed(elements: list[object], signer: Signer | None = None, at: int = NOW) -> list[object]:
    """A signed list; its maker has the code under test sign whatever is in it."""
    signer = signer or edp()
    data = container._signing_input(FRAMEWORK, elements, signer.serial, instant.text(at))
    return [*elements, [0, signer.serial, instant.text(at), base64.urlsafe_b64encode(signer.sign(data)).decode()]]


def record(elements: list[object], *others: Signer) -> SignedRecord:
    """The record of these elements behind one origin step, signed by `edp` around what `others` signed."""
    certificates: dict[str, list[str]] = {}
    for signer in (edp(), *others):
        certificates |= signer.certificates
    return {
        "ib1:provenance": FRAMEWORK,
        "origins": ["o"],
        "steps": signed([encode(ORIGIN), *elements]),
        "certificates": certificates,
    }


def encode(step: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(step, separators=(",", ":")).encode()).decode()


def signatures(count: int) -> SignedRecord:
    """Signed lists side by side, each of one small step and each at a time of its own."""
    return record([signed([small_step(number)], at=NOW - number) for number in range(count - 1)])


def nested(count: int) -> SignedRecord:
    """As many signatures, in lists as deep as may be: what is innermost is signed each time."""
    lists: list[object] = []
    for number in range((count - 1) // container.MAX_NESTED_LISTS):
        steps: list[object] = [small_step(number)]
        for above in range(container.MAX_NESTED_LISTS):
            steps = [signed(steps, at=NOW - 60 * number + above)]
        lists += steps
    return record(lists)


def deep(size: int) -> SignedRecord:
    """Long steps below as many signatures as may stand around them."""
    steps: list[object] = list(_long_steps(size, lambda room: {"note": "x" * room}))
    for _ in range(container.MAX_NESTED_LISTS):
        steps = [signed(steps)]
    return record(steps)


def small_steps(count: int) -> SignedRecord:
    return record([small_step(number) for number in range(count - 1)])


def signers(count: int) -> SignedRecord:
    """Lists each signed with another certificate."""
    others = [signing_authority().signer(f"edp{number}", EDP_ROLE) for number in range(count - 1)]
    return record([signed([small_step(-number)], signer) for number, signer in enumerate(others, 1)], *others)


def references(size: int) -> SignedRecord:
    """Processes with as many inputs as a step holds, all of them one origin."""
    return record(list(_long_steps(size, lambda room: {"type": "process", "inputs": ["o"] * (room // 4)})))


def permissions(size: int, terms: Mapping[str, Any]) -> SignedRecord:
    """A permission with as many licenses as a step holds, and transfers that name it as often as a step can."""
    permission = {"id": "p", "type": "permission", "timestamp": instant.text(NOW), "account": "a"}
    permission |= {"expires": instant.text(NOW + 86400), "allows": {"licenses": ["l"] * (_LONGEST_STEP // 4 - 100)}}
    transfer = {"type": "transfer", "of": "o", **terms}
    transfers = _long_steps(size, lambda room: transfer | {"permissions": ["p"] * ((room - 300) // 4)})
    return record([encode(permission), *transfers])


JSON: dict[str, Callable[[int], dict[str, object]]] = {
    "lists": lambda room: {"a": [[]] * _BRACKETS, "b": [0] * (room // 2 - 2 * _BRACKETS)},
    "objects": lambda room: {"a": [{}] * _BRACKETS, "b": [0] * (room // 2 - 2 * _BRACKETS)},
    "members": lambda room: {f"{number:x}": 0 for number in range(room // 9)},
    "numbers": lambda room: {"a": [0] * (room // 2)},
    "fractions": lambda room: {"a": [0.1] * (room // 4)},
    "long numbers": lambda room: {"a": [int("9" * 4300)] * (room // 4301)},
    "texts": lambda room: {"a": [""] * (room // 3)},
    "escapes": lambda room: {"a": "\n" * (room // 2)},
    "nested lists": lambda room: {
        "a": [[[[[[[[[[]]]]]]]]]] * (_BRACKETS // 10),
        "b": [0] * (room // 2 - 2 * _BRACKETS),
    },
}


def contents(kind: str, size: int) -> SignedRecord:
    """Steps that hold as many JSON values of a kind as they can."""
    return record(list(_long_steps(size, JSON[kind])))


def mixed() -> SignedRecord:
    """As many signatures and signers as there may be, and the rest of the megabyte lists in lists."""
    others = signers(container.MAX_CERTIFICATES - 1)
    whole = nested(container.MAX_SIGNATURES - len(others["steps"]))
    room = SIZE - len(json.dumps(others)) - len(json.dumps(whole))
    elements = [*whole["steps"][1:-1], *others["steps"][1:-1], *_long_steps(room, JSON["numbers"])]
    return record(elements) | {"certificates": others["certificates"]}


def origins(count: int) -> SignedRecord:
    return small_steps(2) | {"origins": ["x" * 90] * count}


def unused_certificates(count: int) -> SignedRecord:
    small = small_steps(2)
    small["certificates"] |= {str(number): ["x" * (SIZE // count)] for number in range(2, count)}
    return small


def small_step(number: int) -> str:
    return encode({"id": f"{number}", "type": "permission", "timestamp": instant.text(NOW)})


def _long_steps(size: int, content: Callable[[int], dict[str, object]]) -> Iterator[str]:
    """Yield steps as long as a step may be, about `size` characters in all."""
    for number in range(size * 3 // 4 // _LONGEST_STEP):
        step = {"id": f"long{number}", "timestamp": instant.text(NOW), "type": "permission"}
        room = _LONGEST_STEP - len(json.dumps(step)) - 40
        yield encode(step | content(room))

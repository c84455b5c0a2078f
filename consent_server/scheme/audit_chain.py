"""The audit trail as a chain: an event has a position, a digest of its contents, and a digest that includes the one before.

    contents  = SHA-256 of the event as JSON: at, correlation_id, event, fields and id, with sorted names and no spaces
    digest    = SHA-256 of the digest before (32 bytes), the position (8 bytes, big-endian) and the contents' digest (32 bytes)

The digest before position 1 is 32 zero bytes. A checkpoint is a digest that our signing certificate has signed: whoever keeps
one can check later whether anything before it was changed. docs/audit.md says how to do so without this program.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from cryptography import x509

from consent_server.scheme import instant, signed_document
from consent_server.scheme.provenance.container import Signer
from consent_server.scheme.signed_document import DocumentFault, DocumentKind

BEFORE_THE_FIRST: Final = bytes(32).hex()


class ChainLink(NamedTuple):
    """An event in the chain. `contents` and `digest` are SHA-256 in hex."""

    position: int
    event: Mapping[str, Any]
    contents: str
    digest: str


class AuditCheckpoint(NamedTuple):
    """The digest of a position, which a member signed at an instant."""

    position: int
    digest: str
    at: int


class ChainFault(NamedTuple):
    """What does not hold at a position: an event was `changed`, `moved` or inserted, is `missing`, or the chain `rewritten`."""

    position: int
    kind: str
    why: str


def contents(event: Mapping[str, Any]) -> str:
    """Return the digest of an event: a mapping with at, correlation_id, event, fields and id."""
    text = json.dumps(event, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def follow(before: str, position: int, contents_: str) -> str:
    """Return the digest of a position, from the one before and from the digest of its contents."""
    return hashlib.sha256(bytes.fromhex(before) + position.to_bytes(8, "big") + bytes.fromhex(contents_)).hexdigest()


def faults(links: Iterable[ChainLink], checkpoints: Mapping[int, str]) -> Iterator[ChainFault]:
    """Yield what does not hold of a chain, whose links come by position, against digests that were signed.

    A chain that does not begin at 1 must begin right after a checkpoint, and none may end before the last checkpoint.
    """
    at, before = 0, BEFORE_THE_FIRST
    for link in links:
        if link.position != at + 1:
            gap = f"positions {at + 1} to {link.position - 1} are not there"
            if at or link.position - 1 not in checkpoints:
                yield ChainFault(link.position, "missing", gap)
            before = checkpoints.get(link.position - 1, "")
        yield from _faults(link, before, checkpoints.get(link.position))
        at, before = link.position, link.digest
    last = max(checkpoints, default=0)
    if at < last:
        yield ChainFault(at + 1, "missing", f"the chain ends at {at}, and position {last} was signed")


def _faults(link: ChainLink, before: str, signed: str | None) -> Iterator[ChainFault]:
    """`before` is empty where it is not known."""
    if contents(link.event) != link.contents:
        yield ChainFault(link.position, "changed", "its contents are not those that were sealed")
    if before and follow(before, link.position, link.contents) != link.digest:
        yield ChainFault(
            link.position, "moved", "it does not follow the event before it: one of them was inserted or moved"
        )
    if signed is not None and signed != link.digest:
        yield ChainFault(link.position, "rewritten", "a checkpoint that was signed here has another digest")


def checkpoint(point: AuditCheckpoint, signer: Signer) -> dict[str, str]:
    """Return a signed checkpoint."""
    made = {"member": signer.member, "position": point.position, "digest": point.digest, "time": instant.text(point.at)}
    return signed_document.sign(made, CHECKPOINT, signer)


def read_checkpoint(text: bytes, root: x509.Certificate, now: int) -> AuditCheckpoint:
    """Return a checkpoint whose signer's chain led to `root` when it was made. Raise DocumentFault."""
    found = signed_document.verify(text, CHECKPOINT, root, now)
    position, digest = found.get("position"), found.get("digest")
    if type(position) is not int or not isinstance(digest, str):
        raise DocumentFault("form", "it names no position or no digest")
    return AuditCheckpoint(position, digest, CHECKPOINT.made(found))


CHECKPOINT: Final = DocumentKind("audit-checkpoint+jws", "application/json")

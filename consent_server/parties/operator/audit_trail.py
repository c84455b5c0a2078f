"""What an operator and an auditor may do with the audit trail: check its chain, and take a bundle that proves a part of it.

A bundle is a ZIP archive that is checked without this program (docs/audit.md). It holds JSON alone: `bundle.json` with the
events and where they stand in the chain, the digests between the checkpoints around them, and the checkpoints as they were
signed; and beside each permission its record, its evidence and its signed consent receipt.
"""

import json
import zipfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from consent_server import clock, store
from consent_server.parties.operator import records
from consent_server.parties.operator.records import CommandFailed
from consent_server.receipts import consent
from consent_server.scheme import audit_chain, instant
from consent_server.scheme.audit_chain import BEFORE_THE_FIRST, ChainFault, ChainLink
from consent_server.scheme.signed_document import DocumentFault
from consent_server.store import audit_events, evidence
from consent_server.store.tables.audit import KeptCheckpoint

#: Seconds within which the job seals what was written; older events without a place are reported.
SEALED_WITHIN_S: Final = 600
_MOST_EVENTS: Final = 100_000


class Verified:
    """What was found of a chain. `faults` is read to its end first."""

    def __init__(self, root: x509.Certificate, kept_elsewhere: Iterable[bytes] = ()) -> None:
        """Take the Directory's signing root, and signed checkpoints that others kept."""
        self._root = root
        self._elsewhere = list(kept_elsewhere)
        self.last = 0
        self.events = 0
        self.signed = 0

    def faults(self) -> Iterator[ChainFault]:
        """Yield what does not hold, by position. Raise StoreUnavailable, and DocumentFault for a checkpoint kept elsewhere."""
        now = clock.now()
        signed: dict[int, str] = {}
        for text in self._elsewhere:
            point = audit_chain.read_checkpoint(text, self._root, now)
            signed[point.position] = point.digest
        with store.reading() as c:
            for kept in audit_events.checkpoints(c):
                try:
                    point = audit_chain.read_checkpoint(json.dumps(dict(kept.signed)).encode(), self._root, now)
                except DocumentFault as fault:
                    yield ChainFault(kept.position, "checkpoint", str(fault))
                    continue
                if point.position != kept.position:
                    yield ChainFault(kept.position, "checkpoint", f"it was signed for position {point.position}")
                signed.setdefault(point.position, point.digest)
            self.signed = len(signed)
            yield from audit_chain.faults(self._counted(audit_events.chain(c)), signed)
            waiting = audit_events.waiting_since(c)
        if waiting is not None and waiting < now - SEALED_WITHIN_S:
            why = f"events since {instant.text(waiting)} have no place in the chain: does `consent-server work` run?"
            yield ChainFault(self.last + 1, "not sealed", why)

    def _counted(self, links: Iterator[ChainLink]) -> Iterator[ChainLink]:
        for link in links:
            self.last, self.events = link.position, self.events + 1
            yield link


def checkpoints(since: int) -> list[Mapping[str, str]]:
    """Return the checkpoints that were signed from an instant on, as they were signed."""
    with store.reading() as c:
        return [dict(each.signed) for each in audit_events.checkpoints(c, since)]


def signed_until() -> int | None:
    """Return the position of the last checkpoint, or None where there is none."""
    with store.reading() as c:
        last = audit_events.last_checkpoint(c)
    return None if last is None else last.position


def permissions_of(business: str | None) -> list[str]:
    """Return the permissions and connections whose evidence names this business, or all. Raise CommandFailed where the business
    has none.
    """
    with store.reading() as c:
        found = evidence.subjects(c) if business is None else evidence.subjects_of(c, business)
    if business is not None and not found:
        raise CommandFailed(f"no evidence names a business {business!r}: write it as the evidence page does")
    return found


def export(subjects: Iterable[str], file: Path) -> int:
    """Write the bundle of some permissions or connections; return how many events it has. `file` must not exist.

    Raise CommandFailed when a subject is unknown, or an event has no place in the chain yet.
    """
    subjects = list(subjects)
    documents: dict[str, Any] = {}
    for subject in subjects:
        documents[f"{subject}/record.json"] = records.permission(subject)
        if (signed := consent.signed(subject)) is not None:
            documents[f"{subject}/consent.json"] = json.loads(signed)
    with store.reading() as c:
        events = [row for each in subjects for row in audit_events.newest(c, _MOST_EVENTS, subject=each)]
        for subject in subjects:
            if (seen := evidence.of_subject(c, subject)) is not None:
                documents[f"{subject}/evidence.json"] = seen._asdict()
        if any(row.position is None for row in events):
            raise CommandFailed("the newest events have no place in the chain yet: try again in ten seconds")
        positions = sorted({row.position for row in events if row.position is not None})
        bundle = _proof(c, positions, audit_events.checkpoints(c))
    documents["bundle.json"] = bundle
    with zipfile.ZipFile(file, "x", zipfile.ZIP_DEFLATED) as archive:
        for name, document in sorted(documents.items()):
            archive.writestr(name, json.dumps(document, indent=1, default=str))
    return len(positions)


def _proof(c: store.Connection, positions: list[int], signed: list[KeptCheckpoint]) -> dict[str, Any]:
    """Return events with their places, and for each stretch between two checkpoints that has one the digests of all contents.

    What was sealed after the last checkpoint is proved by the chain alone, until the next is signed.
    """
    ends = [each.position for each in signed]
    stretches: dict[int, dict[str, Any]] = {}
    events, wanted = [], set(positions)
    for position in positions:
        index = bisect_left(ends, position)
        if index not in stretches:
            before = signed[index - 1] if index else None
            after = before.position if before else 0
            links = list(audit_events.chain(c, after, ends[index] if index < len(ends) else None))
            stretches[index] = {
                "after": after,
                "digest_before": before.digest if before else BEFORE_THE_FIRST,
                "contents": [link.contents for link in links],
                "digest": links[-1].digest,
                "checkpoint": dict(signed[index].signed) if index < len(ends) else None,
                "checkpoint_before": dict(before.signed) if before else None,
            }
            events += [link for link in links if link.position in wanted]
    return {
        "events": [{"position": link.position, **link.event} for link in events],
        "stretches": list(stretches.values()),
    }

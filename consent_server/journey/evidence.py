"""A grant as pages show it: to the SME that gave it, and to anyone who has the address of its evidence.

Permission Records: the evidence page is full evidence as HTML, with the type of evidence rather than documents, and all
earlier grants of that SME to that client. Meters are masked; nothing on it can be clicked, run or used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from consent_server import store
from consent_server.scheme import instant, permission_text
from consent_server.scheme.meters import MaskedMeter
from consent_server.scheme.permission import PermissionAt, ended_at, state_at
from consent_server.store import evidence, outbox, permissions, released
from consent_server.store.tables.owed import OwedCall
from consent_server.store.tables.permissions import Evidence, Permission, ReleasedData

LONGEST_ID = 48


@dataclass(frozen=True)
class GrantView(PermissionAt):
    """One grant, what its SME saw and did, its state at an instant; for the list of all, what was `released` under it, and the
    calls by which its client is `told` of its end."""

    permission: Permission
    evidence: Evidence
    told: Sequence[OwedCall] = ()
    released: ReleasedData | None = None

    @property
    def ended(self) -> int | None:
        """Return when the grant ended, in whatever way; None while it is open."""
        return ended_at(self.state, self.permission.ended, self.permission.expires)

    @property
    def client(self) -> str:
        """Return the client's name, as the SME read it."""
        return self.evidence.names.get("client", self.permission.client_id)

    @property
    def meters(self) -> list[MaskedMeter]:
        """Return the meters whose data may be read."""
        return [meter for meter in self.permission.meters if meter["fuel"] in self.permission.fuels]

    @property
    def agreed(self) -> int | None:
        """Return when the text was read and agreed to before, where that was earlier than the grant; else None."""
        at = self.evidence.names.get("agreed")
        return instant.parse(at) if at else None

    @property
    def on_withdrawal(self) -> str:
        """Return what its text says that a withdrawal leads to; empty where it says nothing of it."""
        return permission_text.said_on_withdrawal(self.evidence.text_shown)

    @property
    def text_html(self) -> str:
        return permission_text.render(self.evidence.text_shown)


def grants_of(sme: str, at: int) -> list[GrantView]:
    """Return all grants of an SME with their states at an instant, newest first."""
    with store.reading() as c:
        views = _views(c, permissions.of_sme(c, sme), at)
        ids = [each.permission.id for each in views]
        told, given = outbox.of_subjects(c, ids), released.of_subjects(c, ids)
    return [
        replace(each, told=told.get(each.permission.id, ()), released=given.get(each.permission.id)) for each in views
    ]


def own(sme: str, permission_id: str, at: int) -> GrantView | None:
    """Return one of the SME's own grants; None for another's and an unknown one alike."""
    with store.reading() as c:
        row = permissions.find(c, permission_id)
        return next(iter(_views(c, [row], at)), None) if row is not None and row.sme == sme else None


def by_evidence(evidence_id: str, at: int) -> list[GrantView]:
    """Return the grant with this evidence, then every other of the same SME to the same client; or nothing."""
    if len(evidence_id) > LONGEST_ID:
        return []
    with store.reading() as c:
        seen = evidence.find(c, evidence_id)
        shown = permissions.find(c, seen.subject) if seen is not None else None
        if shown is None:
            return []
        others = [
            row for row in permissions.of_sme(c, shown.sme) if row.client_id == shown.client_id and row.id != shown.id
        ]
        return _views(c, [shown, *others], at)


def _views(c: store.Connection, rows: Sequence[Permission], at: int) -> list[GrantView]:
    seen = evidence.of_subjects(c, [row.id for row in rows])
    return [
        GrantView(
            row,
            seen[row.id],
            state=state_at(row.ended, row.ended_as, row.expires, at),
            redeemed=row.redeemed is not None,
        )
        for row in rows
        if row.id in seen
    ]

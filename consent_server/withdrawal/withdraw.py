"""Withdraw a permission or a connection, with all that rests on it, in one transaction.

Withdrawal of Permission: the tokens end first, and the messages that follow are committed together with their end.
"""

from dataclasses import asdict, dataclass, replace

from consent_server import audit, clock, store
from consent_server.receipts import mails
from consent_server.scheme.permission import Act
from consent_server.store import Connection, audit_events, connections, outbox, permissions, withdrawal_journal
from consent_server.store.withdrawal_journal import JournalEntry
from consent_server.withdrawal.ending_with import ending_with


@dataclass(frozen=True)
class Withdrawal:
    """Who withdrew, where, and why, as the row and the audit event keep it.

    `already_told` names the party that asked: the client of a permission, or the issuer of a connection. It gets no message
    about its own request.
    """

    by: str
    where: str
    why: str
    already_told: str = ""


def withdraw(subject: str, withdrawal: Withdrawal) -> list[str]:
    """Withdraw the permission or connection with this id; return the ids of everything that ended, the subject first.

    An empty list means that the subject is unknown or had ended before. The clock is read before the rows are.
    """
    at = clock.now()
    return store.write_with_retry(lambda c: withdraw_in(c, subject, withdrawal, at))


def withdraw_own(sme: str, permission: str, withdrawal: Withdrawal) -> bool:
    """Withdraw a business's own permission as `withdraw` does; return False for another's and an unknown one alike."""
    at = clock.now()

    def block(c: Connection) -> bool:
        row = permissions.find(c, permission)
        if row is None or row.sme != sme:
            return False
        withdraw_in(c, permission, withdrawal, at)
        return True

    return store.write_with_retry(block)


def withdraw_in(c: Connection, subject: str, withdrawal: Withdrawal, at: int) -> list[str]:
    """Withdraw as `withdraw` does, in a transaction that is already open.

    The journal outside the database has it before the transaction is committed, or it is not committed.
    """
    ended = end_with_all(c, subject, withdrawal, at)
    journal = store.journal()
    if ended and journal is not None:
        entry = JournalEntry(at=at, fell=ended, correlation_id=audit.correlation_id.get(), **asdict(withdrawal))
        withdrawal_journal.keep(c, journal, entry)
    return ended


def end_with_all(c: Connection, subject: str, withdrawal: Withdrawal, at: int) -> list[str]:
    """End a permission or connection with all that rests on it; return their ids, the subject first, as `withdraw` does."""
    if permissions.hold(c, subject) is None and connections.hold(c, subject) is None:
        return []
    if not _end(c, subject, withdrawal, at):
        return []
    ended = [subject]
    for below, support in ending_with(c, subject, at).items():
        because = replace(withdrawal, why=f"rested on {support}", already_told="")
        if _end(c, below, because, at):
            ended.append(below)
    return ended


def _end(c: Connection, subject: str, withdrawal: Withdrawal, at: int) -> bool:
    """Return whether this call ended it; not when it is unknown, or had ended before."""
    return _end_permission(c, subject, withdrawal, at) or _end_connection(c, subject, withdrawal, at)


def _end_permission(c: Connection, subject: str, withdrawal: Withdrawal, at: int) -> bool:
    row = permissions.find(c, subject)
    ending = {"by": withdrawal.by, "where": withdrawal.where, "why": withdrawal.why}
    if row is None or not permissions.end(c, row, Act.WITHDRAW, at=at, **ending):
        return False
    if row.redeemed is not None and withdrawal.already_told != row.client_id:
        # A client that never redeemed its code holds no token that a message could quote.
        outbox.add(c, kind="message", subject=subject, recipient=row.client_id, at=at)
    mails.owe(c, subject, row.sme, mails.Kind.WITHDRAWN, at)
    audit_events.keep(c, audit.event("permission_withdrawn", permission=subject, client_id=row.client_id, **ending))
    return True


def _end_connection(c: Connection, subject: str, withdrawal: Withdrawal, at: int) -> bool:
    row = connections.find(c, subject)
    if row is None or not connections.end(c, row, Act.WITHDRAW, at=at, by=withdrawal.by, why=withdrawal.why):
        return False
    if withdrawal.already_told != row.issuer:
        outbox.add(c, kind="revocation", subject=subject, recipient=row.issuer, at=at)
    if withdrawal.by != "cap":  # whose tokens could not be used: the business was never told that it is connected
        mails.owe(c, subject, row.account, mails.Kind.WITHDRAWN, at)
    # Withdrawal of Permission, duties of the consumer: stored data and what was derived from it one to one are deleted.
    removed = connections.forget_data(c, subject)
    event = audit.event("connection_ended", connection=subject, by=withdrawal.by, why=withdrawal.why, removed=removed)
    audit_events.keep(c, event)
    return True

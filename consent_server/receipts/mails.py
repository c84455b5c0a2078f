"""Receipts by e-mail: owed in the transaction of the act that they are about, and sent by the worker.

A mail is written when it is sent, from the rows as they are then. It is plain text, and has no token and no full meter number;
its link can withdraw the permission and do nothing else (receipts.links).
"""

import logging
from enum import StrEnum
from typing import Final

from consent_server import audit, clock, store
from consent_server.accounts import passkeys
from consent_server.deployment import current
from consent_server.outbound.back_off import back_off
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.mail import MailNotTaken
from consent_server.receipts import links, receipt
from consent_server.receipts.receipt import Receipt
from consent_server.store import audit_events, mails
from consent_server.store.tables.owed import OwedMail
from consent_server.store.tables.permissions import Permission
from consent_server.web import language
from consent_server.web.language import N_, gettext
from consent_server.web.pages import day, moment, plain

log = logging.getLogger("consent_server.receipts")

LEASE_S: Final = 120
BATCH: Final = 20
TURN_S: Final = 30  # no further mail of a turn is begun after this: what it has leased must not run out
FIRST_DELAY_S: Final = 10
LONGEST_DELAY_S: Final = 1800
LONGEST_NAME: Final = 60


class Kind(StrEnum):
    """What a mail is about. A business gets one of each about a permission."""

    GRANTED = "granted"
    RENEWED = "renewed"
    CHANGED = "changed"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    IN_30_DAYS = "in-30-days"
    IN_7_DAYS = "in-7-days"
    TOMORROW = "tomorrow"
    READY = "ready"


_SUBJECTS: Final = {
    Kind.GRANTED: N_("Receipt: your permission for %(other)s"),
    Kind.RENEWED: N_("Receipt: you renewed your permission for %(other)s"),
    Kind.CHANGED: N_("Receipt: you changed your permission for %(other)s"),
    Kind.WITHDRAWN: N_("Receipt: your permission for %(other)s is withdrawn"),
    Kind.EXPIRED: N_("Your permission for %(other)s has ended"),
    Kind.IN_30_DAYS: N_("Your permission for %(other)s ends in a month"),
    Kind.IN_7_DAYS: N_("Your permission for %(other)s ends in a week"),
    Kind.TOMORROW: N_("Your permission for %(other)s ends tomorrow"),
    Kind.READY: N_("Your result is ready"),
}
_OPENINGS: Final = {
    Kind.GRANTED: N_("You gave this permission. This is your receipt: please keep it."),
    Kind.RENEWED: N_(
        "You renewed this permission. It takes the place of the one before. This is your receipt: please keep it."
    ),
    Kind.CHANGED: N_(
        "You gave this permission in place of a different one for the same company, which ends. "
        "This is your receipt: please keep it."
    ),
    Kind.WITHDRAWN: N_("This permission is withdrawn. Nothing more is shared under it."),
    Kind.EXPIRED: N_("The time of this permission is over. Nothing more is shared under it."),
    **dict.fromkeys(
        (Kind.IN_30_DAYS, Kind.IN_7_DAYS, Kind.TOMORROW),
        N_("This permission ends soon. If you want it to go on, renew it. If not, you need do nothing."),
    ),
    Kind.READY: N_("We have your meter readings and have worked out your emissions. They are in your account."),
}
_ENDED_BY: Final = {
    "sme": N_("It ended because you withdrew it, or because you withdrew another that it depended on."),
    "operator": N_("We ended it because you asked us to."),
    "client": N_("It ended because %(other)s gave it back."),
    "issuer": N_("We ended it for safety: somebody tried to use it a second time. You can give it again."),
}
#: The others lead to the account, where one renews and sees the result.
_RECEIPTS: Final = {Kind.GRANTED, Kind.RENEWED, Kind.CHANGED, Kind.WITHDRAWN}


def kind_of_grant(new: Permission, older: list[Permission]) -> Kind:
    """Return what a grant is to the business, given the permissions that it will replace, the newest first."""
    if not older:
        return Kind.GRANTED
    return Kind.RENEWED if _covered(new) == _covered(older[0]) else Kind.CHANGED


def owe(c: store.Connection, subject: str, account: str, kind: Kind, at: int) -> None:
    """Owe a mail about a permission or connection to its account, or the address kept for it; without either, none.

    It is in the language in which somebody acts now; else in the one in which the business did before.
    """
    mails.add(c, subject, kind, account, language.of_reader(), at)


def send_due() -> int:
    """Send the mails that are due; return how many could not be sent. Each is tried again until it is given up."""
    at = clock.now()
    with store.writing() as c:
        owed = mails.lease(c, at, LEASE_S, BATCH)
    failed = 0
    while owed and clock.now() - at < TURN_S:
        mail = owed.pop(0)
        fault = _fault(mail)
        _settled(mail, fault)
        failed += fault is not None
        if isinstance(fault, Unreachable) and not isinstance(fault, MailNotTaken):
            break  # it is the relay that fails: the others would too
    with store.writing() as c:
        mails.release(c, owed)
    return failed


def text(kind: Kind, about: Receipt) -> tuple[str, str]:
    """Return the subject and the text of a mail."""
    other = plain(about.other, LONGEST_NAME)
    parts = [gettext(_OPENINGS[kind]), _facts(about), _how_to_undo(about)]
    if kind not in _RECEIPTS:
        settings = current().settings
        parts.insert(1, f"{settings.public.origin}{'/account' if settings.party == 'cap' else '/manage'}")
    if kind is Kind.WITHDRAWN and about.ended_by in _ENDED_BY:
        parts.insert(1, gettext(_ENDED_BY[about.ended_by], other=other))
    return gettext(_SUBJECTS[kind], other=other), "\n\n".join(part for part in parts if part) + "\n"


def _facts(about: Receipt) -> str:
    values = {"business": about.business, "granted": moment(about.granted), "license": plain(about.license)}
    lines = [
        about.what,
        "",
        gettext("Given by: %(business)s", **values),
        gettext("Given on: %(granted)s", **values),
        _end(about),
        gettext("License: %(license)s", **values),
    ]
    if about.meters:
        lines += ["", gettext("Meters:"), *(f"- {name}" for name in about.meter_names)]
    return "\n".join(lines)


def _end(about: Receipt) -> str:
    if about.ended is not None:
        return gettext("Ended on: %(ended)s", ended=moment(about.ended))
    return gettext("Ends on: %(expires)s, unless you withdraw it before", expires=day(about.expires))


def _how_to_undo(about: Receipt) -> str:
    if not about.open:
        return ""
    return gettext(
        "How to undo it: open this link, and confirm. It works until the permission ends.\n%(address)s\n\n"
        "Whoever has this link can withdraw this permission, and can do nothing else. You need not sign in.",
        address=links.make_address(about.subject),
    )


def _covered(permission: Permission) -> tuple[str, list[str], list[str]]:
    return permission.license, sorted(permission.fuels), sorted(meter["id"] for meter in permission.meters)


def _fault(mail: OwedMail) -> Exception | None:
    """Send one mail; return why it could not be sent, None when it was."""
    with store.reading() as c:
        spoken = mail.language or mails.language_of(c, mail.subject) or language.ENGLISH
    try:
        with language.speaking(spoken):
            made = _made(mail)
        if made is not None:
            current().mail.send(*made)
    except Unreachable as error:
        return error
    except Exception as fault:
        # A fault of ours in one mail must not hold up the mails behind it.
        log.exception("mail %s about %s", mail.kind, mail.subject)
        return fault
    return None


def _made(mail: OwedMail) -> tuple[str, str, str] | None:
    """Return address, subject and text of a mail; None where its subject or its address is no longer kept."""
    with store.reading() as c:
        if mail.kind in list(passkeys.Notice):
            return passkeys.notice(c, mail.subject, passkeys.Notice(mail.kind))
        about, to = receipt.find(c, mail.subject, clock.now()), receipt.address(c, mail.subject)
    # After the reading: a text may write, where it makes the link.
    return (to, *text(Kind(mail.kind), about)) if about is not None and to is not None else None


def _settled(mail: OwedMail, fault: Exception | None) -> None:
    at, attempt, about = clock.now(), mail.attempts + 1, {"subject": mail.subject, "kind": mail.kind}
    error = f"{type(fault).__name__} {getattr(fault, 'kind', '')}".strip()
    with store.writing() as c:
        if fault is None:
            mails.settle(c, mail, delivered=at, last_error=None)
            audit_events.keep(c, audit.event("mail_sent", attempt=attempt, **about))
        elif at - mail.created >= current().settings.jobs.give_up_after_s:
            mails.settle(c, mail, given_up=at, last_error=error)
            audit_events.keep(c, audit.event("mail_given_up", attempts=attempt, error=error, **about))
        else:
            mails.settle(c, mail, due=at + back_off(mail.attempts, FIRST_DELAY_S, LONGEST_DELAY_S), last_error=error)

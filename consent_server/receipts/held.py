"""Everything that is held about a business, for the business itself: as a page to read, and as JSON with the same content.

Meters are masked, as everywhere outside the register: a file is passed on more easily than a page.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consent_server import store
from consent_server.deployment import current
from consent_server.receipts import receipt
from consent_server.receipts.mails import Kind
from consent_server.receipts.receipt import Given
from consent_server.scheme import instant, permission_text
from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.scheme.meters import MaskedMeter
from consent_server.scheme.permission import State
from consent_server.store import evidence, mails, outbox, released
from consent_server.store.tables.permissions import Evidence
from consent_server.web.language import N_


class Instant(int):
    """An instant in POSIX seconds."""


@dataclass(frozen=True)
class Sent:
    """A mail or a call that we owed: its kind, and when it was sent or given up. `recipient` is the URL that is called."""

    kind: str
    delivered: int | None
    given_up: int | None
    recipient: str = ""


Value = str | Instant | MaskedMeter | tuple[str, ...] | tuple[MaskedMeter, ...] | tuple[Sent, ...]


#: What a person reads for a value that is a code, by the name of the fact.
_CODES: Final[Mapping[str, Mapping[str, str]]] = {
    "state": {
        State.GRANTED: N_("Given"),
        State.SUPERSEDED: N_("Replaced by a newer one"),
        State.EXPIRED: N_("Expired"),
        State.WITHDRAWN: N_("Withdrawn"),
    },
    "ended_by": {
        "sme": N_("Your business"),
        "operator": N_("Us, because you asked us to"),
        "client": N_("The company that had it"),
        "issuer": N_("Us, for safety"),
    },
    "fuel": {ELECTRICITY: N_("Electricity"), GAS: N_("Gas")},
    "measures": {"import": N_("What you use"), "export": N_("What you export")},
    "told": {"message": N_("Message about its end"), "revocation": N_("Revocation of its refresh token")},
    "mailed": {
        Kind.GRANTED: N_("Receipt"),
        Kind.RENEWED: N_("Receipt of its renewal"),
        Kind.CHANGED: N_("Receipt of its change"),
        Kind.WITHDRAWN: N_("Receipt of its withdrawal"),
        Kind.EXPIRED: N_("Notice of its end"),
        Kind.IN_30_DAYS: N_("Notice a month before its end"),
        Kind.IN_7_DAYS: N_("Notice a week before its end"),
        Kind.TOMORROW: N_("Notice a day before its end"),
        Kind.READY: N_("Notice that your result is ready"),
    },
}
#: Facts whose values are sentences of ours.
_SENTENCES: Final = {"method", "strength"}


@dataclass(frozen=True)
class HeldFact:
    """One thing that is held: its name in the JSON, its words on the page, and its value."""

    name: str
    label: str
    value: Value

    @property
    def words(self) -> str:
        """Return the message that a person reads for the value; empty where the value is shown as it is."""
        return str(self.value) if self.name in _SENTENCES else self.code(self.value)

    def code(self, value: object) -> str:
        """Return the message for a value, or one of several; empty where it is no code."""
        return _CODES.get(self.name, {}).get(str(value), "")

    @property
    def html(self) -> str:
        """Return a permission text as it was shown."""
        return permission_text.render(str(self.value))

    @property
    def meters(self) -> Sequence[MaskedMeter]:
        """Return the meters that the value is; none where it is something else."""
        each = self.value if isinstance(self.value, tuple) else (self.value,)
        return [meter for meter in each if isinstance(meter, dict)]

    @property
    def sent(self) -> Sequence[Sent]:
        """Return the mails or calls that the value is; none where it is something else."""
        each = self.value if isinstance(self.value, tuple) else ()
        return [sent for sent in each if isinstance(sent, Sent)]


@dataclass(frozen=True)
class HeldPart:
    """Things of one kind, each with its facts."""

    name: str
    title: str
    things: Sequence[Sequence[HeldFact]]


def as_json(parts: Iterable[HeldPart]) -> dict[str, Any]:
    """Return what the page shows, for machines: instants in ISO 8601."""
    return {part.name: [{fact.name: _json(fact.value) for fact in thing} for thing in part.things] for part in parts}


def permissions_part(c: store.Connection, subjects: Iterable[str], at: int) -> HeldPart:
    """Return all that is kept of permissions and connections: the grant, its evidence, and the messages sent about its end.

    Of a connection that was never made that is the evidence alone.
    """
    return HeldPart("permissions", N_("Permissions"), [_permission(c, subject, at) for subject in subjects])


def meter(each: MaskedMeter) -> str:
    """Return a masked meter for machines: fuel, place, district, last digits."""
    return ", ".join(filter(None, (each["fuel"], each.get("site", ""), each["outcode"], each["masked"])))


def facts(*found: tuple[str, str, Value | None]) -> list[HeldFact]:
    """Return what is known of facts (name, label, value)."""
    return [HeldFact(name, label, value) for name, label, value in found if value not in (None, "", ())]


def _permission(c: store.Connection, subject: str, at: int) -> list[HeldFact]:
    about, seen = receipt.find(c, subject, at), evidence.of_subject(c, subject)
    if seen is None:
        return facts(("id", N_("Number"), subject))
    if about is None:
        return [*facts(("id", N_("Number"), subject), ("granted", N_("Given"), Instant(seen.at))), *_evidence(seen)]
    fetched = released.of_subjects(c, [subject]).get(subject)
    mailed = [Sent(each.kind, each.delivered, each.given_up) for each in mails.about(c, subject)]
    messages = [
        Sent(call.kind, call.delivered, call.given_up, call.recipient) for call in outbox.of_subject(c, subject)
    ]
    return [
        *facts(
            ("id", N_("Number"), subject),
            ("permits", N_("What it permits"), about.what),
            ("state", N_("State"), str(about.state)),
            ("granted", N_("Given"), Instant(about.granted)),
            ("expires", N_("Lasts until"), Instant(about.expires)),
            ("ended", N_("Ended"), Instant(about.ended) if about.ended is not None else None),
            ("ended_by", N_("Ended by"), about.ended_by),
            ("meters", N_("Meters"), tuple(about.meters)),
            ("fetched_from", N_("Earliest data fetched"), Instant(fetched.first) if fetched is not None else None),
            ("fetched_to", N_("Latest data fetched"), Instant(fetched.last) if fetched is not None else None),
            ("fetched", N_("Last fetched"), Instant(fetched.at) if fetched is not None else None),
            ("told", N_("Who was told of its end"), tuple(messages)),
            ("mailed", N_("Mails about it"), tuple(mailed)),
        ),
        *_evidence(seen, has_page=about.given is not Given.CONNECTION),
    ]  # fmt: skip


def _evidence(seen: Evidence, *, has_page: bool = False) -> list[HeldFact]:
    who = seen.who
    return facts(
        ("license", N_("License"), seen.license),
        ("asked_by", N_("Asked by"), seen.names.get("client", seen.client_id)),
        ("business", N_("Given by"), who.get("business")),
        ("name", N_("Person, as stated"), who.get("name")),
        ("capacity", N_("Role, as stated"), who.get("capacity")),
        ("method", N_("How we know who it was"), who.get("method")),
        ("strength", N_("What that shows"), who.get("strength")),
        ("address", N_("Network address"), seen.address),
        ("browser", N_("Browser"), seen.user_agent),
        ("reference", N_("Reference"), seen.correlation_id),
        (
            "evidence",
            N_("Evidence page"),
            f"{current().settings.public.origin}/evidence/{seen.id}" if has_page else None,
        ),
        ("text_sha256", N_("SHA-256 of the text as shown"), seen.shown_sha256),
        ("text", N_("The text that you read"), seen.text_shown),
    )


def _json(value: Value | Sent) -> Any:
    match value:
        case Instant():
            return instant.text(value)
        case tuple():
            return [_json(each) for each in value]
        case dict():
            return meter(value)
        case Sent():
            at = {"delivered": value.delivered, "given_up": value.given_up}
            when = {name: instant.text(each) for name, each in at.items() if each is not None}
            return {"kind": value.kind, **when, **({"recipient": value.recipient} if value.recipient else {})}
    return value

"""What a receipt says about one permission or connection: what, who, until when. Page and mails have the same content."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from consent_server import store
from consent_server.deployment import current
from consent_server.scheme import permission_text
from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.scheme.meters import MaskedMeter
from consent_server.scheme.permission import PermissionAt, ended_at, state_at
from consent_server.store import accounts, connections, evidence, links, passkeys, permissions, receipt_addresses
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.permissions import Evidence, Permission
from consent_server.web.language import N_, gettext
from consent_server.web.pages import plain

_FUELS: Final = {(ELECTRICITY,): N_("electricity"), (GAS,): N_("gas"), (ELECTRICITY, GAS): N_("electricity and gas")}


class Given(StrEnum):
    """What a permission gives, and to whom."""

    READINGS = "readings"  # an EDP's, to its client
    EMISSIONS = "emissions"  # a CAP's, to its client
    CONNECTION = "connection"  # an EDP's readings to us, a CAP


@dataclass(frozen=True)
class Receipt(PermissionAt):
    """One permission or connection at an instant. `other` is the name of the other side, as the business read it.

    `bank` is the name of the bank that the text names beside it, if it names one. `meters` are masked. `ended` is the instant
    at which it was over, whatever ended it, and `ended_by` who did.
    """

    subject: str
    given: Given
    other: str
    business: str
    license: str
    fuels: Sequence[str]
    meters: Sequence[MaskedMeter]
    granted: int
    expires: int
    ended: int | None
    ended_by: str
    on_withdrawal: str
    bank: str = ""

    @property
    def what(self) -> str:
        """Return what was permitted, and which bank gets the result."""
        if self.bank and self.given is not Given.EMISSIONS:
            theirs = gettext("%(bank)s may see your monthly emissions.", bank=self.bank)
            return f"{self._what} {theirs}"
        return self._what

    @property
    def _what(self) -> str:
        words = {"other": self.other, "fuels": self._fuels, "brand": plain(current().settings.brand)}
        if self.given is Given.CONNECTION:
            return gettext("%(other)s may give %(brand)s half-hourly readings of your meters.", **words)
        if self.given is Given.EMISSIONS:
            return gettext("%(other)s may see your monthly emissions from %(fuels)s.", **words)
        return gettext("%(other)s may read your half-hourly use of %(fuels)s.", **words)

    @property
    def meter_names(self) -> list[str]:
        """Return each meter by its fuel, the words for its site, its district and the last digits of its number."""
        return [", ".join(filter(None, _words(meter))) for meter in self.meters]

    @property
    def _fuels(self) -> str:
        return gettext(_FUELS.get(tuple(sorted(self.fuels)), _FUELS[ELECTRICITY, GAS]))


def _words(meter: MaskedMeter) -> tuple[str, ...]:
    return gettext(_FUELS[meter["fuel"],]), plain(meter.get("site", "")), meter["outcode"], meter["masked"]


def find(c: store.Connection, subject: str, at: int) -> Receipt | None:
    """Return the receipt of a permission or connection; None for one that is unknown, or was kept without evidence."""
    row = links.find(c, subject)
    seen = evidence.of_subject(c, subject)
    return _receipt(row, seen, at) if row is not None and seen is not None else None


def address(c: store.Connection, subject: str) -> str | None:
    """Return the e-mail address of the business that gave a permission or connection, or has a passkey; None for none."""
    permission, owned = permissions.find(c, subject), connections.find(c, subject) or passkeys.find(c, subject)
    known = permission.sme if permission is not None else owned.account if owned is not None else ""
    account = accounts.find(c, known)
    return account.email if account is not None else receipt_addresses.find(c, subject)


def _receipt(row: Permission | ProviderConnection, seen: Evidence, at: int) -> Receipt:
    state = state_at(row.ended, row.ended_as, row.expires, at)
    permission = row if isinstance(row, Permission) else None
    return Receipt(
        subject=row.id,
        given=_given(permission),
        other=plain(seen.names.get("client", row.member)),
        business=plain(seen.who["business"]),
        bank=plain(seen.names.get("FSP", "")),
        license=seen.names.get("license", row.license),
        fuels=permission.fuels if permission is not None else (),
        meters=seen.meters,
        granted=row.granted,
        expires=row.expires,
        state=state,
        ended=ended_at(state, row.ended, row.expires),
        ended_by=row.ended_by or "",
        on_withdrawal=permission_text.said_on_withdrawal(seen.text_shown),
        redeemed=permission is None or permission.redeemed is not None,
    )


def _given(permission: Permission | None) -> Given:
    if permission is None:
        return Given.CONNECTION
    return Given.READINGS if current().settings.party == "edp" else Given.EMISSIONS

"""The summary of a permission: only what a license and its text say."""

from dataclasses import dataclass

from consent_server.scheme import licenses
from consent_server.scheme.permission_text import ShownText


@dataclass(frozen=True)
class PartyNames:
    """A party by its name in the text, empty where the text has none, and by its legal name, empty where it is not known."""

    name: str
    legal: str


@dataclass(frozen=True)
class Summary:
    """Who asks whom for what, and until when.

    `readings` says whether the data are readings; otherwise they are emissions worked out from them. `bank` is who else
    receives emissions, None where nobody does. `tariffs` are the fuels whose tariffs are asked for. `months_back` is None
    where no limit is set. `uses`, `ending` and `withdrawal` are the license's own sentences, the last two empty where it has
    none. `until` is the instant of the end.
    """

    asks: PartyNames
    gives: PartyNames
    bank: PartyNames | None
    readings: bool
    fuels: tuple[str, ...]
    tariffs: tuple[str, ...]
    export: bool
    half_hourly: bool
    by_month: bool
    months_back: int | None
    uses: tuple[str, ...]
    duration: str
    until: int
    ending: str
    withdrawal: str


def summary(text: ShownText, at: int) -> Summary:
    """Return what an SME that reads this text at an instant is asked for."""
    covered, named = licenses.transfers(text.label), text.named
    readings = licenses.EMISSIONS not in covered or licenses.READINGS in covered
    asks, gives = ("CAP", "EDP") if readings else ("FSP", "CAP")
    return Summary(
        asks=_party(text, asks),
        gives=_party(text, gives),
        bank=_party(text, "FSP") if readings and licenses.EMISSIONS in covered else None,
        readings=readings,
        fuels=tuple(sorted(text.fuels)),
        # A text on emissions may say, as a reminder, what else was given to work them out.
        tariffs=tuple(sorted(named.tariffs & text.fuels)) if readings else (),
        export=named.export and readings,
        half_hourly=named.half_hourly and readings,
        by_month=named.by_month,
        months_back=named.months_back,
        uses=text.uses,
        duration=text.duration,
        until=licenses.expiry(text.duration, at),
        ending=text.ending,
        withdrawal=text.withdrawal,
    )


def _party(text: ShownText, role: str) -> PartyNames:
    return PartyNames(text.names.get(role, ""), text.legal_names.get(role, ""))

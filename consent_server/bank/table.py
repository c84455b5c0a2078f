"""A portfolio as a table for PCAF reporting: one row for each business and fuel, of verified figures alone (docs/bank.md)."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Final

from consent_server.bank.held import HeldPermission
from consent_server.bank.verified import FuelTotal, VerifiedEmissions
from consent_server.scheme import instant, pcaf
from consent_server.scheme.emissions import GASES

COLUMNS: Final = (
    *("reference", "permission", "account", "provider", "license", "permission_ends"),
    *("fuel", "scope", "from", "to", "months", "months_missing", "tonnes", "gas"),
    *("factors", "score", "option", "reason", "standard", "verified_at", "answer_sha256"),
)
#: Between cells, in one country or another; a spreadsheet begins a new cell there.
_BETWEEN_CELLS: Final = str.maketrans(dict.fromkeys(',;|"', " "))


def as_csv(held: Iterable[HeldPermission], at: int) -> str:
    """Return the table of the permissions that are live at `at` and have figures, with a line of column names."""
    written = io.StringIO()
    table = csv.writer(written, quoting=csv.QUOTE_ALL)
    table.writerow(COLUMNS)
    for each in held:
        if each.state(at) == "live" and each.emissions is not None:
            table.writerows(_rows(each, each.emissions))
    return written.getvalue()


def _rows(held: HeldPermission, emissions: VerifiedEmissions) -> Iterator[list[str]]:
    for total in emissions.totals:
        cells = [held.reference, held.id, held.account, held.member, held.license, _day(held.expires)]
        yield [cell(each) for each in (*cells, *_figures(total, emissions))]


def _figures(total: FuelTotal, emissions: VerifiedEmissions) -> tuple[str, ...]:
    quality = total.quality
    return (
        total.fuel,
        str(quality.scope),
        _day(emissions.start),
        _day(emissions.end),
        str(total.months),
        " ".join(instant.month(month) for month in total.missing),
        f"{total.kilograms / 1000:.6f}",
        GASES[total.fuel],
        " ".join(f"{_day(each.start)} to {_day(each.end)}: {each.origin}" for each in total.factors),
        str(quality.score),
        quality.option,
        quality.reason,
        pcaf.STANDARD,
        instant.text(emissions.at),
        emissions.sha256,
    )


def cell(text: str) -> str:
    """Return text for a cell of any spreadsheet: one that does not begin as a formula does, and that no second one begins in.

    Text that begins with neither letter nor digit gets an apostrophe in front; separators and unprintable characters become
    spaces.
    """
    plain = "".join(each if each.isprintable() else " " for each in text).translate(_BETWEEN_CELLS).strip()
    return f"'{plain}" if plain and not plain[0].isalnum() else plain


def _day(at: int | None) -> str:
    return "" if at is None else instant.date(at)

"""Licenses: who may request which, for which fuels and how long, and which license covers another.

A license is requested as the OAuth scope, and its raw permission text is pinned by its SHA-256.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from consent_server.scheme import instant

ELECTRICITY: Final = "electricity"
GAS: Final = "gas"

COMBINED: Final = "energy-consumption-emissions-edp-cap-fsp"

READINGS: Final = "EDP to CAP"
EMISSIONS: Final = "CAP to FSP"

# License label -> the transfers it covers.
_TRANSFERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "energy-consumption-edp-cap": frozenset({READINGS}),
        "energy-consumption-data": frozenset({READINGS}),
        "emissions-cap-fsp": frozenset({EMISSIONS}),
        "emissions-report": frozenset({EMISSIONS}),
        COMBINED: frozenset({READINGS, EMISSIONS}),
    }
)


@dataclass(frozen=True)
class License:
    """A license as configured: what is asked for, by whom, for which fuels, and under which exact text.

    `text_sha256` is the hex digest of the raw text's bytes; `duration` is "count unit", such as "1 year"; `asked_by`
    is a role name of `roles`.
    """

    url: str
    label: str
    text_sha256: str
    fuels: frozenset[str]
    duration: str
    asked_by: str

    @property
    def is_combined(self) -> bool:
        """Return whether its text names the bank as well: one permission for both transfers."""
        return self.label == COMBINED


@dataclass(frozen=True)
class PublishedLicense:
    """A license as the Registry describes it. The two instants are None where the Registry sets no end.

    After `deprecated_after` a new grant causes a warning; after `prohibited_after` it is refused. `uses` are those that it
    permits, in the Registry's words.
    """

    url: str
    title: str
    text_url: str
    text_sha256: str
    duration: str
    deprecated_after: int | None = None
    prohibited_after: int | None = None
    uses: tuple[str, ...] = ()

    def is_deprecated(self, at: int) -> bool:
        return self.deprecated_after is not None and at >= self.deprecated_after

    def is_prohibited(self, at: int) -> bool:
        return self.prohibited_after is not None and at >= self.prohibited_after


def digest(text: bytes | str) -> str:
    """Return the SHA-256, in hex, of the bytes as fetched or of a text in UTF-8."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def expiry(license_duration: str, granted: int) -> int:
    """Return when a permission granted at `granted` expires: "1 year" is a calendar year. Raise ValueError."""
    match = re.fullmatch(r"([1-9][0-9]{0,3}) (day|month|year)s?", license_duration, re.ASCII)
    if match is None:
        raise ValueError('a license duration is a count and a unit, such as "1 year"')
    count = int(match[1])
    if match[2] == "day":
        return granted + count * instant.DAY
    return instant.months_later(granted, count if match[2] == "month" else 12 * count)


def at_least_as_wide(new: License, old: License) -> bool:
    """Return whether a grant under `new` permits all that one under `old` did, and so replaces it.

    The combined license covers what energy-consumption-edp-cap covers, and not the other way round.
    """
    return new.asked_by == old.asked_by and new.fuels >= old.fuels and transfers(new.label) >= transfers(old.label)


def transfers(label: str) -> frozenset[str]:
    """Return what a license covers, of READINGS and EMISSIONS; for an unknown label what nothing else covers."""
    return _TRANSFERS.get(label, frozenset({label}))

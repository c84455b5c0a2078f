"""Data sources as a token names them: a series, which belongs to one client and one SME, and which numbers of it.

A data source's id is `<series>.<number>`, and is of no use to any other client. The claim is `{"series": …, "members": …}`:
bit n of `members` (base64url; the lowest bit of the first octet is 0, as in a Token Status List) says whether number n belongs
to the permission. The claim for 1,000 meters has 167 characters, whichever of them were chosen, and a resource server
on another machine can check an id by the token alone.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from consent_server.signing.jws import base64url, octets

#: Most data sources of one client and one SME. With as many, and URLs as long as they may be, a token fits its header.
MOST: Final = 10_000

_SERIES: Final = re.compile(r"[A-Za-z0-9_-]{0,32}")
_ID: Final = re.compile(r"([A-Za-z0-9_-]{1,32})\.(0|[1-9][0-9]{0,4})")


@dataclass(frozen=True)
class DataSources:
    """The data sources of one permission. A CAP's has none: an empty series."""

    series: str = ""
    members: bytes = b""

    @classmethod
    def of(cls, ids: Iterable[str]) -> "DataSources":
        """Return the data sources with these ids. Raise ValueError unless each is of one series, below MOST."""
        parts = [series_and_number(each) for each in ids]
        if not parts:
            return cls()
        if len({series for series, _ in parts}) > 1:
            raise ValueError("data sources of more than one series")
        members = bytearray(max(number for _, number in parts) // 8 + 1)
        for _, number in parts:
            members[number // 8] |= 1 << number % 8
        return cls(parts[0][0], bytes(members))

    @classmethod
    def from_claim(cls, claim: dict[str, Any]) -> "DataSources":
        """Return what a claim that `has_form` names."""
        return cls(claim["series"], octets(claim["members"]))

    def claim(self) -> dict[str, str]:
        return {"series": self.series, "members": base64url(self.members)}

    def __contains__(self, datasource: object) -> bool:
        """Return whether an id is of this permission; any text may be asked about."""
        try:
            series, number = series_and_number(str(datasource))
        except ValueError:
            return False
        return series == self.series and self._has(number)

    def __iter__(self) -> Iterator[str]:
        """Yield every id, in order of its number."""
        return (f"{self.series}.{number}" for number in range(len(self.members) * 8) if self._has(number))

    def _has(self, number: int) -> bool:
        octet, bit = divmod(number, 8)
        return octet < len(self.members) and bool(self.members[octet] >> bit & 1)


def series_and_number(datasource: str) -> tuple[str, int]:
    """Return series and number of an id. Raise ValueError for what is no id of a data source."""
    match = _ID.fullmatch(datasource)
    if match is None or int(match[2]) >= MOST:
        raise ValueError("not the id of a data source")
    return match[1], int(match[2])


def has_form(claim: Any) -> bool:
    """Return whether a claim is one that `claim` makes, and in that spelling alone."""
    if not isinstance(claim, dict) or claim.keys() != {"series", "members"}:
        return False
    series, members = claim["series"], claim["members"]
    if not isinstance(series, str) or not isinstance(members, str) or not _SERIES.fullmatch(series):
        return False
    try:
        held = octets(members)
    except ValueError:
        return False
    # A last octet of zero would be a second spelling, and members without a series have no ids.
    return len(held) * 8 <= MOST and held[-1:] != b"\0" and bool(held) == bool(series)

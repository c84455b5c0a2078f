"""Meter numbers and postcodes: read and check what a person types. Great Britain only.

Numbers identify a home or a business, so no repr and no error shows them; an error's text is a sentence for the person
who typed the number. A wrong check digit is reported but not refused: old numbers may not follow the rule.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypedDict

# Regions of the Carbon Intensity API, by its id, under the short names that it uses.
REGIONS: Mapping[int, str] = MappingProxyType(
    {
        1: "North Scotland",
        2: "South Scotland",
        3: "North West England",
        4: "North East England",
        5: "Yorkshire",
        6: "North Wales & Merseyside",
        7: "South Wales",
        8: "West Midlands",
        9: "East Midlands",
        10: "East England",
        11: "South West England",
        12: "South England",
        13: "London",
        14: "South East England",
    }
)

_MPAN_WEIGHTS = (3, 5, 7, 13, 17, 19, 23, 29, 31, 37, 41, 43)
_MPRN_LENGTHS = range(6, 11)

_SEPARATORS = re.compile(r"[\s\-‐‑–/]+")
_DIGITS = re.compile(r"[0-9]+")
# Inward codes never use C, I, K, M, O or V.
_POSTCODE = re.compile(r"([A-Z]{1,2}[0-9][0-9A-Z]?)([0-9][ABD-HJLNP-UW-Z]{2})")
_OUTSIDE_GREAT_BRITAIN = re.compile(r"(?:BT|JE|GY|IM)[0-9]")


class MeterNumberError(ValueError):
    """What was typed cannot be a meter number or postcode. str() says what to change, and never repeats the input."""


class MaskedMeter(TypedDict):
    """A meter of an identified business as it leaves the register: its number has all but the last digits hidden."""

    id: str
    fuel: str
    measures: Sequence[str]
    outcode: str
    masked: str


@dataclass(frozen=True)
class SupplyNumber:
    """The core of an MPAN (electricity), or an MPRN (gas)."""

    number: str = field(repr=False)
    check_digit_ok: bool


@dataclass(frozen=True)
class Postcode:
    """A postcode such as SW8 1AA, and its first half, which alone may enter data and records."""

    full: str = field(repr=False)
    outcode: str


def parse_mpan(text: str) -> SupplyNumber:
    """Read the 13 digits of an MPAN core, or all 21 of a supply number with or without its S."""
    digits = _digits(text, "electricity supply number (MPAN)", may_start_with_s=True)
    if len(digits) == 21:
        digits = digits[8:]
    elif len(digits) == 8:
        raise MeterNumberError(
            "This looks like the top line of the supply number. Type the 13 digits of the bottom line."
        )
    elif len(digits) != 13:
        raise MeterNumberError(
            "An electricity supply number (MPAN) has 13 digits, or 21 with its top line. "
            f"You typed {_counted(len(digits))}."
        )
    if digits[0] == "0":  # distributors, the first two digits, are numbered from 10
        raise MeterNumberError(
            "An electricity supply number (MPAN) begins with 10 or higher. Look at the bottom line, after the S."
        )
    weighted = sum(int(digit) * weight for digit, weight in zip(digits, _MPAN_WEIGHTS, strict=False))
    return SupplyNumber(digits, weighted % 11 % 10 == int(digits[12]))


def parse_mprn(text: str) -> SupplyNumber:
    """Read the 6 to 10 digits of an MPRN."""
    digits = _digits(text, "gas supply number (MPRN)", may_start_with_s=False)
    if len(digits) not in _MPRN_LENGTHS:
        raise MeterNumberError(
            f"A gas supply number (MPRN) has 6 to 10 digits. You typed {_counted(len(digits))}. "
            "It is on the gas bill, not the meter's serial number."
        )
    body, check = digits[:-2], digits[-2:]
    weighted = sum(int(digit) * weight for digit, weight in zip(body, range(len(body), 0, -1), strict=True))
    return SupplyNumber(digits, weighted % 11 == int(check))


def parse_postcode(text: str) -> Postcode:
    """Read a postcode in any case and spacing. Northern Ireland and the islands have other meters and no intensity."""
    compact = re.sub(r"\s+", "", text).upper()
    match = _POSTCODE.fullmatch(compact)
    if match is None:
        raise MeterNumberError("Type the whole postcode of the place the meter serves, such as SW8 1AA.")
    if _OUTSIDE_GREAT_BRITAIN.match(match[1]):
        raise MeterNumberError(
            "This service covers England, Scotland and Wales only. Type the postcode of the place the meter serves."
        )
    return Postcode(full=f"{match[1]} {match[2]}", outcode=match[1])


def masked(number: str) -> str:
    """Return the number with all but its last four characters hidden, such as ••••••••• 1234."""
    hidden = max(len(number) - 4, 0)
    return f"{'•' * hidden} {number[-4:]}" if hidden else "•" * len(number)


def _digits(text: str, what: str, may_start_with_s: bool) -> str:
    compact = _SEPARATORS.sub("", text)
    if may_start_with_s:
        compact = compact.removeprefix("S").removeprefix("s")
    if not compact:
        article = "an" if what[0] == "e" else "a"
        raise MeterNumberError(f"Type {article} {what}. It is on your bill.")
    if not _DIGITS.fullmatch(compact):
        raise MeterNumberError(f"The {what} is made of digits only. Leave out anything else.")
    return compact


def _counted(digits: int) -> str:
    return "1 digit" if digits == 1 else f"{digits} digits"

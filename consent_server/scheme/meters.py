"""Meter numbers and postcodes: read and check what a person types. Great Britain only.

Only what counts is kept of what is typed: the digits of a number, the letters and digits of a postcode. Spaces, punctuation,
invisible characters and words around a number are all left out.

Numbers identify a home or a business, so neither a repr nor an error shows them; an error's text is a sentence for the person
who typed the number. A wrong check digit is reported but not refused: old numbers may not follow the rule.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

_MPAN_WEIGHTS = (3, 5, 7, 13, 17, 19, 23, 29, 31, 37, 41, 43)
_MPRN_LENGTHS = range(6, 11)

_NOT_LETTERS_OR_DIGITS = re.compile(r"[^0-9A-Z]+")
_NOT_DIGITS = re.compile(r"[^0-9]+")
# A supply number whole: profile class, meter time-switch code, line loss class (which may have letters), then the core.
_TOP_LINE = r"(?<![0-9])[0-9]{5}[0-9A-Z]{3}"
_SUPPLY_NUMBER = re.compile(_TOP_LINE + r"([0-9]{13})(?![0-9])")
_TOP_LINE_ALONE = re.compile(r"[A-Z]*" + _TOP_LINE)
# Inward codes never use C, I, K, M, O or V.
_POSTCODE = re.compile(r"([A-Z]{1,2}[0-9][0-9A-Z]?)([0-9][ABD-HJLNP-UW-Z]{2})")
_OUTSIDE_GREAT_BRITAIN = re.compile(r"(?:BT|JE|GY|IM)[0-9]")


class MeterNumberError(ValueError):
    """What was typed cannot be a meter number or postcode. str() says what to change, and never repeats the input.

    `message` is the same with placeholders for `values`, to be translated.
    """

    def __init__(self, message: str, **values: int) -> None:
        super().__init__(message % values if values else message)
        self.message, self.values = message, values


class MaskedMeter(TypedDict):
    """A meter of an identified business as it leaves the register: its number has all but the last digits hidden.

    `site` is the business's own words for the place; `proof` says how the meter came into a permission.
    """

    id: str
    fuel: str
    measures: Sequence[str]
    outcode: str
    masked: str
    site: NotRequired[str]
    proof: NotRequired[str]


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
    """Read the 13 digits of an MPAN core, alone or at the end of a whole supply number (the S box on a bill)."""
    compact = _letters_and_digits(text)
    whole = _SUPPLY_NUMBER.search(compact)
    digits = whole[1] if whole else _NOT_DIGITS.sub("", compact)
    if not digits:
        raise MeterNumberError("Type an electricity supply number (MPAN). It is on your bill.")
    if _TOP_LINE_ALONE.fullmatch(compact):
        raise MeterNumberError(
            "This looks like the top line of the supply number. Type the 13 digits of the bottom line."
        )
    if len(digits) != 13:
        raise MeterNumberError(
            "An electricity supply number (MPAN) has 13 digits, or 21 with its top line. What you typed has %(typed)d.",
            typed=len(digits),
        )
    if digits[0] == "0":  # distributors, the first two digits, are numbered from 10
        raise MeterNumberError(
            "An electricity supply number (MPAN) begins with 10 or higher. Look at the bottom line, after the S."
        )
    weighted = sum(int(digit) * weight for digit, weight in zip(digits, _MPAN_WEIGHTS, strict=False))
    return SupplyNumber(digits, weighted % 11 % 10 == int(digits[12]))


def parse_mprn(text: str) -> SupplyNumber:
    """Read the 6 to 10 digits of an MPRN."""
    digits = _NOT_DIGITS.sub("", _letters_and_digits(text))
    if not digits:
        raise MeterNumberError("Type a gas supply number (MPRN). It is on your bill.")
    if len(digits) not in _MPRN_LENGTHS:
        raise MeterNumberError(
            "A gas supply number (MPRN) has 6 to 10 digits. What you typed has %(typed)d. "
            "It is on the gas bill, not the meter's serial number.",
            typed=len(digits),
        )
    body, check = digits[:-2], digits[-2:]
    weighted = sum(int(digit) * weight for digit, weight in zip(body, range(len(body), 0, -1), strict=True))
    return SupplyNumber(digits, weighted % 11 == int(check))


def parse_postcode(text: str) -> Postcode:
    """Read a postcode in any case and spacing. Northern Ireland and the islands have other meters and no intensity."""
    match = _POSTCODE.fullmatch(_letters_and_digits(text))
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


def _letters_and_digits(text: str) -> str:
    """Return the letters A to Z and the digits, in upper case; full-width ones count (NFKC)."""
    return _NOT_LETTERS_OR_DIGITS.sub("", unicodedata.normalize("NFKC", text).upper())

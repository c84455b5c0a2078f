"""How much a meter can have counted in half an hour. A larger value is not consumption, and is treated as missing.

A meter that fails to read its register reports a code instead, which looks like a number: 16777.215 m3 is 0xFFFFFF
litres, 4294967.295 kWh is 0xFFFFFFFF watt-hours (https://github.com/n3rgy/data/issues/1 and /11 describe what providers of
smart meter data have met; manufacturers have their own codes above 0xFFFF00, and counters that overflowed appear as a
multiple of 4294.967 kWh). The known codes have names here; any value beyond the limit is refused, with or without a name.
"""

import re
from collections.abc import Collection
from typing import Final

from consent_server.scheme.licenses import ELECTRICITY, GAS

#: The most in half an hour where nothing is known of the supply: WHR (8 MW, below the smallest counter that ran over), and
#: MTQ (the largest turbine meter in use, G4000, passes 6500 m3 an hour).
_MOST: Final = {ELECTRICITY: 4_000_000.0, GAS: 3_500.0}
#: A supply may be used beyond its agreed capacity, and a meter beyond its rating; not beyond twice that.
_TOLERANCE: Final = 2.0
#: No supply is so small that an ordinary day is beyond its bound: 5 kWh, and 5 m3, in half an hour.
_LEAST: Final = {ELECTRICITY: 5_000.0, GAS: 5.0}
#: Values that a meter or the system before us writes in place of a reading, in WHR and MTQ; also with the unit mistaken.
_CODES: Final = {
    ELECTRICITY: {
        4_294_967_295.0: "0xFFFFFFFF",
        4_294_967.295: "0xFFFFFFFF",
        2_147_483_647.0: "0x7FFFFFFF",
        2_147_483.647: "0x7FFFFFFF",
        16_777_215.0: "0xFFFFFF",
    },
    GAS: {16_777_215.0: "0xFFFFFF", 16_777.215: "0xFFFFFF", 4_294_967.295: "0xFFFFFFFF", 2_147_483.647: "0x7FFFFFFF"},
}
_LOWEST_CODE: Final = {fuel: min(codes) for fuel, codes in _CODES.items()}
_SIZE: Final = re.compile(r"([UG]?)\s*([0-9]+(?:\.[0-9]+)?)", re.ASCII)
_G_TO_MOST: Final = 1.6  # a G number is the nominal flow; the greatest is 1.6 times it (EN 1359)


def most_in_half_an_hour(fuel: str, capacity: float | None = None) -> float:
    """Return the bound, in WHR or MTQ. `capacity` comes from the register: kVA of the supply, or m3 an hour of the meter."""
    if capacity is None:
        return _MOST[fuel]
    half_hour = capacity / 2 * (1000 if fuel == ELECTRICITY else 1)
    return min(_MOST[fuel], max(_LEAST[fuel], half_hour * _TOLERANCE))


def implausible(fuel: str, value: float, most: float) -> str | None:
    """Return why a half-hour's value is no consumption, or None. `most` is `most_in_half_an_hour`."""
    if code := _CODES[fuel].get(value):
        return f"the register code {code}"
    return "more than the supply can carry" if value > most else None


def all_plausible(fuel: str, values: Collection[float], most: float) -> bool:
    """Return whether each of many half-hours' values is one, without a question for each."""
    if not values:
        return True
    highest = max(values)
    return highest <= most and (highest < _LOWEST_CODE[fuel] or _CODES[fuel].keys().isdisjoint(values))


def is_code(fuel: str, register: float) -> bool:
    """Return whether a meter's register has a code in place of a reading."""
    return register in _CODES[fuel]


def capacity(fuel: str, text: str) -> float:
    """Read a capacity: kVA for electricity; for gas m3 an hour, or a meter's size such as U16 or G10. Raise ValueError."""
    found = _SIZE.fullmatch(text.strip().upper())
    if found is None or (found[1] and fuel != GAS) or not 0 < float(found[2]) <= 1_000_000:
        raise ValueError("a capacity is a number of kVA; for gas m3 an hour or a meter's size, such as U16 or G10")
    return float(found[2]) * (_G_TO_MOST if found[1] == "G" else 1)

"""What the files look like that readings come in: a table of layouts, each the names of its columns.

A column is found by its name, whatever its case and the spaces around it; members of nested JSON objects are named with a
point between them.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple


class Layout(NamedTuple):
    """The column of each fact; empty where a layout has none. A fact that a file lacks is then not known of its rows.

    `fixed_unit` is the unit of every value, `zone` the zone of times that name none, and `mends` says that `takenAt` is
    replaced where it lies before the half-hour's end, as the scheme's old demo wrote it.
    """

    about: str
    at: str
    value: str
    meter: str = "meter_id"
    measure: str = ""
    to: str = ""
    unit: str = ""
    taken_at: str = ""
    register: str = ""
    register_unit: str = ""
    quality: str = ""
    fuel: str = ""
    period: str = ""
    fixed_unit: str = ""
    zone: str = ""
    mends: bool = False


_WIRE: Final = Layout(
    "readings as this product's API returns them",
    at="from",
    to="to",
    value="energy.value",
    unit="energy.unitcode",
    taken_at="takenat",
    register="cumulative.value",
    register_unit="cumulative.unitcode",
    fuel="type",
)
LAYOUTS: Final = {
    "ours": Layout(
        "meter_id, from, value, unit; may have to, measure, taken_at, cumulative, quality, fuel",
        at="from",
        to="to",
        value="value",
        measure="measure",
        unit="unit",
        taken_at="taken_at",
        register="cumulative",
        quality="quality",
        fuel="fuel",
    ),
    "standard": _WIRE,
    "demo": _WIRE._replace(about="the scheme's old demo: its takenAt before the end is mended", mends=True),
    # All its times are UTC: https://github.com/OpenSynth-energy/OpenSynth (README, about the dataset).
    "low-carbon-london": Layout(
        "LCLid, stdorToU, DateTime, KWH/hh (per half hour), of the London trial; UTC",
        meter="lclid",
        at="datetime",
        value="kwh/hh (per half hour)",
        fixed_unit="KWH",
        zone="UTC",
    ),
    "faraday": Layout(
        "meter_id, timestamp, kwh, as synthetic data sets are written out",
        at="timestamp",
        value="kwh",
        fixed_unit="KWH",
    ),
    "settlement": Layout(
        "meter_id, settlement_date, settlement_period (1 to 46, 48 or 50), kwh",
        at="settlement_date",
        period="settlement_period",
        value="kwh",
        fixed_unit="KWH",
        zone="Europe/London",
    ),
}
#: The facts of a row, in the order in which readers give them after its number.
FACTS: Final = (
    "meter",
    "measure",
    "at",
    "to",
    "value",
    "unit",
    "taken_at",
    "register",
    "register_unit",
    "quality",
    "fuel",
    "period",
)
#: A row: its number in the file, and then its facts.
Row = tuple[Any, ...]
#: Those of them that are text, whatever the file makes of them.
TEXTS: Final = frozenset(("meter", "measure", "unit", "register_unit", "quality", "fuel", "period"))


def columns(layout: Layout, header: Sequence[str], meter_is_stated: bool) -> list[int | None]:
    """Return which column of a file has each of FACTS. Raise ValueError for one that is missing, or is there twice."""
    names = [name.strip().casefold() for name in header]
    found: list[int | None] = []
    for fact in FACTS:
        name = getattr(layout, fact)
        if name and names.count(name) > 1:
            raise ValueError(f"the column {name} is there twice")
        found.append(names.index(name) if name and name in names else None)
        needed = fact in ("at", "value", "period") or (fact == "unit") or (fact == "meter" and not meter_is_stated)
        if name and needed and found[-1] is None:
            raise ValueError(f"there is no column {name}; the layout is {layout.about}")
    return found

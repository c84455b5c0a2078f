"""The words of a report to a bank, as blocks in reading order.

`document()` makes all of it from the data and the steps of the provenance record. The PDF lays the blocks out and adds the
foot of each page; verification compares the text of a PDF with the same blocks.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from consent_server.documents import chart
from consent_server.documents.data import (
    Energy,
    FactorData,
    MonthData,
    ReportData,
    TimestampState,
    TotalData,
    WholePeriod,
)
from consent_server.documents.dates import day, moment, month
from consent_server.scheme import instant, pcaf
from consent_server.scheme.factors import CALENDAR_YEAR
from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.scheme.provenance import drawing
from consent_server.scheme.provenance.chain import in_words
from consent_server.scheme.provenance.container import VerifiedStep
from consent_server.scheme.report import KILOGRAMS_PER_TONNE

DATA_FILE: Final = "report.json"
TABLE_FILE: Final = "report.csv"
RECORD_FILE: Final = "provenance.json"

_NUMBER: Final = re.compile(r"[0-9,.]+|–|")
_DIGIT: Final = re.compile(r"[0-9]")
SANDBOX_MARK: Final = "Sandbox: made-up businesses and meters"
_NAMES: Final = {ELECTRICITY: "Electricity", GAS: "Gas"}
_METHODS: Final = {
    ELECTRICITY: (
        "Electricity: the use of each half-hour is multiplied by the carbon intensity of the grid in the meter's own region in "
        "that half-hour, as forecast by the National Energy System Operator. It counts carbon dioxide (CO2) alone. Scope 2, "
        "location-based. Exported electricity is not subtracted."
    ),
    GAS: (
        "Gas: the volume of each half-hour in cubic metres is multiplied by the government's conversion factor for natural "
        "gas, in carbon dioxide equivalent (CO2e). Scope 1. Energy in kWh is by gross calorific value."
    ),
}
_TIMESTAMPS: Final = {
    TimestampState.NONE: "Only the signer states the time of signing: no time-stamping authority is asked for a timestamp.",
    TimestampState.ASKED: "When the PDF is signed, {authority} is asked for a timestamp.",
    TimestampState.GIVEN: "The signature of this file has a timestamp by {authority}.",
    TimestampState.MISSING: (
        "This file has no timestamp, since {authority} gave none when it was signed. Only the signer states the time of "
        "signing."
    ),
}


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str
    strong: bool = False


@dataclass(frozen=True)
class Facts:
    """Pairs of a term and its value."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """Rows below a head; `foot` is the row of totals, empty where there is none."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    foot: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """An SVG and what it shows, in words. A wide one has a page across."""

    svg: str
    shows: str
    wide: bool = False


Block = Heading | Paragraph | Facts | Table | Picture


@dataclass(frozen=True)
class Document:
    title: str
    author: str
    mark: str
    blocks: Sequence[Block]


def as_json(document: Document) -> dict[str, Any]:
    """Return a document as JSON has it: each block with its `kind`, and of a table which columns are `numeric`."""
    blocks = [
        {"kind": type(block).__name__.lower(), **asdict(block)}
        | ({"numeric": _numeric(block)} if isinstance(block, Table) else {})
        for block in document.blocks
    ]
    return {**asdict(document), "blocks": blocks}


def _numeric(table: Table) -> list[bool]:
    columns = list(zip(*table.rows, strict=True)) or [() for _ in table.head]
    return [all(map(_NUMBER.fullmatch, column)) and any(map(_DIGIT.search, column)) for column in columns]


def document(data: ReportData, steps: Sequence[VerifiedStep]) -> Document:
    """Return the document of a report with a verified record."""
    return Document(
        f"Emissions report: {data.about.name}",
        data.by.name,
        SANDBOX_MARK if data.sandbox else "",
        [
            *_parties(data),
            *_total(data),
            *_chart(data),
            *(block for fuel in data.fuels for block in _fuel(data, fuel)),
            *_missing(data),
            *_method(data),
            *_quality(data),
            *_provenance(data, steps),
        ],
    )


def _parties(data: ReportData) -> Iterator[Block]:
    if data.sandbox:
        yield Paragraph(SANDBOX_MARK, strong=True)
    yield Facts(
        [
            ("Made out to", f"{data.to.name}, {data.to.url}"),
            ("Application of the recipient", data.to.application),
            ("About", f"{data.about.name} (account {data.about.id} at {data.by.name})"),
            ("Made by", f"{data.by.name}, {data.by.url}"),
            ("Months", f"{_months(data)}, from 00:00 UTC to 00:00 UTC"),
            *([("Part of", f"a report on {_months(data.part_of)}, divided by months")] if data.part_of else []),
            ("Made at", moment(_at(data.at))),
            ("Permission", data.permission.account),
            ("Licence", data.permission.license),
            ("Permitted", f"{day(_at(data.permission.granted))}, until {moment(_at(data.permission.expires))}"),
        ]
    )
    yield Paragraph(
        f"This report says what the energy that {data.about.name} used at its connected meters emitted. It is made under the "
        f"Perseus scheme: the business permits its energy data providers to give meter readings to {data.by.name}, which "
        f"calculates the emissions, and permits it to give those to {data.to.name} and to no other. Each party signs its own "
        f"steps, which are in the last section. Attached are the figures, as {DATA_FILE} and {TABLE_FILE}, and the signed "
        f"record of where they come from, {RECORD_FILE}."
    )


def _total(data: ReportData) -> Iterator[Block]:
    yield Heading("Total")
    if not data.totals:
        yield Paragraph("No month is whole, so there is no figure.")
        return
    yield _totals("All reported months. Figures are added before they are rounded.", data.totals)
    lacking = [(fuel, sum(gap.fuel == fuel for gap in data.gaps)) for fuel in data.fuels]
    short = [f"{fuel} lacks {count} of {count + len(data.of(fuel))} months" for fuel, count in lacking if count]
    if short:
        yield Paragraph(
            f"These figures are short of what was emitted: {' and '.join(short)}; see “What is missing”.",
            strong=True,
        )
    if len(data.totals) > 1:
        whole = data.whole.kilograms
        yield Paragraph(f"Both fuels: {_number(whole)} kg, or {_tonnes(whole)} tonnes. {data.whole.meaning}")
    if data.part_of:
        yield _totals(f"All parts together, {_months(data.part_of)}", data.part_of.totals)
        yield Paragraph(
            "So many meters are behind these months that the report on them is divided. The record and everything else here "
            "is of this part's months. The totals of all parts are proven by all parts, verified together."
        )


def _totals(caption: str, totals: Sequence[TotalData]) -> Table:
    gas = any(each.m3 is not None for each in totals)
    return Table(
        caption,
        ["Fuel", "Scope", "Months", *_columns(gas), "Tonnes"],
        [
            [
                _NAMES[each.fuel],
                str(pcaf.SCOPES[each.fuel]),
                str(each.months),
                *_cells(each, gas),
                each.unit,
                _tonnes(each.kilograms),
            ]
            for each in totals
        ],
    )


def _months(period: ReportData | WholePeriod) -> str:
    return f"{month(_at(period.start))} to {month(_at(period.end) - 1)}"


def _chart(data: ReportData) -> Iterator[Block]:
    if data.months:
        bars = bars_of(data)
        yield Picture(chart.svg(bars), chart.describe(bars))


def bars_of(data: ReportData) -> chart.Bars:
    """Return what the chart shows."""
    starts = sorted({_at(each.start) for each in data.months} | {_at(each.start) for each in data.gaps})
    return chart.bars_of(starts, data.fuels, {(each.fuel, _at(each.start)): each.kilograms for each in data.months})


def _fuel(data: ReportData, fuel: str) -> Iterator[Block]:
    months, gas = data.of(fuel), fuel == GAS
    if not months:
        return
    yield Heading(_NAMES[fuel])
    (total,) = (each for each in data.totals if each.fuel == fuel)
    yield Table(
        f"{_NAMES[fuel]} by month",
        ["Month", *_columns(gas), "Notes"],
        _by_month(data, fuel, gas),
        ["Total", *_cells(total, gas), total.unit, ""],
    )
    yield Table(
        f"{_NAMES[fuel]} by site, all reported months",
        ["Site (outcode)", "Meters", *_columns(gas)],
        [[e.site or "unknown", str(e.meters), *_cells(e, gas), e.unit] for e in data.sites if e.fuel == fuel],
    )


def _by_month(data: ReportData, fuel: str, gas: bool) -> list[list[str]]:
    rows = {each.start: [*_cells(each, gas), each.unit, _note(each)] for each in data.of(fuel)}
    nothing = ["–"] * len(_columns(gas))
    rows |= {each.start: [*nothing, "left out"] for each in data.gaps if each.fuel == fuel}
    return [[month(_at(start)), *cells] for start, cells in sorted(rows.items())]


def _columns(gas: bool) -> list[str]:
    return [*(["m3"] if gas else []), "kWh", "Emissions", "Unit"]


def _cells(each: Energy, gas: bool) -> list[str]:
    volume = ["–" if each.m3 is None else _number(each.m3)] if gas else []
    return [*volume, _number(each.kwh), _number(each.kilograms)]


def _note(each: MonthData) -> str:
    notes = [f"{each.filled} half-hours estimated"] if each.filled else []
    if each.revised is not None:
        notes.append(f"revised {day(_at(each.revised))}")
    return ", ".join(notes) or "–"


def _missing(data: ReportData) -> Iterator[Block]:
    yield Heading("What is missing")
    if data.gaps:
        yield Table(
            "Months that are left out",
            ["Month", "Fuel", "Half-hours missing", "Because"],
            [[month(_at(e.start)), _NAMES[e.fuel], str(e.half_hours), e.reason] for e in data.gaps],
        )
    filled = sum(each.filled for each in data.months)
    if filled:
        yield Paragraph(
            f"{filled} half-hours are estimates: the mean of the same half-hour a week before and a week after, or whichever "
            "of the two there is."
        )
    if not data.gaps and not filled:
        yield Paragraph(f"No half-hour of these months is missing for {' and '.join(data.fuels) or 'any fuel'}.")
    for fuel in _NAMES.keys() - set(data.fuels):
        yield Paragraph(
            f"{_NAMES[fuel]} is not in this report: no such meter is connected, or the permission does not cover it."
        )
    yield Paragraph(
        "The report has the energy of the connected meters alone. Vehicles, heating oil, purchases and all else are not in it."
    )


def _method(data: ReportData) -> Iterator[Block]:
    yield Heading("Method and factors")
    for fuel in data.fuels:
        yield Paragraph(_METHODS[fuel])
    if GAS in data.fuels:
        rule = (
            "the set of the calendar year"
            if data.factor_rule == CALENDAR_YEAR
            else "the set that was the newest published at that time"
        )
        yield Paragraph(f"Each half-hour of gas takes {rule}.")
    yield Paragraph(
        "Gaps of up to a day in a month of a meter are filled with estimates."
        if data.fill_gaps
        else "Nothing is filled in: a month with a gap is left out."
    )
    if data.factors:
        yield Table(
            "Factors in the figures. For electricity the value is the mean over the site's use.",
            ["Factor", "From (UTC)", "To (UTC)", "Applied to", "Value"],
            [_factor(each) for each in data.factors],
        )
        yield from dict.fromkeys(Paragraph(_source(each)) for each in data.factors)
    yield Paragraph(data.basis)


def _source(each: FactorData) -> str:
    """Return where a factor comes from; of a set, which file it was read from, if any was."""
    said = f"{each.title}: {each.source}. Licence: {each.license}."
    if each.fuel == ELECTRICITY:
        return said
    if each.digest:
        return f"{said} Read from the government's file with the SHA-256 {each.digest}."
    return f"{said} The value came with the software that made this report and was not read from the government's file."


def _factor(each: FactorData) -> list[str]:
    unit = "kWh" if each.fuel == ELECTRICITY else "m3"
    place = (
        f"{each.site or 'unknown outcode'}: {each.region or 'no region'}" if each.fuel == ELECTRICITY else each.title
    )
    return [
        f"{_NAMES[each.fuel]}, {place}{', in place of a region of the outcode' if each.stands_in else ''}",
        _utc(_at(each.start)),
        _utc(_at(each.end)),
        f"{_number(each.amount)} {unit}",
        _value(each),
    ]


def _value(each: FactorData) -> str:
    """Return a factor: a published one as published, and a mean, which there is none of where nothing was used."""
    if each.fuel == GAS:
        return f"{each.value:,.5f} {each.unit}"
    return f"{each.value:,.2f} {each.unit}" if each.amount else "–"


def _quality(data: ReportData) -> Iterator[Block]:
    if data.quality:
        yield Heading("Data quality (PCAF)")
        yield Table(
            "Scores run from 1 (best) to 5.",
            ["Figure", "Score", "Option", "Reason"],
            [[_NAMES.get(e.fuel, "Whole report"), str(e.score), e.option, e.reason] for e in data.quality],
        )
        yield Paragraph(f"{pcaf.STANDARD}. {pcaf.STANDARD_PAGE}")


def _provenance(data: ReportData, steps: Sequence[VerifiedStep]) -> Iterator[Block]:
    yield Heading("Where the figures come from")
    every = in_words(steps).values()
    names = {step.member: step.signer for step in every}
    yield Table(
        "Energy data providers that gave readings, and the permission of the business for each",
        ["Provider", "Permission", "Granted", "Readings fetched", "Meters"],
        [
            [
                f"{names.get(each.member, '')} {each.member}".strip(),
                each.connection,
                day(_at(each.granted)),
                moment(_at(each.collected)),
                str(each.meters),
            ]
            for each in data.sources
        ],
    )
    by_signer: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for step in every:
        by_signer.setdefault((step.signer, step.member), []).append((step.kind, _at(step.at)))
    yield Table(
        "Steps of the signed record, by signer",
        ["Signed by", "Member", "Steps", "First signature (UTC)", "Last signature (UTC)"],
        [
            [
                signer,
                member,
                _counted([kind for kind, _ in signed]),
                *(_utc(f(at for _, at in signed)) for f in (min, max)),
            ]
            for (signer, member), signed in by_signer.items()
        ],
    )
    yield Paragraph(
        "A permission is what the business has allowed; an origin, where readings or a factor come from; a transfer, who sent "
        "what to whom, under which permission; a receipt, that it arrived; a process, what was calculated from what. They "
        "prove who gave what to whom, when, and that it was allowed. No reading is in them: whether the arithmetic is right, "
        "and whether every meter of the business is connected, cannot be verified from them."
    )
    yield Paragraph(
        f"The whole record is attached as {RECORD_FILE}. It ends with a transfer to {data.to.url} and can be verified without "
        "asking anybody: consent-server report verify does so, as it does with the signature of this file."
    )
    yield Paragraph(_TIMESTAMPS[data.timestamp.state].format(authority=data.timestamp.authority))
    title = "Where the figures come from, step by step"
    svg = drawing.svg(steps, title)
    yield Picture(svg, f"{title}: origins on the left, transfers on the right.", wide=True)


def _counted(kinds: Sequence[str]) -> str:
    return ", ".join(f"{kind}: {kinds.count(kind)}" for kind in dict.fromkeys(kinds))


def _number(value: float) -> str:
    return f"{value:,.2f}"


def _tonnes(kilograms: float) -> str:
    return f"{kilograms / KILOGRAMS_PER_TONNE:,.3f}"


def _utc(at: int) -> str:
    """Return an instant for a column whose head says UTC."""
    return moment(at).removesuffix(" UTC")


def _at(text: str) -> int:
    return instant.parse(text)

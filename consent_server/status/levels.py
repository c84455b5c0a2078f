"""Service levels of a month, from what was measured, with the figures that they are worked out from."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from xml.etree import ElementTree

from consent_server import clock, store
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.status import measured, probing
from consent_server.store import notices, probes, served
from consent_server.store.tables.status import ProbeDay, ServedHour
from consent_server.web.served import BOUNDS

#: Of the requests of an hour, so many are to be answered within their threshold (Consumer Data Standards of Australia,
#: non-functional requirements, performance).
WITHIN: Final = 0.95
#: Of a month, so much is to be available: what was announced in time is left out (the same, availability).
AVAILABLE: Final = 0.995
#: Milliseconds, by the tiers of the same: security endpoints (high priority), data without a person who waits (unattended), and
#: answers with many readings (large payload). Everything else is of low priority.
_THRESHOLDS: Final[Mapping[str, int]] = {
    "POST /par": 1000,
    "POST /token": 1000,
    "POST /revoke": 1000,
    "POST /introspect": 1000,
    "POST /permission": 1000,
    "GET /datasources": 4000,
    "GET /datasources/": 4000,
    "GET /emissions": 4000,
    "GET /datasources/<path:datasource>/<measure>": 6000,
}
_OTHERS: Final = 1500
#: What a report measures by probes: the Directory and the Registry are not ours.
_OURS: Final = ("issuer", "data")


class Hour(NamedTuple):
    """An hour of one endpoint and client."""

    served: ServedHour

    @property
    def threshold(self) -> int:
        return _THRESHOLDS.get(self.served.endpoint, _OTHERS)

    @property
    def within(self) -> int:
        """Return how many requests were answered within the threshold; one that failed was not."""
        counts = self.served._asdict()
        return sum(counts[f"ms_{most}"] for most in BOUNDS if most <= self.threshold)

    @property
    def is_met(self) -> bool:
        return self.within >= WITHIN * self.served.asked


class Levels(NamedTuple):
    """The service levels of a month, or of so much of it as is over."""

    start: int
    days: Sequence[ProbeDay]
    hours: Sequence[Hour]


def of_month(start: int) -> Levels:
    """Return the service levels of the month that begins at an instant. Raise StoreUnavailable."""
    at, end = clock.now(), instant.next_month(start)
    with store.reading() as c:
        summed = {(each.day, each.part): each for each in probes.days(c, start, end)}
        latest = probes.between(c, start - DAY, min(end + DAY, at + 1))
        planned = probing.planned_spans(notices.since(c, start))
        hours = [Hour(each) for each in served.between(c, start, end)]
    for part in _OURS:
        for day in range(start, min(end, at), DAY):
            sums = measured.day(part, day, latest.get(part, []), planned.get(part, ()), at)
            if sums.asked:
                summed.setdefault((day, part), sums)
    return Levels(start, [each for _, each in sorted(summed.items()) if each.part in _OURS], hours)


def rows(levels: Levels) -> Iterator[Sequence[object]]:
    """Yield a table: its head, the month's levels, then the days and hours that they are worked out from.

    A level of which nothing was measured has no share and is neither met nor missed.
    """
    counts = [f"ms_{most}" for most in BOUNDS]
    yield ("what", "from", "part or endpoint", "client", "of", "good", "share", "met", "threshold_ms", "planned_s",
           "failed", *counts, "slower")  # fmt: skip
    blank = [""] * (len(counts) + 1)
    month = instant.text(levels.start)
    for part in _OURS:
        days = [day for day in levels.days if day.part == part]
        measured_s = sum(day.measured_s - day.planned_s for day in days)
        up_s, planned_s = measured_s - sum(day.down_s for day in days), sum(day.planned_s for day in days)
        verdict = _verdict(up_s, measured_s, AVAILABLE)
        yield ("month, seconds", month, part, "", measured_s, up_s, *verdict, "", planned_s, "", *blank)
    by_kind: dict[tuple[str, str], list[Hour]] = {}
    for hour in levels.hours:
        by_kind.setdefault((hour.served.endpoint, hour.served.client), []).append(hour)
    for (endpoint, client), hours in sorted(by_kind.items()):
        met = sum(hour.is_met for hour in hours)
        failed = sum(hour.served.failed for hour in hours)
        verdict = _verdict(met, len(hours), 1)
        yield (
            "month, hours",
            month,
            endpoint,
            client,
            len(hours),
            met,
            *verdict,
            hours[0].threshold,
            "",
            failed,
            *blank,
        )
    for day in levels.days:
        of = day.measured_s - day.planned_s
        share, _ = _verdict(of - day.down_s, of, AVAILABLE)
        begins = instant.text(day.day)
        yield ("day, seconds", begins, day.part, "", of, of - day.down_s, share, "", "", day.planned_s, "", *blank)
    for hour in levels.hours:
        row = hour.served
        verdict = _verdict(hour.within, row.asked, WITHIN)
        yield ("hour, requests", instant.text(row.hour), row.endpoint, row.client, row.asked,
               hour.within, *verdict, hour.threshold, "", *row[4:])  # fmt: skip


def as_csv(levels: Levels) -> str:
    """Return the table as CSV (RFC 4180)."""
    written = io.StringIO()
    csv.writer(written).writerows(rows(levels))
    return written.getvalue()


def as_html(levels: Levels, name: str) -> str:
    """Return the table as a page, in which `name` is ours. ElementTree escapes what is in it."""
    title = f"Service levels of {name}, {instant.month(levels.start)}"
    page = ElementTree.Element("html", lang="en-GB")
    head, body = ElementTree.SubElement(page, "head"), ElementTree.SubElement(page, "body")
    ElementTree.SubElement(head, "meta", charset="utf-8")
    ElementTree.SubElement(head, "title").text = title
    ElementTree.SubElement(body, "h1").text = title
    ElementTree.SubElement(body, "p").text = (
        f"Met: {WITHIN:.0%} of an hour's requests are answered within the threshold, in every hour; {AVAILABLE:.1%} of the "
        "month is available, without downtime that was announced in time. A part is down from the first of five probes in a "
        "row that were not answered within 30 seconds. Time for which nobody asked is not counted."
    )
    table = ElementTree.SubElement(body, "table")
    for number, row in enumerate(rows(levels)):
        line = ElementTree.SubElement(table, "tr")
        for cell in row:
            ElementTree.SubElement(line, "td" if number else "th").text = str(cell)
    return "<!doctype html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"


def _verdict(good: int, of: int, least: float) -> tuple[str, str]:
    """Return a share and whether it is enough; nothing where nothing was measured."""
    return (f"{good / of:.5f}", "yes" if good >= least * of else "no") if of else ("", "")

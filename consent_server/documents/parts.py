"""A report that is divided by months, verified as one: every part by itself, and all parts together.

Each part says what all of them add up to (`data.WholePeriod`). No part's record proves that; the parts together do.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from consent_server.documents.bounded import verify_apart
from consent_server.documents.data import ReportData, TotalData, adds_up
from consent_server.documents.verify import NotGenuine, ReportFault, Trusted, VerifiedReport

#: Parts of a year, of which each has a whole month at least.
MOST: Final = 12


def verify_together(files: Sequence[bytes], trusted: Trusted, at: int) -> tuple[VerifiedReport, ...]:
    """Return the parts that PDFs are, in the order of their months, where they are all the parts of one report.

    A file by itself is verified as `verify_apart()` does. Raise NotGenuine.
    """
    if len(files) > MOST:
        raise NotGenuine(ReportFault("parts", f"more than {MOST} files"))
    found, faults = [], []
    for number, file in enumerate(files, 1):
        try:
            found.append(verify_apart(file, trusted, at))
        except NotGenuine as error:
            of_file = f"file {number}: " if len(files) > 1 else ""
            faults += [ReportFault(check, f"{of_file}{why}") for check, why in error.faults]
    parts = tuple(sorted(found, key=lambda each: each.data.start))
    if not faults and len(files) > 1:
        faults = [ReportFault("parts", why) for why in misfits([each.data for each in parts])]
    if faults:
        raise NotGenuine(*faults)
    return parts


def misfits(parts: Sequence[ReportData]) -> Iterator[str]:
    """Yield what keeps several reports, in the order of their months, from being all parts of one."""
    whole = parts[0].part_of
    if whole is None or not all(each.part_of for each in parts):
        yield "they are not the parts of one report"
        return
    if len({_about(each) for each in parts}) > 1:
        yield "they are of different reports, or the figures have changed: get all parts anew"
    if any(one.end > following.start for one, following in pairwise(parts)):
        yield "a month is in two of them"
    if [whole.start, *(each.end for each in parts)] != [*(each.start for each in parts), whole.end]:
        yield "a part is missing"
    if not all(_is_sum(total, parts) for total in whole.totals) or {each.fuel for each in whole.totals} != _fuels(
        parts
    ):
        yield "they do not add up to the totals that they say"


def _about(part: ReportData) -> tuple[object, ...]:
    by = part.by, part.about, part.to, part.permission
    return *by, part.part_of, part.sandbox, part.factor_rule, part.fill_gaps


def _is_sum(total: TotalData, parts: Sequence[ReportData]) -> bool:
    of_fuel = [each for part in parts for each in part.totals if each.fuel == total.fuel]
    return total.months == sum(each.months for each in of_fuel) and adds_up(of_fuel, total)


def _fuels(parts: Sequence[ReportData]) -> set[str]:
    return {each.fuel for part in parts for each in part.totals}

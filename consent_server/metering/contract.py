"""What a meter register and readings must do, as a table of checks: `consent-server metering check` runs it.

A check returns a sentence saying what is wrong, or None; its docstring is the sentence of what is right. It asks the source
as the server would, keeps nothing and changes nothing. An author of a plug-in runs the same checks in a test:

    from consent_server.metering import contract

    def test_our_sources() -> None:
        sample = contract.Sample(register, readings, "SW8 1AA", mpan="1212345678902", mprn=None, at=now)
        assert [verdict for verdict in contract.verdicts(sample) if verdict.fault] == []
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import orjson

from consent_server.metering.readings import Held, Readings, ReadingsRequest
from consent_server.metering.register import Identified, Register, Tenancy
from consent_server.metering.unavailable import SourceUnavailable
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.scheme.readings import MeterReadings, ReadingError, join, parse

#: What no register has.
NO_BUSINESS: Final = "no-such-business"
NO_METER: Final = "no-such-meter"
NO_CUSTOMER: Final = "no-such-customer"
#: Numbers that belong to nobody: no distributor is 99, and no MPRN is this long and all zeros.
_NO_MPAN: Final = "9900000000000"
_NO_MPRN: Final = "0000000000"
_OUTCODE: Final = re.compile(r"[A-Z]{1,2}[0-9][0-9A-Z]?")
_LONGEST_ID: Final = 48


@dataclass(frozen=True)
class Sample:
    """The sources to check, and the details of one bill: a postcode ("SW8 1AA") and the numbers of an MPAN, an MPRN or both.

    Without numbers only what needs none is checked. `customer` is what the EDP's own log-in calls the business, if it has one.
    Where businesses do not log in, `logs_in` is False, and the register is not asked about customers.
    """

    register: Register
    readings: Readings
    postcode: str = field(default="", repr=False)
    mpan: str | None = field(default=None, repr=False)
    mprn: str | None = field(default=None, repr=False)
    at: int = 0
    customer: str | None = field(default=None, repr=False)
    logs_in: bool = True

    @property
    def has_bill(self) -> bool:
        return self.mpan is not None or self.mprn is not None

    @cached_property
    def found(self) -> Identified | None:
        if not self.has_bill:
            return None
        return self.register.find(self.postcode, self.mpan, self.mprn, self.at)

    @property
    def meters(self) -> list[Tenancy]:
        return list(self.found.meters) if self.found else []

    @property
    def streams(self) -> list[tuple[Tenancy, str]]:
        return [(meter, measure) for meter in self.meters for measure in meter.measures]

    def held(self, meter: Tenancy, measure: str, start: int, end: int) -> Held:
        request = ReadingsRequest(meter.meter, meter.fuel, measure, start, end, "contract check", self.at + 365 * DAY)
        return self.readings.half_hours(request)

    def window(self, meter: Tenancy) -> tuple[int, int]:
        """Return the first two days of which there are readings of a meter, or the last two where there are none."""
        start = self.readings.begin([meter.meter]).get(meter.meter, instant.day_start(self.at) - 2 * DAY)
        return start, start + 2 * DAY


@dataclass(frozen=True)
class Verdict:
    """One check: what is right in words, and what was found wrong, if anything was. `said` is SourceUnavailable's.

    It is not `examined` if it needs a meter, and no bill led to one.
    """

    name: str
    right: str
    fault: str | None
    said: str = ""
    examined: bool = True

    def __str__(self) -> str:
        if not self.examined:
            return f"-     {self.right}  — not checked: no bill led to a meter"
        return f"FAIL  {self.right}  — {self.fault}" if self.fault else f"ok    {self.right}"


# the register


def nobodys_numbers_are_found_by_nobody(sample: Sample) -> str | None:
    """Unknown numbers lead to no business."""
    for mpan, mprn in ((_NO_MPAN, None), (None, _NO_MPRN), (_NO_MPAN, _NO_MPRN)):
        if sample.register.find("SW8 1AA", mpan, mprn, sample.at) is not None:
            return "find returned a business for unknown numbers"
    return None


def an_unknown_business_has_nothing(sample: Sample) -> str | None:
    """An unknown business has no sites and no tenancies, and no meter belongs to it."""
    asked = [NO_METER, *(meter.meter for meter in sample.meters)]
    if sample.register.sites(NO_BUSINESS, sample.at):
        return "sites returned meters for a business that does not exist"
    if sample.register.tenancies(NO_BUSINESS, asked):
        return "tenancies returned a meter for a business that does not exist"
    return None


def a_log_in_leads_to_its_business(sample: Sample) -> str | None:
    """An unknown customer has no business; the sample's has all meters that are its own now, just as tenancies returns them."""
    if not sample.logs_in:
        return None
    for unknown in (NO_CUSTOMER, "", "%", NO_CUSTOMER.upper()):
        if sample.register.of_customer(unknown, sample.at) is not None:
            return "of_customer returned a business for a customer that does not exist"
    if sample.customer is None:
        return None
    found = sample.register.of_customer(sample.customer, sample.at)
    if found is None or not found.sme or not found.meters:
        return "of_customer returned nothing for the sample's customer"
    if sample.found is not None and (
        found.sme != sample.found.sme or any(each not in found.meters for each in sample.meters)
    ):
        return "the log-in leads to other meters than the bill"
    return None if _holds(sample, found.sme, found.meters) else "a meter does not belong to the business now"


def a_bill_leads_to_its_business(sample: Sample) -> str | None:
    """The sample's numbers lead to a business, with an id and a name."""
    if sample.found is None:
        return (
            "find returned nothing: are postcode and numbers of one bill, and its meters in one business's hands now?"
        )
    return None if sample.found.sme and sample.found.business else "the business has no id or no name"


def what_was_typed_is_found_and_no_more(sample: Sample) -> str | None:
    """find returns the meters whose numbers were given, one of each fuel, and no others."""
    given = [fuel for fuel, number in ((ELECTRICITY, sample.mpan), (GAS, sample.mprn)) if number]
    got = sorted(meter.fuel for meter in sample.meters)
    return None if sample.found is None or got == given else f"given {given}, returned {got}"


def a_meter_is_described_in_full(sample: Sample) -> str | None:
    """A meter has an id of at most 48 characters, a fuel, its measures, an outcode and a masked number."""
    for meter in sample.meters:
        if not 0 < len(meter.meter) <= _LONGEST_ID:
            return "an id is empty or longer than 48 characters"
        if (
            meter.fuel not in (ELECTRICITY, GAS)
            or not set(meter.measures) <= {"import", "export"}
            or not meter.measures
        ):
            return f"fuel {meter.fuel!r} with measures {list(meter.measures)}"
        if not _OUTCODE.fullmatch(meter.outcode) or not sample.postcode.startswith(f"{meter.outcode} "):
            return f"the outcode {meter.outcode!r} is not the first half of the postcode"
        if sum(character.isdigit() for character in meter.masked) > 4:
            return "more than the last four digits of a number are shown"
    return None


def another_postcode_leads_nowhere(sample: Sample) -> str | None:
    """The same numbers with another postcode lead to no business."""
    other = "ZE1 0AA" if sample.postcode != "ZE1 0AA" else "SW8 1AA"
    if sample.found is not None and sample.register.find(other, sample.mpan, sample.mprn, sample.at) is not None:
        return "find did not look at the postcode"
    return None


def what_is_found_is_held_now(sample: Sample) -> str | None:
    """Each tenancy that find returns is in tenancies in the same words, and is current at that instant."""
    if sample.found is None:
        return None
    held = sample.register.tenancies(sample.found.sme, [meter.meter for meter in sample.meters])
    if any(held.get(meter.meter) != meter for meter in sample.meters):
        return "tenancies and find return different values for a meter"
    if not all(meter.holds(sample.at) for meter in sample.meters):
        return "a meter does not belong to the business now"
    return None


def tenancies_are_those_that_were_asked_for(sample: Sample) -> str | None:
    """tenancies returns only the meters it is asked for: for none, for one, and for thousands."""
    if sample.found is None:
        return None
    sme, meters = sample.found.sme, [meter.meter for meter in sample.meters]
    if sample.register.tenancies(sme, []):
        return "asked for no meter, it returned some"
    many = sample.register.tenancies(sme, [*meters, *(f"{NO_METER}-{number}" for number in range(2000))])
    return None if many.keys() == set(meters) else "asked for many, it did not return exactly those that exist"


def tenancies_begin_before_they_end(sample: Sample) -> str | None:
    """A tenancy begins before it ends, in whole seconds; before its beginning the numbers do not lead to its business."""
    for meter in sample.meters:
        ends = meter.until
        if type(meter.since) is not int or meter.since < 0 or (ends is not None and not meter.since < ends):
            return "since is after until, or is not an instant"
        before = sample.register.find(sample.postcode, sample.mpan, sample.mprn, meter.since - 1)
        if meter.since and before is not None and sample.found is not None and before.sme == sample.found.sme:
            return "find returns the business for an instant before its tenancy"
    return None


def sites_are_the_businesss_own(sample: Sample) -> str | None:
    """Each meter in sites belongs to the business now, and is listed once."""
    if sample.found is None:
        return None
    sites = sample.register.sites(sample.found.sme, sample.at)
    if len({meter.meter for meter in sites}) < len(sites):
        return "a meter is listed twice"
    return None if _holds(sample, sample.found.sme, sites) else "a site does not belong to the business now"


def _holds(sample: Sample, sme: str, meters: Sequence[Tenancy]) -> bool:
    """Return whether these are meters of a business now, as tenancies returns them."""
    held = sample.register.tenancies(sme, [meter.meter for meter in meters])
    return all(held.get(meter.meter) == meter and meter.holds(sample.at) for meter in meters)


# the readings


def an_unknown_meter_has_no_readings(sample: Sample) -> str | None:
    """An unknown meter has no readings: neither a fault nor a reason to wait."""
    unknown = Tenancy(NO_METER, ELECTRICITY, ("import",), "SW8", "")
    if sample.held(unknown, "import", sample.at - DAY, sample.at) != Held():
        return "half_hours returned something for a meter that does not exist"
    return "begin names a meter that does not exist" if sample.readings.begin([NO_METER]) else None


def readings_begin_where_they_say(sample: Sample) -> str | None:
    """begin gives the first instant of a meter's readings: there are none before it."""
    begin = sample.readings.begin([meter.meter for meter in sample.meters])
    for meter, measure in sample.streams:
        start = begin.get(meter.meter, instant.day_start(sample.at))
        if start % HALF_HOUR:
            return "an instant is not on the half-hour"
        if sample.held(meter, measure, start - 30 * DAY, start).count:
            return "there are half-hours before the first"
    return None


def half_hours_are_the_standards(sample: Sample) -> str | None:
    """Half-hours are in the window, in order, on the half-hour, once each, in the fuel's unit, not below zero, taken after."""
    for meter, measure in sample.streams:
        start, end = sample.window(meter)
        held = sample.held(meter, measure, start, end)
        if held.retry_after is not None:
            continue
        try:
            found = _parsed(held)
        except (ReadingError, ValueError) as error:
            return str(error)
        metered = held.metered or (start, start)
        if not start <= metered[0] <= metered[1] <= end:
            return "what was metered reaches beyond the window"
        if found.start and (
            found.fuel != meter.fuel or not metered[0] <= found.start[0] <= found.start[-1] < metered[1]
        ):
            return "a half-hour of another fuel, or outside what was metered"
        if len(found.start) != held.count:
            return "miscounted"
    return None


def a_window_is_the_sum_of_its_parts(sample: Sample) -> str | None:
    """A window has the same half-hours as its two parts, cut anywhere, and the same when asked for again."""
    for meter, measure in sample.streams:
        start, end = sample.window(meter)
        whole = _told(sample.held(meter, measure, start, end))
        for middle in (start + DAY, start + 3 * HALF_HOUR):
            parts = [sample.held(meter, measure, *part) for part in ((start, middle), (middle, end))]
            if whole != [each for part in parts for each in _told(part)]:
                return "the parts of a window differ from the whole"
        if whole != _told(sample.held(meter, measure, start, end)):
            return "asked twice, it returned different half-hours"
    return None


def the_future_is_empty(sample: Sample) -> str | None:
    """No half-hour is returned before it has ended."""
    start = instant.day_start(sample.at) + DAY
    ahead = [sample.held(meter, measure, start, start + 30 * DAY) for meter, measure in sample.streams]
    return "half-hours of days to come" if any(held.count for held in ahead) else None


Check = Callable[[Sample], str | None]

CHECKS: Final[tuple[Check, ...]] = (
    nobodys_numbers_are_found_by_nobody,
    an_unknown_business_has_nothing,
    a_log_in_leads_to_its_business,
    a_bill_leads_to_its_business,
    what_was_typed_is_found_and_no_more,
    a_meter_is_described_in_full,
    another_postcode_leads_nowhere,
    what_is_found_is_held_now,
    tenancies_are_those_that_were_asked_for,
    tenancies_begin_before_they_end,
    sites_are_the_businesss_own,
    an_unknown_meter_has_no_readings,
    readings_begin_where_they_say,
    half_hours_are_the_standards,
    a_window_is_the_sum_of_its_parts,
    the_future_is_empty,
)

_NEED_NO_METER: Final = (
    nobodys_numbers_are_found_by_nobody,
    an_unknown_business_has_nothing,
    a_log_in_leads_to_its_business,
    an_unknown_meter_has_no_readings,
)


def verdicts(sample: Sample) -> Iterator[Verdict]:
    """Yield the verdict of each check, in order; an exception of a source is a fault of its check."""
    for check in CHECKS:
        said, examined = "", True
        try:
            needs_nothing = check in _NEED_NO_METER or (check is a_bill_leads_to_its_business and sample.has_bill)
            examined = needs_nothing or sample.found is not None
            fault = check(sample) if examined else None
        except Exception as error:  # whatever a plug-in raises
            fault = f"{type(error).__name__}: {error}"
            said = error.said if isinstance(error, SourceUnavailable) else ""
        yield Verdict(check.__name__, " ".join((check.__doc__ or "").split()), fault, said, examined)


def _parsed(held: Held) -> MeterReadings:
    return parse(orjson.loads(join(held.blocks)))


def _told(held: Held) -> list[tuple[int, int, float]]:
    found = _parsed(held)
    return list(zip(found.start, found.taken_at, found.value, strict=True))

"""What a response of the emissions API must satisfy before a bank uses it: figures, provenance, and both together.

`verified()` checks one response against its call, without trusting the provider: every signature, every duty of
a receiver (scheme/provenance/duties.py), and then the path of each fuel's data from the energy data provider's meter to the
last transfer. One fault refuses the whole response.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
from cryptography import x509

from consent_server.scheme import instant, pcaf
from consent_server.scheme.pcaf import DataQuality
from consent_server.scheme.provenance.calculated import FuelChain, Period, chains
from consent_server.scheme.provenance.container import CLOCK_SKEW, VerifiedStep, verify
from consent_server.scheme.provenance.duties import ExpectedTransfer, receipt_check
from consent_server.scheme.provenance.step import ProvenanceError
from consent_server.scheme.provenance.steps import EMISSIONS_PATH, scheme_url, window_parameters
from consent_server.scheme.report import FUELS

#: A million tonnes in a month: no small business emits it.
_MOST_KILOGRAMS: Final = 1e9
_UNIT: Final = "KGM"


class EmissionsNotVerified(ValueError):
    """An answer that a bank must not use. The text says what does not hold, and repeats no figure."""


@dataclass(frozen=True, kw_only=True)
class EmissionsCall:
    """The call that an answer is held against: who asked (`recipient`, a member URL) whom, for which months, and when.

    `service` and `application` are the provider's, as the Directory's catalogue has them. `account` is the permission's, as the
    issuer's record has it.
    """

    registry: str
    trust_framework: str
    signing_root: x509.Certificate
    recipient: str
    provider: str
    application: str
    service: str
    edp_roles: tuple[str, ...]
    cap_roles: tuple[str, ...]
    consumption_standard: str
    emissions_standard: str
    license: str
    account: str
    start: int
    end: int
    at: int


@dataclass(frozen=True)
class VerifiedMonth:
    """One whole month of one fuel, in kilograms of what scheme.emissions.GASES says."""

    fuel: str
    start: int
    end: int
    kilograms: float
    taken_at: int


@dataclass(frozen=True)
class SignedSteps:
    """An application that signed, the roles of its certificate, and how many steps of each kind."""

    member: str
    application: str
    roles: tuple[str, ...]
    steps: dict[str, int]


@dataclass(frozen=True)
class FactorSource:
    """Where factors behind a fuel's figures come from, and from when to before when they were used, as the provider signed."""

    origin: str
    start: int
    end: int


@dataclass(frozen=True)
class FuelTotal:
    """The months of one fuel added up: `months` of them, while those that begin at `missing` have no figure. Whether the
    `factors` are those of their time is for the bank to see: an answer has no value of one."""

    fuel: str
    months: int
    missing: tuple[int, ...]
    kilograms: float
    quality: DataQuality
    factors: tuple[FactorSource, ...] = ()


@dataclass(frozen=True)
class VerifiedEmissions:
    """An answer that holds: the months from `start` to before `end` that are in it, electricity first, and what it rests on.

    `sha256` is of the answer as it came, which arrived at `at`. `totals` has one entry for each fuel with a month.
    """

    start: int
    end: int
    at: int
    sha256: str
    months: tuple[VerifiedMonth, ...]
    totals: tuple[FuelTotal, ...]
    signers: tuple[SignedSteps, ...]

    @property
    def quality(self) -> DataQuality | None:
        """Return the score of the whole: the worst of its fuels'. None where there is no figure."""
        return pcaf.of_all([total.quality for total in self.totals])


def verified(body: bytes, call: EmissionsCall) -> VerifiedEmissions:
    """Return what an answer says, where all of it holds. Raise EmissionsNotVerified."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise EmissionsNotVerified("the answer is not JSON") from None
    listed = document.get("data") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise EmissionsNotVerified("the answer has no list of months")
    months = _months(listed, call)
    steps: list[VerifiedStep] = []
    by_fuel: dict[str, FuelChain] = {}
    if months:  # a window without a whole month has nothing that a record could be about
        try:
            steps = verify(document.get("provenance"), call.trust_framework, call.signing_root)
            by_fuel = _chains(steps, call)
            _require_cover(months, by_fuel)
        except ProvenanceError as error:
            raise EmissionsNotVerified(f"provenance: {error}") from None
    return VerifiedEmissions(
        start=call.start,
        end=call.end,
        at=call.at,
        sha256=hashlib.sha256(body).hexdigest(),
        months=months,
        totals=tuple(
            _total(
                fuel,
                months,
                pcaf.of_fuel(fuel, by_fuel[fuel].missing_data),
                by_fuel[fuel].sources,
                call.start,
                call.end,
            )
            for fuel in FUELS
            if fuel in {month.fuel for month in months}
        ),
        signers=_signers(steps),
    )


def together(parts: Sequence[VerifiedEmissions], kept: bytes) -> VerifiedEmissions:
    """Return as one what the answers to windows say that follow each other. `kept` are their bodies as they are kept: the
    SHA-256 is theirs, and of the scores of a fuel the worst counts."""
    if len(parts) == 1:
        return parts[0]
    start, end = parts[0].start, parts[-1].end
    found = [month for part in parts for month in part.months]
    months = tuple(sorted(found, key=lambda month: (FUELS.index(month.fuel), month.start)))
    scores: dict[str, DataQuality] = {}
    sources: dict[str, dict[str, Period]] = {}
    for total in (total for part in parts for total in part.totals):
        scores[total.fuel] = max(scores.get(total.fuel, total.quality), total.quality, key=lambda each: each.score)
        of_fuel = sources.setdefault(total.fuel, {})
        for each in total.factors:  # the parts are in the order of their months
            of_fuel[each.origin] = of_fuel.get(each.origin, (each.start, 0))[0], each.end
    return VerifiedEmissions(
        start=start,
        end=end,
        at=parts[-1].at,
        sha256=hashlib.sha256(kept).hexdigest(),
        months=months,
        totals=tuple(_total(fuel, months, scores[fuel], sources[fuel], start, end) for fuel in FUELS if fuel in scores),
        signers=_added_up([signer for part in parts for signer in part.signers]),
    )


# The figures


def _months(listed: list[Any], call: EmissionsCall) -> tuple[VerifiedMonth, ...]:
    found: dict[tuple[int, int], VerifiedMonth] = {}
    for each in listed:
        month = _month(each if isinstance(each, dict) else {}, call)
        key = (FUELS.index(month.fuel), month.start)
        if key in found:  # so that there are never more than the window has
            raise EmissionsNotVerified("a month of a fuel is there twice")
        found[key] = month
    return tuple(found[key] for key in sorted(found))


def _month(source: dict[str, Any], call: EmissionsCall) -> VerifiedMonth:
    fuel, emissions = source.get("type"), source.get("emissions")
    if fuel not in FUELS:
        raise EmissionsNotVerified("a month is of no fuel that the scheme has")
    try:
        start, end, taken = (instant.parse(source.get(name)) for name in ("from", "to", "takenAt"))
        whole = start == instant.month_start(start) and end == instant.next_month(start)
    except ValueError:
        raise EmissionsNotVerified("from, to and takenAt must be RFC 3339 date-times") from None
    if not whole:
        raise EmissionsNotVerified("from and to must be the first instants of two months in a row")
    if start < call.start or end > call.end:
        raise EmissionsNotVerified("a month lies outside the window that was asked for")
    if not end <= taken + CLOCK_SKEW <= call.at + 2 * CLOCK_SKEW:
        raise EmissionsNotVerified("takenAt must lie between the month's end and now")
    if not isinstance(emissions, dict) or emissions.get("unitCode") != _UNIT:
        raise EmissionsNotVerified("emissions must be in kilograms (KGM)")
    value = emissions.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_KILOGRAMS:
        raise EmissionsNotVerified("emissions must be a plausible number, and not negative")
    return VerifiedMonth(fuel, start, end, float(value), taken)


def _total(
    fuel: str,
    months: Sequence[VerifiedMonth],
    quality: DataQuality,
    sources: Mapping[str, Period],
    start: int,
    end: int,
) -> FuelTotal:
    there = {month.start: month.kilograms for month in months if month.fuel == fuel}
    missing = tuple(month for month in instant.months(start, end) if month not in there)
    factors = tuple(FactorSource(origin, *sources[origin]) for origin in sorted(sources))
    return FuelTotal(fuel, len(there), missing, math.fsum(there.values()), quality, factors)


# What they rest on


def _chains(steps: list[VerifiedStep], call: EmissionsCall) -> dict[str, FuelChain]:
    expected = ExpectedTransfer(
        recipients={call.recipient},
        signer_member=call.provider,
        signer_application=call.application,
        signer_role=call.cap_roles[0],
        scheme=scheme_url(call.registry),
        standard=call.emissions_standard,
        license=call.license,
        service=call.service,
        path=EMISSIONS_PATH,
        parameters=window_parameters(call.start, call.end),
        at=call.at,
    )
    transfers = receipt_check(steps, expected)
    by_id = {step["id"]: step for step in steps}
    for named in {name for transfer in transfers for name in transfer["permissions"]}:
        permission = by_id[named]
        # Under the license of one permission it is the energy data provider's, whose account is another.
        of_provider = permission["_signature"]["signed"]["member"] == call.provider
        if of_provider and permission["account"] != call.account:
            raise ProvenanceError("permission: account must be that of our permission's record")
    return chains(
        transfers,
        by_id,
        registry=call.registry,
        provider=call.provider,
        edp_roles=call.edp_roles,
        consumption_standard=call.consumption_standard,
    )


def _require_cover(months: Sequence[VerifiedMonth], by_fuel: dict[str, FuelChain]) -> None:
    for month in months:
        chain = by_fuel.get(month.fuel)
        if chain is None:
            raise ProvenanceError(f"transfer: none is of the calculation for {month.fuel}")
        chain.require_cover(month.fuel, month.start, month.end)


def _signers(steps: Sequence[VerifiedStep]) -> tuple[SignedSteps, ...]:
    """Return who signed, in the order of the data's way here."""
    counted: dict[str, Counter[str]] = {}
    signed: dict[str, dict[str, Any]] = {}
    for step in steps:
        by = step["_signature"]["signed"]
        signed.setdefault(by["application"], by)
        counted.setdefault(by["application"], Counter())[step["type"]] += 1
    return tuple(
        SignedSteps(by["member"], application, tuple(by["roles"]), dict(counted[application]))
        for application, by in signed.items()
    )


def _added_up(signers: Sequence[SignedSteps]) -> tuple[SignedSteps, ...]:
    """Return each application once, with all its steps."""
    counted: dict[str, Counter[str]] = {}
    for each in signers:
        counted.setdefault(each.application, Counter()).update(each.steps)
    first = {each.application: each for each in reversed(signers)}
    return tuple(replace(first[application], steps=dict(steps)) for application, steps in counted.items())

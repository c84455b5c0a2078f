"""The path of each fuel's data in a record with valid signatures and last transfers: meter, transfer, receipt, calculation.

duties.receipt_check() checks the last signer's steps; this module checks the ones before: that each calculation rests on
factors, and on readings that an energy data provider sent, with permission, to the provider that we called, and that this one
received. The cost is linear in the number of steps and references.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from consent_server.scheme import instant
from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.scheme.provenance.chain import plain
from consent_server.scheme.provenance.container import CLOCK_SKEW, VerifiedStep
from consent_server.scheme.provenance.permitted import made_at, permitted
from consent_server.scheme.provenance.step import ProvenanceError, as_object
from consent_server.scheme.provenance.steps import (
    GAS_GREENHOUSE_GAS_FACTOR,
    GRID_CARBON_INTENSITY,
    missing_data,
    process_url,
    scheme_url,
    worst,
)

_FACTOR_OF: Final = {ELECTRICITY: GRID_CARBON_INTENSITY, GAS: GAS_GREENHOUSE_GAS_FACTOR}
_METERS: Final = ("Meter", "SubMeter", "VirtualMeter")
_MOST_SOURCES: Final = 20

Period = tuple[int, int]


@dataclass(frozen=True)
class FuelChain:
    """What one fuel's figures rest on: for each site (a provider's meters in one postcode district) the periods with readings,
    and the periods with factors, all in order and apart; the sources of the factors, each with its whole period; and the worst
    that is said of missing readings: COMPLETE, SUBSTITUTED or MISSING."""

    metered: tuple[tuple[Period, ...], ...]
    factored: tuple[Period, ...]
    sources: Mapping[str, Period]
    missing_data: str

    def require_cover(self, fuel: str, start: int, end: int) -> None:
        """Raise ProvenanceError unless there are factors for all of a reported month, and readings for all of it of each site
        that has any in it: only months that are wholly covered count (Perseus guides), and a gap is not zero."""
        there = [site for site in self.metered if any(first < end and start < last for first, last in site)]
        if not there:
            raise ProvenanceError(f"origin: no readings of {fuel} for a month that is reported")
        if not all(_covers(site, start, end) for site in there):
            raise ProvenanceError(f"origin: no readings of {fuel} for a part of a month that is reported")
        if not _covers(self.factored, start, end):
            raise ProvenanceError(f"origin: no factor of {fuel} for a month that is reported")


def chains(
    transfers: Sequence[VerifiedStep],
    by_id: Mapping[str, VerifiedStep],
    *,
    registry: str,
    provider: str,
    edp_roles: Collection[str],
    consumption_standard: str,
) -> dict[str, FuelChain]:
    """Return the data behind each fuel in these transfers of `provider`. Raise ProvenanceError if a check fails."""
    judge = _Judge(by_id, registry, provider, edp_roles, consumption_standard)
    processes: dict[str, dict[str, VerifiedStep]] = {}
    for transfer in transfers:
        process = by_id[transfer["of"]]
        processes.setdefault(judge.fuel(process), {})[process["id"]] = process
    return {fuel: judge.chain(fuel, list(found.values())) for fuel, found in processes.items()}


class _Judge:
    def __init__(
        self,
        by_id: Mapping[str, VerifiedStep],
        registry: str,
        provider: str,
        edp_roles: Collection[str],
        consumption_standard: str,
    ) -> None:
        self._by_id = by_id
        self._scheme = scheme_url(registry)
        self._fuels = {process_url(registry, fuel): fuel for fuel in (ELECTRICITY, GAS)}
        self._provider = provider
        self._edp_roles = frozenset(edp_roles)
        self._standard = consumption_standard
        self._origins: dict[str, VerifiedStep] = {}
        # Each is read once: a step may name thousands of permissions, and a permission thousands of licenses.
        self._permissions = {step["id"]: permitted(step) for step in by_id.values() if step["type"] == "permission"}

    def fuel(self, process: VerifiedStep) -> str:
        """Return the fuel of a calculation."""
        fuel = self._fuels.get(str(process.get("process")))
        if process["type"] != "process" or fuel is None:
            raise ProvenanceError("transfer: of must be a calculation that the scheme registers")
        return fuel

    def chain(self, fuel: str, processes: Sequence[VerifiedStep]) -> FuelChain:
        readings: dict[str, VerifiedStep] = {}
        factors: dict[str, VerifiedStep] = {}
        for process in processes:
            self._require_provider(process, "process")
            self._require_allowed(process)
            for step in (self._by_id[named] for named in dict.fromkeys(process.get("inputs", ()))):
                if step["type"] == "receipt":
                    origin = self._received(step)
                    readings[origin["id"]] = origin
                elif self._kind(step) == _FACTOR_OF[fuel]:
                    self._require_provider(step, "origin")
                    factors[step["id"]] = step
                else:
                    raise ProvenanceError(f"process: inputs must be receipts of readings and factors of {fuel}")
        if not readings or not factors:
            raise ProvenanceError(f"process: inputs must have readings and factors of {fuel}")
        missing = worst(map(missing_data, (*processes, *readings.values())))
        sites: dict[tuple[str, str], list[Period]] = {}
        for origin in readings.values():
            sites.setdefault(_site(origin), []).append(_period(origin))
        metered = tuple(_joined(periods) for periods in sites.values())
        return FuelChain(metered, _joined(map(_period, factors.values())), _sources(factors.values()), missing)

    def _received(self, receipt: VerifiedStep) -> VerifiedStep:
        """Return the origin of the readings that a receipt is for."""
        self._require_provider(receipt, "receipt")
        ours = receipt["_signature"]["signed"]
        transfer = self._by_id[receipt["transfer"]]
        # Deployed providers name the application (scheme/provenance/deployed.py).
        if transfer.get("to") not in (ours["member"], ours["application"]):
            raise ProvenanceError("transfer: readings must have been sent to who received them")
        if made_at(receipt) < made_at(transfer) - CLOCK_SKEW:
            raise ProvenanceError("receipt: readings were received before they were sent")
        # Each is judged once: thousands of receipts may be for one transfer, which may name thousands of permissions.
        if transfer["id"] not in self._origins:
            self._origins[transfer["id"]] = self._sent(transfer)
        return self._origins[transfer["id"]]

    def _sent(self, transfer: VerifiedStep) -> VerifiedStep:
        """Return the origin of the readings that an energy data provider sent."""
        sender = transfer["_signature"]["signed"]
        if self._edp_roles.isdisjoint(sender["roles"]):
            raise ProvenanceError("transfer: readings must be signed by an energy data provider")
        if transfer.get("standard") != self._standard:
            raise ProvenanceError("transfer: readings must be of the consumption data standard")
        self._require_allowed(transfer)
        origin = self._by_id[transfer["of"]]
        if origin["type"] != "origin" or self._kind(origin) not in _METERS:
            raise ProvenanceError("transfer: readings must come from a meter")
        if origin["_signature"]["signed"]["member"] != sender["member"]:
            raise ProvenanceError("origin: readings must be signed by the member that sent them")
        return origin

    def _kind(self, step: VerifiedStep) -> str:
        head, _, kind = str(step.get("sourceType")).rpartition("/")
        return kind if head == f"{self._scheme}/source-type" else ""

    def _require_provider(self, step: VerifiedStep, kind: str) -> None:
        if step["_signature"]["signed"]["member"] != self._provider:
            raise ProvenanceError(f"{kind}: the signer must be the member that we called")

    def _require_allowed(self, step: VerifiedStep) -> None:
        """Require that permissions, good when the step was made, allow its license or its process."""
        kind, at = step["type"], made_at(step)
        named = [self._permissions[each] for each in dict.fromkeys(step.get("permissions", ()))]
        if not all(each.is_given(at) and not each.is_over(at) for each in named):
            raise ProvenanceError(f"{kind}: a permission was not in force when it was made")
        if kind == "transfer" and not any(each.allows(step) for each in named):
            raise ProvenanceError("transfer: no permission that it names allows its license")
        if kind == "process" and not any(each.allows(step) for each in named):
            raise ProvenanceError("process: no permission that it names allows it")


def _sources(factors: Iterable[VerifiedStep]) -> dict[str, Period]:
    """Return from when until when each source was used. Raise ProvenanceError."""
    found: dict[str, Period] = {}
    for step in factors:
        source, (start, end) = plain(step.get("origin")), _period(step)
        first, last = found.get(source, (start, end))
        found[source] = min(first, start), max(last, end)
    if len(found) > _MOST_SOURCES:
        raise ProvenanceError("origin: factors are from more sources than a calculation has")
    return found


def _site(origin: VerifiedStep) -> tuple[str, str]:
    """Return who gave readings, and the postcode district of the meter; a record names no meter."""
    postcode = as_object(origin.get("perseus:scheme")).get("postcode")
    return origin["_signature"]["signed"]["member"], postcode if isinstance(postcode, str) else ""


def _period(origin: VerifiedStep) -> Period:
    period = as_object(as_object(origin.get("perseus:scheme")).get("meteringPeriod"))
    try:
        return instant.parse(period.get("from")), instant.parse(period.get("to"))
    except ValueError:
        raise ProvenanceError("origin: meteringPeriod must say from when until when") from None


def _covers(periods: Sequence[Period], start: int, end: int) -> bool:
    """Return whether periods, in order and apart, have all of the time between two instants."""
    return any(first <= start and end <= last for first, last in periods)


def _joined(periods: Iterable[Period]) -> tuple[Period, ...]:
    """Return periods in order, those that meet or overlap as one."""
    found: list[Period] = []
    for start, end in sorted(periods):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)

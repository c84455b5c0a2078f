"""What Perseus writes into the steps of a provenance record, and the records of its two providers.

The vocabulary is that of version 2026-03-12, in the US spelling of the specification. A `registry` is the Registry's base
URL, without a final slash.

    permission -> origin -> transfer            an energy data provider: edp_record()
    ... -> receipt                              its client, for every response: duties.checked_receipt()
    ... -> origin, process, transfer            a carbon accounting provider, fuel by fuel: cap_record()
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from consent_server.scheme import instant
from consent_server.scheme.factors import INTENSITY_LICENSE, INTENSITY_ORIGIN
from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.scheme.provenance.container import Record, SignedRecord, Signer, unverified_steps
from consent_server.scheme.provenance.step import ProvenanceError, Step, as_object

SCHEME_VERSION = "2026-03-12"

GRID_CARBON_INTENSITY = "GridCarbonIntensity"
GAS_GREENHOUSE_GAS_FACTOR = "GasGreenhouseGasFactor"

COMPLETE = "Complete"
SUBSTITUTED = "Substituted"
MISSING = "Missing"
_FROM_BEST_TO_WORST = (COMPLETE, SUBSTITUTED, MISSING)

CONSUMPTION_PATH = "/datasources/{id}/{measure}"
EMISSIONS_PATH = "/emissions"

_PROCESS_OF = {ELECTRICITY: "electricity-emissions-calculation", GAS: "gas-emissions-calculation"}


def trust_framework_url(registry: str) -> str:
    return f"{registry}/trust-framework"


def scheme_url(registry: str) -> str:
    return f"{registry}/scheme/perseus"


def consumption_standard(registry: str) -> str:
    return f"{scheme_url(registry)}/standard/energy-consumption-data/{SCHEME_VERSION}"


def emissions_standard(registry: str) -> str:
    return f"{scheme_url(registry)}/standard/emissions-report/{SCHEME_VERSION}"


def process_url(registry: str, fuel: str) -> str:
    return f"{scheme_url(registry)}/process/{_PROCESS_OF[fuel]}/{SCHEME_VERSION}"


def window_parameters(start: int, end: int, measure: str | None = None) -> dict[str, str]:
    """Return a transfer's `parameters`: of the consumption API with a measure, of the emissions API without."""
    window = {"from": instant.text(start), "to": instant.text(end)}
    return window if measure is None else {"measure": measure, **window}


def permission_step(
    *, scheme: str, at: int, account: str, licenses: Collection[str], processes: Collection[str], expires: int
) -> Step:
    """Return a permission step. `at` is the original grant. `account` is opaque, no token, and for one account holder only."""
    return _step("permission", scheme, at) | {
        "account": account,
        "allows": {"licenses": list(licenses), "processes": list(processes)},
        "expires": instant.text(expires),
    }


def origin_step(
    *,
    scheme: str,
    at: int,
    source_type: str,
    origin: str,
    license: str,
    start: int,
    end: int,
    missing_data: str,
    permissions: Collection[str] = (),
    outcode: str | None = None,
    origin_method: str | None = None,
) -> Step:
    """Return an origin step. `start` and `end` bound what was metered, or what a factor was used for."""
    details: Step = {"meteringPeriod": {"from": instant.text(start), "to": instant.text(end)}}
    if outcode is not None:
        details["postcode"] = outcode
    assurance = {"missingData": f"{scheme}/assurance/missing-data/{missing_data}"}
    if origin_method is not None:
        assurance["originMethod"] = f"{scheme}/assurance/origin-method/{origin_method}"
    step = _step("origin", scheme, at) | {
        "sourceType": f"{scheme}/source-type/{source_type}",
        "origin": origin,
        "originLicense": license,
        "external": True,
    }
    if permissions:
        step["permissions"] = list(permissions)
    return step | {"perseus:scheme": details, "perseus:assurance": assurance}


def transfer_step(
    *,
    scheme: str,
    at: int,
    of: str,
    to: str,
    standard: str,
    license: str,
    service: str,
    path: str,
    parameters: Mapping[str, str],
    permissions: Collection[str],
) -> Step:
    """Return a transfer step. `to` is the receiving member's URL; `path` the OpenAPI template, which names no meter."""
    return _step("transfer", scheme, at) | {
        "of": of,
        "to": to,
        "standard": standard,
        "license": license,
        "service": service,
        "path": path,
        "parameters": dict(parameters),
        "permissions": list(permissions),
    }


def receipt_step(*, scheme: str, at: int, transfer: str) -> Step:
    return _step("receipt", scheme, at) | {"transfer": transfer}


def process_step(
    *, scheme: str, at: int, inputs: Collection[str], process: str, permissions: Collection[str], missing_data: str
) -> Step:
    return _step("process", scheme, at) | {
        "inputs": list(inputs),
        "process": process,
        "permissions": list(permissions),
        "perseus:assurance": {"missingData": f"{scheme}/assurance/missing-data/{missing_data}"},
    }


def missing_data(step: Step) -> str:
    """Return what an origin or a process says of missing data; MISSING where that is nothing, or something unknown."""
    stated = str(as_object(step.get("perseus:assurance")).get("missingData")).rpartition("/")[2]
    return stated if stated in _FROM_BEST_TO_WORST else MISSING


def worst_missing_data(steps: Iterable[Step]) -> str:
    """Return the worst that the origin steps say of missing data; COMPLETE without any."""
    return worst(missing_data(step) for step in steps if step["type"] == "origin")


def worst(statements: Iterable[str]) -> str:
    """Return the worst of COMPLETE, SUBSTITUTED and MISSING; COMPLETE where there is no statement."""
    return max(statements, key=_FROM_BEST_TO_WORST.index, default=COMPLETE)


def unverified_missing_data(signed: SignedRecord, trust_framework: str) -> str:
    """Return what `worst_missing_data` says of a record that was verified before it was kept. Raise ProvenanceError."""
    return worst_missing_data(unverified_steps(signed, trust_framework)[1])


# Whole records of the two providers


@dataclass(frozen=True, kw_only=True)
class GrantedPermission:
    """A permission as a record states it. `account` is the permission's opaque account; times in seconds."""

    account: str
    license: str
    granted: int
    expires: int
    fuels: Collection[str]


@dataclass(frozen=True)
class MeterOrigin:
    """Where readings come from: the kind of meter (Meter, SubMeter, VirtualMeter), the service that read it, the license
    under which that service gave them, and the method (SmartDCCOtherUser, Exact, Derived; none where nothing is known).
    """

    source_type: str
    service: str
    license: str
    method: str | None = None


@dataclass(frozen=True, kw_only=True)
class MeterRelease:
    """One response of the consumption API: one meter, one fuel, one measure, one window.

    `start` and `end` are the window that was asked for; `metered` is the stretch that the readings cover, if shorter.
    `to` is the receiving member's URL, `service` the id of our catalogue entry, `outcode` the meter's.
    """

    registry: str
    grant: GrantedPermission
    origin: MeterOrigin
    to: str
    service: str
    measure: str
    start: int
    end: int
    outcode: str
    missing_data: str
    at: int
    metered: tuple[int, int] | None = None


def edp_record(release: MeterRelease, signer: Signer) -> SignedRecord:
    """Return an energy data provider's record: permission, origin, transfer, signed."""
    scheme, grant, source = scheme_url(release.registry), release.grant, release.origin
    record = Record(trust_framework_url(release.registry))
    licenses = list(dict.fromkeys((source.license, grant.license)))
    permission = record.add_step(_permission(release.registry, grant, licenses))
    first, last = release.metered or (release.start, release.end)
    origin = record.add_step(
        origin_step(
            scheme=scheme,
            at=release.at,
            source_type=source.source_type,
            origin=source.service,
            license=source.license,
            permissions=[permission],
            start=first,
            end=last,
            outcode=release.outcode,
            missing_data=release.missing_data,
            origin_method=source.method,
        )
    )
    record.add_step(
        transfer_step(
            scheme=scheme,
            at=release.at,
            of=origin,
            to=release.to,
            standard=consumption_standard(release.registry),
            license=grant.license,
            service=release.service,
            path=CONSUMPTION_PATH,
            parameters=window_parameters(release.start, release.end, release.measure),
            permissions=[permission],
        )
    )
    return record.sign(signer, release.at)


@dataclass(frozen=True, kw_only=True)
class IntensityUse:
    """Grid intensity of one outcode's region, from `start` to `end`, fetched at `at`."""

    outcode: str
    start: int
    end: int
    missing_data: str
    at: int


@dataclass(frozen=True, kw_only=True)
class GasFactorUse:
    """One published set of gas factors, used from `start` to `end`. `source` is the publication's page."""

    source: str
    license: str
    start: int
    end: int
    at: int


@dataclass(frozen=True, kw_only=True)
class FuelEmissions:
    """One fuel's calculation at `at`: the receipted records of its readings (duties.checked_receipt) and the factors used."""

    fuel: str
    received: Sequence[SignedRecord]
    factors: Sequence[IntensityUse | GasFactorUse]
    missing_data: str
    at: int


@dataclass(frozen=True, kw_only=True)
class EmissionsRelease:
    """One response of the emissions API. `start` and `end` are first instants of months, `to` the receiving member's URL.

    `grant` is the account holder's permission to give emissions to `to`. It is None under the one-permission license,
    which the energy data provider's own permission steps already carry. `license` is then that license.
    """

    registry: str
    grant: GrantedPermission | None
    license: str
    to: str
    service: str
    start: int
    end: int
    fuels: Sequence[FuelEmissions]
    at: int


def cap_record(release: EmissionsRelease, signer: Signer) -> SignedRecord:
    """Return a carbon accounting provider's record, signed: every record it received, then for each fuel the factors as
    origins, the calculation as a process, and its transfer.

    A process names the permissions under which its readings were received, its transfer the one to give the result to `to`.
    """
    scheme = scheme_url(release.registry)
    record = Record(trust_framework_url(release.registry))
    for emissions in release.fuels:
        for signed in emissions.received:
            record.add_record(signed)
    own: list[str] = []
    if release.grant is not None:
        own = [record.add_step(_permission(release.registry, release.grant, [release.grant.license]))]
    for emissions in release.fuels:
        receipts, permissions = _received(emissions.received, release.registry)
        factors = [record.add_step(_factor_origin(scheme, factor)) for factor in emissions.factors]
        process = record.add_step(
            process_step(
                scheme=scheme,
                at=emissions.at,
                inputs=receipts + factors,
                process=process_url(release.registry, emissions.fuel),
                # Provenance Records, Process: what the processing relied on. The permission to pass its result on may be
                # given long after it.
                permissions=permissions,
                missing_data=emissions.missing_data,
            )
        )
        record.add_step(
            transfer_step(
                scheme=scheme,
                at=release.at,
                of=process,
                to=release.to,
                standard=emissions_standard(release.registry),
                license=release.license,
                service=release.service,
                path=EMISSIONS_PATH,
                parameters=window_parameters(release.start, release.end),
                permissions=own or permissions,
            )
        )
    return record.sign(signer, release.at)


def _permission(registry: str, grant: GrantedPermission, licenses: Collection[str]) -> Step:
    return permission_step(
        scheme=scheme_url(registry),
        at=grant.granted,
        account=grant.account,
        licenses=licenses,
        processes=[process_url(registry, fuel) for fuel in _PROCESS_OF if fuel in grant.fuels],
        expires=grant.expires,
    )


def _factor_origin(scheme: str, factor: IntensityUse | GasFactorUse) -> Step:
    if isinstance(factor, IntensityUse):
        return origin_step(
            scheme=scheme,
            at=factor.at,
            source_type=GRID_CARBON_INTENSITY,
            origin=INTENSITY_ORIGIN,
            license=INTENSITY_LICENSE,
            start=factor.start,
            end=factor.end,
            outcode=factor.outcode,
            missing_data=factor.missing_data,
        )
    return origin_step(
        scheme=scheme,
        at=factor.at,
        source_type=GAS_GREENHOUSE_GAS_FACTOR,
        origin=factor.source,
        license=factor.license,
        start=factor.start,
        end=factor.end,
        missing_data=COMPLETE,
    )


def _received(records: Sequence[SignedRecord], registry: str) -> tuple[list[str], list[str]]:
    """Return the receipts that the last signer of each record gave, and the permissions of the transfers they confirm."""
    receipts: list[str] = []
    permissions: list[str] = []
    for signed in records:
        own, every = unverified_steps(signed, trust_framework_url(registry))
        own_receipts = [step for step in own if step["type"] == "receipt"]
        if not own_receipts:
            raise ProvenanceError("a received record ends with our receipt")
        receipts += (step["id"] for step in own_receipts)
        confirmed = {step["transfer"] for step in own_receipts}
        permissions += (named for step in every if step["id"] in confirmed for named in step.get("permissions", []))
    return receipts, permissions


def _step(kind: str, scheme: str, at: int) -> Step:
    return {"timestamp": instant.text(at), "type": kind, "scheme": scheme}

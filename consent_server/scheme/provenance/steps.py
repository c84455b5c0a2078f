"""What Perseus writes into the steps of a provenance record, the records of its two providers, and a receiver's duties.

The vocabulary is that of version 2026-03-12, in the US spelling of the specification; the British spelling that some
peers still write is read. A `registry` is the Registry's base URL, without a final slash.

    permission -> origin -> transfer            an energy data provider: edp_record()
    ... -> receipt                              its client, for every answer: checked_receipt()
    ... -> origin, process, transfer            a carbon accounting provider, fuel by fuel: cap_record()
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.scheme.provenance.container import (
    CLOCK_SKEW,
    ProvenanceError,
    Record,
    SignedRecord,
    Signer,
    Step,
    VerifiedStep,
    unverified_steps,
    verify,
)

SCHEME_VERSION = "2026-03-12"

METER = "Meter"
VIRTUAL_METER = "VirtualMeter"
GRID_CARBON_INTENSITY = "GridCarbonIntensity"
GAS_GREENHOUSE_GAS_FACTOR = "GasGreenhouseGasFactor"

COMPLETE = "Complete"
SUBSTITUTED = "Substituted"
MISSING = "Missing"

SMART_DCC_OTHER_USER = "SmartDCCOtherUser"
EXACT = "Exact"
DERIVED = "Derived"

SMART_METER_ORIGIN = "https://www.smartdcc.co.uk/"
SMART_METER_LICENSE = "https://smartenergycodecompany.co.uk/documents/sec/consolidated-sec/"
INTENSITY_ORIGIN = "https://api.carbonintensity.org.uk/"
INTENSITY_LICENSE = "https://creativecommons.org/licenses/by/4.0/"
FACTOR_LICENSE = "https://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/"

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
    """A transfer's `parameters`: of the consumption API with a measure, of the emissions API without."""
    window = {"from": instant.text(start), "to": instant.text(end)}
    return window if measure is None else {"measure": measure, **window}


def permission_step(
    *, scheme: str, at: int, account: str, licenses: Collection[str], processes: Collection[str], expires: int
) -> Step:
    """`at` is the original grant. `account` is opaque, never a token, and never used for another account holder."""
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
    """Data brought in from outside. `start` and `end` bound what was metered, or what a factor was used for."""
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
    """`to` is the receiving member's URL; `path` the OpenAPI template, so that no meter is named."""
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


def worst_missing_data(steps: Sequence[Step]) -> str:
    """What the origin steps say of missing data, the worst of them: MISSING, SUBSTITUTED or COMPLETE.

    An origin that says nothing, or something unknown, counts as missing.
    """
    said = {
        str(_object(step.get("perseus:assurance")).get("missingData")).rpartition("/")[2]
        for step in steps
        if step["type"] == "origin"
    }
    if said <= {COMPLETE}:
        return COMPLETE
    return SUBSTITUTED if said <= {COMPLETE, SUBSTITUTED} else MISSING


# Whole records of the two providers


@dataclass(frozen=True, kw_only=True)
class Grant:
    """A permission as a record tells it. `account` is the permission's opaque account; times in seconds."""

    account: str
    license: str
    granted: int
    expires: int
    fuels: Collection[str]


@dataclass(frozen=True, kw_only=True)
class MeterRelease:
    """One answer of the consumption API: one meter, one fuel, one measure, one window.

    `start` and `end` are the window that was asked for; `metered` is the stretch that the readings cover, if shorter.
    `to` is the receiving member's URL, `service` the id of our catalogue entry, `outcode` the meter's.
    """

    registry: str
    grant: Grant
    to: str
    service: str
    measure: str
    start: int
    end: int
    outcode: str
    missing_data: str
    at: int
    metered: tuple[int, int] | None = None
    source_type: str = METER
    origin_method: str = SMART_DCC_OTHER_USER


def edp_record(release: MeterRelease, signer: Signer) -> SignedRecord:
    """An energy data provider's record: permission, origin, transfer, signed."""
    scheme, grant = scheme_url(release.registry), release.grant
    record = Record(trust_framework_url(release.registry))
    permission = record.add_step(
        permission_step(
            scheme=scheme,
            at=grant.granted,
            account=grant.account,
            licenses=[SMART_METER_LICENSE, grant.license],
            processes=_processes(release.registry, grant.fuels),
            expires=grant.expires,
        )
    )
    first, last = release.metered or (release.start, release.end)
    origin = record.add_step(
        origin_step(
            scheme=scheme,
            at=release.at,
            source_type=release.source_type,
            origin=SMART_METER_ORIGIN,
            license=SMART_METER_LICENSE,
            permissions=[permission],
            start=first,
            end=last,
            outcode=release.outcode,
            missing_data=release.missing_data,
            origin_method=release.origin_method,
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
    start: int
    end: int
    at: int


@dataclass(frozen=True, kw_only=True)
class FuelEmissions:
    """One fuel's calculation at `at`: the receipted records of its readings (checked_receipt) and the factors used."""

    fuel: str
    received: Sequence[SignedRecord]
    factors: Sequence[IntensityUse | GasFactorUse]
    missing_data: str
    at: int


@dataclass(frozen=True, kw_only=True)
class EmissionsRelease:
    """One answer of the emissions API. `start` and `end` are first instants of months, `to` the receiving member's URL.

    `grant` is the account holder's permission to give emissions to `to`. It is None under the one-permission license,
    which the energy data provider's own permission steps already carry. `license` is then that license.
    """

    registry: str
    grant: Grant | None
    license: str
    to: str
    service: str
    start: int
    end: int
    fuels: Sequence[FuelEmissions]
    at: int


def cap_record(release: EmissionsRelease, signer: Signer) -> SignedRecord:
    """A carbon accounting provider's record: every record it received, then for each fuel the factors as origins, the
    calculation as a process, and its transfer; signed once around all of it."""
    scheme = scheme_url(release.registry)
    record = Record(trust_framework_url(release.registry))
    inputs: list[list[str]] = []
    relied_on: list[list[str]] = []
    for emissions in release.fuels:
        received = [_received(signed, release.registry) for signed in emissions.received]
        for signed in emissions.received:
            record.add_record(signed)
        inputs.append([receipt for receipts, _ in received for receipt in receipts])
        relied_on.append([permission for _, permissions in received for permission in permissions])
    if release.grant is not None:
        own = record.add_step(
            permission_step(
                scheme=scheme,
                at=release.grant.granted,
                account=release.grant.account,
                licenses=[release.grant.license],
                processes=_processes(release.registry, release.grant.fuels),
                expires=release.grant.expires,
            )
        )
        relied_on = [[own] for _ in release.fuels]
    for emissions, receipts, permissions in zip(release.fuels, inputs, relied_on, strict=True):
        factors = [record.add_step(_factor_origin(scheme, factor)) for factor in emissions.factors]
        process = record.add_step(
            process_step(
                scheme=scheme,
                at=emissions.at,
                inputs=receipts + factors,
                process=process_url(release.registry, emissions.fuel),
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
                permissions=permissions,
            )
        )
    return record.sign(signer, release.at)


def _processes(registry: str, fuels: Collection[str]) -> list[str]:
    return [process_url(registry, fuel) for fuel in _PROCESS_OF if fuel in fuels]


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
        license=FACTOR_LICENSE,
        start=factor.start,
        end=factor.end,
        missing_data=COMPLETE,
    )


def _received(signed: SignedRecord, registry: str) -> tuple[list[str], list[str]]:
    """The receipts that the last signer of a record gave, and the permissions of the transfers they confirm."""
    own, every = unverified_steps(signed, trust_framework_url(registry))
    receipts = [step for step in own if step["type"] == "receipt"]
    if not receipts:
        raise ProvenanceError("a received record ends with our receipt")
    confirmed = {receipt["transfer"] for receipt in receipts}
    permissions = [named for step in every if step["id"] in confirmed for named in step.get("permissions", [])]
    return [receipt["id"] for receipt in receipts], permissions


def _step(kind: str, scheme: str, at: int) -> Step:
    return {"timestamp": instant.text(at), "type": kind, "scheme": scheme}


# Receiving

# A transfer step is made when the data is handed over or, where collection is slow, when it was collected.
TRANSFER_MAX_AGE = DAY


@dataclass(frozen=True, kw_only=True)
class ExpectedTransfer:
    """What the receiver of data knows of the call that it made, to hold the provider's transfer steps against.

    `recipients`: our own member URL and application URL (a transfer names the member; old peers the application).
    `signer_application`: the issuer's, as the Directory names it. `signer_role`: the role URL that it must hold.
    `parameters`: as in the call, without the meter: window_parameters(). `at`: when the answer came.
    """

    recipients: Collection[str]
    signer_member: str
    signer_application: str
    signer_role: str
    scheme: str
    standard: str
    license: str
    service: str
    path: str
    parameters: Mapping[str, str]
    at: int


def receipt_check(steps: Sequence[VerifiedStep], expected: ExpectedTransfer) -> list[VerifiedStep]:
    """The receiver's duties before it signs a receipt: the transfer steps of the last signer, once all are as expected.

    Raises ProvenanceError at the first thing that is not: the data must then not be used.
    """
    transfers = [step for step in steps if step["type"] == "transfer" and not step["_signature"]["includedBy"]]
    if not transfers:
        raise ProvenanceError("the last signer must have recorded a transfer")
    by_id = {step["id"]: step for step in steps}
    for transfer in transfers:
        for duty in _RECEIPT_DUTIES:
            duty(transfer, [by_id[named] for named in transfer.get("permissions", [])], expected)
    return transfers


@dataclass(frozen=True)
class Received:
    """Data's record with our receipts around it, to keep and to build on; and the verified steps, receipts apart."""

    record: SignedRecord
    receipts: tuple[str, ...]
    steps: list[VerifiedStep]


def checked_receipt(
    record: object,
    expected: ExpectedTransfer,
    trust_framework: str,
    signing_root: x509.Certificate,
    signer: Signer,
) -> Received:
    """Verify a record, hold it against the call that we made, and sign a receipt for each transfer in it.

    Raises ProvenanceError: the data must then not be used.
    """
    steps = verify(record, trust_framework, signing_root)
    transfers = receipt_check(steps, expected)
    received = Record(trust_framework)
    received.add_record(record)
    receipts = tuple(
        received.add_step(receipt_step(scheme=expected.scheme, at=expected.at, transfer=transfer["id"]))
        for transfer in transfers
    )
    return Received(received.sign(signer, expected.at), receipts, steps)


# A receiver's duties (Provenance Records 1.0, Receipt; Perseus guides). Each refuses one thing.


def _duty_recipient(transfer: Step, permissions: list[Step], expected: ExpectedTransfer) -> None:
    if not isinstance(transfer.get("to"), str) or transfer["to"] not in expected.recipients:
        raise ProvenanceError("transfer: to must be our member URL")


def _duty_terms(transfer: Step, permissions: list[Step], expected: ExpectedTransfer) -> None:
    for name in ("scheme", "standard", "license", "service", "path"):
        # Deployed peers still write the British spelling.
        given = transfer.get(name, transfer.get("licence")) if name == "license" else transfer.get(name)
        if given != getattr(expected, name):
            raise ProvenanceError(f"transfer: {name} must be that of our call")


def _duty_parameters(transfer: Step, permissions: list[Step], expected: ExpectedTransfer) -> None:
    if transfer.get("parameters") != dict(expected.parameters):
        raise ProvenanceError("transfer: parameters must be those of our call")


def _duty_signer(transfer: Step, permissions: list[Step], expected: ExpectedTransfer) -> None:
    signed = transfer["_signature"]["signed"]
    if signed["member"] != expected.signer_member:
        raise ProvenanceError("signature: the signer must be the member that we called")
    if signed["application"] != expected.signer_application:
        raise ProvenanceError("signature: the signer must be the application that the Directory names")
    if expected.signer_role not in signed["roles"]:
        raise ProvenanceError("signature: the signer must hold the provider's role")


def _duty_times(transfer: Step, permissions: list[Step], expected: ExpectedTransfer) -> None:
    made = instant.parse(transfer["timestamp"])
    signed = instant.parse(transfer["_signature"]["timestamp"])
    if max(made, signed) > expected.at + CLOCK_SKEW:
        raise ProvenanceError("transfer: timestamp and signature must not lie in the future")
    if min(made, signed) < expected.at - TRANSFER_MAX_AGE:
        raise ProvenanceError("transfer: timestamp and signature must be recent")


def _duty_permissions(transfer: Step, permissions: list[Step], expected: ExpectedTransfer) -> None:
    if not permissions:
        raise ProvenanceError("transfer: permissions must name a permission step")
    allowed: list[object] = []
    for permission in permissions:
        # An OAuth token was used, so there is an account.
        if not isinstance(permission.get("account"), str) or not permission["account"]:
            raise ProvenanceError("permission: account must be there, since a token was used")
        if instant.parse(permission["timestamp"]) > expected.at + CLOCK_SKEW:
            raise ProvenanceError("permission: timestamp must not lie in the future")
        try:
            expires = instant.parse(permission.get("expires"))
        except ValueError:
            raise ProvenanceError("permission: expires must be an RFC 3339 date-time") from None
        if expires <= expected.at:
            raise ProvenanceError("permission: must not have expired")
        allows = _object(permission.get("allows"))
        licenses = allows.get("licenses", allows.get("licences"))
        allowed += licenses if isinstance(licenses, list) else []
    if expected.license not in allowed:
        raise ProvenanceError("permission: allows must name the license of our call")


_RECEIPT_DUTIES = (
    _duty_signer,
    _duty_recipient,
    _duty_terms,
    _duty_parameters,
    _duty_times,
    _duty_permissions,
)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

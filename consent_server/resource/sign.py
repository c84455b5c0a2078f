"""Signed provenance for your own data API: a record made of what the guard found about a call and what the API returns.

    party = signing_settings.load(Path("signing.toml"))
    body = signed({"facts": headers, "fuel": "electricity", "measure": "import", "window": {"from": …, "to": …},
                   "outcode": "SW8", "body": {"data": […]}}, party)

The request is the one of `consent-server provenance sign` (docs/integrator.md). Data that a receiver would refuse, or that
were not granted, are not signed. The facts are not checked: they must be the guard's headers of the current call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from consent_server import clock
from consent_server.refusal import Unavailable
from consent_server.scheme import instant, readings
from consent_server.scheme.provenance.container import CLOCK_SKEW, SignedRecord, Signer
from consent_server.scheme.provenance.step import ProvenanceError
from consent_server.scheme.provenance.steps import (
    COMPLETE,
    MISSING,
    SUBSTITUTED,
    GrantedPermission,
    MeterOrigin,
    MeterRelease,
    edp_record,
)
from consent_server.settings.section import Section, faults
from consent_server.settings.values import HttpsUrl


class NotSignable(ValueError):
    """A request that is not signed: nothing may be given out. The text says what to change, and repeats no value."""


Instant = Annotated[int, BeforeValidator(instant.parse)]
Fuel = Literal["electricity", "gas"]


def _lower_case(headers: object) -> object:
    """Return headers by their names in lower case: programs differ in what they make of them."""
    if not isinstance(headers, Mapping):
        return headers
    lower = {str(name).lower(): value for name, value in headers.items()}
    if len(lower) < len(headers):
        raise ValueError("a header is there twice")
    return lower


def _listed(fuels: object) -> object:
    return fuels.split(",") if isinstance(fuels, str) else fuels


class GuardFacts(Section):
    """The guard's headers that a record rests on; others may be there."""

    model_config = ConfigDict(extra="ignore")

    account: str = Field(alias="x-consent-permission", min_length=1)
    member: HttpsUrl = Field(alias="x-consent-member")
    license: HttpsUrl = Field(alias="x-consent-license")
    granted: Instant = Field(alias="x-consent-granted")
    expires: Instant = Field(alias="x-consent-expires")
    fuels: Annotated[frozenset[Fuel], BeforeValidator(_listed)] = Field(alias="x-consent-fuels")


class Stretch(Section):
    """`from` is inclusive, `to` exclusive."""

    start: Instant = Field(alias="from")
    end: Instant = Field(alias="to")


class OriginSettings(Section):
    """Where readings come from, as `metering` in docs/settings.md has it."""

    source_type: Literal["Meter", "SubMeter", "VirtualMeter"] = Field(default="Meter", description="The kind of meter.")
    service: str = Field(
        default="",
        pattern="^(https://.+)?$",
        description="URL of the service that read the meters; our member URL when empty.",
    )
    license: str = Field(
        default="",
        pattern="^(https://.+)?$",
        description="URL of the license under which it gave the readings; the permission's when empty.",
    )
    method: Literal["", "SmartDCCOtherUser", "Exact", "Derived"] = Field(
        default="", description="How the readings came to be; left out when empty."
    )


class SigningRequest(Section):
    """One answer of the API: one meter, one fuel, one measure, one window."""

    facts: Annotated[GuardFacts, BeforeValidator(_lower_case)]
    fuel: Fuel
    measure: Literal["import", "export"]
    window: Stretch
    metered: Stretch | None = None
    outcode: str = Field(pattern="^[A-Z]{1,2}[0-9][0-9A-Z]?$")
    substituted: bool = Field(default=False, strict=True)
    origin: OriginSettings = OriginSettings()
    body: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SigningParty:
    """Who signs: `service` is the id of the API's entry in the Directory's catalogue, `origin` what a request leaves out."""

    signer: Signer
    registry: str
    service: str
    origin: OriginSettings


def answer(line: bytes, party: SigningParty) -> tuple[bytes, bool]:
    """Return the line that answers a request, which is one line of JSON, and whether it was signed."""
    try:
        return orjson.dumps(signed(orjson.loads(line), party)), True
    except orjson.JSONDecodeError as error:
        fault = f"the request must be JSON, whole on one line: {error.msg}"
    except orjson.JSONEncodeError:  # what can be read may be nested too deeply to be written
        fault = "body: must be plain JSON, and not nested too deeply"
    except NotSignable as error:
        fault = str(error)
    return orjson.dumps({"error": fault}), False


def signed(request: Mapping[str, Any], party: SigningParty) -> dict[str, Any]:
    """Return the body with `provenance`. Raise NotSignable: the body must then not be given out."""
    try:
        asked = SigningRequest.model_validate(request)
    except ValidationError as error:
        raise NotSignable("; ".join(faults(error, "request"))) from None
    at = clock.now()
    _require_certificate(party.signer, at)
    for check in _CHECKS:
        check(asked, at)
    return {**asked.body, "provenance": _record(asked, _missing_data(asked), party, at)}


def _record(asked: SigningRequest, missing_data: str, party: SigningParty, at: int) -> SignedRecord:
    facts, metered = asked.facts, asked.metered
    origin = party.origin.model_copy(update=asked.origin.model_dump(exclude_unset=True))
    release = MeterRelease(
        registry=party.registry,
        grant=GrantedPermission(
            account=facts.account,
            license=facts.license,
            granted=facts.granted,
            expires=facts.expires,
            fuels=sorted(facts.fuels),
        ),
        origin=MeterOrigin(
            origin.source_type,
            origin.service or party.signer.member,
            origin.license or facts.license,
            origin.method or None,
        ),
        to=facts.member,
        service=party.service,
        measure=asked.measure,
        start=asked.window.start,
        end=asked.window.end,
        outcode=asked.outcode,
        missing_data=missing_data,
        at=at,
        metered=(metered.start, metered.end) if metered else None,
    )
    try:
        return edp_record(release, party.signer)
    except ProvenanceError as error:
        raise NotSignable(f"provenance: {error}") from None
    except Unavailable as refusal:
        raise NotSignable(f"signing key: {refusal.private}") from None


def _missing_data(asked: SigningRequest) -> str:
    """Return what the readings say themselves, so that no record calls complete what has gaps."""
    covered = asked.metered or asked.window
    if not asked.body["data"] or len(asked.body["data"]) * instant.HALF_HOUR < covered.end - covered.start:
        return MISSING
    return SUBSTITUTED if asked.substituted else COMPLETE


# What is not signed, in order


def _require_certificate(signer: Signer, at: int) -> None:
    # Provenance Records 1.0, Signatures: the chain must be valid at the time of signing
    if not signer.is_valid(at):
        raise NotSignable(
            "signing certificate: it, or an issuer of it, is not valid today; put a new one in place and start again"
        )


def _require_permission(asked: SigningRequest, at: int) -> None:
    # Provenance Records 1.0, Receipt: the permission must be in force, and not granted in the future
    if asked.facts.granted > at + CLOCK_SKEW:
        raise NotSignable("facts.x-consent-granted: must not lie in the future")
    if asked.facts.expires <= at:
        raise NotSignable("facts.x-consent-expires: the permission has expired")


def _require_fuel(asked: SigningRequest, at: int) -> None:
    # consumption data API 2026-03-12: a permission's license says which fuels may be given out
    if asked.fuel not in asked.facts.fuels:
        raise NotSignable("fuel: must be one that x-consent-fuels names: the permission does not cover it")


def _require_window(asked: SigningRequest, at: int) -> None:
    window, metered = asked.window, asked.metered
    if window.end < window.start:
        raise NotSignable("window.to: must not be before window.from")
    if window.end > asked.facts.expires:
        raise NotSignable("window.to: must not be after x-consent-expires: the permission ends there")
    if metered and not window.start <= metered.start <= metered.end <= window.end:
        raise NotSignable("metered: must lie within window, from before to")


def _require_readings(asked: SigningRequest, at: int) -> None:
    # energy-consumption-data 2026-03-12: what a receiver could not read is not signed, nor what is not as the record says
    if "provenance" in asked.body:
        raise NotSignable("body: must not have provenance yet")
    try:
        given = readings.parse(asked.body.get("data"))
    except readings.ReadingError as error:
        raise NotSignable(f"body: {error}") from None
    covered = asked.metered or asked.window
    if given.fuel not in (None, asked.fuel):
        raise NotSignable("body: data: must be of the fuel that the request names")
    if given.start and not (covered.start <= given.start[0] and given.start[-1] + instant.HALF_HOUR <= covered.end):
        raise NotSignable("body: data: must lie within metered, or within window where that is left out")


_CHECKS = (_require_permission, _require_fuel, _require_window, _require_readings)

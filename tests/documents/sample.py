"""A report to a bank with its signed record: two regions, two fuels, twelve months of which one lacks a reading of gas.

`python -m tests.documents.sample` makes docs/sample anew, and the picture of its first page with pdftoppm (poppler-utils). It
is needed when the words of a report change.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from consent_server.documents import data, pdf, signing
from consent_server.documents.data import ReportData
from consent_server.documents.verify import Trusted
from consent_server.scheme import emissions, instant, report
from consent_server.scheme.factors import LATEST_PUBLISHED, PUBLISHED, in_force
from consent_server.scheme.instant import HALF_HOUR
from consent_server.scheme.provenance import steps
from consent_server.scheme.provenance.container import SignedRecord, Signer, verify
from consent_server.scheme.provenance.duties import ExpectedTransfer, checked_receipt
from consent_server.scheme.report import Method, MonthOfMeter, ReportedMeter, ReportParty, ReportSource
from tests.scheme.signing import (
    CAP_ROLE,
    DIRECTORY,
    EDP_ROLE,
    NOW,
    REGISTRY,
    SMART_METERS,
    member_signer,
    signing_authority,
)

START, END = instant.parse("2025-03-01T00:00:00Z"), instant.parse("2026-03-01T00:00:00Z")
HOLE = instant.parse("2025-11-05T10:00:00Z")
SERVICE = f"{DIRECTORY}/s/cap"
LICENSE = f"{REGISTRY}/scheme/perseus/license/emissions-cap-fsp/2026-03-12"
FRAMEWORK = steps.trust_framework_url(REGISTRY)
COMBINED = f"{REGISTRY}/scheme/perseus/license/energy-consumption-emissions-edp-cap-fsp/2026-03-12"
BANK = f"{DIRECTORY}/m/fsp"
GRANT = steps.GrantedPermission(
    account="aB3-opaque", license=LICENSE, granted=NOW - 60, expires=NOW + 86400, fuels=report.FUELS
)
_REGIONS = {"SW8": "London", "AB10": "North Scotland"}
_PERIODS = in_force(PUBLISHED, LATEST_PUBLISHED)


def _meter(fuel: str, amount: float, site: str, name: str) -> ReportedMeter:
    readings = emissions.Amounts.of(
        (at, float(amount * (1 + at % 86400 // 7200)))
        for at in range(START, END, HALF_HOUR)
        if (fuel, at) != ("gas", HOLE)
    )
    made = (
        emissions.gas(readings, _PERIODS)
        if fuel == "gas"
        else emissions.electricity(readings, dict.fromkeys(range(START, END, HALF_HOUR), 120 if site == "SW8" else 35))
    )
    months = {at: MonthOfMeter(month, NOW - 3600) for at, month in made.items()}
    return ReportedMeter(name, fuel, site, months, region="" if fuel == "gas" else _REGIONS[site])


@cache
def _meters(gas: float) -> tuple[ReportedMeter, ...]:
    return (
        _meter("electricity", 300, "SW8", "m1"),
        _meter("electricity", 150, "AB10", "m2"),
        _meter("gas", gas, "SW8", "m3"),
    )


def reported(
    name: str = "Acme & Sons (Bakers) Ltd",
    bank: str = "Money 4U Bank",
    at: int = NOW,
    window: tuple[int, int] = (START, END),
    gas: float = 1,
) -> report.Report:
    return report.make(
        by=ReportParty("Carbon Accounting R Us", f"{DIRECTORY}/m/cap"),
        about=ReportParty(name, id="acme"),
        to=ReportParty(bank, BANK, f"{DIRECTORY}/a/fsp"),
        start=window[0],
        end=window[1],
        at=at,
        meters=_meters(gas),
        sources=(ReportSource(f"{DIRECTORY}/m/edp", "c-1", NOW - 7200, NOW - 3600, 3),),
        periods=_PERIODS,
        method=Method(LATEST_PUBLISHED, False),
    )


def report_data(found: report.Report | None = None, whole: report.Report | None = None) -> ReportData:
    found = found or reported()
    said = {total.fuel: _missing_data(found, total) for total in found.totals}
    return data.of(found, GRANT, said, application=f"{DIRECTORY}/a/cap", service=SERVICE, sandbox=True, whole=whole)


def _missing_data(found: report.Report, total: report.Total) -> str:
    return steps.MISSING if total.months < len(found.starts) else steps.COMPLETE


def record(
    signer: Signer | None = None,
    readings: Mapping[str, Any] | None = None,
    found: report.Report | None = None,
    **changes: Any,
) -> SignedRecord:
    """The record of the report. `readings` is what is other than usual in what the CAP received."""
    found = found or reported()
    fuels = [
        steps.FuelEmissions(
            fuel=total.fuel,
            received=[
                _received(total.fuel, site, **readings or {})
                for site in dict.fromkeys(s.site for s in found.sites if s.figure.fuel == total.fuel)
            ],
            factors=[_use(each) for each in found.factors if each.fuel == total.fuel],
            missing_data=_missing_data(found, total),
            at=NOW - 3600,
        )
        for total in found.totals
    ]
    values: dict[str, Any] = {
        "registry": REGISTRY,
        "grant": GRANT,
        "license": LICENSE,
        "to": BANK,
        "service": SERVICE,
        "start": found.start,
        "end": found.end,
        "fuels": fuels,
        "at": NOW,
    }
    return steps.cap_record(steps.EmissionsRelease(**values | changes), signer or member_signer("cap", CAP_ROLE))


def _use(each: report.UsedFactor) -> steps.IntensityUse | steps.GasFactorUse:
    if each.fuel == "electricity":
        return steps.IntensityUse(
            outcode=each.site, start=each.start, end=each.end, missing_data=steps.COMPLETE, at=NOW - 3600
        )
    return steps.GasFactorUse(source=each.source, license=each.license, start=each.start, end=each.end, at=NOW - 3600)


@cache
def _received(
    fuel: str,
    site: str,
    role: str = EDP_ROLE,
    source_type: str = "Meter",
    end: int = END,
    missing: str = steps.COMPLETE,
    license_: str = f"{REGISTRY}/scheme/perseus/license/energy-consumption-edp-cap/2026-03-12",
) -> SignedRecord:
    at = NOW - 3600
    release = steps.MeterRelease(
        registry=REGISTRY,
        grant=steps.GrantedPermission(
            account="e", license=license_, granted=at - 60, expires=at + 86400, fuels=(fuel,)
        ),
        origin=replace(SMART_METERS, source_type=source_type),
        to=f"{DIRECTORY}/m/cap",
        service=f"{DIRECTORY}/s/edp",
        measure="import",
        start=START,
        end=end,
        outcode=site,
        missing_data=missing,
        at=at,
    )
    expected = ExpectedTransfer(
        recipients={f"{DIRECTORY}/m/cap"},
        signer_member=f"{DIRECTORY}/m/edp",
        signer_application=f"{DIRECTORY}/a/edp",
        signer_role=role,
        scheme=steps.scheme_url(REGISTRY),
        standard=steps.consumption_standard(REGISTRY),
        license=license_,
        service=f"{DIRECTORY}/s/edp",
        path=steps.CONSUMPTION_PATH,
        parameters=steps.window_parameters(START, end, "import"),
        at=at,
    )
    signed = steps.edp_record(release, member_signer("edp", role))
    cap = member_signer("cap", CAP_ROLE)
    return checked_receipt(signed, expected, FRAMEWORK, signing_authority().root, cap).record


@cache
def plain() -> bytes:
    """The PDF of the sample as it is, not yet signed."""
    return unsigned(report_data(), record())


def unsigned(told: ReportData | None = None, signed: SignedRecord | None = None) -> bytes:
    signed = signed or record()
    return pdf.unsigned(told or report_data(), signed, verify(signed, FRAMEWORK, signing_authority().root))


def signed(told: ReportData | None = None) -> bytes:
    """The PDF of the sample, signed by the CAP."""
    return signing.signed(unsigned(told), member_signer("cap", CAP_ROLE), NOW)


#: Where the months of the sample are divided.
EDGES: Final = (START, instant.parse("2025-10-01T00:00:00Z"), END)


def parts_data() -> list[ReportData]:
    return [report_data(reported(window=window), reported()) for window in pairwise(EDGES)]


@cache
def parts() -> list[bytes]:
    """The PDFs of the sample, divided in two."""
    records = [record(found=reported(window=window)) for window in pairwise(EDGES)]
    made = [unsigned(told, of) for told, of in zip(parts_data(), records, strict=True)]
    return [signing.signed(each, member_signer("cap", CAP_ROLE), NOW) for each in made]


def trusted(**changes: Any) -> Trusted:
    return Trusted(**{"root": signing_authority().root, "trust_framework": FRAMEWORK, "recipient": BANK} | changes)


#: The report that docs/report.md links to, and the root that it is verified with.
PUBLISHED_FILE = Path(__file__).parents[2] / "docs" / "sample" / "report.pdf"
PUBLISHED_ROOT = PUBLISHED_FILE.with_name("signing_root.pem")
#: Its first page, without the suffix.
PICTURE = PUBLISHED_FILE.parents[1] / "images" / "report-page"

if __name__ == "__main__":
    PUBLISHED_FILE.parent.mkdir(exist_ok=True)
    PUBLISHED_FILE.write_bytes(signed())
    PUBLISHED_ROOT.write_bytes(signing_authority().root_pem)
    subprocess.run(["pdftoppm", "-png", "-r", "110", "-singlefile", PUBLISHED_FILE, PICTURE], check=True)

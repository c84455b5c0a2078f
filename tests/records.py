"""Provenance as the parties of tests/deployments.py sign it."""

from functools import cache

from consent_server.pki.member_certificate import load_certificates
from consent_server.scheme import factors, instant
from consent_server.scheme.provenance.container import SignedRecord, Signer
from consent_server.scheme.provenance.duties import ExpectedTransfer, checked_receipt
from consent_server.scheme.provenance.steps import (
    COMPLETE,
    CONSUMPTION_PATH,
    GrantedPermission,
    MeterRelease,
    edp_record,
    scheme_url,
    window_parameters,
)
from consent_server.store.tables.collecting import MeterMonth
from tests.deployments import layout
from tests.scheme.signing import SMART_METERS


def month(
    fuel: str,
    start: int,
    kilograms: float,
    at: int,
    *,
    missing: int = 0,
    filled: int = 0,
    connection: str = "c",
    datasource: str | None = None,
) -> MeterMonth:
    """A month of one meter as a CAP keeps it: 2 kWh of electricity for each kilogram, and gas by the published factors."""
    end = instant.next_month(start)
    periods = factors.used(factors.in_force(factors.PUBLISHED, factors.LATEST_PUBLISHED), start, end)
    shares = {each: (each.end - each.start) / (end - start) for each in periods}
    per_m3 = sum(each.factor.kg_per_m3 * share for each, share in shares.items())
    amount = kilograms * 2 if fuel == "electricity" else kilograms / per_m3
    by_set = {str(each.factor.year): amount * share for each, share in shares.items()}
    return MeterMonth(
        connection=connection,
        datasource=datasource or fuel,
        start=start,
        fuel=fuel,
        outcode="S3",
        readings=None,
        digest="",
        half_hours=(end - start) // instant.HALF_HOUR - missing - filled,
        amount=amount,
        kilograms=kilograms,
        complete=not missing,
        first=at,
        fetched=at,
        at=at,
        filled=filled,
        by_set=by_set if fuel == "gas" else None,
        basis=factors.basis(periods, start, end) if fuel == "gas" else "",
    )


@cache
def signer(application: str) -> Signer:
    """The signer of an application of the layout: "edp_service", "cap_portal" or "fsp_service"."""
    return Signer(*(layout().signing_certificate(application, file).read_bytes() for file in ("chain", "key")))


def received(start: int, end: int, at: int, fuel: str = "electricity", outcode: str = "S3") -> SignedRecord:
    """What a CAP holds of one window of one meter: the EDP's record, with its own receipt."""
    here, edp, cap = layout(), signer("edp_service"), signer("cap_portal")
    license_ = here.license("electricity_and_gas")
    release = MeterRelease(
        registry=here.registry,
        grant=GrantedPermission(account="a", license=license_, granted=at - 60, expires=at + 86400, fuels=(fuel,)),
        origin=SMART_METERS,
        to=cap.member,
        service=here.data_service("edp"),
        measure="import",
        start=start,
        end=end,
        outcode=outcode,
        missing_data=COMPLETE,
        at=at,
    )
    expected = ExpectedTransfer(
        recipients={cap.member},
        signer_member=edp.member,
        signer_application=edp.application,
        signer_role=here.roles_of("edp_service")[0],
        scheme=scheme_url(here.registry),
        standard=here.consumption_standard,
        license=license_,
        service=here.data_service("edp"),
        path=CONSUMPTION_PATH,
        parameters=window_parameters(start, end, "import"),
        at=at,
    )
    root = load_certificates((here.authority / "signing_root.pem").read_bytes())[0]
    return checked_receipt(edp_record(release, edp), expected, here.trust_framework, root, cap).record

"""Answers of the emissions API to a bank, signed by the parties of tests/deployments.py: right ones, and wrong in one way."""

import json
from typing import Any

from consent_server.bank.verified import EmissionsCall
from consent_server.pki.member_certificate import load_certificates
from consent_server.scheme import instant
from consent_server.scheme.provenance.container import Record, SignedRecord
from consent_server.scheme.provenance.steps import (
    COMPLETE,
    CONSUMPTION_PATH,
    EMISSIONS_PATH,
    GAS_GREENHOUSE_GAS_FACTOR,
    GRID_CARBON_INTENSITY,
    origin_step,
    permission_step,
    process_step,
    process_url,
    receipt_step,
    scheme_url,
    transfer_step,
    window_parameters,
)
from tests import records
from tests.deployments import START, layout

AT = START
END = instant.month_start(AT)
BEGIN = instant.months_later(END, -12)
ACCOUNT = "account-of-the-bank"
FACTORS = {"electricity": GRID_CARBON_INTENSITY, "gas": GAS_GREENHOUSE_GAS_FACTOR}


def call(**changes: Any) -> EmissionsCall:
    """The sandbox's bank asks the CAP for the last twelve months."""
    here, cap = layout(), records.signer("cap_portal")
    values: dict[str, Any] = {
        "registry": here.registry,
        "trust_framework": here.trust_framework,
        "signing_root": load_certificates((here.authority / "signing_root.pem").read_bytes())[0],
        "recipient": here.member("fsp"),
        "provider": cap.member,
        "application": cap.application,
        "service": here.data_service("cap"),
        "edp_roles": here.roles_of("edp_service"),
        "cap_roles": here.roles_of("cap_portal"),
        "consumption_standard": here.consumption_standard,
        "emissions_standard": here.emissions_standard,
        "license": here.license("emissions"),
        "account": ACCOUNT,
        "start": BEGIN,
        "end": END,
        "at": AT,
    }
    return EmissionsCall(**{**values, **changes})


def month(number: int = 0, fuel: str = "electricity", kilograms: object = 1234.5, **changes: Any) -> dict[str, Any]:
    """The month so many after BEGIN, as the API gives it."""
    start = instant.months_later(BEGIN, number)
    return {
        "type": fuel,
        "from": instant.text(start),
        "to": instant.text(instant.next_month(start)),
        "takenAt": instant.text(AT),
        "emissions": {"value": kilograms, "unitCode": "KGM"},
        **changes,
    }


def received(
    fuel: str,
    *,
    edp: str = "edp_service",
    cap: str = "cap_portal",
    edp_permission: Any = (),
    origin: Any = (),
    edp_transfer: Any = (),
    receipt: Any = (),
    metered_by: str = "",
) -> tuple[SignedRecord, str, str]:
    """The EDP's record of one meter with the CAP's receipt, and the ids of receipt and permission."""
    here, scheme, license_ = layout(), scheme_url(layout().registry), layout().license("electricity_and_gas")
    source = inner = Record(here.trust_framework)
    permission = source.add_step(
        permission_step(
            scheme=scheme,
            at=AT - 60,
            account="account-of-the-cap",
            licenses=[license_],
            processes=[process_url(here.registry, fuel)],
            expires=AT + instant.DAY,
        )
        | dict(edp_permission)
    )
    metered = source.add_step(
        origin_step(
            scheme=scheme,
            at=AT,
            source_type="Meter",
            origin="https://meters.example",
            license=license_,
            start=BEGIN,
            end=END,
            missing_data=COMPLETE,
            permissions=[permission],
            outcode="S3",
        )
        | dict(origin)
    )
    if metered_by:  # and passed on by the EDP
        inner = Record(here.trust_framework)
        inner.add_record(source.sign(records.signer(metered_by), AT))
    transfer = inner.add_step(
        transfer_step(
            scheme=scheme,
            at=AT,
            of=metered,
            to=records.signer("cap_portal").member,
            standard=here.consumption_standard,
            license=license_,
            service=here.data_service("edp"),
            path=CONSUMPTION_PATH,
            parameters=window_parameters(BEGIN, END, "import"),
            permissions=[permission],
        )
        | dict(edp_transfer)
    )
    outer = Record(here.trust_framework)
    outer.add_record(inner.sign(records.signer(edp), AT))
    got = outer.add_step(receipt_step(scheme=scheme, at=AT, transfer=transfer) | dict(receipt))
    return outer.sign(records.signer(cap), AT), got, permission


def record(
    fuels: tuple[str, ...] = ("electricity",),
    *,
    signer: str = "cap_portal",
    permission: Any = (),
    factor: Any = (),
    process: Any = (),
    transfer: Any = (),
    only_receipts: bool = False,
    of_origin: bool = False,
    one_permission: bool = False,
    second: Any = None,
    **received_changes: Any,
) -> SignedRecord:
    """The CAP's record. Each mapping replaces members of one kind of step; `second` those of a second meter's origin."""
    here, scheme, license_ = layout(), scheme_url(layout().registry), layout().license("emissions")
    made = Record(here.trust_framework)
    own = ""
    for fuel in fuels:
        signed, receipt, relied_on = received(fuel, **received_changes)
        made.add_record(signed)
        receipts = [receipt]
        if second is not None:
            signed, receipt, _ = received(fuel, origin=second)
            made.add_record(signed)
            receipts.append(receipt)
        own = own or made.add_step(
            permission_step(
                scheme=scheme,
                at=AT - 60,
                account=ACCOUNT,
                licenses=[license_],
                processes=[process_url(here.registry, each) for each in fuels],
                expires=AT + instant.DAY,
            )
            | dict(permission)
        )
        used = made.add_step(
            origin_step(
                scheme=scheme,
                at=AT,
                source_type=FACTORS[fuel],
                origin="https://factors.example",
                license="https://licenses.example",
                start=BEGIN,
                end=END,
                missing_data=COMPLETE,
            )
            | dict(factor)
        )
        worked_out = made.add_step(
            process_step(
                scheme=scheme,
                at=AT,
                inputs=receipts if only_receipts else [*receipts, used],
                process=process_url(here.registry, fuel),
                permissions=[relied_on],
                missing_data=COMPLETE,
            )
            | dict(process)
        )
        made.add_step(
            transfer_step(
                scheme=scheme,
                at=AT,
                of=used if of_origin else worked_out,
                to=here.member("fsp"),
                standard=here.emissions_standard,
                license=license_,
                service=here.data_service("cap"),
                path=EMISSIONS_PATH,
                parameters=window_parameters(BEGIN, END),
                permissions=[relied_on if one_permission else own],
            )
            | dict(transfer)
        )
    return made.sign(records.signer(signer), AT)


def answer(data: list[Any] | None = None, **changes: Any) -> bytes:
    """The body of an answer: a year of electricity, or `data`; `changes` are record's."""
    listed = [month(number) for number in range(12)] if data is None else data
    return json.dumps({"data": listed, "provenance": record(**changes)}).encode()

"""What a receiver of data checks before it signs a receipt (Provenance Records 1.0, Receipt; Perseus guides).

A caller says which deployed forms it accepts in place of the specification's (deployed.py); what is in neither is refused.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509

from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.scheme.provenance.container import CLOCK_SKEW, Record, SignedRecord, Signer, VerifiedStep, verify
from consent_server.scheme.provenance.deployed import DeployedForm, licenses_of, names_of
from consent_server.scheme.provenance.step import ProvenanceError, Step
from consent_server.scheme.provenance.steps import receipt_step

# A transfer step is made when the data is handed over or, where collection is slow, when it was collected.
TRANSFER_MAX_AGE = DAY
# A response has one; we sign a receipt for each.
MAX_TRANSFERS = 100


@dataclass(frozen=True, kw_only=True)
class ExpectedTransfer:
    """The receiver's own call, with which the provider's transfer steps are compared.

    `recipients`: our own member URL. `deployed`: the forms that are accepted besides (deployed.transfer_forms()).
    `signer_application`: the issuer's, as the Directory names it; empty where its catalogue names none. `signer_role`: the
    role URL that it must hold.
    `parameters`: as in the call, without the meter: window_parameters(). `at`: when the response arrived.
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
    deployed: Sequence[DeployedForm] = ()


def receipt_check(steps: Sequence[VerifiedStep], expected: ExpectedTransfer) -> list[VerifiedStep]:
    """Return the transfer steps of the last signer, having checked them as a receiver must before it signs a receipt.

    Raise ProvenanceError for the first fault: the data must then not be used.
    """
    transfers = [step for step in steps if step["type"] == "transfer" and not step["_signature"]["includedBy"]]
    if not transfers:
        raise ProvenanceError("the last signer must have recorded a transfer")
    if len(transfers) > MAX_TRANSFERS:
        raise ProvenanceError("the last signer recorded more transfers than a response has")
    for transfer in transfers:
        for duty in _RECEIPT_DUTIES:
            duty(transfer, expected)
    _require_permissions(transfers, steps, expected)
    return transfers


@dataclass(frozen=True)
class Received:
    """The record of received data, signed again with our receipts, to keep and build on; the steps that were verified; and
    the names of the deployed forms that were accepted in them, which belong into the log and beside the record."""

    record: SignedRecord
    receipts: tuple[str, ...]
    steps: list[VerifiedStep]
    deployed: tuple[str, ...]


def checked_receipt(
    record: object,
    expected: ExpectedTransfer,
    trust_framework: str,
    signing_root: x509.Certificate,
    signer: Signer,
) -> Received:
    """Verify a record, check it against our call, and sign a receipt for each transfer in it.

    Raise ProvenanceError: the data must then not be used.
    """
    steps = verify(record, trust_framework, signing_root)
    transfers = receipt_check(steps, expected)
    received = Record(trust_framework)
    received.add_record(record)
    receipts = tuple(
        received.add_step(receipt_step(scheme=expected.scheme, at=expected.at, transfer=transfer["id"]))
        for transfer in transfers
    )
    own = [step for step in steps if not step["_signature"]["includedBy"]]
    deployed = names_of(transfers, own, expected.deployed)
    return Received(received.sign(signer, expected.at), receipts, steps, deployed)


# A receiver's duties (Provenance Records 1.0, Receipt; Perseus guides). Each refuses one thing.


def _duty_recipient(transfer: Step, expected: ExpectedTransfer) -> None:
    named = transfer.get("to")
    if not (isinstance(named, str) and named in expected.recipients) and not _is_deployed("to", transfer, expected):
        raise ProvenanceError("transfer: to must be our member URL")


def _duty_terms(transfer: Step, expected: ExpectedTransfer) -> None:
    for name in ("scheme", "standard", "license", "service", "path"):
        if transfer.get(name) != getattr(expected, name) and not _is_deployed(name, transfer, expected):
            raise ProvenanceError(f"transfer: {name} must be that of our call")


def _duty_parameters(transfer: Step, expected: ExpectedTransfer) -> None:
    as_called = transfer.get("parameters") == dict(expected.parameters)
    if not as_called and not _is_deployed("parameters", transfer, expected):
        raise ProvenanceError("transfer: parameters must be those of our call")


def _is_deployed(member: str, transfer: Step, expected: ExpectedTransfer) -> bool:
    return any(form.member == member and form.written_in(transfer) for form in expected.deployed)


def _duty_signer(transfer: Step, expected: ExpectedTransfer) -> None:
    signed = transfer["_signature"]["signed"]
    if signed["member"] != expected.signer_member:
        raise ProvenanceError("signature: the signer must be the member that we called")
    if expected.signer_application and signed["application"] != expected.signer_application:
        raise ProvenanceError("signature: the signer must be the application that the Directory names")
    if expected.signer_role not in signed["roles"]:
        raise ProvenanceError("signature: the signer must hold the provider's role")


def _duty_times(transfer: Step, expected: ExpectedTransfer) -> None:
    made = instant.parse(transfer["timestamp"])
    signed = instant.parse(transfer["_signature"]["timestamp"])
    if max(made, signed) > expected.at + CLOCK_SKEW:
        raise ProvenanceError("transfer: timestamp and signature must not lie in the future")
    if min(made, signed) < expected.at - TRANSFER_MAX_AGE:
        raise ProvenanceError("transfer: timestamp and signature must be recent")


def _duty_permissions(transfer: Step, expected: ExpectedTransfer) -> None:
    if not transfer.get("permissions"):
        raise ProvenanceError("transfer: permissions must name a permission step")


_RECEIPT_DUTIES = (
    _duty_signer,
    _duty_recipient,
    _duty_terms,
    _duty_parameters,
    _duty_times,
    _duty_permissions,
)


def _require_permissions(transfers: Sequence[Step], steps: Sequence[VerifiedStep], expected: ExpectedTransfer) -> None:
    """Require every permission that is named to be good, and each transfer to name one of our license.

    Each permission is judged once: it may hold thousands of licenses, and a transfer may name it thousands of times.
    """
    named = {permission for transfer in transfers for permission in transfer["permissions"]}
    of_our_license = {step["id"] for step in steps if step["id"] in named and _allows(step, expected)}
    if any(of_our_license.isdisjoint(transfer["permissions"]) for transfer in transfers):
        raise ProvenanceError("permission: allows must name the license of our call")


def _allows(permission: Step, expected: ExpectedTransfer) -> bool:
    """Return whether a permission names our license. Raise ProvenanceError when it cannot be relied on."""
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
    return expected.license in licenses_of(permission, deployed=bool(expected.deployed))

"""A consent receipt holds as it was signed, and what does not hold is named."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509

from consent_server.cli import main
from consent_server.scheme import consent_receipt
from consent_server.scheme.consent_receipt import Consent
from consent_server.scheme.permission import State
from consent_server.scheme.provenance.container import Signer
from consent_server.scheme.signed_document import LONGEST, DocumentFault
from consent_server.store.digests import digest
from tests.jose import segment, unsegment
from tests.scheme.signing import EDP_ROLE, NOW, SigningAuthority

DAY = 86_400
AUTHORITY = SigningAuthority()
SIGNER = Signer(*AUTHORITY.member("edp", EDP_ROLE))
TEXT = "Carbon Accounting R Us may fetch your electricity. \u00a3 \u2019"
CONSENT = Consent(
    identifier="p-1",
    publisher=SIGNER.member,
    business="Acme Widgets Ltd",
    controller="https://directory.example/m/cap",
    controller_name="Carbon Accounting R Us Limited",
    source=SIGNER.member,
    data="Half-hourly use of electricity",
    meters=("electricity, SW8, ••••8902",),
    license="https://registry.example/license",
    text=TEXT,
    text_sha256=digest(TEXT),
    granted=NOW - DAY,
    expires=NOW + 364 * DAY,
    state=State.GRANTED,
    ended=None,
    how="A bill",
    withdrawal="https://edp.example/manage",
)
#: Of the Data Privacy Vocabulary 2.3 (https://w3id.org/dpv, dpv.csv), by its column "type".
CLASSES = {
    *(
        "Consent",
        "ConsentExpired",
        "ConsentGiven",
        "ConsentNotice",
        "ConsentReceipt",
        "ConsentRecord",
        "ConsentWithdrawn",
    ),
    *("DataSubject", "ExplicitlyExpressedConsent", "Process", "Purpose", "UntilTimeDuration", "WithdrawConsent"),
}
PROPERTIES = {
    *("hasConsentControl", "hasConsentStatus", "hasDataController", "hasDataSource", "hasDataSubject", "hasDuration"),
    *(
        "hasIndicationMethod",
        "hasJurisdiction",
        "hasLegalBasis",
        "hasName",
        "hasNotice",
        "hasPersonalData",
        "hasProcess",
    ),
    *("hasPurpose", "hasRecipient", "hasRecordOfActivity", "isExercisedAt", "isIndicatedAtTime", "isIndicatedBy"),
}


DOCUMENT = consent_receipt.document(CONSENT, NOW)


def made(consent: Consent = CONSENT, at: int = NOW, signer: Signer = SIGNER) -> dict[str, str]:
    return consent_receipt.sign(consent_receipt.document(consent, at), signer)


def verify(signed: object, root: x509.Certificate = AUTHORITY.root) -> dict[str, Any]:
    return consent_receipt.verify(signed if isinstance(signed, bytes) else json.dumps(signed).encode(), root, NOW)


def test_a_receipt_verifies_and_says_what_was_agreed() -> None:
    receipt = verify(made(replace(CONSENT, state=State.WITHDRAWN, ended=NOW)))
    record = receipt["dpv:hasRecordOfActivity"]
    assert (receipt["@type"], record["@type"]) == ("dpv:ConsentReceipt", "dpv:ConsentRecord")
    assert [status["@type"][0] for status in record["dpv:hasConsentStatus"]] == [
        *("dpv:ConsentGiven", "dpv:ConsentWithdrawn")
    ]
    prefixes = {key.partition(":")[0] for key in (*receipt, *record) if ":" in key}
    assert prefixes <= receipt["@context"].keys()


def terms(value: object) -> Iterator[tuple[str, bool]]:
    """The terms of DPV in a document, each with whether it is used as a property."""
    if isinstance(value, dict):
        yield from ((key.removeprefix("dpv:"), True) for key in value if key.startswith("dpv:"))
        yield from (term for key, each in value.items() if key != "@context" for term in terms(each))
    elif isinstance(value, list):
        yield from (term for each in value for term in terms(each))
    elif isinstance(value, str) and value.startswith("dpv:"):
        yield value.removeprefix("dpv:"), False


@pytest.mark.parametrize("state", [State.WITHDRAWN, State.SUPERSEDED, State.EXPIRED])
def test_each_term_is_one_of_the_vocabulary_and_of_its_kind(state: State) -> None:
    used = set(terms(consent_receipt.document(replace(CONSENT, state=state, ended=NOW), NOW)))
    assert {term for term, is_property in used if is_property} <= PROPERTIES
    assert {term for term, is_property in used if not is_property} <= CLASSES


def test_two_receipts_of_one_record_have_ids_of_their_own() -> None:
    first, second = (consent_receipt.document(CONSENT, at) for at in (NOW, NOW + 1))
    assert first["dct:identifier"] != second["dct:identifier"]
    assert first["dpv:hasRecordOfActivity"] == second["dpv:hasRecordOfActivity"]


def again(part: str, change: Callable[[dict[str, Any]], object]) -> dict[str, str]:
    """A receipt of which one part was changed after it was signed."""
    signed = made()
    value = unsegment(signed[part])
    change(value)
    return {**signed, part: segment(value)}


def stranger() -> Signer:
    return Signer(*AUTHORITY.member("other", EDP_ROLE))


@pytest.mark.parametrize(
    ("part", "signed"),
    [
        ("form", lambda: b""),
        ("form", lambda: b"[]"),
        ("form", lambda: b"\xff"),
        ("form", lambda: b"[" * 100_000),
        ("form", lambda: b" " * (LONGEST + 1)),
        ("form", dict),
        ("form", lambda: {**made(), "header": {}}),
        ("form", lambda: {**made(), "payload": 1}),
        ("form", lambda: {**made(), "payload": made()["payload"] + "="}),
        ("form", lambda: b'{"payload": "", "payload": "", "protected": "", "signature": ""}'),
        ("form", lambda: again("protected", lambda header: header.update(alg="none"))),
        ("form", lambda: again("protected", lambda header: header.update(typ="at+jwt"))),
        ("form", lambda: again("protected", lambda header: header.update(jwk={}))),
        ("form", lambda: again("payload", lambda receipt: receipt.pop("dct:created"))),
        ("form", lambda: consent_receipt.sign({k: v for k, v in DOCUMENT.items() if k != "@type"}, SIGNER)),
        ("certificate", lambda: again("protected", lambda header: header.update(x5c=[]))),
        ("certificate", lambda: again("protected", lambda header: header.update(x5c=["AAAA"]))),
        ("certificate", lambda: again("protected", lambda header: header["x5c"].pop())),
        ("certificate", lambda: made(signer=Signer(*SigningAuthority().member("edp", EDP_ROLE)))),
        ("time", lambda: made(at=NOW + 301)),
        ("certificate", lambda: made(at=NOW - 400 * DAY)),
        ("signature", lambda: again("payload", lambda receipt: receipt.update(x=1))),
        ("signature", lambda: {**made(), "signature": made(at=NOW + 1)["signature"]}),
        ("signature", lambda: {**made(), "signature": ""}),
        ("publisher", lambda: made(signer=stranger())),
        ("text", lambda: made(replace(CONSENT, text="Everything."))),
        ("time", lambda: made(replace(CONSENT, granted=NOW + 1))),
    ],
)
def test_what_does_not_hold_is_named(part: str, signed: Callable[[], object]) -> None:
    with pytest.raises(DocumentFault) as fault:
        verify(signed())
    assert fault.value.part == part


def test_the_command_says_who_signed_or_what_does_not_hold(tmp_path: Path) -> None:
    root, good, bad = (tmp_path / name for name in ("root.pem", "good.json", "bad.json"))
    root.write_bytes(AUTHORITY.root_pem)
    good.write_text(json.dumps(made()))
    bad.write_text(json.dumps({**made(), "signature": "AA"}))
    ask = CliRunner().invoke
    done = ask(main, ["evidence", "verify", str(good), "--root", str(root)])
    assert (done.exit_code, SIGNER.member in done.output) == (0, True)
    done = ask(main, ["evidence", "verify", str(bad), "--root", str(root)])
    assert (done.exit_code, "signature: " in done.output) == (1, True)

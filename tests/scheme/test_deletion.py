"""A certificate of deletion holds as it was signed, and what does not hold is named."""

import json
from typing import Any

import pytest

from consent_server.scheme import deletion, instant, signed_document
from consent_server.scheme.deletion import CertifiedDeletion, ErasedRows, KeptRows
from consent_server.scheme.provenance.container import Signer
from consent_server.scheme.signed_document import DocumentFault
from tests.scheme.signing import EDP_ROLE, NOW, SigningAuthority

AUTHORITY = SigningAuthority()
SIGNER = Signer(*AUTHORITY.member("edp", EDP_ROLE))
ERASED, KEPT = ErasedRows("session", 1, "a" * 64), KeptRows("meter", 1, "a duty", None)
MADE = CertifiedDeletion("c-1", NOW, "Desk", ["p-1"], [ERASED], [KEPT, KEPT._replace(until=NOW)])


def verify(signed: object, root: Any = AUTHORITY.root) -> dict[str, Any]:
    return deletion.verify(json.dumps(signed).encode(), root, NOW)


def test_a_certificate_says_what_was_deleted_and_what_stays_until_when() -> None:
    found = verify(deletion.certificate(MADE, SIGNER))
    assert found == {
        "member": SIGNER.member,
        "certificate": "c-1",
        "time": instant.text(NOW),
        "by": "Desk",
        "withdrawn": ["p-1"],
        "erased": [ERASED._asdict()],
        "kept": [KEPT._asdict(), KEPT._asdict() | {"until": instant.text(NOW)}],
    }


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"member": "https://directory.example/m/another"}, "publisher"),
        ({"time": "yesterday"}, "form"),
        ({"time": None}, "form"),
        ({"time": instant.text(NOW + 86400)}, "time"),
        ({"certificate": 1}, "form"),
        ({"by": None}, "form"),
        ({"withdrawn": "p-1"}, "form"),
        ({"erased": {}}, "form"),
        ({"erased": ["session"]}, "form"),
        ({"erased": [{"table": "session", "rows": True}]}, "form"),
        ({"kept": [{"rows": 1}]}, "form"),
        ({"kept": None}, "form"),
    ],
    ids=str,
)
def test_what_does_not_hold_is_named(changed: dict[str, Any], part: str) -> None:
    whole = verify(deletion.certificate(MADE, SIGNER))
    with pytest.raises(DocumentFault) as fault:
        verify(signed_document.sign(whole | changed, deletion.KIND, SIGNER))
    assert fault.value.part == part


def test_another_root_and_another_kind_do_not_hold() -> None:
    signed = deletion.certificate(MADE, SIGNER)
    with pytest.raises(DocumentFault, match="certificate"):
        verify(signed, SigningAuthority("Another").root)
    other = signed_document.DocumentKind("audit-checkpoint+jws", "application/json", lambda _: NOW)
    with pytest.raises(DocumentFault, match="header"):
        verify(signed_document.sign(verify(signed), other, SIGNER))

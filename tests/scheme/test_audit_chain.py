"""A checkpoint of the audit trail, as it is read; what a chain is held against is in tests/store/test_audit_chain.py."""

import json
from typing import Any

import pytest

from consent_server.scheme import audit_chain, signed_document
from consent_server.scheme.audit_chain import CHECKPOINT, AuditCheckpoint
from consent_server.scheme.provenance.container import Signer
from consent_server.scheme.signed_document import DocumentFault
from tests.scheme.signing import EDP_ROLE, NOW, SigningAuthority

AUTHORITY = SigningAuthority()
SIGNER = Signer(*AUTHORITY.member("edp", EDP_ROLE))
POINT = AuditCheckpoint(6, "d" * 64, NOW)


def read(signed: object) -> AuditCheckpoint:
    return audit_chain.read_checkpoint(json.dumps(signed).encode(), AUTHORITY.root, NOW)


def test_a_checkpoint_is_read_as_it_was_signed() -> None:
    assert read(audit_chain.checkpoint(POINT, SIGNER)) == POINT


@pytest.mark.parametrize("changed", [{"position": "6"}, {"position": True}, {"position": None}, {"digest": 6}], ids=str)
def test_one_that_names_no_position_or_no_digest_is_none(changed: dict[str, Any]) -> None:
    whole = {"member": SIGNER.member, "position": 6, "digest": "d" * 64, "time": "2026-03-12T09:30:00Z"}
    assert read(signed_document.sign(whole, CHECKPOINT, SIGNER)) == POINT
    with pytest.raises(DocumentFault) as fault:
        read(signed_document.sign(whole | changed, CHECKPOINT, SIGNER))
    assert fault.value.part == "form"

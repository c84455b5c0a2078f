"""What an OCSP response says of a certificate, and the responses that are not believed."""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from consent_server.pki import ocsp as pki_ocsp
from consent_server.pki.crl import NotTrusted, RevocationStatus
from tests.pki.authorities import (
    DAY,
    HOUR,
    NO_CHECK,
    NOW,
    RESPONDER,
    Signer,
    answer_of,
    make_issuers,
    make_root,
    point,
    responder,
)


@pytest.fixture(scope="module")
def issuers() -> dict[str, Signer]:
    return make_issuers(make_root())


@pytest.mark.parametrize("body", [b"", b"<html>", b"\x30\x80" * 50], ids=["empty", "a page", "not a list"])
def test_bytes_that_are_no_ocsp_response(issuers, body):
    issuer = issuers["ec"]
    leaf = issuer.issue("leaf").certificate
    with pytest.raises(NotTrusted):
        pki_ocsp.status(body, leaf, issuer.certificate, NOW)


@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("delegated", [False, True], ids=["issuer", "responder"])
def test_what_a_responder_says(issuers, kind, delegated):
    issuer = issuers[kind]
    leaf = issuer.issue("leaf").certificate
    signer = issuer.issue("responder", RESPONDER, NO_CHECK) if delegated else None
    for status in ["GOOD", "REVOKED"]:
        said = pki_ocsp.status(answer_of(leaf, issuer, status=status, signer=signer), leaf, issuer.certificate, NOW)
        assert said == RevocationStatus(status == "REVOKED", NOW + DAY)


ANSWERS = {
    "it does not know": lambda leaf, issuer, others: answer_of(leaf, issuer, status="UNKNOWN"),
    "too old": lambda leaf, issuer, others: answer_of(leaf, issuer, issued=-2 * DAY, until=0),
    "no next update": lambda leaf, issuer, others: answer_of(leaf, issuer, until=None),
    "from the future": lambda leaf, issuer, others: answer_of(leaf, issuer, issued=HOUR),
    "about another": lambda leaf, issuer, others: answer_of(issuer.issue("other").certificate, issuer),
    "another issuer's responder": lambda leaf, issuer, others: answer_of(
        leaf, issuer, signer=others["stranger"].issue("responder", RESPONDER, NO_CHECK)
    ),
    "a namesake's responder": lambda leaf, issuer, others: answer_of(
        leaf, issuer, signer=others["namesake"].issue("responder", RESPONDER, NO_CHECK)
    ),
    "a namesake itself": lambda leaf, issuer, others: answer_of(leaf, issuer, signer=others["namesake"]),
    "a server's certificate": lambda leaf, issuer, others: answer_of(leaf, issuer, signer=issuer.issue("server")),
    "a responder to be looked up in turn": lambda leaf, issuer, others: answer_of(
        leaf, issuer, signer=issuer.issue("responder", RESPONDER)
    ),
    "an expired responder": lambda leaf, issuer, others: answer_of(
        leaf, issuer, signer=issuer.issue("responder", RESPONDER, NO_CHECK, days=-1)
    ),
    "a responder that does not show itself": lambda leaf, issuer, others: answer_of(
        leaf, issuer, signer=issuer.issue("responder", RESPONDER, NO_CHECK), carried=False
    ),
    "try later": lambda leaf, issuer, others: ocsp.OCSPResponseBuilder.build_unsuccessful(
        ocsp.OCSPResponseStatus.TRY_LATER
    ).public_bytes(Encoding.DER),
}


@pytest.mark.parametrize("made", ANSWERS.values(), ids=list(ANSWERS))
def test_a_response_that_is_not_believed(issuers, made):
    issuer = issuers["ec"]
    leaf = issuer.issue("leaf").certificate
    with pytest.raises(NotTrusted):
        pki_ocsp.status(made(leaf, issuer, issuers), leaf, issuer.certificate, NOW)


def test_a_spoilt_signature_is_not_believed(issuers):
    issuer = issuers["ec"]
    leaf = issuer.issue("leaf").certificate
    answer = bytearray(answer_of(leaf, issuer))
    answer[-1] ^= 1
    with pytest.raises(NotTrusted):
        pki_ocsp.status(bytes(answer), leaf, issuer.certificate, NOW)


def test_the_responders_of_a_certificate(issuers):
    leaf = issuers["ec"].issue("leaf", point("http://a/1", "http://b/1"), responder("http://c/")).certificate
    assert pki_ocsp.responders(leaf) == ("http://c/",)

import base64
import hashlib

import pytest

from consent_server.pki.member_certificate import MemberCertificate
from consent_server.tokens.binding import TokenNotYours, TokenOfAnotherCertificate, bound, thumbprint

CAP = "https://directory.example/a/cap"


def holding(application=CAP, der=b"this certificate"):
    return MemberCertificate(
        application=application,
        member="https://directory.example/m/one",
        roles=frozenset(),
        serial=1,
        fingerprint=hashlib.sha256(der).hexdigest(),
        not_before=0,
        not_after=2**31,
        der=der,
    )


THIS, OTHER = thumbprint(b"this certificate"), thumbprint(b"the renewed certificate")


@pytest.mark.parametrize(
    ("client_id", "cnf", "binds", "verdict"),
    [
        (CAP, None, False, None),
        (CAP, THIS, False, None),
        (CAP, THIS, True, None),
        (CAP, None, True, TokenOfAnotherCertificate),
        (CAP, OTHER, True, TokenOfAnotherCertificate),
        (CAP, OTHER, False, TokenOfAnotherCertificate),
        (CAP, "", False, TokenOfAnotherCertificate),
        (CAP + "/", None, False, TokenNotYours),
        (CAP.upper(), None, False, TokenNotYours),
        ("https://directory.example/a/cap2", THIS, True, TokenNotYours),
    ],
    ids=[
        "url-binding",
        "both",
        "certificate-binding",
        "C15-unbound-where-bound-is-required",
        "A18-renewed-under-certificate-binding",
        "a-bound-token-is-bound-whatever-the-setting",
        "empty-thumbprint",
        "slash",
        "case",
        "C15-another-application",
    ],
)
def test_whose_token_it_is(client_id, cnf, binds, verdict):
    found = bound(client_id, cnf, holding(), binds)
    assert (found and type(found)) is verdict
    if found:
        assert (found.status, found.error) == (401, "invalid_token")


def test_A18_a_renewed_certificate_of_the_same_application_keeps_url_bound_tokens():
    assert bound(CAP, None, holding(der=b"the renewed certificate"), bind_to_certificate=False) is None


def test_the_thumbprint_is_that_of_rfc_8705():
    digest = hashlib.sha256(b"this certificate").digest()
    assert thumbprint(b"this certificate") == base64.urlsafe_b64encode(digest).decode().rstrip("=")

"""What a revocation list says of a certificate, and the lists that are not believed."""

from contextlib import nullcontext

import pytest
from cryptography import x509

from consent_server.pki import crl
from consent_server.pki.crl import NotTrusted, RevocationStatus
from tests.pki.authorities import (
    DAY,
    HOUR,
    NOW,
    POINT,
    Signer,
    list_of,
    make_issuers,
    make_root,
    part,
    point,
    responder,
)


@pytest.fixture(scope="module")
def root() -> Signer:
    return make_root()


@pytest.fixture(scope="module")
def issuers(root: Signer) -> dict[str, Signer]:
    return make_issuers(root)


@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("extensions", [(), (part(POINT, only_contains_user_certs=True),)], ids=["whole", "shard"])
def test_what_a_list_says(issuers, kind, extensions):
    issuer = issuers[kind]
    leaf = issuer.issue("leaf").certificate
    good = list_of(issuer, 1, 2, extensions=extensions)
    bad = list_of(issuer, 1, leaf.serial_number, extensions=extensions)
    assert crl.status(good, leaf, issuer.certificate, (POINT,), NOW) == RevocationStatus(False, NOW + DAY)
    assert crl.status(bad, leaf, issuer.certificate, (POINT,), NOW) == RevocationStatus(True, NOW + DAY)


LISTS = {
    "another issuer's": ("stranger", {}),
    "another issuer's of the same name": ("namesake", {}),
    "too old": ("ec", {"issued": -2 * DAY, "until": 0}),
    "from the future": ("ec", {"issued": HOUR}),
    "of another shard": ("ec", {"extensions": (part("http://crl.example/two.crl"),)}),
    "of authorities": ("ec", {"extensions": (part(only_contains_ca_certs=True),)}),
    "indirect": ("ec", {"extensions": (part(indirect_crl=True),)}),
    "a delta": ("ec", {"extensions": ((x509.DeltaCRLIndicator(1), True),)}),
}


@pytest.mark.parametrize(("signer", "ways"), LISTS.values(), ids=list(LISTS))
def test_a_list_that_is_not_believed(issuers, signer, ways):
    issuer = issuers["ec"]
    with pytest.raises(NotTrusted):
        crl.status(
            list_of(issuers[signer], **ways), issuer.issue("leaf").certificate, issuer.certificate, (POINT,), NOW
        )


@pytest.mark.parametrize("reader", ["of a server's certificate", "of the Directory's client certificates"])
@pytest.mark.parametrize(("ahead", "taken"), [(300, True), (301, False)])
def test_A08_a_list_may_be_five_minutes_ahead_of_our_clock(issuers, root, reader, ahead, taken):
    issuer = issuers["ec"]
    body, leaf = list_of(issuer, issued=ahead), issuer.issue("leaf").certificate
    with nullcontext() if taken else pytest.raises(NotTrusted, match="from the future"):
        if reader == "of a server's certificate":
            crl.status(body, leaf, issuer.certificate, (POINT,), NOW)
        else:
            crl.read_revocation_list(body, [issuer.certificate], root.certificate, NOW)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\x30\x80" * 50], ids=["empty", "a page", "not a list"])
def test_bytes_that_are_no_revocation_list(issuers, body):
    issuer = issuers["ec"]
    leaf = issuer.issue("leaf").certificate
    with pytest.raises(NotTrusted):
        crl.status(body, leaf, issuer.certificate, (POINT,), NOW)


def test_an_issuer_that_may_not_sign_lists(issuers):
    issuer = issuers["no lists"]
    with pytest.raises(NotTrusted):
        crl.status(list_of(issuer), issuer.issue("leaf").certificate, issuer.certificate, (POINT,), NOW)


def test_the_distribution_points_of_a_certificate(issuers):
    leaf = issuers["ec"].issue("leaf", point("http://a/1", "http://b/1"), responder("http://c/")).certificate
    assert crl.points(leaf) == (("http://a/1", "http://b/1"),)

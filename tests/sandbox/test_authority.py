"""The certificates that the sandbox's authority makes, good and bad."""

import datetime
import ssl
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store

from consent_server.pki import member_certificate
from consent_server.pki.chain import build_chain
from consent_server.sandbox.authority import Authority

DIRECTORY = "https://localhost:8440/directory"
APPLICATION = f"{DIRECTORY}/a/one"
MEMBER = f"{DIRECTORY}/m/one"
ROLES = ["https://localhost:8440/registry/scheme/perseus/role/carbon-accounting-provider"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("trust")).create()


def root(path):
    (certificate,) = x509.load_pem_x509_certificates(path.read_bytes())
    return certificate


def uris(certificate):
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def test_a_client_certificate_is_read_back_by_the_strict_parser(authority):
    issued = authority.client("good", APPLICATION, MEMBER, ROLES)
    parsed = member_certificate.parse(issued.der)
    assert (parsed.application, parsed.member, parsed.roles) == (APPLICATION, MEMBER, frozenset(ROLES))
    assert parsed.serial == issued.serial


def test_chains_hold_leaf_then_issuer_and_build_to_the_root_at_every_clock_step(authority):
    issued = authority.signing("signer", APPLICATION, MEMBER, ROLES)
    leaf, issuer = x509.load_pem_x509_certificates(issued.chain.read_bytes())
    assert leaf == issued.x509
    now = int(time.time())
    for days in (-400, 0, 400):
        build_chain(
            issued.der,
            [issuer.public_bytes(serialization.Encoding.DER)],
            root(authority.signing_root),
            now + days * 86400,
        )


@pytest.mark.parametrize("purpose", ["client_root", "signing_root", "server_root"])
def test_each_root_file_holds_one_p384_root_of_its_own(authority, purpose):
    certificate = root(getattr(authority, purpose))
    assert certificate.issuer == certificate.subject
    assert isinstance(certificate.public_key().curve, ec.SECP384R1)
    others = {p for p in ("client_root", "signing_root", "server_root") if p != purpose}
    assert all(root(getattr(authority, other)).subject != certificate.subject for other in others)


def test_keys_are_pkcs8_and_for_their_owner_alone(authority):
    issued = authority.client("keys", APPLICATION, MEMBER, ROLES)
    assert issued.key.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert issued.key.stat().st_mode & 0o077 == 0
    key = serialization.load_pem_private_key(issued.key.read_bytes(), None)
    assert key.public_key() == issued.x509.public_key()


def test_the_server_certificate_is_one_that_a_browser_would_take(authority):
    issued = authority.server()
    leaf, issuer = x509.load_pem_x509_certificates(issued.chain.read_bytes())
    verifier = (
        PolicyBuilder().store(Store([root(authority.server_root)])).build_server_verifier(x509.DNSName("localhost"))
    )
    assert verifier.verify(leaf, [issuer])[0] == leaf
    ssl.create_default_context(cafile=str(authority.server_root)).load_cert_chain(issued.chain, issued.key)


FAULTS = [
    pytest.param({"expired": True}, "expired", id="expired"),
    pytest.param({"self_signed": True}, "self_signed", id="self-signed"),
    pytest.param({"wrong_ca": True}, "wrong_ca", id="wrong-ca"),
    pytest.param({"second_uri": f"{DIRECTORY}/a/two"}, "two_uris", id="two-uris"),
]


@pytest.mark.parametrize(("fault", "name"), FAULTS)
def test_a_bad_certificate_is_bad_in_one_way_only(authority, fault, name):
    issued = authority.client(name, APPLICATION, MEMBER, ROLES, **fault)
    now = datetime.datetime.now(datetime.UTC)
    chain = x509.load_pem_x509_certificates(issued.chain.read_bytes())
    ours = root(authority.client_issuer)
    signed_by_us = True
    try:
        issued.x509.verify_directly_issued_by(ours)
    except Exception:
        signed_by_us = False
    found = {
        # refused even when the clock has been stepped back by 400 days
        "expired": issued.x509.not_valid_after_utc < now - datetime.timedelta(days=400),
        "self_signed": issued.x509.issuer == issued.x509.subject and len(chain) == 1,
        "wrong_ca": not signed_by_us and len(chain) == 2,
        "two_uris": len(uris(issued.x509)) != 1,
    }
    assert {key for key, bad in found.items() if bad} == {name}
    assert uris(issued.x509)[0] == APPLICATION
    if name != "two_uris":
        assert member_certificate.parse(issued.der).roles == frozenset(ROLES)


def test_another_process_can_go_on_with_the_same_files(authority):
    later = Authority(authority.directory)
    issued = later.client("later", APPLICATION, MEMBER, ROLES)
    issued.x509.verify_directly_issued_by(root(authority.client_issuer))


def test_the_revocation_list_is_der_signed_numbered_and_outlives_the_clock_steps(authority):
    issued = authority.client("gone", APPLICATION, MEMBER, ROLES)
    first = x509.load_der_x509_crl(authority.crl([]))
    second = x509.load_der_x509_crl(authority.crl([issued.serial, issued.serial], number=2))
    assert second.is_signature_valid(root(authority.client_issuer).public_key())
    assert first.get_revoked_certificate_by_serial_number(issued.serial) is None
    assert second.get_revoked_certificate_by_serial_number(issued.serial) is not None
    assert second.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 2
    assert second.last_update_utc > first.last_update_utc
    now = datetime.datetime.now(datetime.UTC)
    step = datetime.timedelta(days=400)
    assert second.last_update_utc < now - step < now + step < second.next_update_utc

"""Rows A06 to A14 of the security matrix, on certificates made here: each is bad in one way only."""

import datetime
import logging
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from consent_server import clock
from consent_server.caller.arrival import Arrival
from consent_server.caller.trust import (
    CertificateFromElsewhere,
    CertificateMalformed,
    CertificateOutOfDate,
    CertificateRevoked,
    CertificateUntrusted,
    RevocationListStale,
    RoleMissing,
    Trust,
    require_role,
)
from consent_server.pki.chain import build_chain
from consent_server.pki.crl import NotTrusted, RevokedSerials, authority_of, read_revocation_list
from consent_server.refusal import Refusal
from consent_server.sandbox.authority import Authority

DIRECTORY = "https://localhost:8440/directory"
APPLICATION = f"{DIRECTORY}/a/cap"
MEMBER = f"{DIRECTORY}/m/cap-member"
CAP_ROLE = "https://localhost:8440/registry/scheme/perseus/role/carbon-accounting-provider"
NOW = clock.now()
DAY = 86400


def fresh(*serials, fetched=NOW, next_update=NOW + 2000 * DAY, ca=None, of_leaves=True):
    """A list of the CA with this certificate; of the client issuer unless another is given."""
    authority = authority_of(ca) if ca else ISSUER
    return RevokedSerials(authority, NOW - DAY, next_update, frozenset(serials), fetched, of_leaves=of_leaves)


ISSUER = b"whichever issuer the certificates of the test come from"


class Listed:
    """The revocation lists of the Directory; `said` has what they say, the newest last."""

    def __init__(self, certificates, *said):
        self.issuer = authority_of(certificates.issuer)
        self.said = list(said)

    def lists(self):
        newest = self.said[-1]
        several = newest if isinstance(newest, tuple) else () if newest is None else (newest,)
        return tuple(replace(each, authority=self.issuer) if each.authority == ISSUER else each for each in several)


def trusting(certificates, revoked=None, **settings):
    return Trust(certificates.settings(**settings), Listed(certificates, revoked if revoked is not None else fresh()))


def test_a_good_certificate_names_its_holder(certificates):
    caller = trusting(certificates).caller(certificates.arrival(certificates.cap), NOW)
    assert (caller.application, caller.member, caller.roles) == (APPLICATION, MEMBER, {CAP_ROLE})
    require_role(caller, (CAP_ROLE,))


def test_A18_a_renewed_certificate_is_the_same_application(certificates):
    trust = trusting(certificates)
    renewed = certificates.client("renewed")
    first, second = (trust.caller(certificates.arrival(issued), NOW) for issued in (certificates.cap, renewed))
    assert first.application == second.application
    assert first.fingerprint != second.fingerprint


def another_authoritys(certificates, tmp_path):
    stranger = Authority(tmp_path).create()
    issued = stranger.client("cap", APPLICATION, MEMBER, [CAP_ROLE])
    issuer = x509.load_pem_x509_certificate(stranger.client_issuer.read_bytes())
    return Arrival(issued.der, (issuer.public_bytes(Encoding.DER),))


def rsa_leaf(certificates, _):
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rsa")])
    moment = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(moment - datetime.timedelta(days=1))
        .not_valid_after(moment + datetime.timedelta(days=1))
    )
    return Arrival(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER), (certificates.issuer_der,))


def faulty(**faults):
    return lambda certificates, _: certificates.arrival(certificates.client("faulty", **faults))


BAD = {
    "A06-expired": (faulty(expired=True), CertificateOutOfDate),
    "A09-signing-root": (
        lambda c, _: Arrival(c.authority.signing("s", APPLICATION, MEMBER, [CAP_ROLE]).der, (c.issuer_der,)),
        CertificateUntrusted,
    ),
    "A09-server-root": (lambda c, _: Arrival(c.server.der, (c.issuer_der,)), CertificateMalformed),
    "A10-self-signed": (faulty(self_signed=True), CertificateUntrusted),
    "A10-forged-names": (faulty(wrong_ca=True), CertificateUntrusted),
    "A10-another-authority": (another_authoritys, CertificateUntrusted),
    "A10-no-intermediate": (lambda c, _: Arrival(c.cap.der, ()), CertificateUntrusted),
    "A10-intermediate-that-is-a-leaf": (lambda c, _: Arrival(c.cap.der, (c.server.der,)), CertificateUntrusted),
    "A10-nine-intermediates": (lambda c, _: Arrival(c.cap.der, (c.issuer_der,) * 9), CertificateUntrusted),
    "the-issuer-itself": (lambda c, _: Arrival(c.issuer_der, ()), CertificateMalformed),
    "A13-two-uris": (faulty(second_uri=f"{DIRECTORY}/a/victim"), CertificateMalformed),
    "A14-rsa": (rsa_leaf, CertificateMalformed),
    "nothing": (lambda *_: Arrival(b"", ()), CertificateMalformed),
    "not-der": (lambda *_: Arrival(b"0" * 500, ()), CertificateMalformed),
    "trailing-bytes": (lambda c, _: Arrival(c.cap.der + b"\0", (c.issuer_der,)), CertificateMalformed),
    "production-directory": (
        faulty(application="https://directory.example/a/cap", member="https://directory.example/m/one"),
        CertificateFromElsewhere,
    ),
    "member-from-elsewhere": (faulty(member="https://directory.example/m/one"), CertificateFromElsewhere),
    "directory-as-a-prefix": (faulty(application=f"{DIRECTORY}-evil/a/cap"), CertificateFromElsewhere),
}


@pytest.mark.parametrize(("present", "refusal"), BAD.values(), ids=BAD.keys())
def test_a_certificate_that_is_refused(certificates, tmp_path, present, refusal):
    with pytest.raises(refusal) as refused:
        trusting(certificates).caller(present(certificates, tmp_path), NOW)
    assert type(refused.value) is refusal
    assert (refused.value.status, refused.value.error) == (401, "invalid_client")


def test_A06_dates_are_judged_on_every_use_and_not_remembered(certificates):
    trust = trusting(certificates, environment="sandbox")  # years away from any list
    arrival = certificates.arrival(certificates.cap)
    caller = trust.caller(arrival, NOW)
    for at in (caller.not_before, caller.not_after):
        assert trust.caller(arrival, at) == trusting(certificates, environment="sandbox").caller(arrival, at) == caller
    for at in (caller.not_before - 1, caller.not_after + 1):
        with pytest.raises(CertificateOutOfDate):
            trust.caller(arrival, at)
    assert trust.caller(arrival, NOW) == caller


def test_the_chain_is_worked_out_once_for_each_certificate(certificates, monkeypatch):
    from consent_server.caller import trust as module

    calls = []
    build = build_chain
    monkeypatch.setattr(module, "build_chain", lambda *arguments: calls.append(1) or build(*arguments))
    trust = trusting(certificates)
    for _ in range(5):
        trust.caller(certificates.arrival(certificates.cap), NOW)
    assert len(calls) == 1
    monkeypatch.setattr(module, "_REMEMBERED", 1)
    trust.caller(certificates.arrival(certificates.client("second")), NOW)
    assert (len(trust._verdicts), len(trust._unrevoked)) == (1, 0)
    trust.caller(certificates.arrival(certificates.cap), NOW)
    assert len(calls) == 3


def test_configured_issuers_complete_a_chain_for_proxies_that_pass_the_leaf_alone(certificates):
    trust = trusting(certificates, issuers=certificates.authority.client_issuer)
    assert trust.caller(Arrival(certificates.cap.der, ()), NOW).application == APPLICATION


def test_A07_revocation_is_judged_on_every_request(certificates):
    listed = Listed(certificates, fresh())
    trust = Trust(certificates.settings(), listed)
    arrival = certificates.arrival(certificates.cap)
    assert trust.caller(arrival, NOW)
    for revoked in (
        fresh(certificates.cap.serial),
        (fresh(), fresh(certificates.issuer.serial_number, ca=certificates.root)),
    ):
        listed.said.append(revoked)
        with pytest.raises(CertificateRevoked):
            trust.caller(arrival, NOW)
    listed.said.append(fresh(1, 2, 3))
    assert trust.caller(arrival, NOW)


STALE = {
    "never-fetched": None,
    "fetched-too-long-ago": fresh(fetched=NOW - DAY - 1),
    "past-its-next-update": fresh(next_update=NOW),
}


@pytest.mark.parametrize("revoked", STALE.values(), ids=STALE.keys())
def test_A08_without_a_good_list_production_closes_and_the_sandbox_goes_on(certificates, revoked, caplog):
    arrival = certificates.arrival(certificates.cap)
    production = Trust(certificates.settings(), Listed(certificates, revoked))
    with pytest.raises(RevocationListStale) as refused:
        production.caller(arrival, NOW)
    assert refused.value.status == 503
    assert "Retry-After" in refused.value.answer_headers
    sandbox = Trust(certificates.settings(environment="sandbox"), Listed(certificates, revoked))
    assert sandbox.caller(arrival, NOW).application == APPLICATION
    assert "revocation list" in caplog.text


def test_A08_a_list_counts_to_its_last_second(certificates):
    arrival = certificates.arrival(certificates.cap)
    for good in (fresh(fetched=NOW - DAY), fresh(next_update=NOW + 1)):
        assert trusting(certificates, good).caller(arrival, NOW)


def test_an_old_list_still_shuts_out_whom_it_names(certificates):
    old = replace(STALE["fetched-too-long-ago"], serials=frozenset({certificates.cap.serial}))
    for environment in ("production", "sandbox"):
        with pytest.raises(CertificateRevoked):
            trusting(certificates, old, environment=environment).caller(certificates.arrival(certificates.cap), NOW)


def test_the_alarm_rings_once_a_minute(certificates, caplog):
    trust = Trust(certificates.settings(environment="sandbox"), Listed(certificates, None))
    with caplog.at_level(logging.WARNING):
        for at in (NOW, NOW + 1, NOW + 59, NOW + 60, NOW + 61, NOW - 400 * DAY):
            trust.caller(certificates.arrival(certificates.cap), at)
    assert len(caplog.records) == 3


@pytest.mark.parametrize(
    "roles",
    [
        [],
        ["https://localhost:8440/registry/scheme/perseus/role/observer"],
        [CAP_ROLE + "/"],
        [CAP_ROLE[:-1]],
        [CAP_ROLE + "/2026-03-12"],
        [CAP_ROLE.upper()],
        [CAP_ROLE.replace("localhost:8440", "registry.example")],
        [CAP_ROLE.replace("perseus", "other-scheme")],
    ],
    ids=["none", "another", "slash", "prefix", "version", "case", "host", "scheme"],
)
def test_A11_a_role_is_compared_whole(certificates, roles):
    caller = trusting(certificates).caller(certificates.arrival(certificates.client("r", roles=roles)), NOW)
    with pytest.raises(RoleMissing) as refused:
        require_role(caller, (CAP_ROLE,))
    assert (refused.value.status, refused.value.error) == (403, "unauthorized_client")
    with pytest.raises(RoleMissing):
        require_role(caller, ())


def test_the_root_file_holds_the_root_and_nothing_else(certificates, tmp_path):
    settings = certificates.settings()
    both = tmp_path / "roots.pem"
    both.write_bytes(certificates.authority.client_root.read_bytes() + certificates.authority.signing_root.read_bytes())
    settings.clients = settings.clients.model_copy(update={"root": both})
    with pytest.raises(ValueError, match="client root and nothing else"):
        Trust(settings, Listed(certificates, fresh()))


# The revocation list


def reading(certificates, content, issuers=None, root=None):
    found = [certificates.issuer] if issuers is None else issuers
    return read_revocation_list(content, found, root or certificates.root, fetched=NOW)


def test_a_list_says_who_is_revoked(certificates):
    der = certificates.authority.crl([certificates.cap.serial, 5])
    pem = x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
    for content in (der, pem):
        found = reading(certificates, content)
        assert found.serials == {certificates.cap.serial, 5}
        assert found.fetched == NOW
        assert found.issued < NOW < found.next_update
    assert reading(certificates, certificates.authority.crl([])).serials == frozenset()


def a_list(key, name, *, extension=None, critical=True, next_update=True, algorithm=None):
    moment = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name)
        .last_update(moment - datetime.timedelta(hours=1))
        .next_update(moment + datetime.timedelta(days=1))
    )
    if extension:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, algorithm or hashes.SHA256()).public_bytes(Encoding.DER)


def distribution_point(**parts):
    nothing = dict.fromkeys(
        ("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl", "only_contains_attribute_certs"), False
    )
    whole = {"full_name": [x509.UniformResourceIdentifier("https://ca.example/crl")], "relative_name": None}
    return x509.IssuingDistributionPoint(**(whole | {"only_some_reasons": None} | nothing | parts))


@pytest.mark.parametrize(
    ("extension", "good"),
    [
        (x509.CRLNumber(4), True),
        (distribution_point(), True),
        (distribution_point(only_contains_user_certs=True), True),
        (distribution_point(only_contains_ca_certs=True), False),
        (distribution_point(indirect_crl=True), False),
        (distribution_point(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise})), False),
        (x509.DeltaCRLIndicator(3), False),
    ],
    ids=["number", "whole", "user-certificates", "ca-only", "indirect", "some-reasons", "delta"],
)
def test_A08_only_the_whole_list_counts(certificates, extension, good):
    signer = certificates.authority._issuer("client")
    critical = not isinstance(extension, x509.CRLNumber)
    content = a_list(signer.key, signer.certificate.subject, extension=extension, critical=critical)
    if good:
        assert reading(certificates, content).serials == frozenset()
    else:
        with pytest.raises(NotTrusted):
            reading(certificates, content)


def flipped(content):
    return content[:-1] + bytes([content[-1] ^ 1])


def by_a_stranger_of_that_name(certificates, _):
    return a_list(ec.generate_private_key(ec.SECP256R1()), certificates.issuer.subject)


def by_a_leaf(certificates, _):
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(certificates.cap.key.read_bytes(), None)
    return a_list(key, certificates.cap.x509.subject)


BAD_LISTS = {
    "nothing": lambda *_: b"",
    "html": lambda *_: b"<html>not found</html>",
    "cut-short": lambda c, _: c.authority.crl([1])[:-10],
    "signature-changed": lambda c, _: flipped(c.authority.crl([1])),
    "trailing-bytes": lambda c, _: c.authority.crl([1]) + b"\0",
    "a-certificate": lambda c, _: c.issuer_der,
    "another-authority": lambda _, tmp: Authority(tmp).create().crl([1]),
    "stranger-of-that-name": by_a_stranger_of_that_name,
    "by-a-leaf": by_a_leaf,
}


@pytest.mark.parametrize("make", BAD_LISTS.values(), ids=BAD_LISTS.keys())
def test_A08_a_list_that_is_not_believed(certificates, tmp_path, make):
    with pytest.raises(NotTrusted):
        reading(certificates, make(certificates, tmp_path), [certificates.issuer, certificates.cap.x509])


def test_a_list_counts_only_below_our_root(certificates, tmp_path):
    stranger = Authority(tmp_path).create()
    issuer = x509.load_pem_x509_certificate(stranger.client_issuer.read_bytes())
    with pytest.raises(NotTrusted):
        reading(certificates, stranger.crl([1]), [issuer])
    with pytest.raises(NotTrusted):
        reading(certificates, certificates.authority.crl([1]), [])


def test_every_refusal_of_this_room_says_what_to_do():
    from consent_server.caller import arrival, trust

    kinds = [
        kind
        for module in (arrival, trust)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Refusal) and kind.__module__ == module.__name__ and kind.code
    ]
    assert len({kind.code for kind in kinds}) == len(kinds) == 9
    assert all(Refusal.family[kind.code] is kind and kind.help and kind.clause for kind in kinds)

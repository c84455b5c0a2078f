"""Strict certificates: one good chain made once, and one way to spoil it per row."""

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_server.pki import chain
from consent_server.pki import member_certificate as mc
from tests.work import calls

DIRECTORY = "https://directory.core.sandbox.trust.ib1.org"
APPLICATION = f"{DIRECTORY}/a/s2914npr"
MEMBER = f"{DIRECTORY}/m/4tnapijm"
CAP = "https://registry.core.sandbox.trust.ib1.org/scheme/perseus/role/carbon-accounting-provider"
EDP = "https://registry.core.sandbox.trust.ib1.org/scheme/perseus/role/energy-data-provider"
START = datetime(2026, 1, 1, tzinfo=UTC)
AT = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
DAY = timedelta(days=1)

# X.690 by hand, so that the encoder under test is not its own judge


def tlv(tag: int, contents: bytes) -> bytes:
    if len(contents) < 128:
        return bytes([tag, len(contents)]) + contents
    octets = len(contents).to_bytes(4).lstrip(b"\0")
    return bytes([tag, 0x80 + len(octets)]) + octets + contents


def utf8(value: str) -> bytes:
    return tlv(0x0C, value.encode())


ROLES = tlv(0x30, utf8(CAP))


def extension(oid: x509.ObjectIdentifier, value: bytes, critical: bool = False):
    return x509.UnrecognizedExtension(oid, value), critical


def usage(**on: bool) -> tuple[x509.KeyUsage, bool]:
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
        "encipher_only decipher_only"
    )
    return x509.KeyUsage(**{name: on.get(name, False) for name in names.split()}), True


def uris(*values: str) -> tuple[x509.SubjectAlternativeName, bool]:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(value) for value in values]), False


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


@dataclass
class Maker:
    """An issuer of certificates: the root when it has no parent."""

    common: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))
    certificate: x509.Certificate | None = None

    def issue(
        self,
        subject: str,
        key,
        extensions,
        start=START,
        days=365,
        algorithm=None,
        serial=None,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(self.common))
            .public_key(key.public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + days * DAY)
        )
        for value, critical in extensions:
            builder = builder.add_extension(value, critical)
        return builder.sign(self.key, algorithm or hashes.SHA256())


def ca_extensions(path_length: int | None, ca: bool = True, **on: bool):
    return [
        (x509.BasicConstraints(ca=ca, path_length=path_length if ca else None), True),
        usage(**(on or {"key_cert_sign": True, "crl_sign": True})),
    ]


def make_root(common: str = "client CA", path_length: int | None = 1, **options) -> Maker:
    maker = Maker(common)
    extensions = options.pop("extensions", ca_extensions(path_length))
    maker.certificate = maker.issue(common, maker.key, extensions, **{"days": 9000, **options})
    return maker


def make_issuer(parent: Maker, common: str = "client issuer", path_length: int | None = 0, **options) -> Maker:
    maker = Maker(common, options.pop("key", None) or ec.generate_private_key(ec.SECP384R1()))
    extensions = options.pop("extensions", ca_extensions(path_length))
    maker.certificate = parent.issue(common, maker.key, extensions, **{"days": 400, **options})
    return maker


LEAF_KEY = ec.generate_private_key(ec.SECP256R1())
ROOT = make_root()
ISSUER = make_issuer(ROOT)


def leaf_extensions(san=None, roles=ROLES, member=None, more=()):
    extensions = [uris(APPLICATION) if san is None else san]
    extensions += [] if roles is None else [extension(mc.OID_ROLES, roles)]
    extensions += [] if member == b"" else [extension(mc.OID_MEMBER, member or utf8(MEMBER))]
    return [*extensions, *more]


def make_leaf(extensions=None, key=LEAF_KEY, issuer=ISSUER, subject=MEMBER, **options) -> bytes:
    made = issuer.issue(subject, key, leaf_extensions() if extensions is None else extensions, **options)
    return made.public_bytes(Encoding.DER)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


LEAF = make_leaf()
CHAIN = [der(ISSUER.certificate)]


# parse


def test_parse_reads_a_good_certificate():
    found = mc.parse(make_leaf(leaf_extensions(roles=tlv(0x30, utf8(CAP) + utf8(EDP))), serial=2**158 + 7))
    assert found.application == APPLICATION
    assert found.member == MEMBER
    assert found.roles == {CAP, EDP}
    assert found.serial == 2**158 + 7
    assert found.fingerprint == hashlib.sha256(found.der).hexdigest()
    assert found.not_before == int(START.timestamp())
    assert found.not_after == int((START + 365 * DAY).timestamp())


@pytest.mark.parametrize(
    "spelling",
    [
        leaf_extensions(more=[usage(digital_signature=True, key_encipherment=True)]),
        leaf_extensions(more=[(x509.BasicConstraints(ca=False, path_length=None), True)]),
        leaf_extensions(more=[(x509.SubjectKeyIdentifier.from_public_key(LEAF_KEY.public_key()), False)]),
        leaf_extensions(san=uris("https://localhost:8440/directory/a/s2914npr")),
        leaf_extensions(san=uris(f"https://{'d' * 60}.example/scheme/perseus/organisation/{'x' * 150}")),
    ],
    ids=["key usage as the sandbox's", "basic constraints", "key identifier", "port", "long URL"],
)
def test_parse_takes_what_the_profile_allows(spelling):
    assert mc.parse(make_leaf(spelling)).roles == {CAP}


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=["P-256", "P-384"])
@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_parse_takes_each_curve_and_digest_of_the_policy(curve, algorithm):
    made = make_leaf(key=ec.generate_private_key(curve), algorithm=algorithm)
    assert mc.parse(made).application == APPLICATION
    assert len(chain.build_chain(made, CHAIN, ROOT.certificate, AT)) == 3


def test_a_certificate_without_a_role_extension_has_no_roles():
    assert mc.parse(make_leaf(leaf_extensions(roles=None))).roles == frozenset()


ROLE_FAULTS = {
    "empty contents": b"",
    "empty sequence": tlv(0x30, b""),
    "trailing bytes": ROLES + b"\0",
    "second sequence": ROLES + ROLES,
    "trailing bytes inside": tlv(0x30, utf8(CAP) + b"\0"),
    "indefinite length": b"\x30\x80" + utf8(CAP) + b"\0\0",
    "long form of a short length": b"\x30\x81\x04" + utf8("ab"),
    "leading zero in a length": b"\x30\x82\x00\x04" + utf8("ab"),
    "reserved length": b"\x30\xff" + b"\0" * 127,
    "length beyond the end": b"\x30\x7f" + utf8(CAP),
    "length of four gigabytes": b"\x30\x84\xff\xff\xff\xff" + utf8(CAP),
    "inner length beyond the sequence": tlv(0x30, b"\x0c\x7f" + b"a"),
    "length cut off": b"\x30\x82\x01",
    "tag alone": b"\x30",
    "a set": tlv(0x31, utf8(CAP)),
    "IA5String": tlv(0x30, tlv(0x16, CAP.encode())),
    "PrintableString": tlv(0x30, tlv(0x13, CAP.encode())),
    "constructed string": tlv(0x30, tlv(0x2C, utf8(CAP))),
    "bare string": utf8(CAP),
    "not UTF-8": tlv(0x30, tlv(0x0C, b"https://\xff")),
    "overlong UTF-8": tlv(0x30, tlv(0x0C, b"\xc0\xaf")),
    "surrogate": tlv(0x30, tlv(0x0C, b"\xed\xa0\x80")),
    "empty string": tlv(0x30, utf8("")),
    "65 roles": tlv(0x30, b"".join(utf8(f"{CAP}{n}") for n in range(65))),
}
MEMBER_FAULTS = {
    "empty contents": b"\x0c\x00",
    "trailing bytes": utf8(MEMBER) + b"\0",
    "in a sequence": tlv(0x30, utf8(MEMBER)),
    "IA5String": tlv(0x16, MEMBER.encode()),
    "not a URL": utf8("4tnapijm"),
    "http": utf8(MEMBER.replace("https", "http")),
    "userinfo": utf8(MEMBER.replace("//", "//x@")),
}
SAN_FAULTS = {
    "two URIs": uris(APPLICATION, APPLICATION + "2"),
    "the same URI twice": uris(APPLICATION, APPLICATION),
    "DNS before URI": (
        x509.SubjectAlternativeName([x509.DNSName("a.example"), x509.UniformResourceIdentifier(APPLICATION)]),
        False,
    ),
    "URI before DNS": (
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier(APPLICATION), x509.DNSName("a.example")]),
        False,
    ),
    "DNS alone": (x509.SubjectAlternativeName([x509.DNSName("directory.core.sandbox.trust.ib1.org")]), False),
    "mail alone": (x509.SubjectAlternativeName([x509.RFC822Name("a@example.org")]), False),
    "empty": (x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x00"), False),
    "not a sequence": (x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x04\x00"), False),
    "unknown kind of name": (x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x02\xa3\x00"), False),
    "URI not ASCII": (x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, tlv(0x30, b"\x86\x01\xff")), False),
}
URL_FAULTS = [
    APPLICATION.replace("https", "http"),
    APPLICATION.replace("https", "HTTPS"),
    APPLICATION.replace("directory", "Directory"),
    APPLICATION + "/",
    APPLICATION + "?x=1",
    APPLICATION + "?",
    APPLICATION + "#x",
    APPLICATION + "#",
    APPLICATION + "\n",
    APPLICATION.replace("/a/", "//a/"),
    APPLICATION.replace("/a/", "/./a/"),
    APPLICATION.replace("/a/", "/b/../a/"),
    APPLICATION + "/..",
    APPLICATION.replace("s2", "%732"),
    APPLICATION.replace("//", "//user@"),
    APPLICATION.replace("//", "//user:word@"),
    APPLICATION.replace(".org", ".org:"),
    APPLICATION.replace(".org", ".org:x"),
    APPLICATION.replace(".org", ".org."),
    APPLICATION.replace("/a/", "\\a\\"),
    DIRECTORY,
    DIRECTORY + "/",
    "https:///a/s2914npr",
    "https://[::1]/a/s2914npr",
    "//directory.example/a/x",
    "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
    "javascript:alert(1)",
    "",
]


@pytest.mark.parametrize(
    "extensions",
    [leaf_extensions(roles=fault) for fault in ROLE_FAULTS.values()]
    + [leaf_extensions(member=fault) for fault in MEMBER_FAULTS.values()]
    + [leaf_extensions(san=fault) for fault in SAN_FAULTS.values()]
    + [leaf_extensions(san=uris(fault)) for fault in URL_FAULTS]
    + [
        leaf_extensions(member=b""),
        leaf_extensions()[1:],
        leaf_extensions(more=[(x509.BasicConstraints(ca=True, path_length=None), True)]),
        leaf_extensions(more=[usage(key_encipherment=True)]),
        leaf_extensions(more=[extension(x509.ObjectIdentifier("1.3.6.1.4.1.62329.1.9"), b"\x05\x00", critical=True)]),
        leaf_extensions(
            member=b"",
            more=[extension(x509.ObjectIdentifier("1.3.6.1.4.1.62329.1.2"), utf8(APPLICATION))],
        ),
        [],
    ],
    ids=[f"roles: {row}" for row in ROLE_FAULTS]
    + [f"member: {row}" for row in MEMBER_FAULTS]
    + [f"SAN: {row}" for row in SAN_FAULTS]
    + [f"URL: {row!r}" for row in URL_FAULTS]
    + [
        "no member",
        "no SAN: the common name is no identity",
        "a CA",
        "key may not sign",
        "unknown critical extension",
        "the retired application extension",
        "no extensions",
    ],
)
def test_parse_refuses(extensions):
    with pytest.raises(mc.MalformedCertificate) as refused:
        mc.parse(make_leaf(extensions, subject=APPLICATION))
    assert "s2914npr" not in str(refused.value)


def test_parse_refuses_ten_thousand_roles_without_reading_them():
    contents = tlv(0x30, b"".join(utf8(f"{CAP}/{n}") for n in range(10_000)))
    made = make_leaf(leaf_extensions(roles=contents))
    assert calls(lambda: refused(mc.parse, made)) < 100
    assert calls(lambda: refused(mc.decode_roles, contents)) < 1_500, "64 roles, and not 10,000"


def refused(read, value):
    with pytest.raises(mc.MalformedCertificate):
        read(value)


def rebuilt(made: bytes, old: bytes, new: bytes) -> bytes:
    """The same certificate with one piece replaced and the lengths above it mended. Its signature no longer fits."""
    signed = x509.load_der_x509_certificate(made).tbs_certificate_bytes
    assert old in signed
    head = 4  # 30 82 and two octets of length
    rest = made[head + len(signed) :]
    return tlv(0x30, tlv(0x30, signed[head:].replace(old, new)) + rest.replace(old, new))


def doubled(made: bytes, oid: x509.ObjectIdentifier) -> bytes:
    """The same certificate with one extension there twice."""
    entries, again = b"", b""
    for entry in x509.load_der_x509_certificate(made).extensions:
        first, second, *arcs = (int(arc) for arc in entry.oid.dotted_string.split("."))
        body = bytes([first * 40 + second])
        for arc in arcs:
            digits = [arc & 0x7F]
            while arc := arc >> 7:
                digits.insert(0, arc & 0x7F | 0x80)
            body += bytes(digits)
        encoded = tlv(0x30, tlv(0x06, body) + tlv(0x04, entry.value.public_bytes()))
        entries += encoded
        again = encoded if entry.oid == oid else again
    assert again
    return rebuilt(made, tlv(0xA3, tlv(0x30, entries)), tlv(0xA3, tlv(0x30, entries + again)))


@pytest.mark.parametrize(
    "oid", [mc.OID_ROLES, mc.OID_MEMBER, x509.SubjectAlternativeName.oid], ids=["roles", "member", "SAN"]
)
def test_parse_refuses_a_doubled_extension(oid):
    with pytest.raises(mc.MalformedCertificate):
        mc.parse(doubled(LEAF, oid))


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
    ],
    ids=["RSA", "Ed25519", "P-521", "secp256k1"],
)
def test_keys_outside_the_policy_are_refused(key):
    made = make_leaf(key=key)
    with pytest.raises(mc.MalformedCertificate, match="P-256 or P-384"):
        mc.parse(made)
    with pytest.raises(chain.UntrustedChain, match="P-256 or P-384"):
        chain.build_chain(made, CHAIN, ROOT.certificate, AT)


ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


@pytest.mark.parametrize(
    "algorithm",
    ["300906072a8648ce3d0401", "300a06082a8648ce3d040301", "300d06092a864886f70d01010b0500"],
    ids=["ECDSA with SHA-1", "ECDSA with SHA-224", "RSA with SHA-256"],
)
def test_signatures_outside_the_policy_are_refused(algorithm):
    made = rebuilt(LEAF, ECDSA_WITH_SHA256, bytes.fromhex(algorithm))
    with pytest.raises(mc.MalformedCertificate, match="SHA-2"):
        mc.parse(made)
    with pytest.raises(chain.UntrustedChain, match="SHA-2"):
        chain.build_chain(made, CHAIN, ROOT.certificate, AT)


def test_inner_and_outer_signature_algorithm_must_agree():
    cut = LEAF.rindex(ECDSA_WITH_SHA256)
    made = LEAF[:cut] + bytes.fromhex("300a06082a8648ce3d040303") + LEAF[cut + len(ECDSA_WITH_SHA256) :]
    with pytest.raises(chain.UntrustedChain):
        chain.build_chain(made, CHAIN, ROOT.certificate, AT)


def test_an_rsa_issuer_is_refused():
    key = rsa.generate_private_key(65537, 2048)
    issuer = make_issuer(ROOT, key=key)
    made = make_leaf(issuer=issuer)
    with pytest.raises(mc.MalformedCertificate, match="SHA-2"):
        mc.parse(made)
    with pytest.raises(chain.UntrustedChain):
        chain.build_chain(made, [der(issuer.certificate)], ROOT.certificate, AT)


# encoders


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=200), min_size=1, max_size=mc.MAX_ROLES))
def test_roles_survive_the_round_trip(roles):
    assert mc.encode_roles(roles) == tlv(0x30, b"".join(utf8(role) for role in roles))
    assert mc.decode_roles(mc.encode_roles(roles)) == set(roles)


@pytest.mark.parametrize("length", [100, 127, 128, 255, 256, 5000])
def test_member_survives_the_round_trip(length):
    member = "https://d.example/m/".ljust(length, "x")
    assert mc.encode_member(member) == utf8(member)
    assert mc.decode_member(mc.encode_member(member)) == member


@given(st.binary(max_size=300))
def test_decoders_raise_only_malformed_certificate(contents):
    for decode in (mc.decode_roles, mc.decode_member):
        try:
            decode(contents)
        except mc.MalformedCertificate:
            continue


# one PEM

PEM = x509.load_der_x509_certificate(LEAF).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    "text",
    [PEM, PEM.encode(), PEM.strip(), "\n" + PEM + "\n \n", PEM.replace("\n", "\r\n")],
    ids=["text", "bytes", "no last newline", "space around", "CRLF"],
)
def test_one_pem_takes_one(text):
    assert mc.one_pem(text) == LEAF


BODY = "".join(PEM.splitlines()[1:-1])
# The last character before the padding holds bits that decoding drops; another letter there decodes to the same bytes.
LOOSE = base64.b64encode(b"\x30\x00\x00\x00").decode()
assert LOOSE.endswith("A==")


ONE_PEM_FAULTS = {
    "nothing": "",
    "no bytes": b"",
    "the same twice": PEM + PEM,
    "two": PEM + x509.load_der_x509_certificate(CHAIN[0]).public_bytes(Encoding.PEM).decode(),
    "text before": "subject=/CN=x\n" + PEM,
    "text after": PEM + "x",
    "trusted certificate": PEM.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
    "another kind": PEM.replace("CERTIFICATE", "PRIVATE KEY"),
    "four hyphens": PEM.replace("-----END", "----END"),
    "header": PEM.replace("-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n"),
    "other character": PEM.replace(BODY[:20], BODY[:19] + "*"),
    "character missing": PEM.replace(BODY[:20], BODY[:19]),
    "padding alone": "-----BEGIN CERTIFICATE-----\n=\n-----END CERTIFICATE-----",
    "empty": "-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----",
    "stray bits": f"-----BEGIN CERTIFICATE-----\n{LOOSE.replace('A==', 'B==')}\n-----END CERTIFICATE-----",
    "folded by spaces": PEM.replace("\n", " "),
    "folded by tabs": PEM.replace("\n", "\t"),
    "NUL": PEM + "\0",
    "not ASCII": PEM + "é",
    "not ASCII bytes": PEM.encode() + b"\xff",
    "surrogate": PEM.replace("BEGIN", "\ud800BEGIN"),
    "too long": PEM + " " * 100_000,
}


@pytest.mark.parametrize("text", ONE_PEM_FAULTS.values(), ids=ONE_PEM_FAULTS)
def test_one_pem_refuses(text):
    with pytest.raises(mc.MalformedCertificate):
        mc.one_pem(text)


def test_load_certificates_reads_every_certificate_of_a_file():
    both = "# the sandbox's\n" + PEM + ROOT.certificate.public_bytes(Encoding.PEM).decode()
    assert [der(found) for found in mc.load_certificates(both.encode())] == [LEAF, der(ROOT.certificate)]


@pytest.mark.parametrize("pem", [b"", b"text", PEM.encode().replace(b"MII", b"AII")], ids=["empty", "text", "broken"])
def test_load_certificates_refuses_a_file_without_one(pem):
    with pytest.raises(mc.MalformedCertificate):
        mc.load_certificates(pem)


# The chain


def chain_of(*makers: Maker) -> list[bytes]:
    return [der(maker.certificate) for maker in makers]


def test_the_chain_runs_from_leaf_to_root():
    assert [der(found) for found in chain.build_chain(LEAF, CHAIN, ROOT.certificate, AT)] == [
        LEAF,
        *CHAIN,
        der(ROOT.certificate),
    ]


def test_useless_candidates_are_passed_over():
    stranger = make_root("stranger")
    late = make_issuer(ROOT, start=START + 1000 * DAY)
    sent = [b"", b"junk", LEAF, *chain_of(stranger, late, ROOT, ISSUER, ISSUER)]
    assert len(chain.build_chain(LEAF, sent, ROOT.certificate, AT)) == 3


def test_a_renewed_issuer_of_the_same_name_is_found():
    renewed = make_issuer(ROOT)
    made = make_leaf(issuer=renewed)
    found = chain.build_chain(made, chain_of(ISSUER, renewed), ROOT.certificate, AT)
    assert found[1] == renewed.certificate


def test_two_intermediates_when_path_lengths_allow():
    root = make_root(path_length=2)
    upper = make_issuer(root, "upper", path_length=1)
    lower = make_issuer(upper, "lower", path_length=0)
    made = make_leaf(issuer=lower)
    assert len(chain.build_chain(made, chain_of(lower, upper), root.certificate, AT)) == 4


def test_a_leaf_below_the_root_itself():
    assert len(chain.build_chain(make_leaf(issuer=ROOT), [], ROOT.certificate, AT)) == 2


@pytest.mark.parametrize(
    ("offset", "valid"),
    [(-1, False), (0, True), (365 * 86400, True), (365 * 86400 + 1, False)],
    ids=["a second early", "first second", "last second", "a second late"],
)
def test_the_dates_are_inclusive_and_exact(offset, valid):
    at = int(START.timestamp()) + offset
    if valid:
        assert chain.build_chain(LEAF, CHAIN, ROOT.certificate, at)
    else:
        with pytest.raises(chain.UntrustedChain):
            chain.build_chain(LEAF, CHAIN, ROOT.certificate, at)


def forged() -> tuple[bytes, list[bytes]]:
    """Another root and issuer with the good ones' names."""
    issuer = make_issuer(make_root())
    return make_leaf(issuer=issuer), chain_of(issuer)


def self_signed() -> tuple[bytes, list[bytes]]:
    return make_leaf(issuer=Maker(MEMBER, LEAF_KEY)), []


def below_a_member() -> tuple[bytes, list[bytes]]:
    """A member's own key and certificate used as an issuer."""
    member = Maker(MEMBER, LEAF_KEY)
    return make_leaf(issuer=member), [LEAF, *CHAIN]


def below(**options) -> tuple[bytes, list[bytes]]:
    issuer = make_issuer(ROOT, **options)
    return make_leaf(issuer=issuer), chain_of(issuer)


def too_deep() -> tuple[bytes, list[bytes]]:
    """An issuer whose path length is 0 has made another issuer."""
    lower = make_issuer(ISSUER, "lower", path_length=None)
    return make_leaf(issuer=lower), chain_of(lower, ISSUER)


def too_deep_for_the_root() -> tuple[bytes, list[bytes]]:
    upper = make_issuer(ROOT, "upper", path_length=None)
    lower = make_issuer(upper, "lower", path_length=None)
    return make_leaf(issuer=lower), chain_of(lower, upper)


def wrong_name() -> tuple[bytes, list[bytes]]:
    return make_leaf(issuer=Maker("another name", ISSUER.key)), CHAIN


def other_root() -> tuple[bytes, list[bytes]]:
    signing = make_root("signing CA")
    issuer = make_issuer(signing, "signing issuer")
    return make_leaf(issuer=issuer), chain_of(issuer, signing)


def broken_signature() -> tuple[bytes, list[bytes]]:
    return LEAF[:-1] + bytes([LEAF[-1] ^ 1]), CHAIN


def test_unused_bits_in_the_signature_are_refused():
    """They are outside what is signed, so the same certificate would have two fingerprints."""
    for _ in range(64):
        made = make_leaf()
        if made[-1] % 2 == 0:
            break
    signature = x509.load_der_x509_certificate(made).signature
    start = len(made) - len(signature)
    spelt = made[: start - 1] + b"\x01" + signature
    with pytest.raises(mc.MalformedCertificate, match="canonical"):
        mc.parse(spelt)
    with pytest.raises(chain.UntrustedChain, match="canonical"):
        chain.build_chain(spelt, CHAIN, ROOT.certificate, AT)


NAME_CONSTRAINTS = (x509.NameConstraints([x509.DNSName("example.org")], None), True)


@pytest.mark.parametrize(
    "make",
    [
        forged,
        self_signed,
        below_a_member,
        too_deep,
        too_deep_for_the_root,
        wrong_name,
        other_root,
        broken_signature,
        lambda: (LEAF, []),
        lambda: (LEAF, [b""]),
        lambda: (LEAF, CHAIN * (chain.MAX_INTERMEDIATES + 1)),
        lambda: (CHAIN[0], []),
        lambda: (b"", CHAIN),
        lambda: (LEAF + b"\0", CHAIN),
        lambda: below(extensions=ca_extensions(0, ca=False)),
        lambda: below(extensions=[usage(key_cert_sign=True)]),
        lambda: below(extensions=ca_extensions(0, digital_signature=True)),
        lambda: below(extensions=[*ca_extensions(0), NAME_CONSTRAINTS]),
        lambda: below(start=START - 900 * DAY),
        lambda: below(start=START + 300 * DAY),
        lambda: below(key=ec.generate_private_key(ec.SECP521R1())),
        lambda: (make_leaf(start=START - 900 * DAY), CHAIN),
        lambda: (make_leaf(start=START + 300 * DAY), CHAIN),
    ],
    ids=[
        "forged CA of the same name",
        "self-signed",
        "a member's certificate as issuer",
        "deeper than the issuer allows",
        "deeper than the root allows",
        "issued under another name",
        "another root, sent along",
        "broken signature",
        "no intermediate",
        "empty intermediate",
        "too many intermediates",
        "an issuer as leaf",
        "no leaf",
        "trailing byte",
        "issuer CA:FALSE",
        "issuer without basic constraints",
        "issuer may not sign certificates",
        "issuer with constraints that are not understood",
        "issuer expired",
        "issuer not yet valid",
        "issuer on P-521",
        "leaf expired",
        "leaf not yet valid",
    ],
)
def test_build_chain_refuses(make):
    made, sent = make()
    with pytest.raises(chain.UntrustedChain):
        chain.build_chain(made, sent, ROOT.certificate, AT)


@pytest.mark.parametrize(
    "options",
    [
        {"days": 10},
        {"start": START + 300 * DAY},
        {"extensions": ca_extensions(1, ca=False)},
        {"extensions": []},
        {"extensions": ca_extensions(1, crl_sign=True)},
    ],
    ids=["expired", "not yet valid", "CA:FALSE", "no basic constraints", "may not sign certificates"],
)
def test_a_root_that_may_not_issue_is_refused(options):
    root = make_root(**options)
    issuer = make_issuer(root)
    with pytest.raises(chain.UntrustedChain):
        chain.build_chain(make_leaf(issuer=issuer), chain_of(issuer), root.certificate, AT)


def test_the_reason_names_what_was_passed_over():
    made, sent = below(start=START - 900 * DAY)
    with pytest.raises(chain.UntrustedChain, match="has expired"):
        chain.build_chain(made, sent, ROOT.certificate, AT)


def names_key(key_id: bytes | None = None, issuer: str | None = None, serial: int | None = None):
    """An authority key identifier; `issuer` is the common name of whoever issued the issuer's certificate."""
    names = None if issuer is None else [x509.DirectoryName(name(issuer))]
    return x509.AuthorityKeyIdentifier(key_id, names, serial), False


def has_key(key_id: bytes):
    return x509.SubjectKeyIdentifier(key_id), False


OURS, ANOTHERS = b"our key", b"another key"
ROOT_KEY = b"the root's key"
ISSUER_SERIAL = 4711


@pytest.mark.parametrize(
    ("leaf", "issuer", "root", "trusted"),
    [
        ([names_key(OURS)], [has_key(OURS), names_key(ROOT_KEY)], [has_key(ROOT_KEY)], True),
        ([names_key(OURS)], [], [], True),
        ([], [has_key(OURS)], [has_key(ROOT_KEY)], True),
        ([names_key()], [has_key(OURS)], [], True),
        ([names_key(OURS)], [has_key(OURS), names_key(ROOT_KEY)], [], True),
        ([names_key(None, "client CA", ISSUER_SERIAL)], [], [], True),
        ([names_key(OURS, "client CA", ISSUER_SERIAL)], [has_key(OURS)], [], True),
        ([has_key(ANOTHERS), names_key(OURS)], [has_key(OURS)], [], True),
        ([names_key(ANOTHERS)], [has_key(OURS)], [], False),
        ([names_key(OURS[:-1])], [has_key(OURS)], [], False),
        ([names_key(OURS)], [has_key(OURS), names_key(ANOTHERS)], [has_key(ROOT_KEY)], False),
        ([names_key(None, "client CA", ISSUER_SERIAL + 1)], [], [], False),
        ([names_key(None, "client issuer", ISSUER_SERIAL)], [], [], False),
        ([names_key(OURS, "client CA", ISSUER_SERIAL + 1)], [has_key(OURS)], [], False),
        ([names_key(ANOTHERS, "client CA", ISSUER_SERIAL)], [has_key(OURS)], [], False),
        ([extension(ExtensionOID.AUTHORITY_KEY_IDENTIFIER, b"\x30\x03\x82\x01\x05")], [], [], False),
    ],
    ids=[
        *("all agree", "the issuer has none", "the leaf names none", "an empty one", "the root has none"),
        *("issuer and serial", "all three parts", "the leaf's own is not the issuer's"),
        *("another key", "a beginning of the key", "the issuer names another root's key", "another serial"),
        *("another issuer's name", "key right, serial wrong", "serial right, key wrong", "a serial without a name"),
    ],
)
def test_key_identifiers_that_are_there_agree(leaf, issuer, root, trusted):
    """RFC 5280 §4.2.1.1, §4.2.1.2. Every signature is good: the identifiers alone decide."""
    top = make_root(extensions=[*ca_extensions(1), *root])
    middle = make_issuer(top, extensions=[*ca_extensions(0), *issuer], serial=ISSUER_SERIAL)
    made = make_leaf(leaf_extensions(more=leaf), issuer=middle)
    if trusted:
        assert len(chain.build_chain(made, chain_of(middle), top.certificate, AT)) == 3
    else:
        with pytest.raises(chain.UntrustedChain):
            chain.build_chain(made, chain_of(middle), top.certificate, AT)


def test_of_two_certificates_of_one_issuer_the_one_named_is_taken():
    first = make_issuer(ROOT, serial=1)
    second = make_issuer(ROOT, key=first.key, serial=2)
    made = make_leaf(leaf_extensions(more=[names_key(None, "client CA", 2)]), issuer=first)
    found = chain.build_chain(made, chain_of(first, second), ROOT.certificate, AT)
    assert found[1].serial_number == 2


def test_issuers_that_sign_each_other_cost_little():
    makers = [Maker(f"issuer {number}") for number in range(2)]
    crossed = [signer.issue(maker.common, maker.key, ca_extensions(None)) for maker in makers for signer in makers] + [
        signer.issue(maker.common, maker.key, ca_extensions(9)) for maker in makers for signer in makers
    ]
    assert len(crossed) == chain.MAX_INTERMEDIATES
    leaf, intermediates = make_leaf(issuer=makers[0]), [der(one) for one in crossed]

    def build():
        with pytest.raises(chain.UntrustedChain):
            chain.build_chain(leaf, intermediates, ROOT.certificate, AT)

    assert calls(build) < 3_000, "twice what it is"


# Fuzz: nothing but the two errors comes out, and nothing that differs from the good certificate gets in


@given(st.binary(max_size=400))
def test_parse_raises_only_malformed_certificate(data):
    with pytest.raises(mc.MalformedCertificate):
        mc.parse(data)


MUTATIONS = st.lists(
    st.tuples(st.sampled_from(["set", "insert", "delete", "copy"]), st.integers(0, len(LEAF)), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)


def mutated(original: bytes, mutations) -> bytes:
    data = bytearray(original)
    for kind, position, value in mutations:
        if kind == "set" and position < len(data):
            data[position] = value
        elif kind == "insert":
            data.insert(position, value)
        elif kind == "delete":
            del data[position : position + 1 + value % 8]
        elif kind == "copy":
            data[position:position] = data[position : position + value]
    return bytes(data)


@settings(max_examples=1500, deadline=None)
@given(MUTATIONS)
def test_no_mutation_of_a_good_certificate_is_trusted(mutations):
    data = mutated(LEAF, mutations)
    if data == LEAF:
        return
    try:
        mc.parse(data)
        chain.build_chain(data, CHAIN, ROOT.certificate, AT)
    except (mc.MalformedCertificate, chain.UntrustedChain):
        return
    pytest.fail("a certificate that nobody signed was trusted")


@settings(max_examples=500, deadline=None)
@given(MUTATIONS)
def test_no_mutation_of_an_intermediate_gets_out_of_hand(mutations):
    data = mutated(CHAIN[0], mutations)
    if data == CHAIN[0]:
        return
    with pytest.raises(chain.UntrustedChain):
        chain.build_chain(LEAF, [data], ROOT.certificate, AT)

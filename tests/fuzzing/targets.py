"""Each reader of what strangers send, with inputs that it takes: anything else must meet its own refusal, and no other error.

Used by test_parsers.py, which replays and mutates the seeds, and by explore.py, in which atheris looks for more.
"""

import contextlib
import dataclasses
import random
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from consent_server.outbound import fields
from consent_server.pki import chain, crl, member_certificate, ocsp
from consent_server.pki.chain import UntrustedChain
from consent_server.pki.crl import NotTrusted
from consent_server.pki.member_certificate import (
    OID_MEMBER,
    OID_ROLES,
    MalformedCertificate,
    encode_member,
    encode_roles,
)
from consent_server.refusal import Refusal
from consent_server.scheme import messages, permission_text, rdf, readings, registry_document
from consent_server.scheme.messages import MessageError
from consent_server.scheme.provenance import container, duties
from consent_server.scheme.provenance.step import ProvenanceError, StepSequence, decode_step
from consent_server.scheme.readings import ReadingError
from consent_server.scheme.registry_document import MalformedLicense
from consent_server.tokens import access_token, compact, keys, status
from consent_server.tokens.keys import PublicKeys, SigningKeys
from consent_server.tokens.status import StatusListInvalid
from tests.jose import decoded
from tests.pki.authorities import CA, NOW, Signer, answer_of, list_of, make_root, part
from tests.scheme.provenance import worst
from tests.scheme.provenance.test_worst import EXPECTED as OF_A_CALL
from tests.scheme.provenance.test_worst import TERMS
from tests.scheme.signing import EDP_ROLE, signing_authority
from tests.scheme.test_registry_document import COMPACT, TURTLE, URL, expanded
from tests.tokens.test_access_token import AUDIENCE, GOOD, ISSUER, NOON

EXPECTED = dataclasses.replace(OF_A_CALL, signer_member="", signer_application="")
STATUS_URI = "https://issuer.example/status"


@dataclasses.dataclass(frozen=True)
class Target:
    """A part of a parser, and seeds that it takes; `in_json` if what it reads is mutated as a JSON value as well."""

    parser: str
    read: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    in_json: bool = False


# certificates and lists


@cache
def authority() -> tuple[Signer, Signer, Signer]:
    """A root, an issuer and a member."""
    root = make_root()
    issuer = root.issue("Issuer", CA)
    extensions = [
        (x509.SubjectAlternativeName([_uri("https://directory.example/a/cap")]), False),
        (_unrecognized(OID_MEMBER, encode_member("https://directory.example/m/cap")), False),
        (_unrecognized(OID_ROLES, encode_roles(["https://registry.example/role/cap"])), False),
    ]
    return root, issuer, issuer.issue("member", *extensions)


def _uri(url: str) -> Any:
    return x509.UniformResourceIdentifier(url)


def _unrecognized(oid: Any, content: bytes) -> Any:
    return x509.UnrecognizedExtension(oid, content)


def read_certificate(data: bytes) -> None:
    root, issuer, _ = authority()
    for read in (member_certificate.parse, member_certificate.one_pem, member_certificate.decode_roles):
        with contextlib.suppress(MalformedCertificate):
            read(data)
    with contextlib.suppress(MalformedCertificate):
        member_certificate.decode_member(data)
    with contextlib.suppress(UntrustedChain):
        chain.build_chain(data, [data, issuer.certificate.public_bytes(Encoding.DER)], root.certificate, NOW)


def certificate_seeds() -> list[bytes]:
    _, issuer, member = authority()
    return [
        member.certificate.public_bytes(Encoding.DER),
        member.certificate.public_bytes(Encoding.PEM),
        issuer.certificate.public_bytes(Encoding.DER),
        encode_roles(["https://registry.example/role/cap"]),
        encode_member("https://directory.example/m/cap"),
    ]


def read_revocation(data: bytes) -> None:
    root, issuer, member = authority()
    with contextlib.suppress(NotTrusted):
        crl.read_revocation_list(data, [issuer.certificate], root.certificate, NOW)
    with contextlib.suppress(NotTrusted):
        crl.status(data, member.certificate, issuer.certificate, ("http://a/1",), NOW)
    with contextlib.suppress(NotTrusted):
        ocsp.status(data, member.certificate, issuer.certificate, NOW)


def revocation_seeds() -> list[bytes]:
    root, issuer, member = authority()
    return [
        list_of(issuer, 1, member.certificate.serial_number),
        list_of(issuer, extensions=(part("http://a/1", only_contains_user_certs=True),)),
        list_of(root, 5, extensions=(part(only_contains_ca_certs=True),)),
        answer_of(member.certificate, issuer),
    ]


# tokens


@cache
def signing_keys() -> SigningKeys:
    folder = Path(tempfile.mkdtemp(prefix="fuzzing-")) / "keys"
    keys.make(folder, NOON - 3600)
    return SigningKeys(folder)


def read_token(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for at in (NOON, NOON + 601):
        with contextlib.suppress(Refusal):
            access_token.read(text, signing_keys(), issuer=ISSUER, audience=AUDIENCE, at=at)
    with contextlib.suppress(StatusListInvalid):
        status.decode(text, signing_keys(), STATUS_URI, NOON)


def token_seeds() -> list[bytes]:
    bits = status.with_ended(b"", 1000, range(0, 1000, 7))
    return [
        access_token.mint(signing_keys(), GOOD).encode(),
        access_token.mint(signing_keys(), dataclasses.replace(GOOD, cnf="A" * 43)).encode(),
        status.encode(signing_keys(), STATUS_URI, bits, NOON, 2, NOON + 45).encode(),
    ]


def read_claims(data: bytes) -> None:
    """Claims that the issuer's own key has signed: what is behind the signature is read as carefully."""
    try:
        claims = fields.document(data)
    except ValueError:
        return
    for typ in (access_token.TYP, status.TYP):
        with contextlib.suppress(ValueError, RecursionError):  # not to be signed, as by json
            read_token(compact.sign(signing_keys(), typ, claims).encode())


def claims_seeds() -> list[bytes]:
    return [decoded(seed.decode().split(".")[1]) for seed in token_seeds()]


def read_jwks(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        PublicKeys(fields.document(data))


def jwks_seeds() -> list[bytes]:
    return [signing_keys().jwks_document()]


# what is in JSON


def _json(data: bytes) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def read_provenance(data: bytes) -> None:
    with contextlib.suppress(ProvenanceError):
        container.verify(_json(data), worst.FRAMEWORK, signing_authority().root)


def provenance_seeds() -> list[bytes]:
    return [orjson.dumps(each) for each in (worst.signatures(3), worst.nested(13), worst.signers(2))]


def read_step(data: bytes) -> None:
    """A step that the member that we called has signed: what is behind the signature is read as carefully."""
    sequence = StepSequence()
    signature = {"signed": {"member": "", "application": "", "roles": [EDP_ROLE]}, "includedBy": [], "timestamp": ""}
    with contextlib.suppress(ProvenanceError):
        sequence.append(dict(worst.ORIGIN))
        step = decode_step(data)
        sequence.append(step)
        duties.receipt_check([{**step, "_signature": {**signature, "timestamp": worst.ORIGIN["timestamp"]}}], EXPECTED)


def step_seeds() -> list[bytes]:
    steps: list[dict[str, object]] = [
        {
            "id": "1",
            "type": "permission",
            "account": "a",
            "expires": "2027-01-01T00:00:00Z",
            "allows": {"licenses": ["l"]},
        },
        {"id": "2", "type": "process", "inputs": ["o"], "permissions": []},
        {"id": "3", "type": "transfer", "of": "o", "number": 1e300, **TERMS},
    ]
    return [orjson.dumps({**step, "timestamp": "2026-03-12T09:30:00Z"}) for step in steps]


def read_license(data: bytes) -> None:
    with contextlib.suppress(MalformedLicense):
        registry_document.from_rdf(data, URL)


def read_rdf(data: bytes) -> None:
    with contextlib.suppress(rdf.MalformedRdf):
        for properties in rdf.read(data, URL).values():
            assert all(isinstance(value, str) for values in properties.values() for value in values)


def rdf_seeds() -> list[bytes]:
    return [TURTLE.encode(), *license_seeds()]


def license_seeds() -> list[bytes]:
    documents: list[object] = [
        COMPACT,
        [expanded(deprecatedAfter=[{"@value": "2026-09-01"}])],
        {"@context": COMPACT["@context"], "@graph": [COMPACT]},
        {**COMPACT, "@context": [{"@vocab": "https://registry.trust.ib1.org/ns/1.0#"}, COMPACT["@context"]]},
    ]
    return [orjson.dumps(each) for each in documents]


def read_text(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    permission_text.render(text)
    for fuel in ("electricity", "gas"):
        permission_text.names_fuel(text, fuel)


def text_seeds() -> list[bytes]:
    return [
        b"[CAP] may read  your half-hourly gas and electricity consumption:\n* one \n* two\n\n_head_\n\n[Policy](https://a.example/b)"
    ]


def read_readings(data: bytes) -> None:
    document = _json(data)
    with contextlib.suppress(ReadingError):
        readings.parse(document)


def readings_seeds() -> list[bytes]:
    day = NOON - NOON % 86400
    block = readings.day_block("electricity", day, [1.0, None, *[2.5] * 46], 10.0)
    gas = readings.day_block("gas", day, [0.5] * 48, 0.0)
    demo = b'{"type":"Electricity","from":"2026-03-12T00:00:00Z","to":"2026-03-12T00:30:00Z","takenAt":"2026-03-12T00:10:00Z",'
    demo += b'"energy":{"value":1,"unitCode":"KWH"}}'
    return [b"[" + each[:2000].rpartition(b',{"type"')[0] + b"]" for each in (block, gas)] + [b"[" + demo + b"]"]


def read_message(data: bytes) -> None:
    with contextlib.suppress(MessageError):
        messages.parse_withdrawal(_json(data), (messages.WITHDRAWAL_SUBJECT,))


def message_seeds() -> list[bytes]:
    return [orjson.dumps(messages.withdrawal("https://r.example", messages.WITHDRAWAL_SUBJECT, "a token"))]


TARGETS = {
    "certificate": Target("certificate", read_certificate, certificate_seeds),
    "revocation": Target("revocation list", read_revocation, revocation_seeds),
    "token": Target("token", read_token, token_seeds),
    "claims": Target("token", read_claims, claims_seeds, in_json=True),
    "jwks": Target("token", read_jwks, jwks_seeds, in_json=True),
    "provenance": Target("provenance", read_provenance, provenance_seeds, in_json=True),
    "step": Target("provenance", read_step, step_seeds, in_json=True),
    "license": Target("JSON-LD", read_license, license_seeds, in_json=True),
    "rdf": Target("JSON-LD", read_rdf, rdf_seeds, in_json=True),
    "text": Target("JSON-LD", read_text, text_seeds),
    "readings": Target("readings", read_readings, readings_seeds, in_json=True),
    "message": Target("message", read_message, message_seeds, in_json=True),
}


# mutations

_BYTES = (
    b"\0",
    b"\xff",
    b"\x30\x80",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"-----BEGIN",
    b"[" * 2000,
    b'{"a":' * 500,
    b"9" * 5000,
)
_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**63, 1e308, "", "x", "\0", "\U0010ffff", "https://[", "https://xn--/", "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+23:59", [], {}, [[]], {"@id": {}}, {"@value": None}, "@id", "AAAA", "e30=", ["a"] * 50,
)  # fmt: skip


def mutated(data: bytes, chance: random.Random, *, in_json: bool) -> bytes:
    """Some bytes changed, or one value of a JSON document replaced, removed or doubled."""
    if in_json and chance.random() < 0.7:
        with contextlib.suppress(orjson.JSONDecodeError):
            return orjson.dumps(_value_changed(orjson.loads(data), chance), option=orjson.OPT_NON_STR_KEYS)
    for _ in range(chance.randint(1, 3)):
        at = chance.randint(0, len(data))
        until = min(len(data), at + chance.choice((0, 1, 1, 2, 8, 64)))
        new = chance.choice((b"", chance.randbytes(1), chance.randbytes(2), chance.choice(_BYTES), data[at:until] * 2))
        data = data[:at] + new + data[until:]
    return data


def _value_changed(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict | list) and value and chance.random() < 0.8:
        changed = value.copy()
        key = chance.choice(list(changed)) if isinstance(changed, dict) else chance.randrange(len(changed))
        how = chance.random()
        if how < 0.1:
            del changed[key]
        elif how < 0.2 and isinstance(changed, list):
            changed.append(changed[key])
        elif how < 0.2:
            changed[str(chance.choice(_VALUES))] = changed[key]
        else:
            changed[key] = _value_changed(changed[key], chance)
        return changed
    if isinstance(value, str) and value and chance.random() < 0.5:
        at = chance.randrange(len(value))
        return value[:at] + chance.choice(("", "=", "\0", "é", "/", value)) + value[at + 1 :]
    return chance.choice(_VALUES)

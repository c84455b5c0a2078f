"""Provenance records: the origin of data, the permission for them, their processing and their recipients.

A record is a JSON object (IB1 Provenance Records 1.0, container version 0):

    {"ib1:provenance": trust framework URL,
     "origins": [ids of its origin steps, in order],
     "steps": [element, ..., [0, serial, time, signature]],
     "certificates": {serial: [PEM, issuer's serial, ...], issuer's serial: [PEM]}}

An element is a step (its JSON in URL-safe Base64 with padding) or another party's signed list, unchanged, so that its
signature still verifies. The signature covers the trust framework's URL, the elements (a nested list between `%`
and `&`, its own signature included), and then version, serial and time, all joined by full stops. The published text
omits those last three; real records have them. It is ECDSA with SHA-256 in DER.

Records made by `ib1-provenance` 0.5.3 verify here and ours verify there (tests/interop). We require more than it does:
strict Base64 and JSON, unique ids, references that lead to earlier steps of the right type, and limits on everything.
A step by itself is in step.py, what Perseus writes into steps in steps.py, and what a receiver must check in duties.py.
"""

import base64
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

from consent_server.pki import member_certificate
from consent_server.pki.chain import MAX_INTERMEDIATES, UntrustedChain, build_chain, validity
from consent_server.pki.member_certificate import MalformedCertificate
from consent_server.pki.reading import UNREADABLE
from consent_server.scheme import instant
from consent_server.scheme.provenance.step import (
    ProvenanceError,
    Step,
    StepSequence,
    decode_base64,
    decode_step,
    encode_step,
    require_text_of_step,
)
from consent_server.signing import key as signing_key

VERSION = 0

# Limits. A blended report of fifty meters collected monthly, or of a thousand meters collected once, stays below them: each
# response adds two signatures, and a business has few suppliers. At its worst a megabyte within them costs 0.3 s of CPU.
MAX_STEPS = 10_000
MAX_SIGNATURES = 2_200
MAX_CERTIFICATES = 60
MAX_NESTED_LISTS = 12
MAX_RECORD_CHARACTERS = 12_000_000
MAX_BRACKETS = 80_000
MAX_SIGNATURE_CHARACTERS = 300

# Seconds by which the clock of a record's maker may be wrong.
CLOCK_SKEW = 300

_SERIAL = re.compile(r"[1-9][0-9]{0,48}", re.ASCII)  # at most 20 octets (RFC 5280 §4.1.2.2)

VerifiedStep = dict[str, Any]
"""A step as its signer wrote it, and `_signature`: {"signed": {"member", "name", "application", "roles"},
"includedBy": [the same of each party that signed around it, the last signer first], "timestamp": of its signature}."""
SignedRecord = dict[str, Any]
SignedList = list[Any]


class RecordTooLong(ProvenanceError):
    """A record has more steps, text or signatures than a receiver reads."""


# Making records


class Signer:
    """A member's signing certificate with its chain, and its `key`. `member`, `application` and `roles` are the
    certificate's; it and its issuers are valid from `not_before` to `not_after`."""

    def __init__(self, certificate_chain_pem: bytes, key_file: bytes) -> None:
        """Take PEM: the leaf, then its issuers (the root may be left out); what the leaf's key file holds (`signing.key`).

        Raise ProvenanceError when they do not match, MalformedCertificate for a leaf that is no member certificate.
        """
        chain = member_certificate.load_certificates(certificate_chain_pem)
        leaf = member_certificate.parse(chain[0].public_bytes(serialization.Encoding.DER))
        try:
            key = signing_key.load(key_file)
        except signing_key.KeyUnusable as error:
            raise ProvenanceError(f"the signing key: {error}") from None
        if key.public_key() != chain[0].public_key():
            raise ProvenanceError("the signing key must be the key of the first certificate")
        for lower, upper in pairwise(chain):
            try:
                lower.verify_directly_issued_by(upper)
            except (InvalidSignature, ValueError, TypeError):
                raise ProvenanceError("the chain must hold each certificate's issuer after it, and no other") from None
        self.member = leaf.member
        self.application = leaf.application
        self.roles = leaf.roles
        self.serial = str(leaf.serial)
        self.not_before, self.not_after = validity(chain)
        self.certificates = _certificate_entries(chain)
        #: The leaf and then its issuers, in DER.
        self.chain = tuple(each.public_bytes(serialization.Encoding.DER) for each in chain)
        self.key = key

    def is_valid(self, at: int) -> bool:
        """Return whether the certificate and its issuers are valid at an instant."""
        return self.not_before <= at <= self.not_after

    def sign(self, data: bytes) -> bytes:
        """Return a signature: ECDSA with SHA-256, in DER. Raise Unavailable while its HSM cannot be reached."""
        return self.key.sign(data)


class Record:
    """An unfinished record: add steps and other parties' records in order, then sign()."""

    def __init__(self, trust_framework: str) -> None:
        self._trust_framework = trust_framework
        self._elements: SignedList = []
        self._certificates: dict[str, list[str]] = {}
        self._sequence = StepSequence()

    def add_step(self, step: Mapping[str, Any]) -> str:
        """Add one of our own steps, without `id` and with `timestamp`, and return its new id.

        Raise ProvenanceError for a step that verify() would refuse.
        """
        if "id" in step:
            raise ProvenanceError("a step is given its id when it is added")
        identifier = secrets.token_urlsafe(15)
        # This order of members is the reference library's.
        complete = {"id": identifier, "timestamp": None, "type": None} | dict(step)
        text = encode_step(complete)
        element = base64.urlsafe_b64encode(text).decode()
        require_text_of_step(element)
        self._sequence.append(decode_step(text))
        self._elements.append(element)
        return identifier

    def add_record(self, signed: object) -> None:
        """Add a record that another party, or we, signed. Verify it first: only its structure is checked here."""
        container = _Container(signed, self._trust_framework)
        certificates = _merged(self._certificates, container.certificates_used())
        for _, step in container.steps():
            self._sequence.append(step)
        self._certificates = certificates
        self._elements.append(container.outermost.signed_list)

    def sign(self, signer: Signer, at: int) -> SignedRecord:
        """Return the record, signed at the instant `at`. It shares its parts with what was added: do not change it.

        Raise ProvenanceError when there is no origin step, or two certificates claim one serial number.
        """
        if not self._sequence.origins:
            raise ProvenanceError("a record has at least one origin step")
        certificates = _merged(self._certificates, signer.certificates)
        signing_time = instant.text(at)
        data = _signing_input(self._trust_framework, self._elements, signer.serial, signing_time)
        signature = base64.urlsafe_b64encode(signer.sign(data)).decode()
        return {
            "ib1:provenance": self._trust_framework,
            "origins": list(self._sequence.origins),
            "steps": [*self._elements, [VERSION, signer.serial, signing_time, signature]],
            "certificates": certificates,
        }


# Reading records


def verify(record: object, trust_framework: str, signing_root: x509.Certificate) -> list[VerifiedStep]:
    """Verify every signature in a record (decoded from JSON) and return its steps in order.

    Each signer's chain must lead to `signing_root` at the time of signing; certificates come from the record alone.
    Neither revocation nor the signers' roles are checked: duties.receipt_check() judges who may have signed what.
    Raise ProvenanceError, and nothing else, whatever the input.
    """
    container = _Container(record, trust_framework)
    signers = _Signers(container, signing_root)
    # The outermost signature first: nobody but the member that we called makes us verify more than one.
    signatures = {level: signers.verify(level) for level in reversed(container.levels)}
    sequence = StepSequence()
    verified = []
    for path, step in container.steps():
        sequence.append(step)
        *outer, level = path
        signature = {
            "signed": signatures[level],
            "includedBy": [signatures[above] for above in outer],
            "timestamp": level.signing_time,
        }
        verified.append({**step, "_signature": signature})
    # Provenance Records 1.0, Container structure: the ids of the origin steps, in the order they appear
    if container.origins != sequence.origins:
        raise ProvenanceError("origins must list the record's origin steps in order")
    # Provenance Records 1.0, Origin: at least one
    if not sequence.origins:
        raise ProvenanceError("a record has at least one origin step")
    return verified


def require_readable(record: object, trust_framework: str) -> None:
    """Raise RecordTooLong for a record that is longer than `verify` reads, ProvenanceError for another that it cannot read."""
    _Container(record, trust_framework)


def unverified_steps(record: object, trust_framework: str) -> tuple[list[Step], list[Step]]:
    """Return the steps that the last signer added, and all steps, of a record that was verified before it was kept.

    Only the record's structure is checked. Raise ProvenanceError when it is no record.
    """
    steps = list(_Container(record, trust_framework).steps())
    return [step for path, step in steps if len(path) == 1], [step for _, step in steps]


# The container


@dataclass(frozen=True, eq=False)
class _Level:
    """One signed list and the parts of its signature; `elements` are steps, still encoded, and nested levels."""

    signed_list: SignedList
    elements: "tuple[str | _Level, ...]"
    serial: str
    signing_time: str
    signed_at: int
    signature: bytes


class _Container:
    """A record whose structure has been checked, and nothing else: no signature has been verified yet."""

    def __init__(self, record: object, trust_framework: str) -> None:
        if not isinstance(record, dict):
            raise ProvenanceError("a record is a JSON object")
        # Provenance Records 1.0: no other top-level properties. Without certificates there is nothing to verify with.
        if record.keys() != {"ib1:provenance", "origins", "steps", "certificates"}:
            raise ProvenanceError("a record has exactly ib1:provenance, origins, steps and certificates")
        if record["ib1:provenance"] != trust_framework:
            raise ProvenanceError("ib1:provenance must be this trust framework's URL")
        origins, certificates = record["origins"], record["certificates"]
        if not isinstance(origins, list) or len(origins) > MAX_STEPS:
            raise ProvenanceError("origins must be a list of step ids")
        if not isinstance(certificates, dict) or len(certificates) > MAX_CERTIFICATES:
            raise ProvenanceError("certificates must be an object of lists")
        self.trust_framework = trust_framework
        self.origins: list[object] = origins
        self.certificates: dict[Any, object] = certificates
        self.levels: list[_Level] = []
        self._step_count = 0
        self._characters = 0
        self.outermost = self._level(record["steps"], 0)

    def steps(self) -> Iterator[tuple[list[_Level], Step]]:
        """Yield each step, decoded and in order, with the levels that contain it, the outermost first."""
        brackets = 0
        for path, element in self._walk([self.outermost]):
            text = decode_base64(element)
            brackets += text.count(b"{") + text.count(b"[")
            if brackets > MAX_BRACKETS:  # before they are parsed: each list and object costs more than its characters
                raise ProvenanceError("the record's steps hold too many lists and objects")
            yield path, decode_step(text)

    def certificate_path(self, serial: str) -> list[str]:
        """Return the serials of a signing certificate and of the issuers named with it. Raise ProvenanceError."""
        entry = self.certificates.get(serial)
        if not isinstance(entry, list) or not 1 <= len(entry) <= MAX_INTERMEDIATES + 1:
            raise ProvenanceError("certificates must hold each signing certificate with its issuers' serials")
        issuers = entry[1:]
        if not all(isinstance(issuer, str) and _SERIAL.fullmatch(issuer) for issuer in issuers):
            raise ProvenanceError("certificates must name issuers by their serials")
        return [serial, *issuers]

    def certificate_pem(self, serial: str) -> str:
        entry = self.certificates.get(serial)
        if not isinstance(entry, list) or not entry or not isinstance(entry[0], str):
            raise ProvenanceError("certificates must hold a PEM certificate for every serial that is named")
        return entry[0]

    def certificates_used(self) -> dict[str, list[str]]:
        """Return the entries that the signatures need, and no others."""
        used: dict[str, list[str]] = {}
        for serial in {level.serial: None for level in self.levels}:
            path = self.certificate_path(serial)
            used[serial] = [self.certificate_pem(serial), *path[1:]]
            for issuer in path[1:]:
                used.setdefault(issuer, [self.certificate_pem(issuer)])
        return used

    def _level(self, signed_list: object, depth: int) -> _Level:
        if depth > MAX_NESTED_LISTS:
            raise ProvenanceError("the signed lists are nested too deeply")
        if not isinstance(signed_list, list) or len(signed_list) < 2:
            raise ProvenanceError("a signed list has one or more elements and then a signature")
        elements: list[str | _Level] = []
        for element in signed_list[:-1]:
            if not isinstance(element, str):
                elements.append(self._level(element, depth + 1))
                continue
            require_text_of_step(element)
            elements.append(element)
            self._step_count += 1
            self._characters += len(element) * (depth + 1)  # it is signed once at each level
            if self._step_count > MAX_STEPS or self._characters > MAX_RECORD_CHARACTERS:
                raise RecordTooLong("the record is too long")
        level = _Level(signed_list, tuple(elements), *_signature_block(signed_list[-1]))
        for inner in elements:
            if isinstance(inner, _Level) and inner.signed_at > level.signed_at + CLOCK_SKEW:
                raise ProvenanceError("a signature cannot be older than what it signs")
        self.levels.append(level)
        if len(self.levels) > MAX_SIGNATURES:
            raise RecordTooLong("the record has too many signatures")
        return level

    def _walk(self, path: list[_Level]) -> Iterator[tuple[list[_Level], str]]:
        for element in path[-1].elements:
            if isinstance(element, str):
                yield path, element
            else:
                yield from self._walk([*path, element])


@dataclass(frozen=True)
class _SigningCertificate:
    """A signing certificate whose chain leads to the root, and the period in which every certificate of it is valid."""

    key: ec.EllipticCurvePublicKey
    member: str
    name: str
    application: str
    roles: tuple[str, ...]
    not_before: int
    not_after: int


class _Signers:
    """The signing certificates of one record. Each chain is built once, however many signatures and times refer to it."""

    def __init__(self, container: _Container, root: x509.Certificate) -> None:
        self._container = container
        self._root = root
        self._ders: dict[str, bytes] = {}
        self._read: dict[str, _SigningCertificate] = {}

    def verify(self, level: _Level) -> dict[str, Any]:
        """Return who signed. Raise ProvenanceError unless the signature is good and its chain was valid at that time."""
        if level.serial not in self._read:
            self._read[level.serial] = self._signing_certificate(level.serial)
        signer = self._read[level.serial]
        if not signer.not_before <= level.signed_at <= signer.not_after:
            fault = "is not yet valid" if level.signed_at < signer.not_before else "has expired"
            raise ProvenanceError(f"signing certificate at the time of signing: a certificate {fault}")
        data = _signing_input(self._container.trust_framework, level.signed_list[:-1], level.serial, level.signing_time)
        if not any(_is_signature(signer.key, form, data) for form in _signature_forms(level.signature)):
            raise ProvenanceError("a signature does not fit what it signs")
        return {
            "member": signer.member,
            "name": signer.name,
            "application": signer.application,
            "roles": [*signer.roles],
        }

    def _signing_certificate(self, serial: str) -> _SigningCertificate:
        path = self._container.certificate_path(serial)
        return _read_chain(self._root, tuple(path), tuple(self._der(named) for named in path))

    def _der(self, serial: str) -> bytes:
        if serial not in self._ders:
            try:
                self._ders[serial] = member_certificate.one_pem(self._container.certificate_pem(serial))
            except MalformedCertificate as error:
                raise ProvenanceError(f"certificates: {error}") from error
        return self._ders[serial]


# A signer's records come by the hundred with the same chain, and building it costs three times what verifying a signature does.
@lru_cache(maxsize=512)
def _read_chain(root: x509.Certificate, path: tuple[str, ...], ders: tuple[bytes, ...]) -> _SigningCertificate:
    """Return the signing certificate whose chain is filed under the serials of `path`. Raise ProvenanceError.

    It is built for the first instant at which all of its certificates are valid: below, each must have its place in it.
    """
    try:
        leaf = member_certificate.parse(ders[0])
        certificates = [root, *map(member_certificate.load, ders)]
        chain = build_chain(ders[0], ders[1:], root, validity(certificates)[0])
    except (MalformedCertificate, UntrustedChain) as error:
        raise ProvenanceError(f"signing certificate: {error}") from error
    except UNREADABLE as error:
        raise ProvenanceError("signing certificate: an issuer's certificate cannot be read") from error
    # A certificate filed under a serial that is not its own, or that the chain does not need, could shadow another
    # party's when records are merged.
    chain_serials = {
        certificate.public_bytes(serialization.Encoding.DER): str(certificate.serial_number) for certificate in chain
    }
    if any(chain_serials.get(der) != named for named, der in zip(path, ders, strict=True)):
        raise ProvenanceError("certificates must hold each certificate under its own serial, and chains alone")
    key = chain[0].public_key()
    # Provenance Records 1.0, Signatures: ES256, which is P-256 (RFC 7518 section 3.4); P-384 costs several times as much
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ProvenanceError("signing certificate: the key must be on P-256")
    try:
        name = str(chain[0].subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)
    except (ValueError, IndexError):
        raise ProvenanceError("signing certificate: the subject must name the organisation") from None
    return _SigningCertificate(key, leaf.member, name, leaf.application, tuple(sorted(leaf.roles)), *validity(chain))


def _signature_block(block: object) -> tuple[str, str, int, bytes]:
    """Return serial, time as written, time and signature."""
    if not isinstance(block, list) or len(block) != 4:
        raise ProvenanceError("a signature has version, serial, time and value")
    version, serial, signing_time, signature = block
    if type(version) is not int or version != VERSION:
        raise ProvenanceError(f"the version of a signed list must be {VERSION}")
    if not isinstance(serial, str) or not _SERIAL.fullmatch(serial):
        raise ProvenanceError("a signature's serial must be decimal text")
    try:
        signed_at = instant.parse(signing_time)
    except ValueError:
        raise ProvenanceError("a signature's time must be an RFC 3339 date-time") from None
    if not isinstance(signature, str) or len(signature) > MAX_SIGNATURE_CHARACTERS:
        raise ProvenanceError("a signature's value must be URL-safe Base64")
    return serial, signing_time, signed_at, decode_base64(signature)


def _signing_input(trust_framework: str, elements: SignedList, serial: str, signing_time: str) -> bytes:
    parts = [trust_framework]
    _gather(elements, parts)
    parts += [str(VERSION), serial, signing_time]
    return ".".join(parts).encode()


def _gather(elements: SignedList, parts: list[str]) -> None:
    for element in elements:
        if isinstance(element, str):
            parts.append(element)
        elif isinstance(element, int):
            parts.append(str(element))
        else:
            parts.append("%")
            _gather(element, parts)
            parts.append("&")


def _signature_forms(signature: bytes) -> list[bytes]:
    """Return it as DER, which every known maker writes, and as r and s, which the published text has (ES256 of JWS)."""
    forms = [signature]
    if len(signature) == 64:
        r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
        forms.append(utils.encode_dss_signature(r, s))
    return forms


def _is_signature(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    try:
        key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _certificate_entries(chain: Sequence[x509.Certificate]) -> dict[str, list[str]]:
    pems = [certificate.public_bytes(serialization.Encoding.PEM).decode() for certificate in chain]
    serials = [str(certificate.serial_number) for certificate in chain]
    entries = {serials[0]: [pems[0], *serials[1:]]}
    for serial, pem in zip(serials[1:], pems[1:], strict=True):
        entries = _merged(entries, {serial: [pem]})
    return entries


def _merged(one: Mapping[str, list[str]], other: Mapping[str, list[str]]) -> dict[str, list[str]]:
    for serial in one.keys() & other.keys():
        if one[serial][0].split() != other[serial][0].split():
            raise ProvenanceError("two certificates have the same serial number")
    # Where one side has a certificate as a signer's and the other as an issuer's, the longer entry serves both.
    return {**one, **{serial: max(one.get(serial, []), entry, key=len) for serial, entry in other.items()}}

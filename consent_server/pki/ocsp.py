"""OCSP requests and responses as values (RFC 6960)."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, SignatureAlgorithmOID

from consent_server.pki.crl import HASHES, NotTrusted, RevocationStatus, readable, require_fresh
from consent_server.pki.reading import UNREADABLE, extension_of


def responders(leaf: x509.Certificate) -> tuple[str, ...]:
    """Return the responders that the certificate names (RFC 5280 section 4.2.2.1). Raise NotTrusted."""
    with readable():
        return tuple(
            named.access_location.value
            for named in extension_of(leaf.extensions, x509.AuthorityInformationAccess) or ()
            if named.access_method == AuthorityInformationAccessOID.OCSP
            and isinstance(named.access_location, x509.UniformResourceIdentifier)
        )


def request(leaf: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """Return the request about one certificate, without a nonce: responses are made ahead, and their dates are judged."""
    return _request(leaf, issuer).public_bytes(Encoding.DER)


def status(der: bytes, leaf: x509.Certificate, issuer: x509.Certificate, at: int) -> RevocationStatus:
    """Return the status of `leaf` in a response at the instant `at`. Raise NotTrusted (RFC 6960 section 3.2)."""
    with readable():
        response = ocsp.load_der_ocsp_response(der)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise NotTrusted("the responder returned an error")
        question = _request(leaf, issuer)
        _require_signed(response, issuer, question.issuer_key_hash, at)
        for one in response.responses:
            if (
                isinstance(one.hash_algorithm, hashes.SHA1)
                and one.serial_number == question.serial_number
                and one.issuer_key_hash == question.issuer_key_hash
                and one.issuer_name_hash == question.issuer_name_hash
            ):
                break
        else:
            raise NotTrusted("about another certificate")
        until = require_fresh(one.this_update_utc, one.next_update_utc, at)
        if one.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
            raise NotTrusted("the responder does not know the certificate")
        return RevocationStatus(one.certificate_status is ocsp.OCSPCertStatus.REVOKED, until)


def _request(leaf: x509.Certificate, issuer: x509.Certificate) -> ocsp.OCSPRequest:
    # SHA-1 only names the issuer here (RFC 5019 section 2.1.1); many responders know no other hash.
    return ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA1()).build()  # noqa: S303 - see above


def _require_signed(response: ocsp.OCSPResponse, issuer: x509.Certificate, issuer_key: bytes, at: int) -> None:
    """Require the signature of the issuer, or of a responder that it certified (RFC 6960 section 4.2.2.2)."""
    signers = [signer for signer in response.certificates if signer != issuer and _is_responder(signer, issuer, at)]
    if response.responder_name == issuer.subject or response.responder_key_hash == issuer_key:
        signers.insert(0, issuer)
    if not any(_signed(response, signer) for signer in signers):
        raise NotTrusted("not signed by the certificate's issuer or a responder of theirs")


def _is_responder(signer: x509.Certificate, issuer: x509.Certificate, at: int) -> bool:
    try:
        signer.verify_directly_issued_by(issuer)
        usage = extension_of(signer.extensions, x509.ExtendedKeyUsage)
        no_check = extension_of(signer.extensions, x509.OCSPNoCheck)
    except (InvalidSignature, *UNREADABLE):
        return False
    return (
        usage is not None
        and ExtendedKeyUsageOID.OCSP_SIGNING in usage
        # RFC 6960 section 4.2.2.2.1: without this extension the responder's own revocation would have to be checked
        and no_check is not None
        and signer.not_valid_before_utc.timestamp() <= at <= signer.not_valid_after_utc.timestamp()
    )


def _signed(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    algorithm, key = response.signature_hash_algorithm, signer.public_key()
    if not isinstance(algorithm, HASHES):
        return False
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey) and response.signature_algorithm_oid != SignatureAlgorithmOID.RSASSA_PSS:
            key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), algorithm)
        else:
            return False
    except InvalidSignature:
        return False
    return True

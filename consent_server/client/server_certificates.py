"""What a member's server certificate must be, beyond what TLS itself asks."""

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

from consent_server.client.errors import NotAllowed


def require_ecdsa(host: str, chain: Sequence[bytes]) -> None:
    """Raises NotAllowed (kind `certificate`) unless the leaf's key is ECDSA P-256 or P-384 (IB1 Baseline TLS).

    Looked at after the handshake: in TLS 1.3 Python does not let a client choose the certificate's key type.
    """
    try:
        key = x509.load_der_x509_certificate(chain[0]).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise NotAllowed("certificate", host) from None
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)):
        raise NotAllowed("certificate", host)

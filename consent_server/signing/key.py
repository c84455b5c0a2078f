"""The private key behind a signature of ours, in a file or in an HSM: a key file says which.

A key file holds the key itself (PEM, PKCS#8, unencrypted), or the PKCS#11 URI of a key that never leaves its HSM.
"""

from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

#: How the text of a PKCS#11 URI begins (RFC 7512 section 2.3).
URI_SCHEME = "pkcs11:"


class KeyUnusable(ValueError):
    """What a key file holds cannot be used. The text says what to do, and shows neither key nor PIN."""


class KeyUnreachable(KeyUnusable):
    """The key is in an HSM that cannot be used now. Nothing is wrong with the key file."""


class SigningKey(Protocol):
    """A private key on an elliptic curve."""

    def public_key(self) -> EllipticCurvePublicKey: ...

    def sign(self, data: bytes) -> bytes:
        """Return a signature: ECDSA with SHA-256, in DER. Raise Unavailable while the key cannot be reached."""

    def require(self) -> None:
        """Raise Unavailable unless it can sign now."""


def load(content: bytes) -> SigningKey:
    """Return the key of a key file. Raise KeyUnusable."""
    if content.startswith(URI_SCHEME.encode()):
        from consent_server.signing import hsm

        return hsm.key_of(content)
    try:
        private = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, EllipticCurvePrivateKey):
        raise KeyUnusable("must be an unencrypted PEM private key on an elliptic curve, or a PKCS#11 URI")
    return _FileKey(private)


class _FileKey:
    def __init__(self, private: EllipticCurvePrivateKey) -> None:
        self._private = private
        self._how = ECDSA(SHA256())

    def public_key(self) -> EllipticCurvePublicKey:
        return self._private.public_key()

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data, self._how)

    def require(self) -> None:
        """Nothing is between us and the key."""

"""Helpers to read certificates, revocation lists, OCSP responses and the chain that TLS verified."""

import ssl
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

Extension = TypeVar("Extension", bound=x509.ExtensionType)

#: What the X.509 library raises on bytes that it cannot or will not read.
UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def extension_of(extensions: x509.Extensions, kind: type[Extension]) -> Extension | None:
    """Return the value of the extension of this kind, or None."""
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def verified_chain(sock: ssl.SSLSocket) -> tuple[bytes, ...]:
    """Return the chain that the TLS layer verified, in DER: the other side's leaf, intermediates, root."""
    if hasattr(sock, "get_verified_chain"):  # public from Python 3.13 on
        return tuple(sock.get_verified_chain())
    import _ssl

    connection: Any = sock._sslobj  # type: ignore[attr-defined]
    return tuple(found.public_bytes(_ssl.ENCODING_DER) for found in connection.get_verified_chain())

"""The client certificate as it reaches us: from the TLS socket, in an RFC 9440 header, as a proxy's escaped PEM, or in
Envoy's X-Forwarded-Client-Cert.

A certificate from here is unverified until `trust` has checked it. A header is read only if the settings say that a proxy
terminates TLS, and accepted only from the proxies that they name.
"""

import base64
import binascii
import hashlib
import ipaddress
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes
from weakref import WeakKeyDictionary

from consent_server.pki.chain import MAX_INTERMEDIATES
from consent_server.pki.member_certificate import MAX_CERTIFICATE_BYTES, MalformedCertificate, one_pem
from consent_server.pki.reading import verified_chain
from consent_server.refusal import Refusal
from consent_server.settings.clients import CertificateHeader, ClientsSettings
from consent_server.settings.values import ip_address

# RFC 8941 section 3.3.5: a byte sequence is base64 between colons; we take padded base64 only, so that one certificate
# has one spelling.
_BYTE_SEQUENCE: Final = re.compile(r":([A-Za-z0-9+/]+={0,2}):")
# nginx escapes everything but unreserved characters; other proxies leave base64's own +, / and = alone.
_ESCAPED: Final = re.compile(r"(?:[A-Za-z0-9._~+/=-]|%[0-9A-Fa-f]{2})+")
# One element of X-Forwarded-Client-Cert: a comma outside quotation marks would begin that of another proxy.
_XFCC_PAIR: Final = r'([A-Za-z]+)=("[^"\\]*"|[^",;=\\]*)'
_XFCC: Final = re.compile(rf"{_XFCC_PAIR}(?:;{_XFCC_PAIR})*")
_LONGEST_HEADER: Final = 8 * MAX_CERTIFICATE_BYTES


class NoCertificate(Refusal):
    """No client certificate reached us, or none from a source that we accept."""

    code = "no_certificate"
    error = "invalid_client"
    status = 401
    public = "This endpoint needs a member certificate: connect with mutual TLS and your application's certificate."
    help = (
        "Connect over TLS 1.3 with your application's client certificate and its issuer's certificate. A certificate "
        "in a header is accepted only from this server's own proxies."
    )
    clause = "FAPI 2.0 5.3.2.1; RFC 8705 2; Member Identity Digital Certificates"


class BadCertificate(Refusal):
    """The proxy passed on something other than one certificate."""

    code = "bad_certificate"
    error = "invalid_client"
    status = 401
    public = "The client certificate could not be read: exactly one certificate is expected."
    help = (
        "The proxy in front of this server passes on one certificate per request, in Client-Cert (RFC 9440) or as "
        "escaped PEM. Two certificates, a repeated header or other content are refused."
    )
    clause = "RFC 9440 2.2; RFC 8705 6.5"


@dataclass(frozen=True)
class Arrival:
    """A certificate and the intermediates that came with it, each in DER, none of them judged yet."""

    leaf: bytes = field(repr=False)
    intermediates: tuple[bytes, ...] = field(default=(), repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate, in hex."""
        return hashlib.sha256(self.leaf).hexdigest()


#: What arrived on each open connection. TLS 1.3 has no renegotiation, and our doors ask for no certificate after the handshake.
_arrivals: Final[WeakKeyDictionary[ssl.SSLSocket, Arrival]] = WeakKeyDictionary()


def from_socket(sock: object) -> Arrival | None:
    """Return what the TLS layer verified on this connection; None without TLS or without a certificate."""
    if not isinstance(sock, ssl.SSLSocket):
        return None
    arrival = _arrivals.get(sock)
    if arrival is None:
        if sock.context.verify_mode is not ssl.CERT_REQUIRED:
            return None
        leaf = sock.getpeercert(binary_form=True)
        if leaf is None:
            return None
        arrival = _arrivals[sock] = Arrival(leaf, verified_chain(sock)[1:-1])
    return arrival


def from_header(value: str, kind: CertificateHeader, chain: str | None) -> Arrival:
    """Return what a proxy passed on: `value` is Client-Cert, the escaped PEM or X-Forwarded-Client-Cert, `chain`
    Client-Cert-Chain where there is one.

    Raise BadCertificate for anything but exactly one certificate in `value`.
    """
    if len(value) > _LONGEST_HEADER or len(chain or "") > _LONGEST_HEADER:
        raise BadCertificate("the header is too long")
    if kind == "client-cert":
        return Arrival(_byte_sequence(value), _byte_sequences(chain))
    if kind == "xfcc":
        value = _cert_of_element(value)
    if not _ESCAPED.fullmatch(value):
        raise BadCertificate("not one escaped PEM")
    try:
        return Arrival(one_pem(unquote_to_bytes(value)))
    except MalformedCertificate as error:
        raise BadCertificate(str(error)) from None


def arrived(environ: Mapping[str, Any], clients: ClientsSettings) -> Arrival:
    """Return the certificate of this request (a WSGI environment), as the settings say that it arrives.

    Raise NoCertificate and BadCertificate.
    """
    if clients.arrival == "tls":
        # A header with a certificate is ignored here (RFC 8705 section 6.5).
        arrival = from_socket(environ.get("gunicorn.socket"))
        if arrival is None:
            raise NoCertificate("no verified certificate on the TLS connection")
        return arrival
    if not _is_proxy(str(environ.get("REMOTE_ADDR", "")), clients.proxies):
        raise NoCertificate("not from a configured proxy")
    if clients.arrival == "client-cert":
        value, chain = environ.get("HTTP_CLIENT_CERT"), environ.get("HTTP_CLIENT_CERT_CHAIN")
    elif clients.arrival == "xfcc":
        value, chain = environ.get("HTTP_X_FORWARDED_CLIENT_CERT"), None
    else:
        value, chain = environ.get("HTTP_" + clients.header.upper().replace("-", "_")), None
    # nginx sends the header empty, others leave it out, when the client showed no certificate
    if not value:
        raise NoCertificate("the proxy passed on no certificate")
    return from_header(value, clients.arrival, chain)


def _cert_of_element(value: str) -> str:
    """Return the escaped PEM of the one Cert in one element of X-Forwarded-Client-Cert. Raise BadCertificate."""
    if not _XFCC.fullmatch(value):
        raise BadCertificate("not one element of X-Forwarded-Client-Cert")
    found: list[str] = [text for name, text in re.findall(_XFCC_PAIR, value) if name.lower() == "cert"]
    if len(found) != 1:
        raise BadCertificate("not one Cert in X-Forwarded-Client-Cert")
    return found[0].strip('"')


def _byte_sequences(value: str | None) -> tuple[bytes, ...]:
    if not value:
        return ()
    # RFC 9440 section 2.3: a list; a field that came twice was joined with a comma, which is a list as well
    found = tuple(_byte_sequence(item.strip(" \t")) for item in value.split(","))
    if len(found) > MAX_INTERMEDIATES:
        raise BadCertificate("too many certificates in the chain")
    return found


def _byte_sequence(value: str) -> bytes:
    match = _BYTE_SEQUENCE.fullmatch(value)
    if match is None:
        raise BadCertificate("not one RFC 9440 byte sequence")
    try:
        data = base64.b64decode(match[1], validate=True)
    except binascii.Error:
        raise BadCertificate("not base64") from None
    if base64.b64encode(data).decode("ascii") != match[1]:
        raise BadCertificate("not canonical base64")
    return data


@lru_cache(maxsize=1024)
def _is_proxy(address: str, proxies: tuple[str, ...]) -> bool:
    try:
        caller = ip_address(address)
        return any(caller in ipaddress.ip_network(proxy) for proxy in proxies)
    except ValueError:
        return False

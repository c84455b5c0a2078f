"""Rows A01 to A05 of the security matrix: whose word is taken for a certificate."""

import base64
import socket
import ssl
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from consent_server.caller.arrival import Arrival, BadCertificate, NoCertificate, arrived, from_header, from_socket
from consent_server.pki.chain import MAX_INTERMEDIATES
from consent_server.settings.clients import ClientsSettings

PROXY = "10.0.0.7"


def byte_sequence(der):
    return f":{base64.b64encode(der).decode()}:"


def pem_of(der):
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()


def behind(kind, **more):
    return ClientsSettings(root=Path("unused"), arrival=kind, proxies=(PROXY, "192.168.0.0/24", "fd00::1"), **more)


def test_client_cert_with_and_without_chain(certificates):
    leaf, issuer = certificates.cap.der, certificates.issuer_der
    for chain, intermediates in [
        (None, ()),
        ("", ()),
        (byte_sequence(issuer), (issuer,)),
        (f"{byte_sequence(issuer)}, {byte_sequence(leaf)}", (issuer, leaf)),
        (f"{byte_sequence(issuer)},{byte_sequence(leaf)}", (issuer, leaf)),
        (",".join([byte_sequence(issuer)] * MAX_INTERMEDIATES), (issuer,) * MAX_INTERMEDIATES),
    ]:
        environ = {"REMOTE_ADDR": PROXY, "HTTP_CLIENT_CERT": byte_sequence(leaf), "HTTP_CLIENT_CERT_CHAIN": chain}
        assert arrived(environ, behind("client-cert")) == Arrival(leaf, intermediates)


@pytest.mark.parametrize("safe", ["", "+/=", "-._~"], ids=["nginx", "load-balancer", "unreserved"])
def test_escaped_pem(certificates, safe):
    header = quote(pem_of(certificates.cap.der), safe=safe)
    environ = {"REMOTE_ADDR": PROXY, "HTTP_X_SSL_CLIENT_CERT": header}
    assert arrived(environ, behind("escaped-pem")) == Arrival(certificates.cap.der, ())


@pytest.mark.parametrize(
    "form",
    [
        'Hash={hash};Cert="{cert}";Subject="CN=a,O=\\"b\\";c";URI=https://directory.example/a/1',
        'By=spiffe://x;Hash={hash};Cert="{cert}"',
        'Cert="{cert}"',
        "Cert={cert}",
    ],
)
def test_envoys_header(certificates, form):
    header = form.replace('\\"b\\"', "b").format(hash="0" * 64, cert=quote(pem_of(certificates.cap.der), safe=""))
    environ = {"REMOTE_ADDR": PROXY, "HTTP_X_FORWARDED_CLIENT_CERT": header}
    assert arrived(environ, behind("xfcc")) == Arrival(certificates.cap.der, ())


def test_the_name_of_the_header_is_a_setting(certificates):
    environ = {"REMOTE_ADDR": PROXY, "HTTP_X_MTLS_LEAF": quote(pem_of(certificates.cap.der))}
    assert arrived(environ, behind("escaped-pem", header="X-Mtls-Leaf")).leaf == certificates.cap.der
    with pytest.raises(NoCertificate):
        arrived(environ, behind("escaped-pem"))


@pytest.mark.parametrize(
    ("address", "believed"),
    [
        (PROXY, True),
        ("192.168.0.44", True),
        ("fd00::1", True),
        ("fd00:0::0:1", True),
        ("10.0.0.8", False),
        ("192.168.1.1", False),
        ("127.0.0.1", False),
        ("::ffff:10.0.0.7", True),
        ("::ffff:10.0.0.8", False),
        ("10.0.0.7 ", False),
        ("", False),
        ("localhost", False),
    ],
)
@pytest.mark.parametrize("kind", ["client-cert", "escaped-pem", "xfcc"])
def test_A02_a_header_is_believed_from_configured_proxies_alone(certificates, kind, address, believed):
    environ = {
        "REMOTE_ADDR": address,
        "HTTP_CLIENT_CERT": byte_sequence(certificates.cap.der),
        "HTTP_X_SSL_CLIENT_CERT": quote(pem_of(certificates.cap.der)),
        "HTTP_X_FORWARDED_CLIENT_CERT": f'Hash=0;Cert="{quote(pem_of(certificates.cap.der), safe="")}"',
        "HTTP_X_FORWARDED_FOR": PROXY,
    }
    if believed:
        assert arrived(environ, behind(kind)).leaf == certificates.cap.der
    else:
        with pytest.raises(NoCertificate, match="not from a configured proxy"):
            arrived(environ, behind(kind))


def test_A01_where_tls_ends_here_a_header_is_not_even_looked_at(certificates):
    environ = {
        "REMOTE_ADDR": PROXY,
        "HTTP_CLIENT_CERT": byte_sequence(certificates.cap.der),
        "HTTP_X_SSL_CLIENT_CERT": quote(pem_of(certificates.cap.der)),
        "HTTP_X_FORWARDED_CLIENT_CERT": f'Cert="{quote(pem_of(certificates.cap.der), safe="")}"',
    }
    for sock in ({}, {"gunicorn.socket": None}, {"gunicorn.socket": object()}):
        with pytest.raises(NoCertificate) as refused:
            arrived(environ | sock, ClientsSettings(root=Path("unused"), proxies=(PROXY,)))
        assert (refused.value.status, refused.value.error) == (401, "invalid_client")
    assert from_socket(None) is None


@pytest.mark.parametrize("mode", [ssl.CERT_NONE, ssl.CERT_OPTIONAL])
def test_A01_a_door_that_does_not_require_a_certificate_has_none(mode):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, mode
    with socket.socket() as plain, context.wrap_socket(plain, do_handshake_on_connect=False) as sock:
        assert from_socket(sock) is None


@pytest.mark.parametrize("kind", ["client-cert", "escaped-pem", "xfcc"])
@pytest.mark.parametrize("value", [None, ""], ids=["absent", "empty"])
def test_A05_no_certificate_behind_a_proxy(kind, value):
    environ = {"REMOTE_ADDR": PROXY, "HTTP_CLIENT_CERT": value, "HTTP_X_SSL_CLIENT_CERT": value}
    with pytest.raises(NoCertificate, match="passed on no certificate"):
        arrived(environ, behind(kind))


def doubled(one):
    return f"{one},{one}"


CLIENT_CERT_FAULTS = {
    "A04-two": lambda der, _: doubled(byte_sequence(der)),
    "A04-chain-in-one": lambda der, _: byte_sequence(der) + byte_sequence(der),
    "with-parameter": lambda der, _: byte_sequence(der) + ";a=1",
    "no-colons": lambda der, _: base64.b64encode(der).decode(),
    "pem": lambda der, _: pem_of(der).replace("\n", " "),
    "base64url": lambda *_: ":--__:",
    "no-padding": lambda der, _: byte_sequence(der + b"x" * ((1 - len(der)) % 3)).replace("=", ""),
    "too-much-padding": lambda *_: ":AAAA==:",
    "not-canonical": lambda *_: ":AB==:",
    "empty-sequence": lambda *_: "::",
    "space": lambda der, _: " " + byte_sequence(der),
    "A03-very-long": lambda *_: ":" + "A" * 1_000_000 + ":",
    "newline": lambda der, _: byte_sequence(der) + "\n",
}


@pytest.mark.parametrize("spoil", CLIENT_CERT_FAULTS.values(), ids=CLIENT_CERT_FAULTS.keys())
def test_a_client_cert_header_that_is_not_one_certificate(certificates, spoil):
    with pytest.raises(BadCertificate) as refused:
        from_header(spoil(certificates.cap.der, certificates.issuer_der), "client-cert", None)
    assert (refused.value.status, refused.value.error) == (401, "invalid_client")


def test_a_chain_header_that_is_not_a_list_of_certificates(certificates):
    leaf = byte_sequence(certificates.cap.der)
    for chain in ["x", f"{leaf},", f"{leaf} {leaf}", ",".join([leaf] * 9), byte_sequence(bytes(200_000))]:
        with pytest.raises(BadCertificate):
            from_header(leaf, "client-cert", chain)


ESCAPED_PEM_FAULTS = {
    "A04-victim-second": lambda pem, other: quote(pem + other),
    "A04-victim-first": lambda pem, other: quote(other + pem),
    "A03-doubled-header": lambda pem, _: quote(pem) + "," + quote(pem),
    "text-before": lambda pem, _: quote("subject=x\n" + pem),
    "text-after": lambda pem, _: quote(pem + "x"),
    "key-beside": lambda pem, _: quote(pem + "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"),
    "not-escaped": lambda pem, _: pem,
    "tabs": lambda pem, _: pem.replace("\n", "\t"),
    "bad-percent": lambda pem, _: quote(pem) + "%zz",
    "cut-percent": lambda pem, _: quote(pem) + "%4",
    "plus-for-space": lambda pem, _: quote(pem).replace("%20", "+"),
    "nul": lambda pem, _: quote(pem) + "%00",
    "utf-16": lambda pem, _: quote(pem.encode("utf-16")),
    "another-block": lambda pem, _: quote(pem.replace("CERTIFICATE", "X509 CRL")),
    "A03-very-long": lambda *_: "A" * 1_000_000,
}


@pytest.mark.parametrize("spoil", ESCAPED_PEM_FAULTS.values(), ids=ESCAPED_PEM_FAULTS.keys())
def test_an_escaped_pem_that_is_not_one_certificate(certificates, spoil):
    with pytest.raises(BadCertificate) as refused:
        from_header(spoil(pem_of(certificates.cap.der), pem_of(certificates.issuer_der)), "escaped-pem", None)
    assert (refused.value.status, refused.value.error) == (401, "invalid_client")


XFCC_FAULTS = {
    "A04-another-proxys-element": lambda cert: f'Cert="{cert}",Cert="{cert}"',
    "A03-doubled-header": lambda cert: f'Hash=0;Cert="{cert}",Hash=0;Cert="{cert}"',
    "two Certs": lambda cert: f'Cert="{cert}";cert="{cert}"',
    "no Cert": lambda cert: f'Chain="{cert}"',
    "a quotation mark that stays open": lambda cert: f'Subject="CN=a;Cert={cert}',
    "an escaped quotation mark": lambda cert: f'Subject="\\"";Cert="{cert}"',
    "a certificate of its own": lambda cert: cert,
    "empty": lambda cert: 'Cert=""',
}


@pytest.mark.parametrize("spoil", XFCC_FAULTS.values(), ids=XFCC_FAULTS.keys())
def test_a_header_of_envoys_that_is_not_one_certificate(certificates, spoil):
    with pytest.raises(BadCertificate):
        from_header(spoil(quote(pem_of(certificates.cap.der), safe="")), "xfcc", None)


def test_a_certificate_is_not_printed(certificates):
    assert str(certificates.cap.der) not in repr(Arrival(certificates.cap.der, (certificates.issuer_der,)))

"""Our certificates and roots, as files: who they name, their chains, keys and days left."""

from collections.abc import Callable, Generator, Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from consent_server.parties.operator.doctor.finding import Finding, doubtful, either, failing, fine
from consent_server.pki import member_certificate
from consent_server.pki.chain import UntrustedChain, build_chain
from consent_server.pki.member_certificate import MalformedCertificate
from consent_server.scheme import roles
from consent_server.scheme.instant import DAY
from consent_server.settings import Settings
from consent_server.settings.doors import ListenerSettings
from consent_server.signing import key as signing_key

# Fewer days left than this -> what to do, the most urgent first.
_RENEW = ((7, "renew it today"), (30, "renew it this week"), (60, "order the renewal"))
_ReadKey = Callable[[bytes], object]
#: Certificate and key, and how the public half of the key is read.
_Held = tuple[Path, Path, _ReadKey]
_HSM = "correct that: the key is in the HSM as before"
_FROM_DIRECTORY = "get a certificate for this application from the Directory"


def own_roles(settings: Settings) -> tuple[str, ...]:
    """Return the role URLs of which our certificates and entries need one."""
    return settings.scheme.edp_roles if settings.party == "edp" else settings.scheme.cap_roles


def roots(settings: Settings, at: int) -> Iterator[Finding]:
    """Examine the two roots of the trust framework, and the issuers below the client root."""
    for name, path in (("client root", settings.clients.root), ("signing root", settings.keys.signing_root)):
        found = yield from _read(name, path)
        if not found:
            continue
        root = found[0]
        whole = len(found) == 1 and _is_authority(root) and _issued(root, root)
        yield either(
            whole,
            f"{name}: one self-signed authority",
            f"{path} must hold the {name} and nothing else",
            f"{name}: not one self-signed authority",
        )
        yield days_left(name, _ends(root), at)
        if name == "client root" and settings.clients.issuers:
            issuers = yield from _read("client issuers", settings.clients.issuers)
            below = bool(issuers) and all(_is_authority(each) and _issued(each, root) for each in issuers)
            yield either(
                below,
                "client issuers: issued by the client root",
                f"mend {settings.clients.issuers}",
                "client issuers: not issued by the client root",
            )


def servers(settings: Settings, at: int) -> Iterator[Finding]:
    """Examine the server certificates of the two doors."""
    for name, door in (("public door", settings.public), ("mutual-TLS door", settings.mutual_tls)):
        yield from _server(f"{name} certificate", door, settings.keys.server_roots, at)


def _server(name: str, door: ListenerSettings, roots_path: Path | None, at: int) -> Iterator[Finding]:
    chain = yield from _read(name, door.certificate)
    if not chain:
        return
    leaf, host = chain[0], urlsplit(door.origin).hostname or ""
    # Public CA server certificates: the host name itself, never a wildcard.
    named, todo = host in _host_names(leaf), f"get one whose SAN has {host} itself"
    yield either(named, f"{name}: names {host}", todo, f"{name}: does not name {host}")
    key = leaf.public_key()
    curve = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    todo = "get one with an ECDSA key (Baseline TLS)"
    yield either(curve, f"{name}: ECDSA on P-256 or P-384", todo, f"{name}: not ECDSA on P-256 or P-384")
    whole = all(_issued(lower, upper) for lower, upper in pairwise(chain))
    if roots_path is not None:
        roots_out = yield from _read("server roots", roots_path)
        whole = whole and (not roots_out or any(_issued(chain[-1], root) for root in roots_out))
    todo = f"put the leaf and then each issuer into {door.certificate}"
    yield either(whole, f"{name}: chain, leaf first", todo, f"{name}: chain incomplete, or not leaf first")
    yield days_left(name, min(_ends(each) for each in chain), at)
    yield _key(name, leaf, door.key, _of_a_file)


def client(settings: Settings, at: int) -> Iterator[Finding]:
    """Examine the certificate that we present to other members."""
    keys = settings.keys
    held = (keys.client_certificate, keys.client_key, _of_a_file)
    yield from _member("client certificate", held, settings.clients.root, settings, at)


def signing(settings: Settings, at: int) -> Iterator[Finding]:
    """Examine the certificate with which our provenance is signed."""
    keys = settings.keys
    held = (keys.signing_certificate, keys.signing_key, _of_a_signer)
    yield from _member("signing certificate", held, keys.signing_root, settings, at)


def requests(settings: Settings) -> Iterator[Finding]:
    """Examine the requests for the two certificates that the Directory issues, where these are not there yet.

    A request is beside its certificate, under the same name with the ending .csr.
    """
    keys = settings.keys
    for name, path, key, read in (
        ("client certificate", keys.client_certificate, keys.client_key, _of_a_file),
        ("signing certificate", keys.signing_certificate, keys.signing_key, _of_a_signer),
    ):
        if path.exists():
            yield fine(f"{name}: issued")
        else:
            yield _request(
                name, path.with_suffix(".csr"), key, read, f"docs/joining-{settings.party}.md has the command"
            )


def _request(name: str, path: Path, key: Path, read: _ReadKey, how: str) -> Finding:
    try:
        request = x509.load_pem_x509_csr(path.read_bytes())
        public = read(key.read_bytes())
    except OSError as error:
        return failing(f"{name}: no request: {error.filename}: {error.strerror}", f"make key and request: {how}")
    except signing_key.KeyUnreachable as error:
        return failing(f"{name}: {key}: {error}", _HSM)
    except signing_key.KeyUnusable as error:
        return failing(f"{name}: {key}: {error}", f"make key and request: {how}")
    except ValueError:
        return failing(f"{name}: {path} is not PEM", f"make key and request anew: {how}")
    if not request.is_signature_valid or request.public_key() != public:
        return failing(f"{name}: {path} is not a request for {key}", f"make the request from this key: {how}")
    return failing(f"{name}: requested, not issued", f"paste {path} into the Directory, and store what it issues")


def _member(name: str, held: _Held, root: Path, settings: Settings, at: int) -> Iterator[Finding]:
    path, key, read = held
    chain = yield from _read(name, path)
    if not chain:
        return
    leaf, *issuers = (each.public_bytes(Encoding.DER) for each in chain)
    try:
        ours = member_certificate.parse(leaf)
    except MalformedCertificate as error:
        yield failing(f"{name}: {error}", _FROM_DIRECTORY)
        return
    named = (ours.application, ours.member) == (settings.member.application, settings.member.url)
    yield either(
        named,
        f"{name}: names our application and member",
        "make member.url and member.application those of the certificate, or use the right one",
        f"{name}: is {ours.application} of {ours.member}",
    )
    yield either(
        roles.holds(ours.roles, own_roles(settings)),
        f"{name}: role of {'an EDP' if settings.party == 'edp' else 'a CAP'}",
        "ask the Directory for the role, then for a new certificate",
    )
    try:
        path_to_root = build_chain(leaf, issuers, member_certificate.load_certificates(root.read_bytes())[0], at)
        yield fine(f"{name}: chain to the root")
        yield days_left(name, min(_ends(each) for each in path_to_root), at)
    except (UntrustedChain, MalformedCertificate, OSError) as error:
        yield failing(f"{name}: chain to the root: {error}", f"put leaf and issuer into {path}, or {_FROM_DIRECTORY}")
        yield days_left(name, _ends(chain[0]), at)
    yield _key(name, chain[0], key, read)


def days_left(name: str, ends: int, at: int) -> Finding:
    """Return how long a certificate still lasts, with a warning below 60, 30 and 7 days."""
    days = (ends - at) // DAY
    if ends < at:
        return failing(f"{name}: days left: expired {-days} days ago", "renew it now: everybody refuses it")
    todo = next((todo for fewer, todo in _RENEW if days < fewer), None)
    return doubtful(f"{name}: days left: {days}", todo) if todo else fine(f"{name}: days left: {days}")


def _read(name: str, path: Path) -> Generator[Finding, None, list[x509.Certificate]]:
    """Return the certificates of a file; yield a finding and return none where they cannot be read."""
    try:
        return member_certificate.load_certificates(path.read_bytes())
    except OSError as error:
        yield failing(f"{name}: {path}: {error.strerror}", "put the PEM file there, readable by the server's user")
    except MalformedCertificate as error:
        yield failing(f"{name}: {path}: {error}", "the file must be PEM")
    return []


def _of_a_file(content: bytes) -> object:
    """Return the public half of a key for TLS, which OpenSSL reads. Raise KeyUnusable."""
    try:
        return load_pem_private_key(content, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise signing_key.KeyUnusable("not an unencrypted PEM key") from None


def _of_a_signer(content: bytes) -> object:
    """Return the public half of a key that signs, which may be in an HSM. Raise KeyUnusable."""
    return signing_key.load(content).public_key()


def _key(name: str, leaf: x509.Certificate, path: Path, read: _ReadKey) -> Finding:
    what = f"{name}: key"
    try:
        public = read(path.read_bytes())
    except OSError as error:
        return failing(f"{what}: {path}: {error.strerror}", "put the key there, readable by the server's user")
    except signing_key.KeyUnreachable as error:
        return failing(f"{what}: {path}: {error}", _HSM)
    except signing_key.KeyUnusable as error:
        return failing(f"{what}: {path}: {error}", "put the certificate's own key there, as PKCS#8")
    if public != leaf.public_key():
        return failing(f"{what}: {path} is another certificate's", "put the certificate's own key there")
    return fine(what)


def _host_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _issued(lower: x509.Certificate, upper: x509.Certificate) -> bool:
    try:
        lower.verify_directly_issued_by(upper)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _ends(certificate: x509.Certificate) -> int:
    return int(certificate.not_valid_after_utc.timestamp())

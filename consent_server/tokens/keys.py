"""Signing keys: files in a directory, published before they are used, and the JWKS made of them.

A key is one file, whose name says when it comes into use: `<instant>.<kid>.pem` (PKCS#8, P-256), or `<instant>.<kid>.pkcs11`
with the PKCS#11 URI of a key in an HSM. The directory is read again whenever it changes, so that `rotate` and `retire` take
effect in every process without a restart. No key is ever made implicitly: a server without keys does not start.
"""

import base64
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from consent_server import clock
from consent_server.refusal import Unavailable
from consent_server.settings.values import is_too_open
from consent_server.signing import key as signing_key
from consent_server.signing.jws import base64url
from consent_server.signing.key import KeyUnusable, SigningKey
from consent_server.tokens.keyset import in_use

#: Seconds for which others may keep our JWKS (Cache-Control: max-age): a removed key is accepted no longer.
JWKS_MAX_AGE: Final = 60
#: Seconds between the publication of a new key and its first use: every cached JWKS has expired by then.
PUBLISHED_BEFORE_USE: Final = 10 * JWKS_MAX_AGE

_THIRTY_TWO_OCTETS: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_COORDINATE_BYTES: Final = 32
_IN_A_FILE: Final = "pem"
_IN_AN_HSM: Final = "pkcs11"


class KeysUnusable(Unavailable):
    """The keys cannot be used: at the start the program ends with this, later a client is told to try again.

    The private sentence names the directory or file and says what to do; it never shows key material.
    """


class KeysMissing(KeysUnusable):
    """There are no keys: none were made, or the directory is another."""


class PublicKeySource(Protocol):
    """What a verifier needs: our own SigningKeys, or the PublicKeys of an issuer elsewhere."""

    def public(self, kid: str) -> EllipticCurvePublicKey | None: ...


def thumbprint(key: EllipticCurvePublicKey) -> str:
    """Return the key's RFC 7638 thumbprint, which is its `kid`."""
    numbers = key.public_numbers()
    canonical = {"crv": "P-256", "kty": "EC", "x": _coordinate(numbers.x), "y": _coordinate(numbers.y)}
    return base64url(hashlib.sha256(json.dumps(canonical, separators=(",", ":")).encode("ascii")).digest())


Key = TypeVar("Key")


class KeyFiles(Generic[Key]):
    """The files `<first>.<second>.<suffix>` of one directory, with one of `suffixes`, read again when the directory changes.

    `load` turns one file's name parts and content into (name, instant from which it is used, key) and raises
    ValueError when it cannot. Raise KeysUnusable when a file is unreadable, open to others, or when there is none.
    """

    def __init__(
        self, directory: Path, suffixes: tuple[str, ...], load: Callable[[str, str, bytes], tuple[str, int, Key]]
    ) -> None:
        self._directory = directory
        self._suffixes = suffixes
        self._load = load
        self._seen: tuple[int, int] | None = None
        self._keys: dict[str, tuple[int, Key]] = {}
        self.all()

    def all(self) -> dict[str, tuple[int, Key]]:
        """Return name -> (instant of first use, key). This costs one stat() while nothing changes."""
        try:
            state = os.stat(self._directory)
        except OSError as error:
            raise KeysMissing(
                f"{self._directory}: {error.strerror}; make the keys first: `consent-server keys make`"
            ) from None
        seen = (state.st_ino, state.st_mtime_ns)
        if seen != self._seen:
            self._keys = self._read()
            self._seen = seen
        return self._keys

    def current(self, at: int) -> tuple[str, Key]:
        """Return the name of the key in use at an instant (`keyset.in_use`), and the key."""
        keys = self.all()
        _, name = in_use([(used_from, name) for name, (used_from, _) in keys.items()], at)
        return name, keys[name][1]

    def in_order(self) -> list[tuple[int, str]]:
        """Return (instant of first use, name) of every key, in the order of use."""
        return sorted((used_from, name) for name, (used_from, _) in self.all().items())

    def _read(self) -> dict[str, tuple[int, Key]]:
        found: dict[str, tuple[int, Key]] = {}
        for path in sorted(path for suffix in self._suffixes for path in self._directory.glob(f"*.{suffix}")):
            try:
                if is_too_open(path):
                    raise KeysUnusable(f"{path}: others can read or change this key; chmod 600")
                first, second, _ = path.name.split(".")
                name, used_from, key = self._load(first, second, path.read_bytes())
            except FileNotFoundError:
                continue  # retired between the listing and the reading
            except KeyUnusable as error:
                raise KeysUnusable(f"{path}: cannot be used: {error}") from None
            except (ValueError, OSError):
                raise KeysUnusable(f"{path}: not a key of ours; remove it or restore it from the back-up") from None
            found[name] = (used_from, key)
        if not found:
            raise KeysMissing(f"{self._directory}: no keys; make them with the keys command before starting")
        return found


def write_key_file(directory: Path, name: str, content: bytes) -> None:
    """Write a key file atomically, readable by its owner alone. Raise FileExistsError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = directory / f".{secrets.token_hex(8)}.unfinished"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    before = directory.stat()
    unfinished.rename(directory / name)
    mark_changed(directory, before)


def mark_changed(directory: Path, before: os.stat_result) -> None:
    """Make sure that the directory's time has changed: file systems count in steps of some milliseconds."""
    after = directory.stat()
    if after.st_mtime_ns <= before.st_mtime_ns:
        os.utime(directory, ns=(after.st_atime_ns, before.st_mtime_ns + 1))


class SigningKeys:
    """The issuer's ES256 keys. Raise KeysUnusable at once when there are none."""

    def __init__(self, directory: Path) -> None:
        self._files = _signing_key_files(directory)
        self._published: tuple[object, bytes] | None = None

    def current(self) -> tuple[str, SigningKey]:
        """Return (kid, key) to sign with now."""
        kid, (private, _) = self._files.current(clock.now())
        return kid, private

    def require(self) -> None:
        """Raise Unavailable unless the current key can sign now: a key in an HSM is asked."""
        self.current()[1].require()

    def public(self, kid: str) -> EllipticCurvePublicKey | None:
        """Return the public key of that name, or None, from memory: `kid` never becomes part of a file name."""
        held = self._files.all().get(kid)
        return held[1][1] if held else None

    def in_order(self) -> list[tuple[int, str]]:
        """Return (instant of first use, kid) of every key, in the order of use."""
        return self._files.in_order()

    def jwks(self) -> dict[str, Any]:
        """Return the JWK Set (RFC 7517 section 5): every key, including those not yet in use."""
        return {"keys": [_jwk(kid, public) for kid, (_, (_, public)) in sorted(self._files.all().items())]}

    def jwks_document(self) -> bytes:
        """Return the same as JSON, made once until a key is added or removed."""
        keys = self._files.all()
        if self._published is None or self._published[0] is not keys:
            self._published = keys, json.dumps(self.jwks(), separators=(",", ":")).encode()
        return self._published[1]


class PublicKeys:
    """The keys in another issuer's JWKS. Keys of other kinds are ignored (RFC 7517 section 5).

    Raise ValueError when the document is no JWK Set, repeats a kid, or gives away a private key.
    """

    def __init__(self, jwks: Mapping[str, Any]) -> None:
        entries = jwks.get("keys") if isinstance(jwks, Mapping) else None
        if not isinstance(entries, list):
            raise ValueError("not a JWK Set: no list of keys")
        self._keys: dict[str, EllipticCurvePublicKey] = {}
        for entry in entries:
            if not isinstance(entry, dict):
                raise ValueError("not a JWK Set: a key is not an object")
            if "d" in entry:
                raise ValueError("the JWK Set gives away a private key")
            kid = entry.get("kid")
            if not isinstance(kid, str) or not _is_es256(entry):
                continue
            if kid in self._keys:
                raise ValueError("the JWK Set has two keys of one kid")
            self._keys[kid] = _from_jwk(entry)

    def public(self, kid: str) -> EllipticCurvePublicKey | None:
        return self._keys.get(kid)


def exist(directory: Path) -> bool:
    """Return whether a directory has signing keys."""
    return any(_named(directory, "*"))


def make(directory: Path, at: int, hsm: str | None = None) -> str:
    """Make the first signing key, in use from `at`. Return its kid. Raise KeysUnusable when there is one.

    `hsm` is the PKCS#11 URI of the token in which it is made, instead of in a file.
    """
    if exist(directory):
        raise KeysUnusable(f"{directory}: there are keys already; rotate them instead")
    return _make_signing_key(directory, at, hsm)


def rotate(directory: Path, at: int, hsm: str | None = None) -> str:
    """Publish a new key now and use it PUBLISHED_BEFORE_USE seconds after `at`. Return its kid.

    Without `hsm` it is made where the newest key is.
    """
    _, newest = SigningKeys(directory).in_order()[-1]
    (path,) = _named(directory, newest)
    if hsm is None and path.suffix == f".{_IN_AN_HSM}":
        from consent_server.signing.hsm import token_of

        hsm = token_of(path.read_text("ascii").strip())
    return _make_signing_key(directory, at + PUBLISHED_BEFORE_USE, hsm)


def retire(directory: Path, kid: str) -> str | None:
    """Remove a key: at once in an emergency, otherwise when the last token that it signed has expired.

    One in an HSM stays there, and nothing here names it any more: return its PKCS#11 URI, and None for a key in a file. Raise
    KeysUnusable for an unknown kid and for the only key.
    """
    keys = _signing_key_files(directory).all()
    if kid not in keys:
        raise KeysUnusable(f"{directory}: no key of that kid")
    require_another(directory)
    before = directory.stat()
    (path,) = _named(directory, kid)
    stays = path.read_text().strip() if path.suffix == f".{_IN_AN_HSM}" else None
    path.unlink()
    mark_changed(directory, before)
    return stays


def require_another(directory: Path) -> None:
    """Raise KeysUnusable if there is only one key."""
    if len(_signing_key_files(directory).all()) == 1:
        raise KeysUnusable(f"{directory}: this is the only key; rotate first")


def _named(directory: Path, kid: str) -> list[Path]:
    return [path for suffix in (_IN_A_FILE, _IN_AN_HSM) for path in directory.glob(f"*.{kid}.{suffix}")]


def _signing_key_files(directory: Path) -> "KeyFiles[tuple[SigningKey, EllipticCurvePublicKey]]":
    return KeyFiles(directory, (_IN_A_FILE, _IN_AN_HSM), _load_signing_key)


def _make_signing_key(directory: Path, used_from: int, hsm: str | None) -> str:
    if hsm is None:
        private = generate_private_key(SECP256R1())
        public, suffix = private.public_key(), _IN_A_FILE
        content = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    else:
        from consent_server.signing.hsm import generate

        try:
            uri, public = generate(hsm)
        except KeyUnusable as error:
            raise KeysUnusable(str(error)) from None
        suffix, content = _IN_AN_HSM, f"{uri}\n".encode("ascii")
    kid = thumbprint(public)
    write_key_file(directory, f"{used_from}.{kid}.{suffix}", content)
    return kid


def _load_signing_key(
    first: str, second: str, content: bytes
) -> tuple[str, int, tuple[SigningKey, EllipticCurvePublicKey]]:
    key = signing_key.load(content)
    public = key.public_key()
    if not isinstance(public.curve, SECP256R1):
        raise ValueError("not a P-256 key")
    if thumbprint(public) != second or str(int(first)) != first:
        raise ValueError("the file's name is not an instant and the key's thumbprint")
    return second, int(first), (key, public)


def _jwk(kid: str, key: EllipticCurvePublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": _coordinate(numbers.x),
        "y": _coordinate(numbers.y),
        "kid": kid,
        "use": "sig",
        "alg": "ES256",
    }


def _is_es256(jwk: Mapping[str, Any]) -> bool:
    return (
        jwk.get("kty") == "EC"
        and jwk.get("crv") == "P-256"
        and jwk.get("alg", "ES256") == "ES256"
        and jwk.get("use", "sig") == "sig"
    )


def _from_jwk(jwk: Mapping[str, Any]) -> EllipticCurvePublicKey:
    x, y = (_from_coordinate(jwk.get(name)) for name in ("x", "y"))
    return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()


def _coordinate(value: int) -> str:
    return base64url(value.to_bytes(_COORDINATE_BYTES, "big"))


def _from_coordinate(text: object) -> int:
    # RFC 7518 section 6.2.1.2: the full size of a coordinate, 32 octets, which are 43 characters.
    if not isinstance(text, str) or not _THIRTY_TWO_OCTETS.fullmatch(text):
        raise ValueError("a coordinate in the JWK Set is not 32 octets in base64url")
    return int.from_bytes(base64.urlsafe_b64decode(text + "="), "big")

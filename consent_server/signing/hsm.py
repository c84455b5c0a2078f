"""Keys in a hardware security module, by PKCS#11: named by a URI (RFC 7512), used where they are, never read.

    pkcs11:token=consent;id=%01%02?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/consent/hsm.pin

Of the path, `token`, `serial`, `object` and `id` are known; the query has the library and the file with the PIN, both of them
absolute. Public and private key are both in the token, under the same name. A library is loaded for one thread at a time, so
one call follows the other; each has LONGEST_S, the wait for the call before it included.
"""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote, unquote_to_bytes

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from gevent import monkey

from consent_server.aside import aside
from consent_server.refusal import Unavailable
from consent_server.settings.values import is_too_open
from consent_server.signing.key import URI_SCHEME, KeyUnreachable, KeyUnusable

if TYPE_CHECKING:
    from pkcs11 import Session

#: Seconds for one use of a key.
LONGEST_S: Final = 3
_CURVE: Final = "secp256r1"

T = TypeVar("T")


class _Failing(Exception):
    """Why a key cannot be used now, and what to do. No PIN is in it."""


@dataclass(frozen=True)
class _Token:
    """One token: where it is, and where the PIN of its user is."""

    module: str
    label: str | None
    serial: bytes | None
    pin: Path

    def __str__(self) -> str:
        return f"token {self.label or (self.serial or b'').decode(errors='replace')} of {self.module}"


@dataclass
class _Open:
    """What this process has open. Only the thread that holds `_turn` may touch it."""

    sessions: "dict[_Token, Session]" = field(default_factory=dict)
    keys: dict[tuple[_Token, str | None, bytes | None], Any] = field(default_factory=dict)
    #: PINs that were refused. A token locks itself after a few wrong ones, so none is tried twice.
    refused: dict[_Token, str] = field(default_factory=dict, repr=False)


_open: Final = _Open()
#: The lock of real threads, also where gevent has put its own in its place: calls are made in real threads.
_turn: Final = monkey.get_original("threading", "Lock")()


class HsmKey:
    """One key pair on an elliptic curve. Raise KeyUnusable where it cannot be used at once."""

    def __init__(self, uri: str) -> None:
        self._token, self._object, self._id = _parsed(uri)
        if self._object is None and self._id is None:
            raise KeyUnusable("the PKCS#11 URI must name a key: object, id or both")
        try:
            self._public = _in_turn(lambda: _trying(self._token, self._find_public))
        except _Failing as error:
            raise KeyUnreachable(str(error)) from None
        self.require()

    def public_key(self) -> EllipticCurvePublicKey:
        return self._public

    def sign(self, data: bytes) -> bytes:
        """Return a signature: ECDSA with SHA-256, in DER. Raise Unavailable."""
        from pkcs11 import Mechanism
        from pkcs11.util.ec import encode_ecdsa_signature

        digest = sha256(data).digest()  # CKM_ECDSA is what every module has
        return encode_ecdsa_signature(self._use(lambda key: bytes(key.sign(digest, mechanism=Mechanism.ECDSA))))

    def require(self) -> None:
        """Raise Unavailable unless the key can be reached."""
        from pkcs11 import Attribute

        self._use(lambda key: key[Attribute.KEY_TYPE])

    def _use(self, work: Callable[[Any], T]) -> T:
        try:
            return _in_turn(lambda: _trying(self._token, lambda: work(self._find_private())))
        except _Failing as error:
            raise Unavailable(str(error)) from None

    def _find_private(self) -> Any:
        from pkcs11 import KeyType, ObjectClass

        name = (self._token, self._object, self._id)
        if name not in _open.keys:
            session = _session(self._token)
            _open.keys[name] = session.get_key(ObjectClass.PRIVATE_KEY, KeyType.EC, self._object, self._id)
        return _open.keys[name]

    def _find_public(self) -> EllipticCurvePublicKey:
        from pkcs11 import KeyType, ObjectClass
        from pkcs11.util.ec import encode_ec_public_key

        found: Any = _session(self._token).get_key(ObjectClass.PUBLIC_KEY, KeyType.EC, self._object, self._id)
        public = load_der_public_key(encode_ec_public_key(found))
        assert isinstance(public, EllipticCurvePublicKey)  # its type is EC
        return public


def key_of(content: bytes) -> HsmKey:
    """Return the key that the text of a key file names. Raise KeyUnusable, and KeyUnreachable where the HSM is at fault."""
    try:
        return HsmKey(content.decode("ascii").strip())
    except UnicodeDecodeError:
        raise KeyUnusable("a PKCS#11 URI is ASCII") from None
    except Unavailable as refusal:
        raise KeyUnreachable(refusal.private) from None


def generate(uri: str) -> tuple[str, EllipticCurvePublicKey]:
    """Make a P-256 key pair in the token of a URI that names no key. Return the URI of the new key, and its public half.

    Raise KeyUnusable. The private key can neither be read nor leave the token.
    """
    token, label, identifier = _parsed(uri)
    if label is not None or identifier is not None:
        raise KeyUnusable("the PKCS#11 URI must name a token and no key: the new key gets an id of its own")
    new = secrets.token_bytes(16)
    try:
        _in_turn(lambda: _trying(token, lambda: _generate(token, new), again=False))
    except _Failing as error:
        raise KeyUnusable(str(error)) from None
    path, query, rest = uri.partition("?")
    named = f"{path};id={''.join(f'%{octet:02x}' for octet in new)}{query}{rest}"
    return named, HsmKey(named).public_key()


def token_of(uri: str) -> str:
    """Return the URI of a key without the key: it names the token alone."""
    path, query, rest = uri.partition("?")
    kept = (each for each in path.split(";") if not each.removeprefix(URI_SCHEME).startswith(("object=", "id=")))
    return f"{URI_SCHEME}{';'.join(kept).removeprefix(URI_SCHEME)}{query}{rest}"


def _generate(token: _Token, identifier: bytes) -> None:
    from pkcs11 import Attribute, KeyType, MechanismFlag
    from pkcs11.util.ec import encode_named_curve_parameters

    curve = {Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVE)}
    with _opened(token, rw=True) as session:
        session.create_domain_parameters(KeyType.EC, curve, local=True).generate_keypair(
            id=identifier,
            label="consent-server",
            store=True,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
        )


def _in_turn(work: Callable[[], T]) -> T:
    """Return what `work` with the module returns, done while no other thread uses the module. Raise _Failing."""

    def alone() -> T:
        if not _turn.acquire(timeout=LONGEST_S):
            raise TimeoutError
        try:
            return work()
        finally:
            _turn.release()

    try:
        return aside(alone, LONGEST_S, "hsm")
    except TimeoutError:
        raise _Failing(f"the HSM does not answer within {LONGEST_S} s: look at it and at its connection") from None


def _trying(token: _Token, work: Callable[[], T], *, again: bool = True) -> T:
    """Return what `work` returns; where it fails, begin anew with the module and do it once more. Raise _Failing."""
    try:
        from pkcs11 import PKCS11Error
    except ImportError:
        raise _Failing("a key in an HSM needs the package python-pkcs11: pip install 'consent-server[hsm]'") from None

    try:
        return work()
    except PKCS11Error as error:
        why = _explained(token, error)
    # Outside the block above, which holds the session: one that is closed late may close another of the same number.
    _begin_anew(token)
    if not again:
        raise _Failing(why)
    return _trying(token, work, again=False)


def _explained(token: _Token, error: Exception) -> str:
    from pkcs11 import MultipleObjectsReturned, NoSuchKey, NoSuchToken

    if isinstance(error, NoSuchKey | MultipleObjectsReturned):  # which a session of a token that has gone says too
        return f"not one EC key of that name in {token}: public and private key must be there, once"
    if isinstance(error, NoSuchToken):
        return f"no {token}: look at the HSM, its connection and the PKCS#11 URI"
    # the name alone: a library's text is not ours
    return f"{token} fails: {type(error).__name__}: look at the HSM, and at module-path in the PKCS#11 URI"


def _session(token: _Token) -> "Session":
    if token not in _open.sessions:
        _open.sessions[token] = _opened(token)
    return _open.sessions[token]


def _opened(token: _Token, *, rw: bool = False) -> "Session":
    import pkcs11

    pin = _pin(token)
    if _open.refused.get(token) == pin:
        raise _Failing(f"the HSM has refused the PIN in {token.pin}: put the right one there")
    found = pkcs11.lib(token.module).get_token(token_label=token.label, token_serial=token.serial)
    try:
        return found.open(user_pin=pin, rw=rw)
    except pkcs11.UserAlreadyLoggedIn:  # which is so for every session of this process
        return found.open(rw=rw)
    except (pkcs11.PinIncorrect, pkcs11.PinLenRange, pkcs11.PinInvalid):
        _open.refused[token] = pin
        raise _Failing(f"the HSM refuses the PIN in {token.pin}: put the right one there") from None
    except pkcs11.PinLocked:
        raise _Failing(f"{token} is locked after wrong PINs: its security officer must unlock it") from None


def _pin(token: _Token) -> str:
    try:
        if is_too_open(token.pin):
            raise _Failing(f"{token.pin}: others can read or change this secret; chmod 600")
        return token.pin.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _Failing(f"{token.pin}: {getattr(error, 'strerror', None) or 'not text'}: put the PIN there") from None


def _begin_anew(token: _Token) -> None:
    """Close everything that is open in the token's module, which then looks again at what is there."""
    import pkcs11

    for key in [each for each in _open.keys if each[0].module == token.module]:
        del _open.keys[key]
    for each in [each for each in _open.sessions if each.module == token.module]:
        del _open.sessions[each]
    with suppress(pkcs11.PKCS11Error):
        pkcs11.lib(token.module).reinitialize()


def _parsed(uri: str) -> tuple[_Token, str | None, bytes | None]:
    """Return token, object label and id of a PKCS#11 URI. Raise KeyUnusable."""
    if not uri.startswith(URI_SCHEME):
        raise KeyUnusable(f"a PKCS#11 URI begins with {URI_SCHEME}")
    path, _, query = uri.removeprefix(URI_SCHEME).partition("?")
    named = _attributes(path, ";", ("token", "serial", "object", "id"))
    where = _attributes(query, "&", ("module-path", "pin-source"))
    if "token" not in named and "serial" not in named:
        raise KeyUnusable("the PKCS#11 URI must name a token: token, serial or both")
    module = unquote(where.get("module-path", ""))
    # RFC 7512 section 2.4: a path or a URI; a program ("|…") is not run, and no PIN is read from the URI itself (section 4)
    pin = unquote(where.get("pin-source", "")).removeprefix("file:").removeprefix("//")
    if not os.path.isabs(module) or not os.path.isabs(pin):
        raise KeyUnusable("the PKCS#11 URI must have module-path and pin-source in its query, each an absolute path")
    token = _Token(
        module,
        unquote(named["token"]) if "token" in named else None,
        unquote_to_bytes(named["serial"]) if "serial" in named else None,
        Path(pin),
    )
    label = unquote(named["object"]) if "object" in named else None
    return token, label, unquote_to_bytes(named["id"]) if "id" in named else None


def _attributes(text: str, separator: str, known: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in filter(None, text.split(separator)):
        name, _, value = each.partition("=")
        # section 2.3: an attribute is there once; one that we do not know would choose another key than is meant
        if name not in known or name in found or not value:
            raise KeyUnusable(f"the PKCS#11 URI may have {', '.join(known)} here, each of them once")
        found[name] = value
    return found

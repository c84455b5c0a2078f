"""One good call, and one row per way to spoil it: the row's name is the test's id."""

import dataclasses
import hmac
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from consent_server.outbound.errors import Unreachable
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.refusal import Refusal
from consent_server.resource import guard as guard_module
from consent_server.resource.guard import (
    AcceptedLicense,
    FuelNotCovered,
    Guard,
    KeysUnknown,
    LicenseNotAccepted,
    MetersUnknown,
    NoSuchDataSource,
    PermissionEnded,
    Policy,
    TextNotAccepted,
    TokenInQuery,
    TokenMissing,
    WithdrawalsUnknown,
)
from consent_server.signing import jws
from consent_server.signing.key import SigningKey, load
from consent_server.tokens import access_token, keys
from consent_server.tokens.access_token import (
    AccessToken,
    InvalidToken,
    PermissionClaim,
    TokenExpired,
    TokenForAnotherServer,
)
from consent_server.tokens.binding import TokenNotYours, TokenOfAnotherCertificate, thumbprint
from consent_server.tokens.data_sources import DataSources
from tests.jose import claims_of, encoded, segment, unsegment

NOW = 1_780_000_000
CAP_ROLE = "https://registry.example/scheme/perseus/role/carbon-accounting-provider"
BOTH = "https://registry.example/scheme/perseus/license/energy-consumption-edp-cap/2026-03-12"
OLDER = "https://registry.example/scheme/perseus/license/energy-consumption-data/2024-12-05"
BOTH_TEXT, OLDER_TEXT = "b" * 64, "0" * 64

POLICY = Policy(
    issuer="https://auth.edp.example",
    audience="https://data.edp.example",
    status_uri="https://auth.edp.example/status-list",
    licenses={
        BOTH: AcceptedLicense(BOTH_TEXT, ("electricity", "gas")),
        OLDER: AcceptedLicense(OLDER_TEXT, ("electricity",)),
    },
)
CALLER = MemberCertificate(
    application="https://directory.example/a/cap",
    member="https://directory.example/m/cap",
    roles=frozenset({CAP_ROLE}),
    serial=1,
    fingerprint="f" * 64,
    not_before=0,
    not_after=2**40,
    der=b"cap's certificate",
)
TOKEN = AccessToken(
    iss=POLICY.issuer,
    aud=POLICY.audience,
    sub="account-1",
    client_id=CALLER.application,
    scope=BOTH,
    iat=NOW - 60,
    exp=NOW + 540,
    jti="jti-1",
    status_idx=7,
    status_uri=POLICY.status_uri,
    permission=PermissionClaim(NOW - 3600, NOW + 86400, BOTH_TEXT),
    datasources=DataSources.of(("ds.0", "ds.1")),
    fuels=("electricity", "gas"),
)


@dataclasses.dataclass
class Call:
    """One call on a resource server; a row of the matrix changes one thing in it."""

    signing: keys.SigningKeys
    token: AccessToken = TOKEN
    caller: MemberCertificate = CALLER
    policy: Policy = POLICY
    keys: Any = None
    withdrawn: Callable[[int, int], bool] = lambda index, issued: False
    authorization: Callable[[str], str | None] = "Bearer {}".format
    forge: Callable[["Call"], str] | None = None
    query: tuple[str, ...] = ()
    at: int = NOW

    def make(self) -> guard_module.Release:
        text = self.forge(self) if self.forge else access_token.mint(self.signing, self.token)
        guard = Guard(self.policy, self.keys or self.signing, self.withdrawn)
        return guard.release(self.caller, self.authorization(text), self.query, self.at)


@pytest.fixture(scope="session")
def signing(tmp_path_factory: pytest.TempPathFactory) -> keys.SigningKeys:
    directory = tmp_path_factory.mktemp("guard") / "keys"
    keys.make(directory, 0)
    return keys.SigningKeys(directory)


def with_(**changes: Any) -> Callable[[Call], None]:
    def spoil(call: Call) -> None:
        token_changes = {name: changes[name] for name in changes if name in AccessToken.__dataclass_fields__}
        call.token = dataclasses.replace(call.token, **token_changes)
        for name in changes.keys() - token_changes.keys():
            setattr(call, name, changes[name])

    return spoil


def strangers_key() -> SigningKey:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return load(private.private_bytes(*pem))


def forged(header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None, key: str = "own") -> Any:
    """A token whose header or claims were changed, signed with our own key or with a stranger's."""

    def forge(call: Call) -> str:
        head, body, _ = access_token.mint(call.signing, call.token).split(".")
        changed_head = {**unsegment(head), **(header or {})}
        changed_body = {**unsegment(body), **(claims or {})}
        changed_body = {name: value for name, value in changed_body.items() if value is not REMOVED}
        changed_head = {name: value for name, value in changed_head.items() if value is not REMOVED}
        private = call.signing.current()[1] if key == "own" else strangers_key()
        signed = f"{segment(changed_head)}.{segment(changed_body)}"
        signature = jws.raw_signature(private.sign(signed.encode()))
        return f"{signed}.{encoded(signature)}"

    return with_(forge=forge)


REMOVED = object()


def algorithm(name: str) -> Any:
    """A token signed in another way than ES256: none, with the public key as a secret, or with another kind of key."""

    def forge(call: Call) -> str:
        kid, private = call.signing.current()
        claims = claims_of(access_token.mint(call.signing, call.token))
        headers = {"typ": "at+jwt", "kid": kid}
        if name == "none":
            return f"{segment({**headers, 'alg': 'none'})}.{segment(claims)}."
        if name == "HS256":
            public = private.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            signed = f"{segment({**headers, 'alg': 'HS256'})}.{segment(claims)}"
            mac = hmac.digest(public, signed.encode(), "sha256")
            return f"{signed}.{encoded(mac)}"
        key: Any = rsa.generate_private_key(65537, 2048) if name == "RS256" else ec.generate_private_key(ec.SECP256K1())
        return jwt.encode(claims, key, algorithm=name, headers=headers)

    return with_(forge=forge)


def another_member() -> MemberCertificate:
    return dataclasses.replace(CALLER, application="https://directory.example/a/cap2", der=b"cap2's certificate")


def cut_off(index: int, issued: int) -> bool:
    raise Unreachable("too old", "status list")


class NoKeys:
    def public(self, kid: str) -> Any:
        raise Unreachable("no keys", "jwks")


BINDING = dataclasses.replace(POLICY, bind_to_certificate=True)

MATRIX: dict[str, tuple[Callable[[Call], None], type[Refusal]]] = {
    # one token in the one place
    "no header": (with_(authorization=lambda text: None), TokenMissing),
    "empty header": (with_(authorization=lambda text: ""), TokenMissing),
    "scheme alone": (with_(authorization=lambda text: "Bearer"), TokenMissing),
    "another scheme": (with_(authorization="Basic {}".format), TokenMissing),
    "DPoP scheme": (with_(authorization="DPoP {}".format), TokenMissing),
    "two headers": (with_(authorization=lambda text: f"Bearer {text},Bearer {text}"), TokenMissing),
    "two tokens": (with_(authorization=lambda text: f"Bearer {text} {text}"), TokenMissing),
    "token in the query alone": (with_(authorization=lambda text: None, query=("access_token",)), TokenInQuery),
    "token in both": (with_(query=("from", "access_token")), TokenInQuery),
    # what the token says
    "not a token": (with_(authorization=lambda text: "Bearer nonsense"), InvalidToken),
    "signature of a stranger": (forged(key="stranger"), InvalidToken),
    "signature cut off": (with_(authorization=lambda text: "Bearer " + text.rsplit(".", 1)[0] + "."), InvalidToken),
    "alg none": (algorithm("none"), InvalidToken),
    "alg HS256 with the public key": (algorithm("HS256"), InvalidToken),
    "alg RS256": (algorithm("RS256"), InvalidToken),
    "alg ES256K": (algorithm("ES256K"), InvalidToken),
    "typ JWT": (forged({"typ": "JWT"}), InvalidToken),
    "typ absent": (forged({"typ": REMOVED}), InvalidToken),
    "kid unknown": (forged({"kid": "../../etc/passwd"}), InvalidToken),
    "kid absent": (forged({"kid": REMOVED}), InvalidToken),
    "own jwk in the header": (forged({"jwk": {"kty": "EC"}}), InvalidToken),
    "jku in the header": (forged({"jku": "https://evil.example/jwks"}), InvalidToken),
    "crit in the header": (forged({"crit": ["b64"], "b64": False}), InvalidToken),
    "claim missing: exp": (forged(claims={"exp": REMOVED}), InvalidToken),
    "claim missing: aud": (forged(claims={"aud": REMOVED}), InvalidToken),
    "claim missing: jti": (forged(claims={"jti": REMOVED}), InvalidToken),
    "claim nobody knows": (forged(claims={"admin": True}), InvalidToken),
    "exp as text": (forged(claims={"exp": str(NOW + 1)}), InvalidToken),
    "exp of 1e308": (forged(claims={"exp": 1e308}), InvalidToken),
    "another issuer": (with_(iss="https://auth.other.example"), InvalidToken),
    "another audience": (with_(aud="https://data.other.example"), TokenForAnotherServer),
    "audience is a list": (forged(claims={"aud": [POLICY.audience]}), InvalidToken),
    "expired this second": (with_(exp=NOW), TokenExpired),
    "issued in the future": (with_(iat=NOW + 61, exp=NOW + 600), InvalidToken),
    "clock far behind": (with_(at=NOW - 300), InvalidToken),
    "longer than any header": (with_(authorization=lambda text: "Bearer " + "a" * 1_000_000), InvalidToken),
    # whose it is, and whether it still holds
    "another application's certificate": (with_(caller=another_member()), TokenNotYours),
    "not bound where certificates bind": (with_(policy=BINDING), TokenOfAnotherCertificate),
    "bound to another certificate": (with_(cnf=thumbprint(b"older certificate")), TokenOfAnotherCertificate),
    "another status list": (with_(status_uri="https://auth.edp.example/other"), InvalidToken),
    "withdrawn": (with_(withdrawn=lambda index, issued: index == 7), PermissionEnded),
    "feed cut": (with_(withdrawn=cut_off), WithdrawalsUnknown),
    "keys not to be had": (with_(keys=NoKeys()), KeysUnknown),
    # how far it reaches
    "license of another leg": (with_(scope="https://registry.example/scheme/perseus/license/x/1"), LicenseNotAccepted),
    "another text": (with_(permission=dataclasses.replace(TOKEN.permission, text_sha256="c" * 64)), TextNotAccepted),
    "older text under the new license": (
        with_(permission=dataclasses.replace(TOKEN.permission, text_sha256=OLDER_TEXT)),
        TextNotAccepted,
    ),
}


@pytest.mark.parametrize(("spoil", "refusal"), MATRIX.values(), ids=MATRIX.keys())
def test_a_spoilt_call_is_refused(spoil: Callable[[Call], None], refusal: type[Refusal], signing: Any) -> None:
    call = Call(signing)
    spoil(call)
    with pytest.raises(Refusal) as raised:
        call.make()
    assert type(raised.value) is refusal
    if raised.value.status == 401:
        assert raised.value.answer_headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        assert raised.value.error == "invalid_token"
    if raised.value.status == 503:
        assert raised.value.answer_headers["Retry-After"]


GOOD: dict[str, Callable[[Call], None]] = {
    "as it is": lambda call: None,
    "scheme in other case": with_(authorization="bEARER {}".format),
    "two spaces": with_(authorization="Bearer  {}".format),
    "clock 10 s behind": with_(at=TOKEN.iat - 10),
    "last second": with_(at=TOKEN.exp - 1),
    "renewed certificate": with_(caller=dataclasses.replace(CALLER, der=b"renewed", serial=2)),
    "bound to this certificate": with_(policy=BINDING, cnf=thumbprint(CALLER.der)),
    "another permission withdrawn": with_(withdrawn=lambda index, issued: index == 8),
}


@pytest.mark.parametrize("vary", GOOD.values(), ids=GOOD.keys())
def test_a_good_call_is_released(vary: Callable[[Call], None], signing: Any) -> None:
    call = Call(signing)
    vary(call)
    release = call.make()
    assert release.account == "account-1"
    assert release.fuels == {"electricity", "gas"}


def test_every_refusal_of_the_guard_is_in_the_matrix() -> None:
    ours = {cls for cls in Refusal.family.values() if cls.__module__ == guard_module.__name__}
    assert ours - {refusal for _, refusal in MATRIX.values()} == {FuelNotCovered, NoSuchDataSource, MetersUnknown}


@pytest.mark.parametrize(
    ("token", "fuels"),
    [
        (dataclasses.replace(TOKEN, fuels=("electricity",)), {"electricity"}),
        # Whatever the issuer wrote: the older text names electricity alone.
        (
            dataclasses.replace(
                TOKEN, scope=OLDER, permission=dataclasses.replace(TOKEN.permission, text_sha256=OLDER_TEXT)
            ),
            {"electricity"},
        ),
        (dataclasses.replace(TOKEN, fuels=()), set()),
    ],
    ids=["token for electricity", "older text, token for both", "token for nothing"],
)
def test_gas_leaves_only_when_token_and_text_both_cover_it(token: AccessToken, fuels: set[str], signing: Any) -> None:
    release = Call(signing, token).make()
    assert release.fuels == fuels
    with pytest.raises(FuelNotCovered) as raised:
        release.require_fuel("gas")
    assert (raised.value.status, raised.value.error) == (403, "insufficient_scope")


def test_a_data_source_outside_the_token_does_not_exist(signing: Any) -> None:
    release = Call(signing).make()
    release.require_datasource("ds.1")
    with pytest.raises(NoSuchDataSource) as raised:
        release.require_datasource("ds-of-another")
    assert raised.value.status == 404


@pytest.mark.parametrize("name", ["issuer", "audience", "status_uri", "licenses"])
def test_an_empty_policy_starts_no_server(name: str) -> None:
    with pytest.raises(ValueError, match="needs an issuer"):
        dataclasses.replace(POLICY, **{name: type(getattr(POLICY, name))()})


def test_nothing_of_the_token_reaches_the_refusal(signing: Any) -> None:
    call = Call(signing, caller=another_member())
    with pytest.raises(TokenNotYours) as raised:
        call.make()
    text = f"{raised.value!r} {raised.value.private} {raised.value.sentence}"
    assert "eyJ" not in text
    assert TOKEN.sub not in text

"""The client of an EDP's own customer log-in: OpenID Connect Core 1.0, code flow with PKCE, by Authlib.

Authlib makes the requests and checks the ID token's claims; every call goes out through our session. Nothing is kept here but
the provider's documents, and no repr shows a code, a verifier or a customer.
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.client import OAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oidc.core import CodeIDToken
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey, import_key

from consent_server import clock
from consent_server.outbound import fields
from consent_server.outbound.cache import Cache, Fetcher
from consent_server.outbound.errors import BadAnswer, CallbackRefused, OAuthRefused
from consent_server.outbound.session import Session
from consent_server.outbound.upstream import error_code, require
from consent_server.refusal import with_query
from consent_server.scheme.email import email_address
from consent_server.scheme.instant import DAY
from consent_server.settings import BadSettings
from consent_server.settings.journey import LoginSettings

#: The signatures that count, of ID tokens and of our own assertions: asymmetric ones alone.
ALGORITHMS: Final = ("ES256", "PS256", "RS256")
#: Seconds by which the provider's clock may differ from ours.
LEEWAY_S: Final = 30
#: What comes back with a browser (OpenID Connect Core 3.1.2.5 and 3.1.2.6, RFC 9207).
RETURNED: Final = ("code", "state", "iss", "error")
_ASSERTION_S: Final = 60
_KEEP_S: Final = DAY
_UNKNOWN_KEY_S: Final = 60
_LEAST_RSA_BITS: Final = 2048
_LONGEST_CUSTOMER: Final = 200
_WELL_KNOWN: Final = "/.well-known/openid-configuration"


@dataclass(frozen=True)
class LogInMetadata:
    """A provider's endpoints (OpenID Connect Discovery 1.0 section 3). `names_itself` says that its responses have `iss`."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None
    names_itself: bool
    authentication: tuple[str, ...]
    signatures: tuple[str, ...]


@dataclass(frozen=True)
class LogInRequest:
    """What one log-in was asked for with: bound to one browser, and used once."""

    redirect_uri: str
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True)
class ProvenCustomer:
    """Who has logged in, by the claim that the settings name, and how (`acr`, empty where the provider does not say).

    `email` is a verified address, or empty.
    """

    id: str = field(repr=False)
    acr: str
    email: str = field(repr=False)


class TooWeak(BadAnswer):
    """The customer did not log in by one of the authentication contexts that we ask for."""


class _Wire:
    """What Authlib's client calls in the place of a session of its own."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def post(self, url: str, data: Mapping[str, str], headers: Mapping[str, str], auth: ClientAuth) -> httpx.Response:
        _, sent, body = auth.prepare("POST", url, dict(headers), urlencode(data))
        form = dict(parse_qsl(body, keep_blank_values=True))
        answer = self._session.post_form(url, form, authorization=sent.get("Authorization"), configured=True)
        return httpx.Response(200, content=require(answer, 200).body)


class LogInProvider:
    """The OpenID provider that the settings name. Raise BadSettings for a key or secret that cannot be used."""

    def __init__(self, settings: LoginSettings, session: Session, cache: Cache) -> None:
        self._settings = settings
        self._session = session
        self._fetcher = Fetcher(session, cache)
        self._documents = f"{settings.issuer.removesuffix('/')}{_WELL_KNOWN}"
        self._asked_again = 0
        try:
            self._key = _private_key(settings.key) if settings.key else None
            self._secret = _secret(settings.secret) if settings.secret else ""
        except (OSError, ValueError, TypeError) as error:  # TypeError: a key under a password
            raise BadSettings(f"login: {settings.key or settings.secret}: {error}") from None

    def metadata(self) -> LogInMetadata:
        """Return the provider's metadata, which is asked for when the copy we have is too old. Raise Unreachable."""
        issuer = self._settings.issuer
        return self._fetcher.get(
            self._documents, lambda body: _metadata(issuer, body), keep_s=_KEEP_S, stop_if_wrong=True
        )

    def has_metadata(self) -> bool:
        """Return whether `metadata` returns without a call."""
        return self._fetcher.has_fresh(self._documents)

    def examine(self) -> None:
        """Look whether we could do a log-in at this provider. Raise Unreachable."""
        metadata = self.metadata()
        every = self._fetcher.get(metadata.jwks_uri, _public_keys)
        if not any(_fits(members, key, algorithm) for members, key in every for algorithm in ALGORITHMS):
            raise BadAnswer(f"no key for {', '.join(ALGORITHMS)}", self._host, 200)

    def address(self, asked: LogInRequest) -> str:
        """Return where the browser logs in. Raise Unreachable."""
        metadata, wanted = self.metadata(), self._settings
        client = self._client(metadata)
        further: dict[str, object] = {}
        if wanted.acr_values:
            further["acr_values"] = " ".join(wanted.acr_values)
        if wanted.max_age_s:
            further["max_age"] = str(wanted.max_age_s)
        address, _ = client.create_authorization_url(
            metadata.authorization_endpoint,
            state=asked.state,
            code_verifier=asked.verifier,
            redirect_uri=asked.redirect_uri,
            nonce=asked.nonce,
            **further,
        )
        return str(address)

    def customer(self, asked: LogInRequest, returned: Mapping[str, str]) -> ProvenCustomer:
        """Return who has logged in, from what came back with the browser.

        Raise CallbackRefused (state, iss, code), OAuthRefused with the provider's error, TooWeak, Unreachable.
        """
        metadata = self.metadata()
        code = self._code(metadata, asked, returned)
        tokens = self._client(metadata).fetch_token(
            metadata.token_endpoint,
            grant_type="authorization_code",
            code=code,
            code_verifier=asked.verifier,
            redirect_uri=asked.redirect_uri,
        )
        return self._proven(metadata, asked, tokens)

    def log_out_address(self, back: str) -> str:
        """Return where the browser ends its session at the provider; empty where it does not say. Raise Unreachable."""
        endpoint = self.metadata().end_session_endpoint
        if endpoint is None:
            return ""
        return with_query(endpoint, {"client_id": self._settings.client_id, "post_logout_redirect_uri": back})

    @cached_property
    def _host(self) -> str:
        return urlsplit(self._settings.issuer).hostname or "-"

    def _client(self, metadata: LogInMetadata) -> OAuth2Client:
        wanted, post = self._settings, "client_secret_post"
        if self._key is not None:
            method = PrivateKeyJWT.name
        else:
            only_post = post in metadata.authentication and "client_secret_basic" not in metadata.authentication
            method = post if only_post else "client_secret_basic"
        client = OAuth2Client(
            _Wire(self._session),
            client_id=wanted.client_id,
            client_secret=self._key or self._secret,
            token_endpoint_auth_method=method,
            scope=" ".join(wanted.scopes),
            code_challenge_method="S256",
        )
        if self._key is not None:
            client.register_client_auth_method(self._assertion(metadata))
        else:
            client.register_client_auth_method(("client_secret_basic", _basic))
        return client

    def _assertion(self, metadata: LogInMetadata) -> PrivateKeyJWT:
        assert self._key is not None
        fitting = [each for each in ALGORITHMS if each.startswith("ES") == isinstance(self._key, ECKey)]
        algorithm = next((each for each in fitting if each in metadata.signatures), fitting[-1])
        now = clock.now()  # Authlib would take the system's
        # The audience that FAPI 2.0 5.3.3.1 and OpenID Connect providers since 2025 require: the issuer itself
        return PrivateKeyJWT(metadata.issuer, claims={"iat": now, "exp": now + _ASSERTION_S}, alg=algorithm)

    def _code(self, metadata: LogInMetadata, asked: LogInRequest, returned: Mapping[str, str]) -> str:
        if not hmac.compare_digest(returned.get("state", "").encode(), asked.state.encode()):
            raise CallbackRefused("state", self._host)
        # RFC 9207 section 2.4: compared as strings; absent only where the provider does not say that it sends it
        if returned.get("iss", None if metadata.names_itself else metadata.issuer) != metadata.issuer:
            raise CallbackRefused("iss", self._host)
        if "error" in returned:
            raise OAuthRefused(error_code(returned["error"]), self._host)
        if not returned.get("code"):
            raise CallbackRefused("code", self._host)
        return returned["code"]

    def _proven(self, metadata: LogInMetadata, asked: LogInRequest, tokens: Mapping[str, Any]) -> ProvenCustomer:
        wanted, now = self._settings, clock.now()
        text = tokens.get("id_token")
        if not isinstance(text, str):
            raise BadAnswer("no ID token", self._host, 200)
        try:
            token = jwt.decode(text, lambda signed: self._public(metadata, signed.headers()), algorithms=ALGORITHMS)
            claims = CodeIDToken(
                token.claims,
                token.header,
                {"iss": {"essential": True, "value": metadata.issuer}},
                {
                    "nonce": asked.nonce,
                    "client_id": wanted.client_id,
                    "max_age": wanted.max_age_s,
                    "access_token": tokens.get("access_token"),
                },
            )
            claims.validate(now, LEEWAY_S)
        except (JoseError, ValueError, TypeError) as error:
            # The class and no more: a message may quote the token.
            raise BadAnswer(
                f"ID token: {getattr(error, 'claim', '') or type(error).__name__}", self._host, 200
            ) from None
        if claims["aud"] not in (wanted.client_id, [wanted.client_id]):  # Core 3.1.3.7: no audience that we do not know
            raise BadAnswer("ID token: aud", self._host, 200)
        if wanted.max_age_s and not now - wanted.max_age_s - LEEWAY_S <= claims["auth_time"] <= now + LEEWAY_S:
            raise BadAnswer("ID token: auth_time", self._host, 200)
        acr, customer = claims.get("acr", ""), claims.get(wanted.customer_claim)
        if wanted.acr_values and acr not in wanted.acr_values:
            raise TooWeak("acr", self._host, 200)
        if not isinstance(customer, str) or not 0 < len(customer) <= _LONGEST_CUSTOMER or not customer.isprintable():
            raise BadAnswer(f"ID token: {wanted.customer_claim}", self._host, 200)
        return ProvenCustomer(customer, acr if isinstance(acr, str) else "", self._email(claims))

    def _email(self, claims: Mapping[str, Any]) -> str:
        name = self._settings.mail_claim
        address = claims.get(name) if name else None
        # OpenID Connect Core 5.1: JSON's true says that the provider has seen who has the address; "true" and 1 do not.
        if claims.get(f"{name}_verified") is not True or not isinstance(address, str):
            return ""
        return email_address(address) or ""

    def _public(self, metadata: LogInMetadata, header: Mapping[str, Any]) -> ECKey | RSAKey:
        """Return the one key that may have signed. A key that we do not have yet is asked for, once a minute at most."""
        kid, algorithm = header.get("kid"), header.get("alg")
        found = self._matching(metadata, kid, algorithm, fresh=False)
        if len(found) != 1 and clock.now() - self._asked_again >= _UNKNOWN_KEY_S:
            self._asked_again = clock.now()
            found = self._matching(metadata, kid, algorithm, fresh=True)
        if len(found) != 1:
            raise ValueError("no such key")
        return found[0]

    def _matching(
        self, metadata: LogInMetadata, kid: object, algorithm: object, *, fresh: bool
    ) -> list[ECKey | RSAKey]:
        every = self._fetcher.get(metadata.jwks_uri, _public_keys, fresh=fresh, keep_s=_KEEP_S)
        return [key for each, key in every if (kid is None or each.get("kid") == kid) and _fits(each, key, algorithm)]


def _basic(client: ClientAuth, method: str, uri: str, headers: dict[str, str], body: str) -> tuple[str, Any, str]:
    # RFC 6749 section 2.3.1: both are form-encoded first
    pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    return uri, headers, body


def _metadata(issuer: str, body: bytes) -> LogInMetadata:
    source = fields.document(body)
    if source.get("issuer") != issuer:  # OpenID Connect Discovery 1.0 section 4.3
        raise ValueError("issuer is not the one that was requested")
    challenges = fields.texts(source, "code_challenge_methods_supported")
    if challenges and "S256" not in challenges:  # providers in use do PKCE and do not say so
        raise ValueError("S256 is not supported")
    return LogInMetadata(
        issuer=issuer,
        authorization_endpoint=fields.url(source, "authorization_endpoint"),
        token_endpoint=fields.url(source, "token_endpoint"),
        jwks_uri=fields.url(source, "jwks_uri"),
        end_session_endpoint=fields.optional_url(source, "end_session_endpoint"),
        names_itself=source.get("authorization_response_iss_parameter_supported") is True,
        authentication=fields.texts(source, "token_endpoint_auth_methods_supported"),
        signatures=fields.texts(source, "token_endpoint_auth_signing_alg_values_supported"),
    )


def _public_keys(body: bytes) -> list[tuple[dict[str, Any], ECKey | RSAKey]]:
    """Return the keys that may sign, each with its members; a key of a kind that we do not know spoils none of the others."""
    found: list[tuple[dict[str, Any], ECKey | RSAKey]] = []
    for each in fields.objects(fields.document(body), "keys"):
        try:
            key = import_key(each)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if isinstance(key, ECKey | RSAKey) and each.get("use", "sig") == "sig":
            found.append((each, key))
    return found


def _fits(members: Mapping[str, Any], key: ECKey | RSAKey, algorithm: object) -> bool:
    if members.get("alg", algorithm) != algorithm or algorithm not in ALGORITHMS:
        return False
    public = key.public_key
    if isinstance(public, RSAPublicKey):
        return algorithm != "ES256" and public.key_size >= _LEAST_RSA_BITS
    return algorithm == "ES256" and isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1)


def _private_key(path: Path) -> ECKey | RSAKey:
    text = path.read_bytes()
    key = load_pem_private_key(text, None)
    if isinstance(key, RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS:
        return RSAKey.import_key(text)
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        return ECKey.import_key(text)
    raise ValueError(f"neither P-256 nor RSA of {_LEAST_RSA_BITS} bits or more")


def _secret(path: Path) -> str:
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        raise ValueError("empty")
    return text

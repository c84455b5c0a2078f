"""The OAuth client: what a CAP sends to an EDP's issuer, and an FSP's software to a CAP's.

Discovery, pushed request, callback, tokens, revocation and the permission record: every step that FAPI 2.0 and OAuth with
Member Identity Certificates require of a client. Nothing is kept here: the caller stores state, verifier and tokens,
sealed, and no repr shows one.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final, TypeGuard
from urllib.parse import parse_qsl, urlsplit

from consent_server import audit
from consent_server.outbound import fields
from consent_server.outbound.cache import Cache, Fetcher
from consent_server.outbound.errors import BadAnswer, CallbackRefused, OAuthRefused
from consent_server.outbound.session import Response, Session
from consent_server.refusal import with_query
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.signing.jws import base64url

#: The deployed form of a permission record's wrapper (docs/interop.md).
PERMISSIONS_WRAPPER: Final = "permission_record_permissions"

_WELL_KNOWN = "/.well-known/oauth-authorization-server"
_KEEP_S = DAY
_ERROR_CODE = re.compile(r"[a-z_]{1,64}")
_TO_THE_MINUTE = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}Z", re.ASCII)
#: 1*VSCHAR, the grammar of codes and of both tokens (RFC 6749 appendices A.11, A.12 and A.17), with an upper bound.
_TOKEN = re.compile(r"[\x20-\x7e]{1,8192}")
_REQUEST_URI = re.compile(r"[\x21-\x7e]{1,8192}")


@dataclass(frozen=True)
class Metadata:
    """An issuer's endpoints; those for members are the mutual-TLS aliases if there are any (RFC 8705 section 5)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    pushed_authorization_request_endpoint: str
    revocation_endpoint: str
    ib1_permission_endpoint: str
    jwks_uri: str | None


@dataclass(frozen=True)
class Pushed:
    """A pushed request. Send the browser to `authorization_url`; keep the rest in that browser's session."""

    authorization_url: str = field(repr=False)
    expires_in: int
    license: str
    redirect_uri: str
    state: str = field(repr=False)
    code_verifier: str = field(repr=False)


@dataclass(frozen=True)
class Tokens:
    """A token response. Keep its refresh token first: an issuer that rotates has ended the one before (RFC 6749 section 6).

    `fault` is why nothing else in it may be used. `refresh_token` is None where the response has none that can be kept,
    `expires_in` (seconds) where the issuer does not say.
    """

    unverified_access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_in: int | None
    fault: BadAnswer | None = None

    @property
    def access_token(self) -> str:
        """Return the access token. Raise BadAnswer where there is a `fault`."""
        if self.fault is not None:
            raise self.fault
        return self.unverified_access_token


@dataclass(frozen=True)
class PermissionRecord:
    """The issuer's record of a permission (Permission Records). Instants are whole seconds.

    `revoked_at` is None where the permission was not revoked, and where what says when cannot be read.
    """

    issuer: str
    client: str
    license: str
    account: str
    last_granted: int
    expires: int
    evidence: str = field(repr=False)
    revoked: bool
    revoked_at: int | None
    data_available_from: int
    token_issued_at: int
    token_expires: int


class Upstream:
    """The client of any issuer, as the application that our certificate names."""

    def __init__(self, application: str, session: Session, cache: Cache) -> None:
        self._client_id = application
        self._session = session
        self._fetcher = Fetcher(session, cache)

    def metadata(self, issuer: str) -> Metadata:
        """Return the issuer's metadata (RFC 8414), whose `issuer` must equal the Directory's `oauthIssuer`, but for a slash
        at the end.

        Raise Unreachable; NotAllowed where any endpoint, the browser's included, is not on an allowlisted host.
        """
        found = self._fetcher.get(
            metadata_url(issuer),
            lambda body: _metadata(issuer, body),
            configured=False,
            keep_s=_KEEP_S,
            stop_if_wrong=True,  # RFC 8414 section 3.3: what has another issuer must not be used, nor what we had before
        )
        # We send the SME to that host: it must be a member's, as the hosts that we call must be.
        self._session.require_allowed(found.authorization_endpoint)
        return found

    def push(
        self, metadata: Metadata, license: str, redirect_uri: str, beside: Mapping[str, str] | None = None
    ) -> Pushed:
        """Push an authorization request (RFC 9126) with PKCE S256. Raise OAuthRefused, Unreachable.

        `beside` are further parameters, which an issuer that does not know them ignores (RFC 6749 section 3.1).
        """
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        answer = self._post(
            metadata.pushed_authorization_request_endpoint,
            {
                "response_type": "code",
                "client_id": self._client_id,
                "code_challenge": base64url(sha256(verifier.encode("ascii")).digest()),
                "code_challenge_method": "S256",
                "scope": license,
                "redirect_uri": redirect_uri,
                "state": state,
                **(beside or {}),
            },
            200,
            201,
        )
        document = answer.object()
        request_uri, expires_in = document.get("request_uri"), document.get("expires_in")
        if not isinstance(request_uri, str) or not _REQUEST_URI.fullmatch(request_uri) or not _is_seconds(expires_in):
            raise BadAnswer("request_uri", answer.host, answer.status)
        # FAPI 2.0 5.3.3.2-6: only these two go through the browser.
        visible = {"client_id": self._client_id, "request_uri": request_uri}
        return Pushed(
            authorization_url=with_query(metadata.authorization_endpoint, visible),
            expires_in=expires_in,
            license=license,
            redirect_uri=redirect_uri,
            state=state,
            code_verifier=verifier,
        )

    def callback(self, issuer: str, query: str, state: str) -> str:
        """Return the code in the query that came to our redirect URI (without `?`); `state` is the one we pushed to `issuer`.

        Raise CallbackRefused (too many, doubled, state, iss, code), and OAuthRefused with the issuer's error, such as
        `access_denied`, once state and iss have shown that the response is the issuer's.
        """
        host = _host(issuer)
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=64, encoding="utf-8", errors="replace")
        except ValueError:
            raise CallbackRefused("too many", host) from None
        values = dict(pairs)
        if len(values) != len(pairs):
            raise CallbackRefused("doubled", host)
        if not hmac.compare_digest(values.get("state", "").encode(), state.encode()):
            raise CallbackRefused("state", host)
        # RFC 9207 section 2.4: compared as strings; its absence is refused too, since FAPI 2.0 requires it of issuers.
        if values.get("iss") != issuer:
            raise CallbackRefused("iss", host)
        if "error" in values:
            raise OAuthRefused(error_code(values["error"]), host)
        code = values.get("code", "")
        if not _TOKEN.fullmatch(code):
            raise CallbackRefused("code", host)
        return code

    def redeem(self, metadata: Metadata, pushed_redirect_uri: str, license: str, code: str, verifier: str) -> Tokens:
        """Return the response to a code; it is a fault if it has no refresh token. Raise OAuthRefused, Unreachable."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": pushed_redirect_uri,
        }
        tokens = self._tokens(metadata, license, form)
        if tokens.refresh_token is None and tokens.fault is None:
            return replace(tokens, fault=BadAnswer("no refresh token", _host(metadata.issuer), 200))
        return tokens

    def refresh(self, metadata: Metadata, license: str, refresh_token: str) -> Tokens:
        """Return the response to a refresh. Raise OAuthRefused (`invalid_grant`: the permission has ended), Unreachable."""
        return self._tokens(metadata, license, {"grant_type": "refresh_token", "refresh_token": refresh_token})

    def revoke(self, metadata: Metadata, refresh_token: str) -> None:
        """Revoke (RFC 7009). Return only when the issuer has confirmed it with 200. Raise OAuthRefused, Unreachable."""
        form = {"token": refresh_token, "token_type_hint": "refresh_token", "client_id": self._client_id}
        self._post(metadata.revocation_endpoint, form, 200)

    def permission_record(self, metadata: Metadata, refresh_token: str) -> PermissionRecord:
        """Return the permission record. Raise OAuthRefused (`invalid_grant`: not ours, or unknown), Unreachable."""
        answer = self._post(metadata.ib1_permission_endpoint, {"token": refresh_token}, 200)
        document = answer.object()
        # Permission Records name the member `permission`; issuers in use still write `permissions`.
        source = document.get("permission", document.get("permissions"))
        if not isinstance(source, dict):
            raise BadAnswer("permission record", answer.host, 200)
        try:
            record = _record(source)
        except ValueError:
            raise BadAnswer("permission record", answer.host, 200) from None
        if record.issuer != metadata.issuer or record.client != self._client_id:
            raise BadAnswer("permission record of another", answer.host, 200)
        if "permission" not in document:
            audit.event("deployed_form_accepted", form=PERMISSIONS_WRAPPER, issuer=metadata.issuer)
        return record

    def _tokens(self, metadata: Metadata, license: str, form: Mapping[str, str]) -> Tokens:
        answer = self._post(metadata.token_endpoint, {**form, "client_id": self._client_id}, 200)
        document = answer.object()
        fault, expires_in = _token_fault(document, license), document.get("expires_in")
        return Tokens(
            str(document.get("access_token")),
            _token(document.get("refresh_token")),
            expires_in if _is_seconds(expires_in) else None,
            BadAnswer(fault, answer.host, 200) if fault else None,
        )

    def _post(self, url: str, form: Mapping[str, str], *statuses: int) -> Response:
        return require(self._session.post_form(url, form), *statuses)


def require(answer: Response, *statuses: int) -> Response:
    """Return an OAuth endpoint's response if its status is one of these. Raise OAuthRefused, BadAnswer."""
    if answer.status in statuses:
        return answer
    try:
        error = answer.object().get("error")
    except BadAnswer:
        error = None
    if isinstance(error, str) and 400 <= answer.status < 500:
        raise OAuthRefused(error_code(error), answer.host, answer.status, answer.retry_after())
    return answer.must_be(*statuses)


def metadata_url(issuer: str) -> str:
    # RFC 8414 section 3.1: the well-known segment goes between the host and the issuer's path.
    parts = urlsplit(issuer)
    return f"https://{parts.netloc}{_WELL_KNOWN}{parts.path.rstrip('/')}"


def _metadata(issuer: str, body: bytes) -> Metadata:
    source = fields.document(body)
    # RFC 8414 section 3.3. The Directory's entries in use differ from the issuer's own name by a slash at the end.
    own = fields.url(source, "issuer")
    if own.removesuffix("/") != issuer.removesuffix("/"):
        raise ValueError("issuer is not the one that was requested")
    if "S256" not in fields.texts(source, "code_challenge_methods_supported"):  # FAPI 2.0 5.3.3.2
        raise ValueError("S256 is not supported")
    aliases = source.get("mtls_endpoint_aliases")
    members = {**source, **aliases} if isinstance(aliases, dict) else source
    # OAuth with Member Identity Certificates names it `ib1_permission_endpoint`; issuers in use still have an older name.
    permission = "ib1_permission_endpoint" if "ib1_permission_endpoint" in members else "permissions_endpoint"
    return Metadata(
        issuer=own,
        authorization_endpoint=fields.url(source, "authorization_endpoint"),
        token_endpoint=fields.url(members, "token_endpoint"),
        pushed_authorization_request_endpoint=fields.url(members, "pushed_authorization_request_endpoint"),
        revocation_endpoint=fields.url(members, "revocation_endpoint"),
        ib1_permission_endpoint=fields.url(members, permission),
        jwks_uri=fields.optional_url(source, "jwks_uri"),
    )


def _record(source: dict[str, Any]) -> PermissionRecord:
    return PermissionRecord(
        issuer=fields.url(source, "oauthIssuer"),
        client=fields.url(source, "client"),
        license=fields.url(source, "license"),
        account=fields.opaque(source, "account"),
        last_granted=_instant(source, "lastGranted"),
        expires=_instant(source, "expires"),
        evidence=fields.url(source, "evidence"),
        revoked="revoked" in source,  # Permission Records: the key alone means revoked, whatever its value
        revoked_at=_revoked_at(source),
        data_available_from=_instant(source, "dataAvailableFrom"),
        token_issued_at=_instant(source, "tokenIssuedAt"),
        token_expires=_instant(source, "tokenExpires"),
    )


def _revoked_at(source: dict[str, Any]) -> int | None:
    try:
        return _instant(source, "revoked")
    except ValueError:
        return None


def _instant(source: dict[str, Any], name: str) -> int:
    """Return an instant of a record. Permission Records asks for ISO 8601 with Z, and its own example has no seconds."""
    value = source.get(name)
    if isinstance(value, str) and _TO_THE_MINUTE.fullmatch(value):
        value = f"{value[:-1]}:00Z"
    return instant.parse(value)


def error_code(value: str) -> str:
    """Return an OAuth error code, limited to its grammar: others' text goes into our log."""
    return value if _ERROR_CODE.fullmatch(value) else "unknown_error"


def _token_fault(document: Mapping[str, Any], license: str) -> str:
    """Return the member that makes a token response unusable; empty for none."""
    access, refresh = _token(document.get("access_token")), document.get("refresh_token")
    # No header carries a space at its end, and what is to the left of it is the scheme (RFC 9110 sections 5.5 and 11.6.2).
    if access is None or access != access.strip():
        return "access_token"
    if refresh is not None and _token(refresh) is None:
        return "refresh_token"
    # RFC 6749 section 5.1: token_type is required and expires_in recommended; issuers in use leave both out.
    if str(document.get("token_type", "Bearer")).lower() != "bearer":
        return "token_type"
    # RFC 6749 section 5.1: scope may be left out if it is what was requested; another license is refused.
    if set(str(document.get("scope", license)).split()) - {"offline_access"} != {license}:
        return "scope"
    return ""


def _token(value: object) -> str | None:
    return value if isinstance(value, str) and _TOKEN.fullmatch(value) else None


def _is_seconds(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 31536000


def _host(url: str) -> str:
    return urlsplit(url).hostname or "-"

"""What the OpenID Foundation's conformance suite checks, as small functions: an exception is its FAILURE or its WARNING.

Written from a reading of suite 5.2.4, plan `fapi2-security-profile-final-test-plan`, variant plain_oauth, mtls, mtls,
plain_fapi (docs/conformance.md). It asks from outside, with two of the manifest's clients; the one thing that it borrows
is the sandbox's small browser.
"""

import json
import math
import re
import secrets
import socket
import ssl
import time
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

import httpx

from consent_server.sandbox.browser import Browser, Page, follow
from tests.conformance.plan import ALLOWED_UNKNOWN, SUITE, UNRESERVED, Plan, SuiteClient
from tests.jose import s256

_YEAR: Final = 365 * 24 * 3600
_ENTROPY_BITS: Final = 96
_ERROR_CODE: Final = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 appendix A.7
_VISIBLE: Final = re.compile(r"[\x20-\x7e]+")
_SCOPE_TOKEN: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


# Section 1: the set-up that every module begins with


def json_object(answer: httpx.Response) -> dict[str, Any]:
    found = json.loads(answer.text)
    assert isinstance(found, dict), f"not a JSON object: {answer.text[:80]}"
    return found


def mime(answer: httpx.Response) -> str:
    return str(answer.headers.get("content-type", "")).partition(";")[0].strip().lower()


#: The one expected failure of a default sandbox: IB1 repeats every endpoint (docs/conformance.md).
ALIAS_OF_AUTHORIZATION: Final = "authorization_endpoint is an alias (RFC 8705 section 5)"


def alias_failures(metadata: Mapping[str, Any]) -> list[str]:
    """AddMTLSEndpointAliasesToEnvironment, in each module: what it would report about `mtls_endpoint_aliases`."""
    aliases = metadata.get("mtls_endpoint_aliases", {})
    if not isinstance(aliases, dict):
        return ["mtls_endpoint_aliases is not an object"]
    failures = [f"{name} is no endpoint" for name in aliases if not name.endswith("_endpoint")]
    failures += [f"{name} is an alias alone" for name in aliases if name not in metadata]
    return failures + [ALIAS_OF_AUTHORIZATION] * ("authorization_endpoint" in aliases)


@dataclass
class Run:
    """One module's run: it has fetched the metadata anew, as each module does, and keeps a browser without a past."""

    plan: Plan
    metadata: dict[str, Any] = field(default_factory=dict)

    def configure(self, expected_alias_failures: Collection[str]) -> "Run":
        """Metadata is fetched before any certificate is loaded. Only the expected alias failures may occur."""
        assert self.plan.scope, "client.scope is empty"
        assert "openid" not in self.plan.scope.split(" ")
        assert self.plan.first.client_id != self.plan.second.client_id
        answer = httpx.get(self.plan.discovery_url, verify=self.plan.without_certificate(), trust_env=False)
        assert answer.status_code == 200
        self.metadata = json_object(answer)
        for name in ("authorization_endpoint", "token_endpoint", "issuer"):
            assert urlsplit(self.metadata[name]).netloc, name
        assert alias_failures(self.metadata) == list(expected_alias_failures)
        return self

    def endpoint(self, name: str) -> str:
        found = self.metadata["mtls_endpoint_aliases"].get(name, self.metadata[name])
        assert not set(found) & set("%{}"), f"{name} has characters that the suite's client re-encodes"
        return str(found)

    @contextmanager
    def browser(self) -> Iterator[Browser]:
        browser = Browser(self.plan.server_ca, stops_at=SUITE)
        try:
            yield browser
        finally:
            browser.close()

    # Section 2: the normal flow

    def ask(self, client: SuiteClient, *without: str, **changes: str) -> "Asked":
        """What this client would push: `without` some parameters, and with `changes` to others."""
        verifier = "".join(secrets.choice(UNRESERVED) for _ in range(128))
        form = {
            "client_id": client.client_id,
            "redirect_uri": client.redirect_uri,
            "scope": self.plan.scope,
            "state": client.state(),
            "response_type": "code",
            "code_challenge": s256(verifier),
            "code_challenge_method": "S256",
            **changes,
        }
        return Asked(client, verifier, {name: value for name, value in form.items() if name not in without})

    def send(self, asked: "Asked") -> httpx.Response:
        endpoint = self.endpoint("pushed_authorization_request_endpoint")
        return asked.client.http.post(endpoint, data=asked.form, headers={"Accept": "application/json"})

    def push(self, client: SuiteClient, *without: str, **changes: str) -> "Asked":
        """A pushed request that is accepted."""
        asked = self.ask(client, *without, **changes)
        answer = self.send(asked)
        assert answer.status_code == 201, answer.text
        assert mime(answer) == "application/json"
        body = json_object(answer)
        assert "error" not in body
        asked.request_uri = body["request_uri"]
        assert urlsplit(asked.request_uri).scheme
        assert "+" not in asked.request_uri
        assert entropy(asked.request_uri) > _ENTROPY_BITS
        asked.expires_in = body["expires_in"]
        assert type(asked.expires_in) is int
        assert 5 <= asked.expires_in < _YEAR
        assert asked.expires_in < 240, "the runner gives a module 240 s, and module 23 waits out expires_in"
        return asked

    def url(
        self, asked: "Asked", *without: str, client_id: str | None = None, backwards: bool = False, **extra: str
    ) -> str:
        """The authorization URL with the suite's duplicates of what was pushed, in alphabetical order or backwards."""
        query = {
            "client_id": client_id or asked.client.client_id,
            "redirect_uri": asked.form.get("redirect_uri", asked.client.redirect_uri),
            "request_uri": asked.request_uri,
            "response_type": "code",
            "scope": self.plan.scope,
            **extra,
        }
        names = sorted((name for name in query if name not in without), reverse=backwards)
        return f"{self.metadata['authorization_endpoint']}?" + "&".join(f"{n}={in_query(query[n])}" for n in names)

    def allow(self, url: str, browser: Browser | None = None) -> Page:
        """Where the SME's browser is after it has opened `url` and agreed."""
        return self._walk(url, self.plan.steps, browser)

    def reject(self, url: str, *, at: str) -> Page:
        """Where it is after the SME has pressed `cancel` on the first page, or `decline` on the last one."""
        if at == "cancel":
            return self._walk(url, [{**self.plan.steps[0], "fill": {}, "check": [], "click": "cancel"}])
        return self._walk(url, [*self.plan.steps[:-1], {**self.plan.steps[-1], "check": [], "click": "decline"}])

    def open(self, url: str) -> Page:
        return self._walk(url, [])

    def _walk(self, url: str, steps: Sequence[Mapping[str, Any]], browser: Browser | None = None) -> Page:
        with self.browser() as fresh:
            browser = browser or fresh
            return follow(browser, browser.open(url), [dict(step) for step in steps])

    def granted(self, asked: "Asked", page: Page) -> str:
        """The code that the browser brought to the callback."""
        answer = self.callback(asked, page, {"code", "state", "iss", "id_token", "session_state"})
        assert "error" not in answer
        code = answer["code"]
        assert len(code) >= 16
        assert entropy(code) > _ENTROPY_BITS
        return code

    def refused_by_redirect(self, asked: "Asked", page: Page, *errors: str) -> None:
        names = {"error", "error_description", "error_uri", "state", "iss", "session_state"}
        answer = self.callback(asked, page, names)
        assert answer["error"] in errors
        check_error_texts(answer)

    def callback(self, asked: "Asked", page: Page, expected: Collection[str]) -> dict[str, str]:
        """The parameters that came back: in the query, each once, to the pushed redirect_uri, with state and iss."""
        assert page.url.startswith(asked.form["redirect_uri"]), f"at {page.url} ({page.status}): {page.heading}"
        parts = urlsplit(page.url)
        assert not parts.fragment
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
        answer = dict(pairs)
        assert len(pairs) == len(answer), "a parameter came back twice"
        own = dict(parse_qsl(urlsplit(asked.form["redirect_uri"]).query))
        assert own.items() <= answer.items(), "the query of the client's own redirect_uri is gone"
        assert answer.get("state") == asked.form.get("state")
        assert answer["iss"] == self.metadata["issuer"]
        assert answer.keys() - own.keys() <= set(expected), "unexpected parameters"
        return answer

    def code_request(
        self, asked: "Asked", code: str, *without: str, by: SuiteClient | None = None, **changes: str
    ) -> httpx.Response:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": asked.form["redirect_uri"],
            "code_verifier": asked.verifier,
            **changes,
        }
        return self.token_request(by or asked.client, {n: v for n, v in form.items() if n not in without})

    def token_request(self, client: SuiteClient, form: Mapping[str, str]) -> httpx.Response:
        data = {"client_id": client.client_id, **form}
        return client.http.post(self.endpoint("token_endpoint"), data=data, headers={"Accept": "application/json"})

    def redeem(self, asked: "Asked", code: str) -> dict[str, Any]:
        return check_tokens(self.code_request(asked, code))

    def code(self, client: SuiteClient, *without: str, **changes: str) -> tuple["Asked", str]:
        """From a pushed request to its code, on the suite's usual way."""
        asked = self.push(client, *without, **changes)
        return asked, self.granted(asked, self.allow(self.url(asked)))

    def whole_flow(self, client: SuiteClient) -> dict[str, Any]:
        """The usual way from end to end; answers the tokens."""
        tokens = self.redeem(*self.code(client))
        self.check_resource(client, tokens)
        return tokens

    def finish(self, asked: "Asked", page: Page) -> dict[str, Any]:
        """From the callback to the resource."""
        tokens = self.redeem(asked, self.granted(asked, page))
        self.check_resource(asked.client, tokens)
        return tokens

    def resource(
        self,
        client: SuiteClient,
        tokens: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        scheme: str | None = None,
    ) -> httpx.Response:
        """GET the resource; `scheme` as the token response spelt it, unless given."""
        sent = {
            "Authorization": f"{scheme or tokens['token_type']} {tokens['access_token']}",
            "Accept": "application/json",
            **client.resource_headers(),
            **(headers or {}),
        }
        return client.http.get(self.plan.resource_url, headers=sent)

    def check_resource(
        self, client: SuiteClient, tokens: Mapping[str, Any], *, headers: Mapping[str, str] | None = None, **how: str
    ) -> None:
        answer = self.resource(client, tokens, headers=headers, **how)
        assert answer.status_code in {200, 201}, answer.text[:300]
        date = parsedate_to_datetime(answer.headers["date"])
        assert re.fullmatch(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", answer.headers["date"])
        assert abs(date.timestamp() - time.time()) < 300
        sent, returned = (
            answer.request.headers.get("x-fapi-interaction-id"),
            answer.headers.get("x-fapi-interaction-id"),
        )
        if sent is not None and returned is not None:
            assert _UUID.fullmatch(returned)
            assert returned.lower() == sent.lower()

    def check_other_client_is_refused(self, tokens_of_the_second: Mapping[str, Any]) -> None:
        """The first client's certificate with the second client's token."""
        assert 400 <= self.resource(self.plan.first, tokens_of_the_second).status_code < 500


@dataclass
class Asked:
    """An authorization request: what is pushed, the verifier to it, and what the server answered."""

    client: SuiteClient
    verifier: str
    form: dict[str, str]
    request_uri: str = ""
    expires_in: int = 0


def in_query(value: str) -> str:
    """A value as the suite writes it into the authorization URL: `:` and `/` raw, `=` and `&` escaped."""
    return quote(value, safe=":/?-._~")


def entropy(text: str) -> float:
    """The suite's estimate: Shannon's entropy of the text's own characters, times its length, in bits."""
    counts = Counter(text)
    return -sum(count * math.log2(count / len(text)) for count in counts.values())


def check_tokens(answer: httpx.Response) -> dict[str, Any]:
    """A token response: what both grants promise. Answers its body."""
    assert answer.status_code == 200, answer.text
    body = json_object(answer)
    assert "error" not in body
    assert "id_token" not in body
    assert body["token_type"].lower() == "bearer"
    for name in ("access_token", "refresh_token"):
        if name in body:
            assert len(body[name]) >= 16
            assert entropy(body[name]) > _ENTROPY_BITS
    assert body["access_token"]
    assert type(body["expires_in"]) is int
    assert 0 < body["expires_in"] <= _YEAR
    return body


def check_refreshed(answer: httpx.Response) -> dict[str, Any]:
    """The refresh grant's response has more to hold than the code grant's."""
    body = check_tokens(answer)
    assert mime(answer) == "application/json"
    assert "no-store" in answer.headers["cache-control"]
    assert _VISIBLE.fullmatch(body["access_token"])
    return body


def check_error_texts(body: Mapping[str, Any]) -> None:
    """`error`, `error_description` and `error_uri` in the characters of RFC 6749 section 5.2."""
    assert _ERROR_CODE.fullmatch(body["error"])
    assert _ERROR_CODE.fullmatch(body.get("error_description", "-")), "a quote, a backslash, a control, or no ASCII"
    assert urlsplit(body.get("error_uri", "https://x/")).scheme in {"http", "https"}


def check_error(answer: httpx.Response, *errors: str) -> None:
    """An error of the token endpoint: 400, or 401 for invalid_client alone; JSON; one of `errors`."""
    assert mime(answer) == "application/json"
    body = json_object(answer)
    assert body["error"] in errors, body
    assert answer.status_code == 400 or (answer.status_code == 401 and body["error"] == "invalid_client")
    check_error_texts(body)


def check_par_error(answer: httpx.Response, *errors: str) -> None:
    """An error of the PAR endpoint: exactly 400."""
    assert answer.status_code == 400, answer.text
    body = json_object(answer)
    assert body["error"] in errors, body
    check_error_texts(body)


def check_error_page(page: Page) -> None:
    """A page that says what is wrong, instead of a callback: the suite asks for a screenshot (REVIEW)."""
    assert not page.url.startswith(SUITE), page.url
    assert page.status == 400
    assert page.texts.get("oauth-error", "").strip()


# Section 5: discovery

_TYPES: Final[dict[str, type | tuple[type, type]]] = {
    "issuer": str,
    "authorization_endpoint": str,
    "token_endpoint": str,
    "jwks_uri": str,
    "registration_endpoint": str,
    "scopes_supported": list,
    "response_types_supported": list,
    "response_modes_supported": list,
    "grant_types_supported": list,
    "token_endpoint_auth_methods_supported": list,
    "token_endpoint_auth_signing_alg_values_supported": list,
    "service_documentation": str,
    "ui_locales_supported": list,
    "op_policy_uri": str,
    "op_tos_uri": str,
    "revocation_endpoint": str,
    "revocation_endpoint_auth_methods_supported": list,
    "introspection_endpoint": str,
    "introspection_endpoint_auth_methods_supported": list,
    "code_challenge_methods_supported": list,
    "tls_client_certificate_bound_access_tokens": bool,
    "mtls_endpoint_aliases": dict,
    "pushed_authorization_request_endpoint": str,
    "require_pushed_authorization_requests": bool,
    "authorization_response_iss_parameter_supported": bool,
}


def check_discovery(plan: Plan, answer: httpx.Response) -> None:
    """fapi2-...-discovery-end-point-verification on the metadata's response; the aliases are `alias_failures`."""
    assert answer.status_code == 200
    assert mime(answer) == "application/json"
    metadata = json_object(answer)
    _check_issuer(plan, metadata["issuer"])
    for name, kind in _TYPES.items():
        if name in metadata:
            assert isinstance(metadata[name], kind), f"{name} is not a {kind}"
            assert kind is not list or all(isinstance(each, str) for each in metadata[name]), name
    assert metadata.keys() - _TYPES.keys() <= set(ALLOWED_UNKNOWN), "names that the suite does not know"
    for name in ("authorization_endpoint", "token_endpoint", "pushed_authorization_request_endpoint"):
        assert urlsplit(metadata[name]).scheme == "https", name
    assert "code" in metadata["response_types_supported"]
    assert metadata["authorization_response_iss_parameter_supported"] is True
    assert metadata["tls_client_certificate_bound_access_tokens"] is True
    assert "tls_client_auth" in metadata["token_endpoint_auth_methods_supported"]
    assert "private_key_jwt" not in metadata["token_endpoint_auth_methods_supported"]
    assert "S256" in metadata["code_challenge_methods_supported"]
    assert {"authorization_code", "refresh_token"} <= set(metadata["grant_types_supported"])
    assert all(_SCOPE_TOKEN.fullmatch(scope) for scope in metadata["scopes_supported"])
    # IB1 forbids both; to the suite their absence is nothing to remark on, and no more hosts to probe.
    assert not {"userinfo_endpoint", "registration_endpoint"} & metadata.keys()


def _check_issuer(plan: Plan, issuer: str) -> None:
    parts = urlsplit(plan.discovery_url)
    assert parts.scheme == "https"
    assert parts.path.startswith("/.well-known/oauth-authorization-server")
    without = plan.discovery_url.replace("/.well-known/oauth-authorization-server", "")
    assert issuer.removesuffix("/") == without.removesuffix("/")
    parts = urlsplit(issuer)
    assert parts.scheme == "https"
    assert parts.hostname
    assert not parts.query + parts.fragment
    assert parts.username is None


# Section 6: TLS probes, which send no client certificate and trust any server

#: What EnsureTLS12RequireBCP195Ciphers offers a server of TLS 1.2.
_BCP195: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_REFUSALS: Final = re.compile(r"ALERT_PROTOCOL_VERSION|ALERT_HANDSHAKE_FAILURE")


def _trusting_anyone() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def handshake(url: str, least: ssl.TLSVersion, most: ssl.TLSVersion, ciphers: str) -> str:
    """The protocol version that the server chooses, or how it refuses: the alert's name, or "reset"."""
    parts = urlsplit(url)
    context = _trusting_anyone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # to ask for old versions is the point
        # OpenSSL's level 1 has no TLS 1.0 and 1.1: without 0 the refusal would be our own.
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        context.maximum_version, context.minimum_version = most, least
    with socket.create_connection((parts.hostname, parts.port or 443), timeout=10) as raw:
        try:
            with context.wrap_socket(raw, server_hostname=parts.hostname) as channel:
                return str(channel.version())
        except ssl.SSLError as error:
            return str(error.reason)
        except ConnectionResetError:
            return "reset"


def check_tls(url: str) -> None:
    """The TLS blocks that the suite runs on the host of an endpoint."""
    for old in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):  # DisallowTLS10, DisallowTLS11
        said = handshake(url, old, old, "ALL")
        assert said == "reset" or _REFUSALS.search(said), f"{old.name}: {said}"
    tls12, tls13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    # RequireOnlyBCP195RecommendedCiphersForTLS12: a server without TLS 1.2 has no bad suites of it
    assert _REFUSALS.search(handshake(url, tls12, tls12, "ALL"))
    assert handshake(url, tls13, tls13, _BCP195) == "TLSv1.3"  # EnsureTLS13OrLater
    # EnsureTLS12RequireBCP195Ciphers, EnsureTLS13PreferredOverTLS12
    assert handshake(url, tls12, tls13, _BCP195) == "TLSv1.3"


def post_without_certificate(url: str, form: Mapping[str, str]) -> bytes | None:
    """The raw answer to a form POSTed without a client certificate; None where TLS refused it by an alert or a reset."""
    parts = urlsplit(url)
    body = "&".join(f"{name}={quote(value, safe='')}" for name, value in form.items())
    request = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\nConnection: close\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    answer = b""
    try:
        with (
            socket.create_connection((parts.hostname, parts.port), timeout=10) as raw,
            _trusting_anyone().wrap_socket(raw, server_hostname=parts.hostname) as channel,
        ):
            channel.sendall(request.encode())
            while piece := channel.recv(65536):
                answer += piece
    except ssl.SSLEOFError:
        return answer  # the end without an alert
    except (ssl.SSLError, ConnectionError):
        return None
    return answer


def check_refused_without_certificate(url: str, form: Mapping[str, str]) -> None:
    """Holder of key: a TLS alert, or JSON with invalid_client or invalid_request. A silent end of the connection fails."""
    raw = post_without_certificate(url, form)
    if raw is None:
        return
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert body, "an empty answer, or the connection was closed without an alert"
    check_error(
        httpx.Response(int(status.split()[1]), headers=headers, content=body), "invalid_client", "invalid_request"
    )

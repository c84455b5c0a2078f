"""One session for all outgoing calls: our certificate, and a limit on everything that the other side decides.

There are two kinds of call. A member's server is called only if the Directory's allowlist names its host, and receives
our client certificate. A `configured` host is named in our own settings (Directory, Registry, intensity, mail, our
issuer): the allowlist does not apply, and no client certificate is sent.
"""

import logging
import re
import ssl
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import httpcore
import httpx
import orjson

from consent_server import clock, traces
from consent_server.outbound.addresses import Resolve, is_public, is_public_or_loopback, resolve
from consent_server.outbound.deadline import Deadline
from consent_server.outbound.errors import BadAnswer, NotAllowed, Unreachable
from consent_server.outbound.look_up import LookUps
from consent_server.outbound.network import Connections
from consent_server.outbound.page_time import call_time
from consent_server.outbound.server_certificates import ServerCertificates
from consent_server.outbound.settings import MembersSettings
from consent_server.outbound.tls_messages import limit_messages
from consent_server.outbound.turns import take_turns
from consent_server.scheme.instant import DAY
from consent_server.settings import BadSettings

log = logging.getLogger("consent_server.outbound")

# It logs URLs, queries and response headers below WARNING; those may name a data source.
logging.getLogger("httpcore").setLevel(logging.WARNING)

MIB = 1 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 2
_LONGEST_RETRY_S = DAY
# Visible ASCII without what URL parsers disagree about (backslash, quotes, brackets outside IPv6 literals, caret).
_URL = re.compile(r"(https?)://[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+", re.IGNORECASE)
# RFC 1123 section 2.1, and the form of an IPv6 literal, which httpx has judged. International names are in their ASCII form.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}(?:\.{_LABEL})*|[0-9a-f:.]*:[0-9a-f:.]*)")


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes that a call may take, whatever the other side does."""

    connect_s: float = 5.0
    read_s: float = 10.0
    total_s: float = 30.0
    body: int = MIB


@dataclass(frozen=True)
class Response:
    """A whole response; `headers` is case-insensitive. Body and headers are not in the repr: they may hold a token."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    host: str
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """Return the body as JSON. Raise BadAnswer (kind `json`)."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise BadAnswer("json", self.host, self.status) from None

    def object(self) -> dict[str, Any]:
        """Return the body as a JSON object. Raise BadAnswer (kind `json`)."""
        document = self.json()
        if not isinstance(document, dict):
            raise BadAnswer("json", self.host, self.status)
        return document

    def must_be(self, *statuses: int) -> "Response":
        """Return this response if its status is one of these. Raise BadAnswer (kind `status N`)."""
        if self.status not in statuses:
            raise BadAnswer(f"status {self.status}", self.host, self.status, self.retry_after())
        return self

    def retry_after(self, unstated_s: int = 0) -> int:
        """Return the seconds to wait, from either form of RFC 9110 section 10.2.3, a day at most; else `unstated_s`."""
        value = self.headers.get("retry-after", "").strip()
        if re.fullmatch(r"\d{1,9}", value, re.ASCII):
            seconds = int(value)
        else:
            try:
                seconds = int(parsedate_to_datetime(value).timestamp()) - clock.now()
            except (ValueError, TypeError, OverflowError):
                return unstated_s
        return max(1, min(seconds, _LONGEST_RETRY_S))


@dataclass(frozen=True)
class Call:
    """What one call sends, and how many bytes its response may have after decoding (None: as many as any of its session)."""

    method: str
    url: httpx.URL
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(default=None, repr=False)
    limit: int | None = None


class Calls:
    """What every session does: each call has a total time, a body that is bounded, and redirects on its own origin alone."""

    def __init__(self, limits: Limits | None, look_up: Resolve) -> None:
        self._limits = limits or Limits()
        self._deadline = Deadline()
        self._look_up = LookUps(look_up, self._deadline, self._limits.connect_s)

    def _follow(self, through: Connections, call: Call, configured: bool) -> Response:
        server = call.url.netloc.decode("ascii")
        with call_time(server, configured, self._limits.total_s) as longest_s, self._deadline.of(longest_s):
            for _ in range(_MOST_REDIRECTS + 1):
                response = self._exchange(through, call)
                location = response.headers.get("location")
                if call.method != "GET" or response.status not in _REDIRECTS or location is None:
                    return response
                call = replace(call, url=_redirected(call.url, location))
        raise Unreachable("redirect", _host(call.url))

    def _timeouts(self, host: str) -> dict[str, float | None]:
        """Return the limits of single waits. The one for a connection of the pool is httpcore's own, so it is cut here."""
        read_s = self._limits.read_s
        pool_s = self._deadline.cut(read_s, host)
        return {"connect": self._limits.connect_s, "read": read_s, "write": read_s, "pool": pool_s}

    def _exchange(self, through: Connections, call: Call) -> Response:
        with traces.span(call.method, "CLIENT", **{"server.address": _host(call.url)}) as span:
            response = self._response(through, call)
            if span is not None:
                span.set_attribute("http.response.status_code", response.status)
            return response

    def _response(self, through: Connections, call: Call) -> Response:
        host, limit = _host(call.url), call.limit or self._limits.body
        headers = {"User-Agent": "consent-server", "Accept-Encoding": "gzip", **call.headers, **traces.headers()}
        try:
            timeouts = self._timeouts(host)
            with through.response(call.method, call.url, headers, call.content, timeouts) as answer:
                found = httpx.Headers(answer.headers)
                return Response(answer.status, found, host, _body(answer, found, limit, host))
        except httpcore.TimeoutException:
            raise Unreachable("time", host) from None
        except httpcore.NetworkError as error:
            # TLS 1.3: a server refuses our certificate after its handshake, so the alert arrives at the first read.
            kind = "tls" if isinstance(error.__context__, ssl.SSLError) else "connection"
            raise Unreachable(self._deadline.kind(kind), host) from None
        except httpcore.ProtocolError:
            raise Unreachable(self._deadline.kind("connection"), host) from None


class Session(Calls):
    """Outgoing calls of one process. Threads may share it; it connects at the first call.

    Until `allow_hosts` is given a source (a Directory does so when it is made), no member's server is called: "reject all
    if never fetched" is the state at the start.
    """

    def __init__(self, settings: MembersSettings, *, limits: Limits | None = None, look_up: Resolve = resolve) -> None:
        super().__init__(limits, look_up)
        self._allowed_hosts: Callable[[], Collection[str]] = frozenset
        allowed = is_public_or_loopback if settings.is_sandbox else is_public
        roots = settings.keys.server_roots
        presenting = tls_with(roots)
        if settings.keys.client_certificate is not None:  # a resource server elsewhere (resource.protect) has none
            certificate, key = settings.keys.client_certificate, settings.keys.client_key
            try:
                presenting.load_cert_chain(certificate, key)
            except OSError as error:  # ssl.SSLError is one
                why = error.strerror or type(error).__name__
                raise BadSettings(f"keys.client_certificate, keys.client_key: {certificate}, {key}: {why}") from None
        judge = ServerCertificates(settings.calls.server_revocation, self._published)
        connections = partial(
            Connections, allowed=allowed, look_up=self._look_up, deadline=self._deadline, proxy=settings.calls.proxy
        )
        self._members = connections(presenting, judge=judge)
        self._configured = connections(tls_with(roots))

    def allow_hosts(self, source: Callable[[], Collection[str]]) -> None:
        """Take the Directory's server allowlist (lower-case host names) from `source` from now on."""
        self._allowed_hosts = source

    def require_allowed(self, url: str) -> None:
        """Refuse a URL that is not plain https on an allowlisted host, without calling it. Raise NotAllowed."""
        self._require_allowed(checked_url(url))

    def get(
        self,
        url: str,
        *,
        accept: str = "application/json",
        limit: int | None = None,
        bearer: str | None = None,
        etag: str | None = None,
        configured: bool = False,
    ) -> Response:
        """Return the response to a GET, after at most two redirects on the same origin. `limit` is in bytes, after decoding.

        Raise Unreachable, and NotAllowed for a host that we may not call.
        """
        headers = {"Accept": accept}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        # A server may send other octets (RFC 9110 section 8.8.3), which cannot be sent back.
        if etag is not None and etag.isascii():
            headers["If-None-Match"] = etag
        return self._call(Call("GET", checked_url(url), headers, limit=limit), configured)

    def post_form(
        self, url: str, data: Mapping[str, str], *, authorization: str | None = None, configured: bool = False
    ) -> Response:
        """POST a form. A redirect is returned and not followed: nothing is sent again elsewhere."""
        content = str(httpx.QueryParams(dict(data))).encode("ascii")
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        if authorization is not None:
            headers["Authorization"] = authorization
        return self._call(Call("POST", checked_url(url), headers, content), configured)

    def post_json(self, url: str, document: object, *, configured: bool = False) -> Response:
        """POST a JSON document. See `post_form` on redirects."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        return self._call(Call("POST", checked_url(url), headers, orjson.dumps(document)), configured)

    def post_octets(self, url: str, content: bytes, *, kind: str, accept: str, limit: int) -> Response:
        """POST octets of a media type to a host that our settings name. See `post_form` on redirects."""
        headers = {"Accept": accept, "Content-Type": kind}
        return self._call(Call("POST", checked_url(url), headers, content, limit), configured=True)

    def _published(self, text: str, question: bytes | None, limit: int) -> bytes:
        """Return a revocation list or an OCSP response: the only calls over http, within the time of the call in progress."""
        headers = {"Accept": "application/pkix-crl"}
        if question is not None:
            headers = {"Accept": "application/ocsp-response", "Content-Type": "application/ocsp-request"}
        call = Call("GET" if question is None else "POST", checked_url(text, "http"), headers, question, limit)
        return self._exchange(self._configured, call).must_be(200).body

    def close(self) -> None:
        self._members.close()
        self._configured.close()

    def _require_allowed(self, url: httpx.URL) -> None:
        host = _host(url)
        if host not in self._allowed_hosts():
            # Public CA server certificates, "Validation by clients": each such refusal is logged.
            log.warning("%s is not on the Directory's server allowlist", host)
            raise NotAllowed("allowlist", host)

    def _call(self, call: Call, configured: bool) -> Response:
        if not configured:
            self._require_allowed(call.url)
        return self._follow(self._configured if configured else self._members, call, configured)


def _host(url: httpx.URL) -> str:
    # Not url.host: that decodes international names, or raises; the allowlist, the certificate and DNS hold the ASCII form.
    return url.raw_host.decode("ascii").lower()


def tls_with(roots: object) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(roots) if roots else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # Baseline TLS: 1.3 or higher between members
    context.set_alpn_protocols(["http/1.1"])
    limit_messages(context)
    return context


def checked_url(text: str, scheme: str = "https") -> httpx.URL:
    """Return the URL, if it has this scheme, a host and no user name or fragment. Raise NotAllowed."""
    matched = _URL.fullmatch(text)
    try:
        url = httpx.URL(text) if matched and matched[1].lower() == scheme else None
    except (httpx.InvalidURL, ValueError):
        url = None
    if url is None or not _HOST.fullmatch(_host(url)) or url.userinfo or url.fragment or (url.port or 1) > 65535:
        raise NotAllowed("url", "-")
    return url


def _redirected(url: httpx.URL, location: str) -> httpx.URL:
    try:
        target = checked_url(str(url.join(location)))
    except (httpx.InvalidURL, ValueError, NotAllowed):
        raise Unreachable("redirect", _host(url)) from None
    # Public CA server certificates: redirects only to the same host name and scheme, and we require the same port.
    if (_host(target), target.port) != (_host(url), url.port):
        raise Unreachable("redirect", _host(url))
    return target


def _body(answer: httpcore.Response, headers: httpx.Headers, limit: int, host: str) -> bytes:
    """Return the decoded body, its length checked during decoding: a small response may decode to a huge one."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip"}:
        raise Unreachable("encoding", host)
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS) if encoding == "gzip" else None
    body = bytearray()
    try:
        for number, chunk in enumerate(answer.iter_stream()):
            take_turns(number)
            body += inflate.decompress(chunk, limit + 1 - len(body)) if inflate else chunk
            if len(body) > limit:
                raise Unreachable("too_large", host)
    except zlib.error:
        raise Unreachable("encoding", host) from None
    if inflate and body and not inflate.eof:
        raise Unreachable("encoding", host)
    return bytes(body)

"""The guard as a service beside a proxy, for a data API in any language: the proxy asks, and passes on what was granted.

The proxy sends each request here first, without its body. Two forms:

- Envoy's ext_authz over HTTP, and whatever asks with the request's own method and passes a refusal on as it is: `/check` and
  the path of the request behind it.
- nginx's auth_request, which asks with GET whatever the request's method is, and accepts only 2xx, 401 and 403: `/nginx`, and
  `/nginx/refusal` for the refusal itself. Both read the request's own path in X-Original-URI and its method in
  X-Original-Method; nothing is released without the latter.

An allowed request gets 200 and, in headers that replace the client's own, what the API may rely on (`facts`).
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from consent_server import audit
from consent_server.refusal import Refusal, Unavailable
from consent_server.resource.guard import Release
from consent_server.resource.remote import GuardAnswer, RemoteGuard
from consent_server.resource.routes import GuardedRoute, RouteNotGuarded
from consent_server.scheme import instant

CHECK: Final = "/check"
NGINX: Final = "/nginx"
NGINX_REFUSAL: Final = "/nginx/refusal"
_NGINX_KNOWS: Final = (401, 403)


def facts(release: Release, datasource: str | None) -> dict[str, str]:
    """Return what the API may rely on. Each header is always there, so that a client's own never reaches the API.

    Permission is the opaque account that provenance names; Client and Member are the caller's URLs in the Directory;
    License, Granted and Expires are the permission's; Fuels are joined by commas; Datasource is the path's, percent-encoded,
    and empty where the route names none. Meter is the register's id of the meter behind it, percent-encoded, Meter-Since and
    Meter-Until the business's time at it: empty where neither is known, or where the guard was not told whom to ask.
    """
    token = release.token
    meter = (release.meters or {}).get(datasource or "")
    since, until = (meter.since, meter.until) if meter else (None, None)
    return {
        "X-Consent-Permission": release.account,
        "X-Consent-Client": token.client_id,
        "X-Consent-Member": release.caller.member,
        "X-Consent-License": token.scope,
        "X-Consent-Granted": instant.text(token.permission.granted),
        "X-Consent-Expires": instant.text(token.permission.expires),
        "X-Consent-Fuels": ",".join(sorted(release.fuels)),
        "X-Consent-Datasource": quote(datasource or "", safe=""),
        "X-Consent-Meter": quote(meter.meter, safe="") if meter else "",
        "X-Consent-Meter-Since": instant.text(since) if since is not None else "",
        "X-Consent-Meter-Until": instant.text(until) if until is not None else "",
    }


class Gate:
    """A WSGI application that answers a proxy's questions."""

    def __init__(self, guard: RemoteGuard, routes: Sequence[GuardedRoute]) -> None:
        self._guard = guard
        self._routes = routes

    def __call__(self, environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
        before = audit.correlation_id.set(secrets.token_urlsafe(12))
        try:
            status, headers, body = self._answer(environ)
        finally:
            audit.correlation_id.reset(before)
        start_response(f"{status} {HTTPStatus(status).phrase}", [*headers.items(), ("Content-Length", str(len(body)))])
        return [body]

    def _answer(self, environ: Mapping[str, Any]) -> GuardAnswer:
        # RAW_URI is gunicorn's, as PATH_INFO is decoded already.
        asked, _, query = str(environ["RAW_URI"]).partition("?")
        if asked == NGINX:
            decided = self._decide_original(environ)
            decided = decided if decided.status in (200, *_NGINX_KNOWS) else decided._replace(status=403)
            # nginx would add a 401's challenge to that of the refusal.
            headers = {name: value for name, value in decided.headers.items() if name != "WWW-Authenticate"}
            return decided._replace(headers=headers)
        if asked == NGINX_REFUSAL:
            decided = self._decide_original(environ)
            # What was refused a moment ago and would be allowed now is not allowed by a page of refusals.
            return self._guard.refused(Unavailable("allowed meanwhile")) if decided.status == 200 else decided
        if asked.startswith(CHECK + "/"):
            return self._decide({**environ, "QUERY_STRING": query}, asked.removeprefix(CHECK))
        return self._guard.refused(RouteNotGuarded("not a question of a proxy"))

    def _decide_original(self, environ: Mapping[str, Any]) -> GuardAnswer:
        method = environ.get("HTTP_X_ORIGINAL_METHOD")
        if not method:
            return self._guard.refused(Unavailable("the proxy does not send X-Original-Method"))
        path, _, query = str(environ.get("HTTP_X_ORIGINAL_URI", "")).partition("?")
        return self._decide({**environ, "REQUEST_METHOD": method, "QUERY_STRING": query}, path)

    def _decide(self, environ: Mapping[str, Any], path: str) -> GuardAnswer:
        try:
            release, datasource = self._guard.admit_path(self._routes, path, environ)
        except Refusal as refusal:
            return self._guard.refused(refusal)
        return GuardAnswer(200, {**facts(release, datasource), "Cache-Control": "no-store"}, b"")

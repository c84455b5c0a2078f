"""One application's door: everything that its pages and endpoints share, installed in one place."""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from flask import Flask, Response

from consent_server.refusal import Refusal
from consent_server.settings import Settings
from consent_server.web import correlation, headers, pages, refusals


def install(
    app: Flask,
    *,
    settings: Settings,
    door: str,
    brand: Callable[[], str],
    ready: Mapping[str, Callable[[], Any]],
) -> None:
    """Make `app` the door "public" or "mutual_tls".

    `ready` names the checks behind /ready; each answers what it found, or raises a Refusal when the door cannot serve.
    """
    if door == "public" and settings.clients.proxies:
        app.wsgi_app = _seen_through(app.wsgi_app, settings.clients.proxies)  # type: ignore[method-assign]
    app.config["MAX_CONTENT_LENGTH"] = 2 * 1024 * 1024
    # `//` is not `/`: werkzeug would redirect with a 308 to a host that the request itself names (E14, B21).
    app.url_map.merge_slashes = False
    correlation.install(app)
    headers.install(app, sandbox=settings.is_sandbox)
    if door == "public":
        pages.install(app, brand=brand, sandbox=settings.is_sandbox)
    refusals.install(app, door=door, origin=settings.public.origin)

    @app.get("/health")
    def health() -> Response:
        """The process lives."""
        return _json(200, {"status": "ok"})

    @app.get("/ready")
    def is_ready() -> Response:
        """The process can serve; otherwise which check it fails, and what to do about it."""
        found: dict[str, Any] = {}
        failing = []
        for name, check in ready.items():
            try:
                found[name] = check()
            except Refusal as refusal:
                failing.append(name)
                found[name] = refusal.private or refusal.sentence
        status = "unavailable" if failing else "ready"
        return _json(503 if failing else 200, {"status": status, "failing": failing, **found})


def _seen_through(application: Any, proxies: tuple[str, ...]) -> Any:
    """`application` with the address of the browser instead of that of our own proxy.

    Evidence names that address and limits count by it. Of X-Forwarded-For the last entry counts, which our proxy added;
    what stands before it is anybody's word. At the mutual-TLS door the address stays the proxy's: `caller` judges by it.
    """
    networks = [ipaddress.ip_network(proxy) for proxy in proxies]

    def behind(environ: dict[str, Any], start_response: Any) -> Any:
        try:
            sender = ipaddress.ip_address(environ.get("REMOTE_ADDR", ""))
            if any(sender in network for network in networks):
                last = environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()
                environ["REMOTE_ADDR"] = str(ipaddress.ip_address(last))
        except ValueError:
            pass  # no address, or a proxy that names none: what the socket says stands
        return application(environ, start_response)

    return behind


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), status, mimetype="application/json")

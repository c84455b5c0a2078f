"""One application's door: everything that its pages and endpoints share, installed in one place."""

import ipaddress
import re
from collections.abc import Iterable
from operator import methodcaller
from typing import Any

from flask import Blueprint, Flask, Response, jsonify, request

from consent_server.deployment import Door, current
from consent_server.outbound import page_time
from consent_server.settings import Settings
from consent_server.settings.values import ip_address
from consent_server.web import (
    correlation,
    headers,
    language,
    look,
    openapi,
    pages,
    parameters,
    refusals,
    security_txt,
    served,
)
from consent_server.web.refusals import BadHttpRequest, NotFound
from consent_server.web.tally import Application

# RFC 9110 section 5.5: of the control characters a header may hold the tab alone.
_NOT_IN_HEADER = re.compile(r"[\x00-\x08\x0A-\x1F\x7F]")
# The names of headers in a WSGI environment (PEP 3333).
_IS_HEADER = methodcaller("startswith", ("HTTP_", "CONTENT_"))
# RFC 9110 section 7.2, of names as in the DNS. gunicorn joins several with a comma.
_HOST = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\])(:\d*)?", re.ASCII)

health = Blueprint("health", __name__)


def install(app: Flask, settings: Settings, door: Door, documents: tuple[str, ...]) -> None:
    """Make `app` a door; `documents` names the OpenAPI documents that it serves."""
    proxies = settings.clients.proxies if door == "public" else ()
    app.wsgi_app = _with_address(app.wsgi_app, proxies)  # type: ignore[method-assign, assignment]
    app.config["MAX_CONTENT_LENGTH"] = 2 * 1024 * 1024
    # No script of another site needs any route here, so OPTIONS is a method that none of them has.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    # `//` is not `/`: werkzeug would redirect with a 308 to a host that the request itself names.
    app.url_map.merge_slashes = False
    served.install(app)
    correlation.install(app)
    app.before_request(_require_text)
    app.before_request(_require_host)
    headers.install(app, sandbox=settings.is_sandbox)
    language.install(app, of_reader=door == "public")
    if door == "public":
        pages.install(app)
        app.register_blueprint(look.routes)
        app.register_blueprint(security_txt.routes)
        app.before_request(page_time.begin_page)
        app.teardown_request(lambda _: page_time.end_page())
    refusals.install(app, door=door, origin=settings.public.origin)
    app.register_blueprint(health)
    openapi.install(app, documents)


@health.get("/health")
def is_alive() -> Response:
    """Return 200 while the process runs."""
    return jsonify(status="ok")


@health.get("/ready")
def is_ready() -> Response:
    """Return whether the process can serve, and what is wrong: in words for anybody, since anybody may ask."""
    readiness = current().readiness()
    status = "unavailable" if readiness.failing else "ready"
    response = jsonify(status=status, failing=readiness.failing, degraded=readiness.degraded, **readiness.found)
    response.status_code = 503 if readiness.failing else 200
    return response


def _require_text() -> None:
    """Refuse a path or header that is no text, before any view: not every store takes NUL, and none a lone surrogate.

    Queries and forms are read by `parameters`, which refuses such characters too; JSON by orjson, which takes no surrogates.
    """
    environ = request.environ
    if not parameters.is_text(environ["PATH_INFO"].encode("latin-1")):
        raise NotFound("no text")
    # All at once: between two headers nothing is added, so a control character is one of theirs.
    if _NOT_IN_HEADER.search("".join(map(environ.__getitem__, filter(_IS_HEADER, environ)))):
        raise BadHttpRequest("a control character in a header")


def _require_host() -> None:
    """Refuse a request that does not name one host (RFC 9112 section 3.2).

    In HTTP/1.0 it may name none: that is what the health checks of some load balancers send.
    """
    host = request.environ.get("HTTP_HOST")
    if host is None:
        if request.environ["SERVER_PROTOCOL"] != "HTTP/1.0":
            raise BadHttpRequest("no host")
    elif not _HOST.fullmatch(host):
        raise BadHttpRequest("not one valid host")


def _with_address(application: Application, proxies: tuple[str, ...]) -> Application:
    """Return `application` with the address of the browser instead of that of our own proxy.

    A socket of IPv6 that takes both, such as systemd's, has another form of an address of IPv4, which nobody else uses.
    Evidence names that address and limits count by it. Of X-Forwarded-For the last entry counts, which our proxy added;
    the entries before it may be forged. At the mutual-TLS door the address stays the proxy's: `caller` judges by it.
    """
    networks = [ipaddress.ip_network(proxy) for proxy in proxies]

    def behind(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            sender = ip_address(environ.get("REMOTE_ADDR", ""))
            environ["REMOTE_ADDR"] = str(sender)
            if any(sender in network for network in networks):
                last = environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()
                environ["REMOTE_ADDR"] = str(ip_address(last))
        except ValueError:
            pass  # no address, or a proxy that names none: the socket's address stays
        return application(environ, start_response)

    return behind

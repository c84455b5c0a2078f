"""The one handler: a Refusal becomes JSON for a machine, a page for a person, or a redirect for a client."""

import logging
import traceback

import orjson
from flask import Flask, Response, current_app, redirect, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from consent_server import audit
from consent_server.refusal import MethodNotAllowed, RedirectRefusal, Refusal, ServerFault
from consent_server.web import pages
from consent_server.web.parameters import BodyTooLarge, MalformedParameters

log = logging.getLogger("consent_server.web")

# Read by programs at the public door; everything else there is for people.
MACHINE_PATHS = (
    *("/.well-known/", "/jwks", "/status-list", "/status.json", "/status.atom", "/openapi", "/health", "/ready"),
)
HELP = "/errors/"


class NotFound(Refusal):
    code = "not_found"
    error = "not_found"
    status = 404
    public = "There is nothing at this address."
    help = "Check the address. Endpoints are listed in the issuer's metadata."
    clause = "RFC 9110 15.5.5"


class BadHttpRequest(Refusal):
    code = "bad_http_request"
    public = "The request is not well-formed HTTP for this address."
    help = "Check the request line, the headers and the body against the endpoint's description."
    clause = "RFC 9110 15.5.1"


_BY_STATUS: dict[int, type[Refusal]] = {
    400: MalformedParameters,
    404: NotFound,
    405: MethodNotAllowed,
    413: BodyTooLarge,
}


def install(app: Flask, *, door: str, origin: str) -> None:
    """Turn every refusal and fault of `app` into a response. `door` is "public" or "mutual_tls"; `origin` is the public door's.

    The public door also serves the help page of each refusal, at the `error_uri` that responses carry.
    """
    app.config.update(REFUSALS_AS_PAGES=door == "public", REFUSALS_ORIGIN=origin)
    app.register_error_handler(Refusal, refused)
    app.register_error_handler(HTTPException, refused_by_http)
    app.register_error_handler(Exception, fault)
    # For a fault in the making of an answer. Flask's own line has the path, and that of a receipt or of evidence is secret.
    app.log_exception = lambda exc_info: _log(exc_info[1])  # type: ignore[method-assign]
    if door == "public":
        known = ", ".join(map(repr, Refusal.family))
        app.add_url_rule(f"{HELP}<any({known}):code>", view_func=help_page)


def refused(refusal: Refusal) -> AnyResponse:
    """Write a refusal to the audit log, and return its response."""
    audit.event("refused", refusal=refusal.code, status=refusal.status, private=refusal.private)
    return _response(refusal)


def refused_by_http(error: HTTPException) -> AnyResponse:
    """Return the response of the refusal that corresponds to an error of Flask or werkzeug."""
    if error.code is None or error.code < 400:
        return error.get_response()
    kind = _BY_STATUS.get(error.code, BadHttpRequest if error.code < 500 else ServerFault)
    allowed = getattr(error, "valid_methods", None)
    return refused(kind(error.name, headers={"Allow": ", ".join(sorted(allowed))} if allowed else None))


def fault(error: Exception) -> AnyResponse:
    """Log where a fault happened, and return 500."""
    audit.event("server_fault", kind=type(error).__name__)
    _log(error)
    return _response(ServerFault())


def help_page(code: str) -> Response:
    """Return what a developer can do about the refusal with this code."""
    return pages.render("errors/help.html", refusal=Refusal.family[code])


def _response(refusal: Refusal) -> AnyResponse:
    response: AnyResponse
    if isinstance(refusal, RedirectRefusal):
        response = redirect(refusal.location(), 303)  # FAPI 2.0 5.3.2.2-10: never 307
    elif current_app.config["REFUSALS_AS_PAGES"] and not request.path.startswith(MACHINE_PATHS):
        response = _page(refusal)
    else:
        response = _json(refusal)
    response.headers.update(refusal.answer_headers)
    return response


def _page(refusal: Refusal) -> Response:
    return pages.render(
        "errors/refused.html",
        refusal.status,
        refusal=refusal,
        error_uri=f"{HELP}{refusal.code}",
        at_authorize=request.path.endswith("/authorize"),
    )


def _json(refusal: Refusal) -> Response:
    body = refusal.document(f"{current_app.config['REFUSALS_ORIGIN']}{HELP}", audit.correlation_id.get())
    return Response(orjson.dumps(body), refusal.status, mimetype="application/json")


def _log(error: BaseException | None) -> None:
    log.error("%s %s", audit.correlation_id.get(), _where(error))


def _where(error: BaseException | None) -> str:
    """Return where a fault happened, without its message: libraries quote parameters in theirs, and those are secret."""
    lines: dict[int, str] = {}
    cause = error
    while cause is not None and id(cause) not in lines:  # an error that was raised from itself is its own cause
        frames = traceback.extract_tb(cause.__traceback__)
        places = " > ".join(f"{f.filename}:{f.lineno} {f.name}" for f in frames)
        lines[id(cause)] = f"{type(cause).__name__} at {places}"
        cause = cause.__cause__ or cause.__context__
    return " | ".join(lines.values())

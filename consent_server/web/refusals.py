"""The one handler: a Refusal becomes JSON for a machine, a page for a person, or a redirect for a client."""

import logging
import traceback

import orjson
from flask import Flask, Response, redirect, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from consent_server import audit
from consent_server.refusal import RedirectRefusal, Refusal, ServerFault
from consent_server.web import correlation, pages
from consent_server.web.parameters import BodyTooLarge, MalformedParameters

log = logging.getLogger("consent_server.web")

# What programs read at the public door; everything else there is for people.
MACHINE_PATHS = ("/.well-known/", "/jwks", "/status-list", "/openapi", "/health", "/ready")
HELP = "/errors/"


class NotFound(Refusal):
    """Nothing is here."""

    code = "not_found"
    error = "not_found"
    status = 404
    public = "There is nothing at this address."
    help = "Check the address. Endpoints are listed in the issuer's metadata."
    clause = "RFC 9110 15.5.5"


class MethodNotAllowed(Refusal):
    """The address exists, the method does not."""

    code = "method_not_allowed"
    status = 405
    public = "This address does not take that method; the Allow header lists those that it does."
    help = "Use a method from the Allow header."
    clause = "RFC 9110 15.5.6"


class NotAcceptable(Refusal):
    """Any other request that the HTTP layer turned away."""

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
    """Answer every refusal and fault of `app`. `door` is "public" or "mutual_tls"; `origin` is the public door's.

    The public door also serves the help page of each refusal, at the `error_uri` that answers carry.
    """

    def _answer(refusal: Refusal) -> AnyResponse:
        audit.event("refused", refusal=refusal.code, status=refusal.status, private=refusal.private)
        return _respond(refusal)

    def _respond(refusal: Refusal) -> AnyResponse:
        response: AnyResponse
        if isinstance(refusal, RedirectRefusal):
            response = redirect(refusal.location(), 303)  # FAPI 2.0 5.3.2.2-10: never 307
        elif door == "mutual_tls" or request.path.startswith(MACHINE_PATHS):
            response = _as_json(refusal)
        else:
            response = pages.render(
                "errors/refused.html",
                refusal.status,
                refusal=refusal,
                error_uri=f"{HELP}{refusal.code}",
                at_authorize=request.path.endswith("/authorize"),
            )
        response.headers.update(refusal.answer_headers)
        return response

    def _as_json(refusal: Refusal) -> Response:
        body: dict[str, object] = {
            "error": refusal.error,
            "error_description": refusal.sentence,
            "error_uri": f"{origin}{HELP}{refusal.code}",
            "correlation_id": correlation.current(),
        }
        if refusal.detail is not None:
            body["detail"] = refusal.detail
        return Response(orjson.dumps(body), refusal.status, mimetype="application/json")

    @app.errorhandler(Refusal)
    def _refused(refusal: Refusal) -> AnyResponse:
        return _answer(refusal)

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> AnyResponse:
        if error.code is None or error.code < 400:
            return error.get_response()
        kind = _BY_STATUS.get(error.code, NotAcceptable if error.code < 500 else ServerFault)
        allowed = getattr(error, "valid_methods", None)
        return _answer(kind(error.name, headers={"Allow": ", ".join(sorted(allowed))} if allowed else None))

    @app.errorhandler(Exception)
    def _fault(error: Exception) -> AnyResponse:
        audit.event("server_fault", kind=type(error).__name__)
        log.error("%s %s", correlation.current(), _where(error))
        return _respond(ServerFault())

    if door == "public":

        @app.get(f"{HELP}<code>")
        def help_page(code: str) -> Response:
            refusal = Refusal.family.get(code)
            if refusal is None:
                raise NotFound("help page")
            return pages.render("errors/help.html", refusal=refusal)


def _where(error: BaseException) -> str:
    """Where a fault happened, and not what with: messages of libraries quote parameters, and parameters are secret."""
    lines = []
    cause: BaseException | None = error
    while cause is not None:
        frames = traceback.extract_tb(cause.__traceback__)
        lines.append(f"{type(cause).__name__} at " + " > ".join(f"{f.filename}:{f.lineno} {f.name}" for f in frames))
        cause = cause.__cause__ or cause.__context__
    return " | ".join(lines)

"""One id for each request, in the response, on its pages and in every audit line that it causes."""

import re
import secrets

from flask import Flask, Response, request

from consent_server import audit

HEADER = "X-Request-Id"
_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,47}")


def install(app: Flask) -> None:
    """Give each request of `app` its id: the caller's own if it is well-formed, else a new one."""

    @app.before_request
    def _begin() -> None:
        sent = request.headers.get(HEADER, "")
        audit.correlation_id.set(sent if _WELL_FORMED.fullmatch(sent) else secrets.token_hex(12))

    @app.after_request
    def _name_it(response: Response) -> Response:
        response.headers[HEADER] = audit.correlation_id.get()
        return response

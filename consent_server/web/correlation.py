"""One id for each request, in the answer, on its pages and in every audit line that it causes."""

import re
import secrets

from flask import Flask, Response, g, request

from consent_server import audit

HEADER = "X-Request-Id"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,47}")


def install(app: Flask) -> None:
    """Give each request of `app` its id: the caller's own where that is sane, else a new one."""

    @app.before_request
    def _begin() -> None:
        sent = request.headers.get(HEADER, "")
        g.correlation_id = sent if _SANE.fullmatch(sent) else secrets.token_hex(12)
        audit.correlation_id.set(g.correlation_id)

    @app.after_request
    def _name_it(response: Response) -> Response:
        response.headers[HEADER] = g.correlation_id
        return response


def current() -> str:
    """The id of the request that is being answered."""
    return audit.correlation_id.get()

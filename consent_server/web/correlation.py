"""One id for each request, in the response, on its pages and in every audit line that it causes.

It is always ours: if callers could choose it, one party's acts could be logged as another's. The access line also has the
caller's own id (`serving/gunicorn_log.py`).
"""

import secrets

from flask import Flask

from consent_server import audit

HEADER = "X-Request-Id"


def install(app: Flask) -> None:
    """Give each request of `app` an id of its own."""

    @app.before_request
    def _begin() -> None:
        audit.correlation_id.set(secrets.token_hex(12))

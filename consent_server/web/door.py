"""One application's door: everything that its pages and endpoints share, installed in one place."""

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
    app.config["MAX_CONTENT_LENGTH"] = 2 * 1024 * 1024
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


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), status, mimetype="application/json")

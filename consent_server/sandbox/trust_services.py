"""The service at the sandbox's first port: Registry, Directory, revocation list, intensity, mail, the EDP's
customers and the control page.
"""

import os
from pathlib import Path
from typing import Final

from flask import Blueprint, Flask, Response, redirect
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock
from consent_server.sandbox import control, customers, directory, intensity, mail, registry
from consent_server.sandbox.layout import HOST, Layout
from consent_server.sandbox.publishing import answered, here, install, published, refused
from consent_server.web.pages import TEMPLATES

_LARGEST_BODY: Final = 64 * 1024
_PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


routes = Blueprint("trust_services", __name__)


def application() -> Flask:
    """Return what gunicorn loads; the environment names the sandbox."""
    return create_app(os.environ["SANDBOX_DIRECTORY"], int(os.environ["SANDBOX_PORT"]))


def create_app(folder: str | Path, base_port: int) -> Flask:
    """Return the trust services of the sandbox in `folder` whose first port is `base_port`.

    The authority, the first revocation list and the clock's file must be there already (`sandbox.parties.prepare`).
    """
    layout = Layout(Path(folder).resolve(), base_port)
    clock.follow(layout.clock)
    app = Flask(__name__, template_folder=str(TEMPLATES), static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _LARGEST_BODY
    # Another site may point a name of its own at this machine; its pages must not read the mail here.
    app.config["TRUSTED_HOSTS"] = [HOST, "127.0.0.1"]
    every = (registry.routes, directory.routes, intensity.routes, mail.routes, customers.routes, control.routes)
    install(app, layout, routes, *every)
    app.register_error_handler(HTTPException, http_error)
    app.after_request(guarded)
    return app


@routes.get("/")
def home() -> AnyResponse:
    return redirect(here().control, 303)


@routes.get("/crl/client.crl")
def revocation_list() -> Response:
    return published(here().revocation_list.read_bytes(), "application/pkix-crl", max_age=1)


@routes.get("/health")
def health() -> Response:
    return answered({"status": "ok"})


@routes.get("/ready")
def ready() -> Response:
    there = here().revocation_list.exists()
    return answered({"status": "ready" if there else "starting"}, 200 if there else 503)


def http_error(error: HTTPException) -> Response:
    return refused(error.code or 500, "invalid_request", error.description or error.name)


def guarded(response: Response) -> Response:
    """Give a response the headers of every response."""
    response.headers["X-Content-Type-Options"] = "nosniff"
    # Not no-referrer: browsers would then send our own forms with `Origin: null`.
    response.headers.setdefault("Referrer-Policy", "same-origin")
    response.headers.setdefault("Content-Security-Policy", _PAGE_POLICY)
    return response

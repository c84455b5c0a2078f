"""The guard as a decorator, for an EDP whose data API is a Flask application of its own, on whatever machine.

It needs the issuer's public URLs and nothing else of it: keys come from its JWKS, withdrawals from its signed status list.

    from flask import Flask
    from consent_server.resource.protect import License, Protect

    app = Flask(__name__)
    guard = Protect(
        issuer="https://auth.edp.example",
        audience="https://data.edp.example",
        directory="https://directory.core.trust.ib1.org",
        client_root="client_root.pem",
        revocation_list="https://directory.core.trust.ib1.org/client.crl",
        roles=("https://registry.core.trust.ib1.org/scheme/perseus/role/carbon-accounting-provider",),
        licenses={LICENSE_URL: License(text_sha256=DIGEST, fuels=("electricity", "gas"))},
    )

    @app.get("/my/data/<meter>")
    @guard.protect(fuel="electricity", datasource="meter")
    def data(meter):
        permission = guard.permission  # .account, .fuels, .token, .caller
        ...
"""

import functools
import secrets
from collections.abc import Callable
from typing import ParamSpec, cast

from flask import g, make_response, request
from flask.typing import ResponseReturnValue

from consent_server import audit
from consent_server.refusal import Refusal
from consent_server.resource.guard import Release
from consent_server.resource.remote import License, MetersQuestion, RemoteGuard
from consent_server.resource.routes import READING

__all__ = ["License", "MetersQuestion", "Protect"]

P = ParamSpec("P")


class Protect(RemoteGuard):
    """A guard whose decorator protects the views of a Flask application."""

    @property
    def permission(self) -> Release:
        """Return what the caller of this request may have, for use inside a protected view."""
        return cast(Release, g.consent_release)

    def protect(
        self, *, fuel: str | None = None, datasource: str | None = None, methods: tuple[str, ...] = READING
    ) -> Callable[[Callable[P, ResponseReturnValue]], Callable[P, ResponseReturnValue]]:
        """Return a decorator: the view runs for a good caller and token alone; any other gets the refusal as JSON.

        `fuel` is what the view gives out; `datasource` names the view's argument that holds a data source id of the token.
        A view that serves several fuels leaves `fuel` out and calls `permission.require_fuel` itself. `methods` are all that
        the view takes, in capitals; a permission is to read, so any other than GET and HEAD must be named.
        """

        def decorate(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
            @functools.wraps(view)
            def protected(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
                before = audit.correlation_id.set(secrets.token_urlsafe(12))
                try:
                    asked = cast(str, kwargs[datasource]) if datasource else None
                    g.consent_release = self.admit(request.environ, fuel=fuel, datasource=asked, methods=methods)
                    response = make_response(view(*args, **kwargs))
                    if response.status_code < 300:
                        self.released(self.permission, str(request.url_rule))
                except Refusal as refusal:
                    status, headers, body = self.refused(refusal)
                    return body, status, headers
                finally:
                    audit.correlation_id.reset(before)
                # RFC 9111 5.2.2.5: no cache between us may keep for another member what one may read.
                response.headers.setdefault("Cache-Control", "no-store")
                return response

            return protected

        return decorate

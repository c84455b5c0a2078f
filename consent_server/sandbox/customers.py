"""The log-in of the sandbox EDP's customers: as little of an OpenID provider as the code flow needs, for one client.

Every business may log in here with its e-mail address and its code; those that have a log-in (`Sme.logs_in`) are customers in
the meter register, and the others find no meters.
"""

import hmac
import secrets
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, render_template, request
from joserfc import jwt
from joserfc.jwk import ECKey
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock
from consent_server.sandbox.layout import Layout
from consent_server.sandbox.publishing import answered, published, refused
from consent_server.sandbox.smes import SMES
from consent_server.tokens.keys import base64url
from consent_server.web import headers

CLIENT_ID: Final = "hartlebury-consent"
ACR: Final = "urn:sandbox:password"
_CODE_S: Final = 60
_TOKEN_S: Final = 300
_ASKED: Final = ("client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge")


def blueprint(layout: Layout) -> Blueprint:
    """Return the routes below /customers. Keys and codes end with the process."""
    provider = _Customers(layout)
    routes = Blueprint("customers", __name__, url_prefix="/customers")
    routes.get("/.well-known/openid-configuration")(provider.discovery)
    routes.get("/jwks")(provider.jwks)
    routes.get("/authorize")(provider.ask)
    routes.post("/authorize")(provider.log_in)
    routes.post("/token")(provider.token)
    routes.get("/end")(provider.end)
    return routes


class _Customers:
    def __init__(self, layout: Layout) -> None:
        self._issuer = layout.customers
        self._edp = layout.origin("edp_public")
        self._secret = layout.customers_secret
        self._key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
        self._codes: dict[str, dict[str, Any]] = {}

    def discovery(self) -> Response:
        document = {
            "issuer": self._issuer,
            "authorization_endpoint": f"{self._issuer}/authorize",
            "token_endpoint": f"{self._issuer}/token",
            "jwks_uri": f"{self._issuer}/jwks",
            "end_session_endpoint": f"{self._issuer}/end",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
            "acr_values_supported": [ACR],
            "authorization_response_iss_parameter_supported": True,
        }
        return published(document, max_age=60)

    def jwks(self) -> Response:
        return published({"keys": [self._key.as_dict(private=False)]}, max_age=60)

    def ask(self) -> Response:
        return self._form(_asked(request.args))

    def log_in(self) -> AnyResponse:
        asked = _asked(request.form)
        returns = (f"{self._edp}/journey/log-in/return", f"{self._edp}/manage/log-in/return")
        if asked is None or asked["redirect_uri"] not in returns:
            return self._form(None)
        who = next((sme for sme in SMES if sme.email == request.form.get("customer")), None)
        if who is None or not hmac.compare_digest(who.code.encode(), request.form.get("password", "").encode()):
            return self._form(asked, wrong=True)
        code = secrets.token_urlsafe(32)
        self._codes[code] = {**asked, "sub": who.name, "email": who.email, "at": clock.now()}
        query = urlencode({"code": code, "state": asked["state"], "iss": self._issuer})
        return redirect(f"{asked['redirect_uri']}?{query}", 303)

    def token(self) -> Response:
        known = f"{CLIENT_ID}:{self._secret.read_text(encoding='ascii')}"
        expected = f"Basic {b64encode(known.encode()).decode()}"
        if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected.encode()):
            return refused(401, "invalid_client", "Authenticate with the client's secret.")
        asked, now = self._codes.pop(request.form.get("code", ""), None), clock.now()
        challenge = base64url(sha256(request.form.get("code_verifier", "").encode()).digest())
        sent = (request.form.get("redirect_uri"), challenge)
        if asked is None or now - asked["at"] > _CODE_S or sent != (asked["redirect_uri"], asked["code_challenge"]):
            return refused(400, "invalid_grant", "The code is unknown, used, too old, or another's.")
        claims = {"iss": self._issuer, "aud": CLIENT_ID, "sub": asked["sub"], "nonce": asked["nonce"], "acr": ACR}
        claims |= {"email": asked["email"], "email_verified": True}
        claims |= {"iat": now, "exp": now + _TOKEN_S, "auth_time": asked["at"]}
        signed = jwt.encode({"alg": "ES256", "kid": self._key.kid}, claims, self._key, ["ES256"])
        return answered({"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "id_token": signed})

    def end(self) -> AnyResponse:
        """There is no session here to end: each log-in asks again."""
        return redirect(f"{self._edp}/manage", 303)

    def _form(self, asked: dict[str, str] | None, *, wrong: bool = False) -> Response:
        status = 400 if asked is None else 422 if wrong else 200
        response = Response(render_template("sandbox/customers.html", asked=asked, wrong=wrong), status)
        response.headers["Content-Security-Policy"] = headers.page_policy((self._edp,))
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response


def _asked(values: Mapping[str, str]) -> dict[str, str] | None:
    asked = {name: values.get(name, "") for name in _ASKED}
    return asked if all(asked.values()) and asked["client_id"] == CLIENT_ID else None

"""The log-in of the sandbox EDP's customers: as little of an OpenID provider as the code flow needs, for one client.

Every business may log in here with its e-mail address and its code; those that have a log-in (`Sme.logs_in`) are customers in
the meter register, and the others find no meters.
"""

import hmac
import secrets
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, render_template, request
from joserfc import jwt
from joserfc.jwk import ECKey
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock
from consent_server.sandbox.publishing import answered, here, published, refused
from consent_server.sandbox.smes import SMES
from consent_server.signing.jws import base64url
from consent_server.web import headers

CLIENT_ID: Final = "hartlebury-consent"
ACR: Final = "urn:sandbox:password"
_CODE_S: Final = 60
_TOKEN_S: Final = 300
_ASKED: Final = ("client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge")


routes = Blueprint("customers", __name__, url_prefix="/customers")

#: Codes end with the process, as the key does.
_codes: Final[dict[str, dict[str, Any]]] = {}


@cache
def _key() -> ECKey:
    return ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)


@routes.get("/.well-known/openid-configuration")
def discovery() -> Response:
    issuer = here().customers
    document = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks",
        "end_session_endpoint": f"{issuer}/end",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "code_challenge_methods_supported": ["S256"],
        "acr_values_supported": [ACR],
        "authorization_response_iss_parameter_supported": True,
    }
    return published(document, max_age=60)


@routes.get("/jwks")
def jwks() -> Response:
    return published({"keys": [_key().as_dict(private=False)]}, max_age=60)


@routes.get("/authorize")
def ask() -> Response:
    return _form(_asked(request.args))


@routes.post("/authorize")
def log_in() -> AnyResponse:
    asked = _asked(request.form)
    returns = (f"{_edp()}/journey/log-in/return", f"{_edp()}/manage/log-in/return")
    if asked is None or asked["redirect_uri"] not in returns:
        return _form(None)
    who = next((sme for sme in SMES if sme.email == request.form.get("customer")), None)
    if who is None or not hmac.compare_digest(who.code.encode(), request.form.get("password", "").encode()):
        return _form(asked, wrong=True)
    code = secrets.token_urlsafe(32)
    _codes[code] = {**asked, "sub": who.name, "email": who.email, "at": clock.now()}
    query = urlencode({"code": code, "state": asked["state"], "iss": here().customers})
    return redirect(f"{asked['redirect_uri']}?{query}", 303)


@routes.post("/token")
def token() -> Response:
    known = f"{CLIENT_ID}:{here().customers_secret.read_text(encoding='ascii')}"
    expected = f"Basic {b64encode(known.encode()).decode()}"
    if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected.encode()):
        return refused(401, "invalid_client", "Authenticate with the client's secret.")
    asked, now = _codes.pop(request.form.get("code", ""), None), clock.now()
    challenge = base64url(sha256(request.form.get("code_verifier", "").encode()).digest())
    sent = (request.form.get("redirect_uri"), challenge)
    if asked is None or now - asked["at"] > _CODE_S or sent != (asked["redirect_uri"], asked["code_challenge"]):
        return refused(400, "invalid_grant", "The code is unknown, used, too old, or another's.")
    claims = {"iss": here().customers, "aud": CLIENT_ID, "sub": asked["sub"], "nonce": asked["nonce"], "acr": ACR}
    claims |= {"email": asked["email"], "email_verified": True}
    claims |= {"iat": now, "exp": now + _TOKEN_S, "auth_time": asked["at"]}
    signed = jwt.encode({"alg": "ES256", "kid": _key().kid}, claims, _key(), ["ES256"])
    return answered({"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "id_token": signed})


@routes.get("/end")
def end() -> AnyResponse:
    """There is no session here to end: each log-in asks again."""
    return redirect(f"{_edp()}/manage", 303)


def _edp() -> str:
    return here().origin("edp_public")


def _form(asked: dict[str, str] | None, *, wrong: bool = False) -> Response:
    status = 400 if asked is None else 422 if wrong else 200
    response = Response(render_template("sandbox/customers.html", asked=asked, wrong=wrong), status)
    response.headers["Content-Security-Policy"] = headers.page_policy((_edp(),))
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response


def _asked(values: Mapping[str, str]) -> dict[str, str] | None:
    asked = {name: values.get(name, "") for name in _ASKED}
    return asked if all(asked.values()) and asked["client_id"] == CLIENT_ID else None

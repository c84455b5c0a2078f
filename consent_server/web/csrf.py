"""Whether a form was sent by our own page, in the browser to which we sent that page."""

import hashlib
import hmac

from flask import Request, request

from consent_server.deployment import current
from consent_server.refusal import Refusal
from consent_server.web import parameters

FIELD = "csrf"


class CsrfRefused(Refusal):
    code = "form_not_ours"
    error = "access_denied"
    status = 403
    public = "This form did not come from the page that we showed you. Go back, reload the page and try again."
    help = "Go back to the page, reload it, and send the form again. If it keeps happening, start again from the app."
    clause = "ASVS 5.0 3.5.1"


def token(secret: str) -> str:
    """Return the token of forms for the holder of `secret` (a journey's or a session's), which it does not reveal."""
    return hmac.new(secret.encode(), b"form", hashlib.sha256).hexdigest()[:40]


def form(secret: str, *fields: str, beside: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the fields of a form of ours that was sent by the holder of `secret`; `beside` as in `parameters.form`.

    Raise CsrfRefused for any other form, and for an empty secret.
    """
    sent = parameters.form(request, optional=(*fields, FIELD), beside=beside, typed=True)
    if not secret:
        raise CsrfRefused("no cookie")
    check(request, sent.pop(FIELD, None), secret, current().settings.public.origin)
    return sent


def check(request: Request, sent: str | None, secret: str, origin: str) -> None:
    """Raise CsrfRefused unless `sent` is the token for `secret`, and unless the browser says that another origin sent the form.

    Our pages have Referrer-Policy no-referrer, under which browsers send `Origin: null` even to ourselves. Those of
    docs/operator.md that have no Fetch Metadata yet (Firefox before 90, Safari before 16.4) cannot say more. Another page with
    that origin has no token, and gets no SameSite cookie that a token could belong to.
    """
    check_origin(request, origin)
    if not hmac.compare_digest((sent or "").encode(), token(secret).encode()):
        raise CsrfRefused("token")


def check_origin(request: Request, origin: str) -> None:
    """Raise CsrfRefused if the browser says that another origin sent the form."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site != "same-origin":
        raise CsrfRefused("Sec-Fetch-Site")
    sender = request.headers.get("Origin")
    if sender not in {None, "null", origin}:
        raise CsrfRefused("another origin")

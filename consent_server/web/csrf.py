"""Whether a form was sent by our own page, in the browser that we gave it to."""

import hashlib
import hmac
from urllib.parse import urlsplit

from flask import Request

from consent_server.refusal import Refusal

FIELD = "csrf"


class CsrfRefused(Refusal):
    """The form is not from our page: its token is missing, stale or another session's, or a foreign site sent it."""

    code = "form_not_ours"
    error = "access_denied"
    status = 403
    public = "This form did not come from the page that we showed you. Go back, reload the page and try again."
    help = "Go back to the page, reload it, and send the form again. If it keeps happening, start again from the app."
    clause = "ASVS 5.0 3.5.1"


def token(secret: str) -> str:
    """The token for forms shown to the holder of `secret` (a journey's or a session's); it reveals nothing of it."""
    return hmac.new(secret.encode(), b"form", hashlib.sha256).hexdigest()[:40]


def check(request: Request, sent: str | None, secret: str, origin: str) -> None:
    """Raise CsrfRefused unless `sent` is the token for `secret` and the browser says that `origin` sent the form.

    Our pages have Referrer-Policy no-referrer, under which browsers send `Origin: null` even to ourselves; that is taken
    only together with Sec-Fetch-Site: same-origin, which no page can forge.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site != "same-origin":
        raise CsrfRefused("Sec-Fetch-Site")
    sender = request.headers.get("Origin")
    ours = {origin, "null"} if site == "same-origin" else {origin}
    if sender is not None and sender not in ours:
        raise CsrfRefused(f"origin host {urlsplit(sender).hostname or 'none'}"[:120])
    if not hmac.compare_digest((sent or "").encode(), token(secret).encode()):
        raise CsrfRefused("token")

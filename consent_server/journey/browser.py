"""Whether this browser may go on with this journey.

A journey belongs to the browser that holds its secret; its id in the URL gives no access. The secret is replaced when
the SME has proved who it is, so that a secret that somebody planted or copied before gives no access afterwards.
"""

import hashlib
import hmac
from collections.abc import Mapping
from enum import Enum

from consent_server.deployment import current
from consent_server.refusal import Refusal
from consent_server.signing.jws import base64url
from consent_server.store.digests import digest
from consent_server.store.tables.journeys import Journey

REPEAT_S = 30


class NotThisBrowser(Refusal):
    """No cookie of this journey, or a wrong one; or there is no such journey."""

    code = "journey_not_in_this_browser"
    error = "access_denied"
    status = 403
    public = "This page belongs to another browser. Go back to the app that sent you and start again from there."
    help = (
        "A journey continues only in the browser in which it began, and a link to it cannot be passed on. Go back to "
        "the app that sent you and start again. Cookies must be allowed."
    )
    clause = "FAPI 2.0 6.5; ASVS 5.0 7.2.4"


class JourneyOver(Refusal):
    code = "journey_over"
    error = "access_denied"
    status = 410
    public = "This page has timed out, and nothing was shared. Go back to the app that sent you and start again."
    help = "Nothing was shared and nothing was kept. Go back to the app that sent you and start again from there."
    clause = "ASVS 5.0 7.3.1 and 7.3.2"


class Holds(Enum):
    """Which secret the browser holds: the journey's own, or the one before the last replacement."""

    CURRENT = 1
    PREVIOUS = 2


def judge(journey: Journey | None, cookie: str | None, at: int, *, idle_s: int, life_s: int) -> tuple[Journey, Holds]:
    """Return the journey, if this browser may go on with it at the instant `at`. Raise NotThisBrowser or JourneyOver.

    A concluded journey is never over: its page says that it is done. An unknown journey and a wrong cookie get the same
    refusal. The secret before the last one is accepted for REPEAT_S seconds, for the second half of a double click alone:
    see next_secret.
    """
    if journey is None or not cookie:
        raise NotThisBrowser("no such journey" if journey is None else "no cookie")
    shown = digest(cookie)
    if hmac.compare_digest(shown, journey.secret):
        holds = Holds.CURRENT
    elif (
        journey.previous_secret is not None
        and hmac.compare_digest(shown, journey.previous_secret)
        and at - journey.progress.get("proved", 0) <= REPEAT_S
    ):
        holds = Holds.PREVIOUS
    else:
        raise NotThisBrowser("wrong cookie")
    if journey.concluded is None and (at - journey.seen >= idle_s or at - journey.created >= life_s):
        raise JourneyOver("idle" if at - journey.seen >= idle_s else "too long in all")
    return journey, holds


def next_secret(secret: str, nonce: str, form: Mapping[str, str]) -> str:
    """Return the secret that follows `secret` when this very form has proved who the SME is.

    A browser that sends the same form with the same cookie again (a double click) gets the same secret again. The cookie alone,
    planted or copied, does not give it, since `nonce` never leaves the store.
    """
    message = "\0".join([nonce, *(f"{name}={form[name]}" for name in sorted(form))])
    return base64url(hmac.digest(secret.encode(), message.encode(), hashlib.sha256))


def cookie(journey_id: str) -> str:
    """Return the name of one journey's cookie. Ports of one host share cookies, so each party names its own."""
    return f"__Host-{current().settings.party}-journey-{journey_id}"

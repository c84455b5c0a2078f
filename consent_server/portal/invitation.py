"""A bank's invitation. The browser keeps it, sealed by us, until somebody signs in: an anonymous visit leaves no row."""

import hmac

from werkzeug.wrappers import Request, Response

from consent_server.deployment import current
from consent_server.outbound.directory import is_member_url
from consent_server.portal import providers
from consent_server.web import budgets, cookies
from consent_server.web.limits import TooMany
from consent_server.web.sessions import LIFE_S


def accept(url: str, address: str) -> bool:
    """Return whether a URL is that of a bank in the Directory.

    A text that cannot be a member's URL is not looked up, and a look-up without a result counts, for the network at
    `address` and over all: beyond these budgets an invitation is passed over.
    """
    if not is_member_url(url, current().settings):
        return False
    attempt = budgets.invitation(address)
    try:
        attempt.take()
    except TooMany:
        return False
    if providers.bank(url) is None:
        return False
    attempt.succeeded()
    return True


def keep(response: Response, url: str) -> None:
    """Let the browser keep the URL of the bank that sent it."""
    cookies.set_cookie(response, _cookie(), f"{current().sealer.mac(_sealed(url))}.{url.encode().hex()}", LIFE_S)


def held(request: Request) -> str | None:
    """Return the URL of the bank that sent this browser, if we let it keep one."""
    mac, _, url = request.cookies.get(_cookie(), "").partition(".")
    try:
        found = bytes.fromhex(url).decode()
    except ValueError:
        return None
    return found if hmac.compare_digest(mac.encode(), current().sealer.mac(_sealed(found)).encode()) else None


def _sealed(url: str) -> str:
    return f"invitation {url}"


def _cookie() -> str:
    return f"__Host-{current().settings.party}-invitation"

"""Browsers in which an owner has proved itself before. They wait for nobody else's failures: docs/guessing.md.

The browser keeps an id of its own for each subject (a meter, a mailbox), sealed by us; the store keeps nothing of it. It
proves nothing but that: whoever uses it has to know the rest, and has one of sixteen budgets for that subject.
"""

import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Final

from werkzeug.wrappers import Request, Response

from consent_server.deployment import current
from consent_server.web import cookies

#: The longest that browsers keep a cookie.
LIFE_S: Final = 400 * 86400
#: Subjects that one browser is known for; the oldest is forgotten.
MOST: Final = 8
_BETWEEN: Final = "_"
_ENTRY: Final = re.compile(r"[0-9a-f]{16}\.[0-9a-f]{32}")


def kept(request: Request) -> str:
    """Return what this browser keeps of its own; it is empty where the browser sent nothing."""
    return request.cookies.get(_cookie(), "")


def by(kept: str, subjects: Iterable[str]) -> str | None:
    """Return what the budget of a browser known for all these subjects is told by; None when it is not known for one of them.

    It is the first digit of its id, for the first of them: whoever had a mailbox once and was recognised a thousand times
    in it has no more budgets than sixteen browsers.
    """
    known = {subject: _id(kept, subject) for subject in subjects}
    told = [f"{browser[0]} {subject}" for subject, browser in known.items() if browser is not None]
    return told[0] if told and len(told) == len(known) else None


def remember(response: Response, kept: str, subjects: Iterable[str]) -> None:
    """Let a browser be known for subjects whose owner has just proved itself in it."""
    entries = _entries(kept)
    for subject in subjects:
        if _id(kept, subject) is None:
            browser = secrets.token_hex(8)
            entries.append(f"{browser}.{_mac(browser, subject)}")
    cookies.set_cookie(response, _cookie(), _BETWEEN.join(entries[-MOST:]), LIFE_S)


def _id(kept: str, subject: str) -> str | None:
    for entry in _entries(kept):
        browser, _, mac = entry.partition(".")
        if hmac.compare_digest(mac.encode(), _mac(browser, subject).encode()):
            return browser
    return None


def _entries(kept: str) -> list[str]:
    return [entry for entry in kept.split(_BETWEEN) if _ENTRY.fullmatch(entry)][-MOST:]


def _mac(browser: str, subject: str) -> str:
    return current().sealer.mac(f"known browser {browser} {subject}")[:32]


def _cookie() -> str:
    return f"__Host-{current().settings.party}-known"

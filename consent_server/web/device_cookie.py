"""Device cookies: a browser in which an owner has succeeded before is not slowed by others' failures (docs/guessing.md).

The cookie has an id for each subject (a meter, a mailbox) with our MAC; nothing of it is in the store. It is not a second
factor: everything must still be typed, and each subject has sixteen budgets for its browsers.
"""

import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Final

from werkzeug.wrappers import Request, Response

from consent_server.deployment import current
from consent_server.scheme.instant import DAY
from consent_server.web import cookies

#: The longest for which browsers keep a cookie.
LIFE_S: Final = 400 * DAY
#: Subjects in one cookie; the oldest is forgotten.
MOST: Final = 8
_BETWEEN: Final = "_"
_ENTRY: Final = re.compile(r"[0-9a-f]{16}\.[0-9a-f]{32}")


def sent(request: Request) -> str:
    """Return the value of this browser's cookie; it is empty where the browser sent none."""
    return request.cookies.get(_name(), "")


def budget_key(cookie: str, subjects: Iterable[str]) -> str | None:
    """Return the key of the budget of a browser known for all these subjects; None when it is not known for one of them.

    It is the first digit of its id and the first of the subjects: whoever had a mailbox once and was recognised a thousand
    times in it has no more budgets than sixteen browsers.
    """
    known = {subject: _id(cookie, subject) for subject in subjects}
    keys = [f"{device[0]} {subject}" for subject, device in known.items() if device is not None]
    return keys[0] if keys and len(keys) == len(known) else None


def remember(response: Response, cookie: str, subjects: Iterable[str]) -> None:
    """Let a browser be known for subjects whose owner has just proved itself in it."""
    entries = _entries(cookie)
    for subject in subjects:
        if _id(cookie, subject) is None:
            device = secrets.token_hex(8)
            entries.append(f"{device}.{_mac(device, subject)}")
    cookies.set_cookie(response, _name(), _BETWEEN.join(entries[-MOST:]), LIFE_S)


def _id(cookie: str, subject: str) -> str | None:
    for entry in _entries(cookie):
        device, _, mac = entry.partition(".")
        if hmac.compare_digest(mac.encode(), _mac(device, subject).encode()):
            return device
    return None


def _entries(cookie: str) -> list[str]:
    return [entry for entry in cookie.split(_BETWEEN) if _ENTRY.fullmatch(entry)][-MOST:]


def _mac(device: str, subject: str) -> str:
    return current().sealer.mac(f"known browser {device} {subject}")[:32]


def _name() -> str:
    return f"__Host-{current().settings.party}-known"

"""Server-side sessions: the browser holds a random handle, the store its digest and the data."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from flask import Request
from pydantic import TypeAdapter, ValidationError
from werkzeug.wrappers import Response

from consent_server import clock, store
from consent_server.deployment import current
from consent_server.store import sessions
from consent_server.store.tables.sessions import SessionData, SessionRow
from consent_server.web import cookies

#: Seconds after which a session ends, however much it is used.
LIFE_S = 12 * 3600
#: Seconds for which a browser without a session may leave a form open.
FORM_LIFE_S = 3600
#: At a CAP "portal"; at an EDP "manage", where permissions are looked after, and "log-in", a log-in for that under way.
Kind = Literal["portal", "manage", "log-in"]
_SOUND: Final[TypeAdapter[SessionData]] = TypeAdapter(SessionData)


@dataclass(frozen=True)
class BrowserSession:
    """One browser's session. `secret` is its cookie's value: forms take their CSRF token from it."""

    secret: str = field(repr=False)
    data: SessionData


@dataclass(frozen=True)
class Sessions:
    """The sessions of one kind: `cookie` is the name of their cookie; `idle_s` is how long one lasts unused."""

    kind: Kind
    cookie: str
    idle_s: int

    def begin(self, response: Response, data: SessionData) -> None:
        """Start a session under a new handle. At sign-in, end the one that this browser had first."""
        secret = secrets.token_urlsafe(32)
        with store.writing() as c:
            sessions.make(c, secret, self.kind, data, clock.now())
        cookies.set_cookie(response, self.cookie, secret, LIFE_S)

    def current(
        self, request: Request, beside: Callable[[store.Connection, SessionData], object] | None = None
    ) -> BrowserSession | None:
        """Return the session of this request, or None when there is none or it is over.

        `beside` reads what belongs to a session in the same transaction. That it was used is noted once in a sixtieth of the
        time after which it ends unused: most pages write nothing.
        """
        secret = request.cookies.get(self.cookie, "")
        if not secret:
            return None
        now = clock.now()
        with store.reading() as c:
            row = sessions.find(c, secret, self.kind)
            over = row is not None and not self._lasts(row, now)
            if row is not None and not over and beside is not None:
                beside(c, row.data)
        if row is None:
            return None
        if over:
            with store.writing() as c:
                sessions.end(c, secret)
            return None
        if not 0 <= now - row.seen < self.idle_s // 60:
            with store.writing() as c:
                sessions.touch(c, secret, now)
        return BrowserSession(secret, row.data)

    def _lasts(self, row: SessionRow, at: int) -> bool:
        return at - row.seen < self.idle_s and at - row.created < LIFE_S and _is_sound(row.data)

    def change(self, session: BrowserSession, edit: Callable[[SessionData], object]) -> BrowserSession:
        """Apply `edit` to the session's data, and return the session with what it then holds.

        `edit` gets the data as it is now, not as it was when this request began: requests of one browser that arrive
        together change it one after the other, so that what one of them takes out is gone for the next.
        """
        now = clock.now()
        with store.writing() as c:
            sessions.touch(c, session.secret, now)  # on PostgreSQL this takes the row's lock; SQLite has one writer
            row = sessions.find(c, session.secret, self.kind)
            data = row.data if row is not None and _is_sound(row.data) else SessionData()
            edit(data)
            sessions.touch(c, session.secret, now, data)
        return BrowserSession(session.secret, data)

    def form_secret(self, request: Request) -> str:
        """Return the handle of a browser that has no session yet, for forms; it is empty where the browser sent none."""
        return request.cookies.get(f"{self.cookie}-form", "")

    def keep_form_secret(self, response: Response, secret: str) -> None:
        """Give the browser such a handle, or the one that it has once more. The store keeps nothing of it."""
        cookies.set_cookie(response, f"{self.cookie}-form", secret, FORM_LIFE_S)

    def end(self, request: Request, response: Response) -> None:
        """End the session here and in the browser."""
        if secret := request.cookies.get(self.cookie, ""):
            with store.writing() as c:
                sessions.end(c, secret)
        cookies.clear_cookie(response, self.cookie)


def _is_sound(data: object) -> bool:
    """Return whether data are such as we keep: what another version or a hand has written may be anything."""
    try:
        _SOUND.validate_python(data, strict=True)
    except ValidationError:
        return False
    return True


def of_kind(kind: Kind) -> Sessions:
    """Return this party's sessions of a kind."""
    settings = current().settings
    cookie = f"__Host-{settings.party}-{kind}"  # ports of one host share cookies, so each party names its own
    return Sessions(kind, cookie, settings.lifetimes.portal_idle)

"""Server-side sessions: the browser holds a random handle, the store its digest and the data."""

import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from flask import Request
from werkzeug.wrappers import Response

from consent_server import clock
from consent_server.store import sessions
from consent_server.web import cookies

Transaction = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Session:
    """One signed-in browser. `secret` is its cookie's value: forms take their CSRF token from it."""

    secret: str = field(repr=False)
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Sessions:
    """The sessions of one kind: `cookie` is their name in the browser, `idle_s` and `life_s` end them here.

    `reading` and `writing` open the store's transactions.
    """

    kind: str
    cookie: str
    idle_s: int
    life_s: int
    reading: Transaction
    writing: Transaction

    def begin(self, request: Request, response: Response, data: Mapping[str, Any]) -> None:
        """Start a session under a new handle and end the one that this browser had: who knew that knows nothing now."""
        secret = secrets.token_urlsafe(32)
        with self.writing() as c:
            if before := request.cookies.get(self.cookie, ""):
                sessions.end(c, before)
            sessions.make(c, secret, self.kind, dict(data), clock.now())
        cookies.set_cookie(response, self.cookie, secret, self.life_s)

    def current(self, request: Request) -> Session | None:
        """The session of this request, or None when there is none, or it is over."""
        secret = request.cookies.get(self.cookie, "")
        if not secret:
            return None
        now = clock.now()
        with self.writing() as c:
            row = sessions.find(c, secret, self.kind)
            if row is None:
                return None
            if now - row.seen >= self.idle_s or now - row.created >= self.life_s:
                sessions.end(c, secret)
                return None
            sessions.touch(c, secret, now)
        return Session(secret, row.data)

    def keep(self, session: Session, data: Mapping[str, Any]) -> None:
        """Replace the session's data."""
        with self.writing() as c:
            sessions.touch(c, session.secret, clock.now(), dict(data))

    def end(self, request: Request, response: Response) -> None:
        """End the session here and in the browser."""
        if secret := request.cookies.get(self.cookie, ""):
            with self.writing() as c:
                sessions.end(c, secret)
        cookies.clear_cookie(response, self.cookie)

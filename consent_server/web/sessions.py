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

    def begin(self, response: Response, data: Mapping[str, Any]) -> None:
        """Start a session under a new handle. At sign-in, end the one that this browser had first."""
        secret = secrets.token_urlsafe(32)
        with self.writing() as c:
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

    def change(self, session: Session, edit: Callable[[dict[str, Any]], object]) -> Session:
        """Let `edit` change the session's data, and answer the session with what it then holds.

        It edits what is there now, not what was there when this request began: requests of one browser that arrive
        together are let in one after the other, so that what one of them takes out is gone for the next.
        """
        now = clock.now()
        with self.writing() as c:
            sessions.touch(c, session.secret, now)  # on PostgreSQL this takes the row's lock; SQLite has one writer
            row = sessions.find(c, session.secret, self.kind)
            data = dict(row.data) if row is not None else {}
            edit(data)
            sessions.touch(c, session.secret, now, data)
        return Session(session.secret, data)

    def end(self, request: Request, response: Response) -> None:
        """End the session here and in the browser."""
        if secret := request.cookies.get(self.cookie, ""):
            with self.writing() as c:
                sessions.end(c, secret)
        cookies.clear_cookie(response, self.cookie)

"""What is fetched once and kept: with the age that its server allows, and past it while that server cannot be had."""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from consent_server import clock
from consent_server.outbound.errors import BadAnswer, Unreachable
from consent_server.outbound.session import MIB, Session

T = TypeVar("T")

FOR_EVER = 1 << 40
_UNSTATED_S = 60  # how long an answer without Cache-Control is fresh
_MOST_FRESH_S = 86400
_RETRY_S = 30  # a failed refresh is not tried again at once: callers would each wait for the same time-out
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age=\"?(\d{1,9})", re.IGNORECASE)
_GONE = frozenset({404, 410})


class Cached(Protocol):
    """One kept answer: its body, the headers that matter (lower case), and two instants."""

    @property
    def body(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def fetched(self) -> int: ...
    @property
    def fresh_until(self) -> int: ...


class Cache(Protocol):
    """Where answers are kept, by name (their URL)."""

    def get(self, name: str) -> Cached | None: ...
    def put(self, name: str, cached: Cached) -> None: ...


@dataclass(frozen=True)
class Kept:
    """The Cached that this room makes."""

    body: bytes
    headers: Mapping[str, str]
    fetched: int
    fresh_until: int


class MemoryCache:
    """A Cache that ends with its process."""

    def __init__(self) -> None:
        self._kept: dict[str, Cached] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Cached | None:
        with self._lock:
            return self._kept.get(name)

    def put(self, name: str, cached: Cached) -> None:
        with self._lock:
            self._kept[name] = cached


class Fetcher:
    """GETs through a cache: fresh copies without a call, ETags, and the last good copy while a refresh fails."""

    def __init__(self, session: Session, cache: Cache) -> None:
        self._session = session
        self._cache = cache

    def get(
        self,
        url: str,
        read: Callable[[bytes], T],
        *,
        accept: str = "application/json",
        limit: int = MIB,
        configured: bool = True,
        fresh: bool = False,
        keep_s: int = 0,
    ) -> T:
        """What `read` makes of the body at `url`; only a body that it can read replaces the copy we have.

        `read` raises ValueError for a body that is not what it should be. `fresh` always asks the server. A copy may
        be used for `keep_s` seconds after its fetch when the server cannot be had or answers badly, unless it says
        that the thing is gone. Raises Unreachable.
        """
        now = clock.now()
        kept = self._cache.get(url)
        if kept is not None and not fresh and kept.fetched <= now < kept.fresh_until:
            return read(kept.body)
        try:
            return self._refresh(url, read, kept, now, accept=accept, limit=limit, configured=configured)
        except Unreachable as error:
            gone = isinstance(error, BadAnswer) and error.status in _GONE
            if kept is None or fresh or gone or not 0 <= now - kept.fetched <= keep_s:
                raise
            self._cache.put(url, Kept(kept.body, kept.headers, kept.fetched, now + _RETRY_S))
            return read(kept.body)

    def _refresh(
        self,
        url: str,
        read: Callable[[bytes], T],
        kept: Cached | None,
        now: int,
        *,
        accept: str,
        limit: int,
        configured: bool,
    ) -> T:
        etag = kept.headers.get("etag") if kept else None
        response = self._session.get(url, accept=accept, limit=limit, etag=etag, configured=configured)
        if kept is not None and etag is not None and response.status == 304:
            renewed = _keep(kept.body, response.headers, now)
            self._cache.put(url, replace(renewed, headers={**kept.headers, **renewed.headers}))
            return read(kept.body)
        response.must_be(200)
        try:
            value = read(response.body)
        except ValueError:
            raise BadAnswer("unreadable", response.host, response.status) from None
        self._cache.put(url, _keep(response.body, response.headers, now))
        return value


def _keep(body: bytes, headers: Mapping[str, str], now: int) -> Kept:
    control = headers.get("cache-control", "")
    stated = _MAX_AGE.search(control)
    fresh_s = min(int(stated[1]), _MOST_FRESH_S) if stated else _UNSTATED_S
    if re.search(r"\bno-(?:cache|store)\b", control, re.IGNORECASE):
        fresh_s = 0
    age = headers.get("age", "")
    if re.fullmatch(r"\d{1,9}", age, re.ASCII):
        fresh_s = max(0, fresh_s - int(age))
    matter = {name: headers[name] for name in ("etag", "content-type") if name in headers}
    return Kept(body, matter, now, now + fresh_s)

"""A cache of fetched documents: as old as their server allows, and older while that server is unavailable."""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from consent_server import clock
from consent_server.outbound.errors import BadAnswer, Unreachable
from consent_server.outbound.session import MIB, Response, Session
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY

log = logging.getLogger("consent_server.outbound")

T = TypeVar("T")

FOR_EVER = 1 << 40
_UNSTATED_S = 60  # how long a response without Cache-Control is fresh
_MOST_FRESH_S = DAY
_RETRY_S = 30  # after a failed refresh, so that callers do not each wait for the same time-out
# What a process holds of the copies itself, beside their place: so many, each of so many bytes at most.
_MOST_HELD = 512
_LARGEST_HELD = 1 << 16
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age=\"?(\d{1,9})", re.IGNORECASE)


@dataclass(frozen=True)
class Copy:
    """One kept body, the headers that matter (lower case), and two instants."""

    body: bytes
    headers: Mapping[str, str]
    fetched: int
    fresh_until: int

    def is_fresh(self, now: int) -> bool:
        """Return whether it may be used without asking its server."""
        return self.fetched <= now < self.fresh_until


class Cache(Protocol):
    """Where copies are kept, by name (their URL)."""

    def get(self, name: str) -> Copy | None: ...
    def put(self, name: str, copy: Copy) -> None: ...


class MemoryCache:
    """A Cache that ends with its process."""

    def __init__(self) -> None:
        self._copies: dict[str, Copy] = {}

    def get(self, name: str) -> Copy | None:
        return self._copies.get(name)

    def put(self, name: str, copy: Copy) -> None:
        self._copies[name] = copy


class Fetcher:
    """GETs through a cache: fresh copies without a call, ETags, and the last good copy while a refresh fails.

    A copy that is fresh is held by the process, so that the cache is looked into once for each time that it is fresh. Another
    process may have fetched a newer one meanwhile, as any cache of HTTP may (RFC 9111 section 4.2).
    """

    def __init__(self, session: Session, cache: Cache) -> None:
        self._session = session
        self._cache = cache
        self._held: dict[str, Copy] = {}

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
        stop_if_wrong: bool = False,
        keep_what_is_gone: bool = False,
    ) -> T:
        """Return what `read` makes of the body at `url`. Raise Unreachable.

        `read` raises ValueError for a wrong body, which then does not replace the copy we have. `fresh` always asks the
        server. While the server is unavailable or returns errors, a copy may be used for `keep_s` seconds after its
        fetch, unless the server says that the document is gone and `keep_what_is_gone` is off; with `stop_if_wrong`, unless
        its response is wrong in any way.
        """
        now = clock.now()
        kept = self._kept(url, now)
        if kept is not None and not fresh and kept.is_fresh(now):
            return _read_kept(url, read, kept)
        etag = kept.headers.get("etag") if kept else None
        try:
            response = self._session.get(url, accept=accept, limit=limit, etag=etag, configured=configured)
            if kept is not None and etag is not None and response.status == 304:
                renewed = _keep(kept.body, response.headers, now)
                self._put(url, replace(renewed, headers={**kept.headers, **renewed.headers}))
                return _read_kept(url, read, kept)
            return self._replace(url, read, response.must_be(200), now)
        except Unreachable as error:
            gone = error.gone and not keep_what_is_gone
            if kept is None or fresh or gone or not 0 <= now - kept.fetched <= keep_s:
                raise
            if stop_if_wrong and error.is_wrong:
                raise
            log.warning("%s; the copy of %s is used", error, instant.text(kept.fetched))
            self._put(url, replace(kept, fresh_until=now + _RETRY_S))
            return _read_kept(url, read, kept)

    def has_fresh(self, url: str) -> bool:
        """Return whether `get` would return without a call."""
        now = clock.now()
        kept = self._kept(url, now)
        return kept is not None and kept.is_fresh(now)

    def _kept(self, url: str, now: int) -> Copy | None:
        held = self._held.get(url)
        if held is not None and held.is_fresh(now):
            return held
        kept = self._cache.get(url)
        if kept is not None and kept.is_fresh(now):
            self._hold(url, kept)
        return kept

    def _put(self, url: str, copy: Copy) -> None:
        self._cache.put(url, copy)
        self._hold(url, copy)

    def _hold(self, url: str, copy: Copy) -> None:
        if len(self._held) >= _MOST_HELD:
            self._held.clear()
        if len(copy.body) <= _LARGEST_HELD:
            self._held[url] = copy
        else:
            self._held.pop(url, None)

    def _replace(self, url: str, read: Callable[[bytes], T], response: Response, now: int) -> T:
        try:
            value = read(response.body)
        except ValueError as error:
            raise BadAnswer(f"unreadable: {error}", response.host, response.status) from None
        self._put(url, _keep(response.body, response.headers, now))
        return value


def _read_kept(url: str, read: Callable[[bytes], T], kept: Copy) -> T:
    # What is right for one question may be wrong for another that leads to the same URL.
    try:
        return read(kept.body)
    except ValueError as error:
        raise BadAnswer(f"unreadable: {error}", urlsplit(url).hostname or "-") from None


def _keep(body: bytes, headers: Mapping[str, str], now: int) -> Copy:
    control = headers.get("cache-control", "")
    stated = _MAX_AGE.search(control)
    fresh_s = min(int(stated[1]), _MOST_FRESH_S) if stated else _UNSTATED_S
    if re.search(r"\bno-(?:cache|store)\b", control, re.IGNORECASE):
        fresh_s = 0
    age = headers.get("age", "")
    if re.fullmatch(r"\d{1,9}", age, re.ASCII):
        fresh_s = max(0, fresh_s - int(age))
    matter = {name: headers[name] for name in ("etag", "content-type") if name in headers}
    return Copy(body, matter, now, now + fresh_s)

"""Other members' logos: fetched outside page requests, checked before they are kept, and shown only from our own copy."""

import hashlib
import logging
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from consent_server import clock
from consent_server.brand import logo
from consent_server.outbound import page_time
from consent_server.outbound.cache import Cache, Copy
from consent_server.outbound.directory import Member
from consent_server.outbound.errors import BadAnswer, Unreachable
from consent_server.outbound.session import Session
from consent_server.scheme.instant import DAY
from consent_server.settings import Settings

log = logging.getLogger("consent_server.outbound")

FRESH_S: Final = DAY
#: Seconds after a failure, within which no process tries again.
RETRY_S: Final = 3600
#: As long as a member's entry (outbound.directory).
_KEEP_S: Final = 7 * DAY
_ACCEPT: Final = f"{logo.SVG}, {logo.PNG}"
_NONE: Final = b""
#: Seconds for which a process remembers what is kept: every page of a journey asks, and the store need not be.
_REMEMBERED_S: Final = 60
_MOST_REMEMBERED: Final = 256


class Logos:
    """What is kept of members' logos. A name is the SHA-256 of the logo's address, in hex: our own address for it."""

    def __init__(self, settings: Settings, session: Session, cache: Cache) -> None:
        self._directory = urlsplit(settings.scheme.directory).netloc
        self._session = session
        self._cache = cache
        self._remembered: dict[str, tuple[int, Copy | None]] = {}

    def name_of(self, member: Member) -> str | None:
        """Return the name of a member's logo, if we have one to show. Nothing is fetched."""
        if member.logo is None:
            return None
        name = _name(member.logo)
        return name if self.kept(name) is not None else None

    def kept(self, name: str) -> tuple[bytes, str] | None:
        """Return the content and the media type of the logo of this name, or None."""
        copy = self._copy(name)
        if copy is None or copy.body == _NONE or not 0 <= clock.now() - copy.fetched <= _KEEP_S:
            return None
        return copy.body, copy.headers["content-type"]

    def _copy(self, name: str) -> Copy | None:
        at = clock.now()
        looked, copy = self._remembered.get(_key(name), (0, None))
        if not 0 <= at - looked < _REMEMBERED_S:
            copy = self._cache.get(_key(name))
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[_key(name)] = (at, copy)
        return copy

    def is_due(self, member: Member) -> bool:
        """Return whether the member has a logo that is to be fetched."""
        if member.logo is None:
            return False
        copy = self._cache.get(_key(_name(member.logo)))
        return copy is None or not copy.is_fresh(clock.now())

    def fetch(self, member: Member) -> None:
        """Fetch a member's logo, in the time that a page has for one server. Raise Unreachable, after it was logged.

        A logo that fails the check, or that is gone, is shown no more; while its server is down, the copy that we have is.
        """
        assert member.logo is not None
        key, at = _key(_name(member.logo)), clock.now()
        page_time.begin_page()
        try:
            found = self._fetched(member.logo)
        except Unreachable as error:
            log.warning("the logo of %s is not shown: %s", member.url, error)
            before = self._cache.get(key)
            bridged = before is not None and not error.is_wrong and not error.gone
            copy = before if before is not None and bridged else Copy(_NONE, {}, at, at)
            self._put(key, replace(copy, fresh_until=at + RETRY_S))
            raise
        finally:
            page_time.end_page()
        self._put(key, Copy(found.content, {"content-type": found.media_type}, at, at + FRESH_S))

    def _put(self, key: str, copy: Copy) -> None:
        self._cache.put(key, copy)
        self._remembered.pop(key, None)

    def _fetched(self, url: str) -> logo.Logo:
        # The Directory is a host of our settings; any other must be a member's server on its allowlist.
        configured = urlsplit(url).netloc == self._directory
        response = self._session.get(url, accept=_ACCEPT, limit=logo.LARGEST, configured=configured).must_be(200)
        try:
            return logo.checked(response.body)
        except logo.NoLogo as error:
            raise BadAnswer(f"no logo: {error}", response.host, response.status) from None


def _name(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def _key(name: str) -> str:
    return f"logo {name}"

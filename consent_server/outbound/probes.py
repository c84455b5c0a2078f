"""Probes: calls by which we see, as a client would, whether our doors, the Directory and the Registry answer."""

import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from consent_server.outbound.errors import BadAnswer, Unreachable
from consent_server.outbound.session import Limits, Session
from consent_server.outbound.upstream import metadata_url
from consent_server.settings import Settings

#: An answer that takes longer than this counts as none: five probes must go into 30 seconds (status.measured).
_LIMITS: Final = Limits(connect_s=2, read_s=4, total_s=4)
_ACCEPT: Final = "application/ld+json, application/json;q=0.9, text/turtle;q=0.8, */*;q=0.1"


class ProbeAnswer(NamedTuple):
    """How a probe went: the milliseconds until the answer, and in one word why there was none, empty where there was."""

    ms: int
    why: str


class Probes:
    """The probes of a party. Threads may share them."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is called but what our settings name: our own doors do not wait for the Directory's allowlist."""
        self._settings = settings
        self._session = Session(settings, limits=_LIMITS)
        own = frozenset({urlsplit(settings.mutual_tls.origin).hostname or ""})
        self._session.allow_hosts(lambda: own)
        self._calls: Mapping[str, Callable[[], None]] = {
            "issuer": self._issuer,
            "data": self._data,
            "directory": lambda: self._outside(settings.member.application),
            "registry": lambda: self._outside(settings.scheme.licenses[0].url),
        }

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self._calls)

    def ask(self, part: str) -> ProbeAnswer:
        """Call one part once."""
        began, why = time.monotonic(), ""
        try:
            self._calls[part]()
        except Unreachable as error:
            why = error.kind
        return ProbeAnswer(int((time.monotonic() - began) * 1000), why)

    def close(self) -> None:
        self._session.close()

    def _issuer(self) -> None:
        issuer = self._settings.issuer
        answer = self._session.get(metadata_url(issuer), configured=True).must_be(200)
        if answer.object().get("issuer") != issuer:
            raise BadAnswer("issuer", answer.host, answer.status)

    def _data(self) -> None:
        answer = self._session.get(f"{self._settings.mutual_tls.origin}/heartbeat").must_be(200)
        if answer.object().get("status") != "ok":
            raise BadAnswer("heartbeat", answer.host, answer.status)

    def _outside(self, url: str) -> None:
        self._session.get(url, accept=_ACCEPT, configured=True).must_be(200)

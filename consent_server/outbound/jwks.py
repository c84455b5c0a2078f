"""An issuer's public keys, for a resource server elsewhere."""

from collections.abc import Callable
from typing import Any, Protocol

from consent_server import clock
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.poller import Poller
from consent_server.outbound.session import Session

_UNKNOWN_KEY_S = 60


class Keys(Protocol):
    def public(self, kid: str, /) -> Any: ...


class RemoteKeys:
    """Keys from the issuer's JWKS. `read` turns the parsed document into keys, raising ValueError for a bad one.

    A key that the issuer removed is dead after `refresh_s`. While the issuer cannot be had, the last good keys hold for
    `keep_s` seconds; after that nothing is believed.
    """

    def __init__(
        self,
        session: Session,
        url: str,
        read: Callable[[dict[str, Any]], Keys],
        *,
        refresh_s: float = 300.0,
        keep_s: int = 3600,
    ) -> None:
        self._session = session
        self._url = url
        self._read = read
        self._keep_s = keep_s
        self._poller = Poller("jwks", self._load, refresh_s)

    def public(self, kid: str) -> Any:
        """The key with this id, or None. Raises Unreachable when there are no keys that may still be believed."""
        key = self._keys().public(kid)
        # C20: the issuer may have begun to use a new key, but a storm of unknown ids is one request a minute.
        if key is None and self._poller.again(_UNKNOWN_KEY_S):
            key = self._keys().public(kid)
        return key

    def stop(self) -> None:
        self._poller.stop()

    def _keys(self) -> Keys:
        loaded = self._poller.latest()
        if loaded is None or not 0 <= clock.now() - loaded.at <= self._keep_s:
            raise Unreachable("too old", "jwks")
        return loaded.value

    def _load(self) -> Keys:
        answer = self._session.get(self._url, accept="application/jwk-set+json, application/json", configured=True)
        return self._read(answer.must_be(200).object())

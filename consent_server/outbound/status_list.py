"""Withdrawals as a resource server elsewhere learns them: the issuer's signed status list, polled every few seconds."""

from collections.abc import Callable
from typing import Protocol

from consent_server import clock
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.poller import Poller
from consent_server.outbound.session import Session

MEDIA_TYPE = "application/statuslist+jwt"


class StatusList(Protocol):
    def withdrawn(self, index: int, /) -> bool: ...


class StatusListTooOld(Unreachable):
    """No status list that is young enough: whether the permission still holds is unknown, so nothing is released."""

    def __init__(self) -> None:
        super().__init__("too old", "status list")


class StatusListPoller:
    """Fails closed: past `max_age_s` seconds without a good list every question raises StatusListTooOld (D04).

    `decode` takes the token's text and returns the list; it raises ValueError for one that is not to be believed, and
    checks signature, issuer and expiry. It is handed in because this room does not know tokens.
    """

    def __init__(
        self,
        session: Session,
        uri: str,
        decode: Callable[[str], StatusList],
        *,
        interval_s: float = 2.0,
        max_age_s: int = 30,
    ) -> None:
        self._session = session
        self._uri = uri
        self._decode = decode
        self._max_age_s = max_age_s
        self._poller = Poller("status list", self._load, interval_s)

    def withdrawn(self, index: int) -> bool:
        """Whether the permission with this index has ended. Raises StatusListTooOld."""
        loaded = self._poller.latest()
        # A negative age means that the clock was stepped back: how old the list is can then not be known.
        if loaded is None or not 0 <= clock.now() - loaded.at <= self._max_age_s:
            raise StatusListTooOld
        return loaded.value.withdrawn(index)

    def stop(self) -> None:
        self._poller.stop()

    def _load(self) -> StatusList:
        answer = self._session.get(self._uri, accept=MEDIA_TYPE, configured=True).must_be(200)
        return self._decode(answer.body.decode("ascii"))

"""Withdrawals for a resource server elsewhere: the issuer's signed status list, polled every few seconds."""

from consent_server import clock
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.poller import Poller
from consent_server.outbound.session import Session
from consent_server.tokens import status
from consent_server.tokens.keys import PublicKeySource


class StatusListTooOld(Unreachable):
    """There is no current status list: whether the permission still holds is unknown, so nothing is released."""

    def __init__(self) -> None:
        super().__init__("too old", "status list")


class StatusListPoller:
    """The latest list. It fails closed: past its `exp`, or `max_age_s` seconds without a valid list, nothing is known."""

    def __init__(
        self, session: Session, uri: str, keys: PublicKeySource, *, interval_s: float = 2.0, max_age_s: int = 30
    ) -> None:
        self._session = session
        self._uri = uri
        self._keys = keys
        self._max_age_s = max_age_s
        self._poller = Poller("status list", self._load, interval_s)

    def withdrawn(self, index: int) -> bool:
        """Return whether the permission with this index has ended. Raise StatusListTooOld, or StatusListInvalid."""
        loaded = self._poller.latest()
        now = clock.now()
        # After the clock was stepped back (a negative age) the list's real age is unknown.
        if loaded is None or not 0 <= now - loaded.at <= self._max_age_s:
            raise StatusListTooOld
        # Token Status List section 8.3: an expired list does not count
        if now >= loaded.value.exp:
            raise StatusListTooOld
        return loaded.value.withdrawn(index)

    def stop(self) -> None:
        self._poller.stop()

    def _load(self) -> status.StatusList:
        accept = "application/statuslist+jwt"
        answer = self._session.get(self._uri, accept=accept, limit=status.MAX_LENGTH, configured=True).must_be(200)
        return status.decode(answer.body.decode("ascii"), self._keys, self._uri, clock.now())

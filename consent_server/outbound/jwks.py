"""An issuer's public keys, for a resource server elsewhere."""

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from consent_server import clock
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.poller import Poller
from consent_server.outbound.session import Session
from consent_server.tokens.keys import PublicKeys

#: Seconds between two loads: a key that the issuer removed is refused after them.
REFRESH_S = 300.0
_UNKNOWN_KEY_S = 60


class RemoteKeys:
    """Keys from the issuer's JWKS: a PublicKeySource.

    While the issuer is unavailable, the last good keys are used for `keep_s` seconds; after that no token is accepted.
    """

    def __init__(self, session: Session, url: str, *, keep_s: int = 3600) -> None:
        self._session = session
        self._url = url
        self._keep_s = keep_s
        self._poller = Poller("jwks", self._load, REFRESH_S)

    def public(self, kid: str) -> EllipticCurvePublicKey | None:
        """Return the key with this id, or None. Raise Unreachable when there are no keys of an acceptable age."""
        key = self._keys().public(kid)
        # The issuer may have begun to use a new key (RFC 7517 section 4.5); however many unknown ids arrive, they cause one
        # request a minute.
        if key is None and self._poller.again(_UNKNOWN_KEY_S):
            key = self._keys().public(kid)
        return key

    def stop(self) -> None:
        self._poller.stop()

    def _keys(self) -> PublicKeys:
        loaded = self._poller.latest()
        if loaded is None or not 0 <= clock.now() - loaded.at <= self._keep_s:
            raise Unreachable("too old", "jwks")
        return loaded.value

    def _load(self) -> PublicKeys:
        answer = self._session.get(self._url, accept="application/jwk-set+json, application/json", configured=True)
        return PublicKeys(answer.must_be(200).object())

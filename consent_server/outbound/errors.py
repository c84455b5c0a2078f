"""Errors of outgoing calls: exceptions with a kind and a host, never a body, a token or a query."""

from typing import Final

#: 202, 401, 408, 425, 429: another attempt may go better. A token may just have ended.
_LATER = frozenset({202, 401, 408, 425, 429})


class Unreachable(Exception):
    """`host` did not give what we need; `kind` is one short word for the log and for tests.

    Kinds raised by a session: dns, connect, tls, time, connection, redirect, encoding, too_large, and `proxy` with what was
    wrong there (dns, connect, answer, or its status). `gone`: the server says that there is no such thing. `is_wrong`: the
    server was there and did not do as it must, so that its operator has to mend it; otherwise another attempt may go better.
    """

    gone = False
    _WRONG = frozenset({"redirect", "encoding", "too_large"})
    _MEANING: Final = {
        "dns": "no address is found for this name",
        "connect": "it cannot be reached at this port",
        "tls": "no TLS 1.3, or no certificate from an authority that we trust",
        "time": "no answer in time",
        "connection": "the connection failed or ended early",
        "address": "its address is not a public one",
        "allowlist": "it is not on the Directory's server allowlist",
    }
    #: The seconds that the server asked us to wait (RFC 9110 section 10.2.3); 0 when it did not.
    retry_after = 0

    def __init__(self, kind: str, host: str) -> None:
        super().__init__(f"{host}: {kind}")
        self.kind = kind
        self.host = host

    @property
    def is_wrong(self) -> bool:
        return self.kind in self._WRONG

    @property
    def explained(self) -> str:
        """Return host and kind with what the kind means, for an operator."""
        meaning = self._MEANING.get(self.kind)
        return f"{self} ({meaning})" if meaning else str(self)


class NotAllowed(Unreachable):
    """We refuse to call: kind url, address, allowlist, or what is wrong with the server's certificate.

    That is name (it does not name the host exactly), certificate (its key is not ECDSA P-256 or P-384), revoked, or
    revocation (its revocation status could not be obtained or verified).
    """

    _WRONG = frozenset({"url", "address", "name", "certificate", "revoked"})


class BadAnswer(Unreachable):
    """The response is not what we requested; `status` is the HTTP status, where it matters."""

    def __init__(self, kind: str, host: str, status: int = 0, retry_after: int = 0) -> None:
        super().__init__(kind, host)
        self.status = status
        self.retry_after = retry_after
        self.gone = status in {404, 410}

    @property
    def is_wrong(self) -> bool:
        return self.status < 500 and self.status not in _LATER


class OAuthRefused(BadAnswer):
    """An OAuth error response; `error` is its code (RFC 6749 sections 4.1.2.1 and 5.2), limited to that grammar."""

    def __init__(self, error: str, host: str, status: int = 0, retry_after: int = 0) -> None:
        super().__init__(f"oauth {error}", host, status, retry_after)
        self.error = error


class CallbackRefused(BadAnswer):
    """What came back to our redirect URI does not belong to our request: kind doubled, state, iss or code."""


class TokenRefused(BadAnswer):
    """401 from a resource server: the access token is no longer valid; refresh once, then check the permission."""


class NotReady(BadAnswer):
    """202: the data are still being collected; try again after `retry_after` seconds."""

    def __init__(self, host: str, retry_after: int) -> None:
        super().__init__("not ready", host, 202, retry_after)

"""The client of an authority for time (RFC 3161, over HTTP as in section 3.4), at the one URL that the settings name."""

from typing import Final

from consent_server.outbound.errors import Unreachable
from consent_server.outbound.session import Session
from consent_server.settings import Settings

_QUERY: Final = "application/timestamp-query"
_REPLY: Final = "application/timestamp-reply"
_LIMIT: Final = 64 * 1024


class TimestampAuthority:
    def __init__(self, settings: Settings, session: Session) -> None:
        self._url = settings.collection.timestamp_authority
        self._session = session

    def respond(self, request: bytes) -> bytes:
        """Return the response to a request, both in DER, within the time that a page may wait. Raise Unreachable."""
        answer = self._session.post_octets(self._url, request, kind=_QUERY, accept=_REPLY, limit=_LIMIT).must_be(200)
        if not answer.body:
            raise Unreachable("empty", answer.host)
        return answer.body

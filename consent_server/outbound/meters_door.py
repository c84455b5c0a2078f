"""How a data API on another machine asks its own member's issuer which meters are behind a token."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from consent_server.outbound.addresses import Resolve, resolve
from consent_server.outbound.network import Connections
from consent_server.outbound.session import MIB, Call, Calls, Limits, checked_url, tls_with

#: A caller of the data API waits for the answer.
_LONGEST_S: Final = 5.0
#: 10,000 meters, the most of one business, take 2 MiB.
_LARGEST: Final = 4 * MIB


class MetersDoor(Calls):
    """POST /meters at the issuer's mutual-TLS door (openapi/meters.json), with an application's certificate."""

    def __init__(
        self, url: str, certificate: Path, key: Path, roots: Path | None, *, look_up: Resolve = resolve
    ) -> None:
        """Raise OSError for a file that cannot be used."""
        super().__init__(Limits(2.0, _LONGEST_S, _LONGEST_S, _LARGEST), look_up)
        tls = tls_with(roots)
        tls.load_cert_chain(certificate, key)
        self._url = url
        # The address is the operator's own choice, and most often a private one.
        self._calls = Connections(tls, allowed=lambda _: True, look_up=self._look_up, deadline=self._deadline)

    def ask(self, token: str) -> dict[str, Any]:
        """Return the answer, a JSON object that nothing has been checked of. Raise Unreachable."""
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        call = Call("POST", checked_url(self._url), headers, urlencode({"token": token}).encode())
        return self._follow(self._calls, call, configured=True).must_be(200).object()

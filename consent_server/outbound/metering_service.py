"""The client of an EDP's own register and readings over HTTP (docs/metering-service.json), which is inside its own network."""

from pathlib import Path
from typing import Any, Final

import orjson

from consent_server.outbound.addresses import Resolve, resolve
from consent_server.outbound.errors import NotReady, Unreachable
from consent_server.outbound.network import Connections
from consent_server.outbound.session import MIB, Call, Calls, Limits, checked_url, tls_with
from consent_server.settings import BadSettings
from consent_server.settings.metering import MeteringServiceSettings

#: 400 days of half-hours take 3 MiB, and a business of 10,000 meters as much.
LARGEST: Final = 16 * MIB
_RETRY_S: Final = 60


class MeteringService(Calls):
    """One service, called with its own certificate or token and no other; redirects are not followed."""

    def __init__(self, service: MeteringServiceSettings, *, look_up: Resolve = resolve) -> None:
        """Raise BadSettings."""
        longest_s = float(service.longest_s)
        super().__init__(Limits(min(2.0, longest_s), longest_s, longest_s, LARGEST), look_up)
        self._url, self._token = service.url, service.token
        if not self._url:
            raise BadSettings("metering.http.url: the https URL of the service")
        setting = "roots"
        try:
            tls = tls_with(service.roots)
            setting = "certificate and key"
            if service.certificate is not None:
                tls.load_cert_chain(service.certificate, service.key)
            setting = "token"
            self._bearer()
        except OSError as error:  # ssl.SSLError is one
            raise BadSettings(f"metering.http: {setting}: cannot be used: {error.strerror or 'no PEM'}") from None
        # The address is the operator's own choice, and most often a private one.
        self._calls = Connections(tls, allowed=lambda _: True, look_up=self._look_up, deadline=self._deadline)

    def ask(self, path: str, question: dict[str, Any]) -> dict[str, Any]:
        """Return the answer, a JSON object. Raise NotReady for 202, and Unreachable for whatever else is wrong."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        try:
            headers |= self._bearer()
        except OSError:
            raise Unreachable("token", "-") from None
        # What is asked for is in the body: a URL is in the log of every server on the way.
        call = Call("POST", checked_url(f"{self._url}{path}"), headers, orjson.dumps(question))
        answer = self._follow(self._calls, call, configured=True)
        if answer.status == 202:
            raise NotReady(answer.host, answer.retry_after(_RETRY_S))
        return answer.must_be(200).object()

    def _bearer(self) -> dict[str, str]:
        if self._token is None:
            return {}
        return {"Authorization": f"Bearer {Path(self._token).read_text(encoding='ascii').strip()}"}

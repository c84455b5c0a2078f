"""An OpenID provider that nobody here wrote: npm's oidc-provider, run by tests/interop/openid-provider.mjs."""

import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import free_ports
from tests.deployments import layout

SECRET = "secret of the edp"


class OpenIdProvider:
    """The provider on a port of its own; `days` says what goes wrong from then on (see the script)."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)
        self.issuer = f"https://localhost:{self.port}"
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self._running = subprocess.Popen(
            ["node", "openid-provider.mjs"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._lock = threading.Lock()
        chain, key = (str(layout().server_certificate(file)) for file in ("chain", "key"))
        self.say(issuer=self.issuer, port=self.port, certificate=chain, key=key, clients=[])
        self._wait()

    def say(self, **said: Any) -> None:
        assert self._running.stdin is not None
        assert self._running.stdout is not None
        with self._lock:
            self._running.stdin.write(json.dumps(said) + "\n")
            self._running.stdin.flush()
            assert self._running.stdout.readline(), "the provider has ended by itself"

    def clients(self, origin: str, **changes: Any) -> None:
        """Know the EDP at an origin as the client "edp"."""
        client = {
            "client_id": "edp",
            "client_secret": SECRET,
            "redirect_uris": [f"{origin}/journey/log-in/return", f"{origin}/manage/log-in/return"],
            "post_logout_redirect_uris": [f"{origin}/manage"],
            "id_token_signed_response_alg": "ES256",
            "response_types": ["code"],
            "grant_types": ["authorization_code"],
        }
        self.say(clients=[{name: value for name, value in (client | changes).items() if value is not None}])

    def days(self, **days: Any) -> None:
        self.say(days=days)

    def stop(self) -> None:
        self._running.kill()
        self._running.wait()

    def _wait(self) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                httpx.get(f"{self.issuer}/jwks", verify=False, trust_env=False)
                return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError("the provider does not listen")


class Customer:
    """A browser at the provider: what it shows is a form for the customer's name, or the way back."""

    def __init__(self, provider: OpenIdProvider) -> None:
        self.provider = provider
        self.client = httpx.Client(verify=False, trust_env=False)

    def log_in(self, address: str, name: str, *, stop: bool = False) -> str:
        """Follow the provider's redirects from `address` on; return the address to which it sends the browser back."""
        answer = self.client.get(address)
        for _ in range(12):
            if answer.is_redirect:
                location = str(answer.next_request.url) if answer.next_request else ""
                if not location.startswith(self.provider.issuer):
                    return location
                answer = self.client.get(location)
            elif stop:
                answer = self.client.get(f"{answer.url}/stop")
            else:
                assert 'id="customer"' in answer.text, answer.text
                answer = self.client.post(str(answer.url), data={"customer": name})
        raise AssertionError("the provider goes round in circles")

"""Honest flows against the running sandbox, for tests that then spoil one thing: push, the SME's pages, code, tokens.

Every secret that a flow meets is remembered in `planted`, and every refusal's body in `bodies`, so that a test at the end
can look for the ones in the other, in the logs and in the databases.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from consent_server import clock
from consent_server.sandbox.browser import Browser, Page, follow
from consent_server.sandbox.client import Client, Request
from consent_server.scheme.instant import DAY
from tests.jose import s256
from tests.refusals.oracle import Oracle
from tests.waiting import until

CALLBACK = "https://client.example/cb"
#: Seconds between two runs of retention, as the settings have it.
RETENTION_S = 3600


@dataclass(frozen=True)
class Granted:
    """A grant on its way to its client."""

    client: Client
    request: Request
    code: str
    callback: str

    @property
    def form(self) -> dict[str, str]:
        return {
            "grant_type": "authorization_code",
            "client_id": self.client.client_id,
            "code": self.code,
            "redirect_uri": self.request.redirect_uri,
            "code_verifier": self.request.verifier,
        }


@dataclass(frozen=True)
class Tokens:
    """A grant that was redeemed."""

    granted: Granted
    access: str
    refresh: str


def query_of(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query, keep_blank_values=True)


class World:
    """The sandbox's clients and SMEs, as people and programs outside see them."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.sandbox = oracle.sandbox
        self.manifest = oracle.manifest
        self.planted: dict[str, str] = {}
        self.bodies: list[str] = []
        self.public = httpx.Client(
            verify=self.sandbox.server_context(),
            timeout=30,
            trust_env=False,
            event_hooks={"response": [self._keep_refusals]},
        )
        self._clients: dict[tuple[str, str], Client] = {}
        for sme in self.manifest["smes"]:
            for step in [*sme["journey"]["edp"], *sme["journey"]["cap"]]:
                for field in ("mpan", "mprn", "postcode", "code"):
                    if step["fill"].get(field):
                        self.plant(f"{field} of {sme['name']}", step["fill"][field])

    def plant(self, what: str, secret: str) -> str:
        self.planted[f"{what} #{len(self.planted)}"] = secret
        return secret

    def client(self, name: str = "cap", party: str = "edp") -> Client:
        """A client that knows this party's issuer. One for each name: a connection is a handshake."""
        if (name, party) not in self._clients:
            client = self.oracle.client(name)
            client.http.event_hooks["response"].append(self._keep_refusals)
            client.discover(self.manifest["issuers"][party])
            self._clients[name, party] = client
        return self._clients[name, party]

    def license(self, name: str = "electricity_and_gas") -> str:
        return str(self.manifest["licenses"][name])

    def sme(self, name: str) -> dict[str, Any]:
        return next(sme for sme in self.manifest["smes"] if sme["name"] == name)

    def good_push(self, client: Client, **changes: str | None) -> dict[str, str]:
        """A pushed request's form, with parameters changed, added, or (None) left out."""
        form = {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": CALLBACK,
            "scope": self.license(),
            "state": "some state",
            "code_challenge": s256(secrets.token_urlsafe(48)),
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in form.items() if value is not None}

    def push(self, client: Client, form: Mapping[str, str] | None = None, **changes: str | None) -> httpx.Response:
        url = client.metadata["pushed_authorization_request_endpoint"]
        return client.http.post(url, data=dict(form or self.good_push(client, **changes)))

    def request(self, client: Client, license: str | None = None) -> Request:
        request = client.push(license or self.license(), CALLBACK)
        self.plant("request_uri", query_of(request.url)["request_uri"][0])
        self.plant("code_verifier", request.verifier)
        self.plant("state", request.state)
        return request

    def browser(self) -> Browser:
        return Browser(Path(self.manifest["trust"]["server_ca"]))

    def walk(self, url: str, sme: str = "gaps", party: str = "edp", browser: Browser | None = None) -> Page:
        """What the SME does between /authorize and the client."""
        browser = browser or self.browser()
        return follow(browser, browser.open(url), self.sme(sme)["journey"][party])

    def grant(
        self, name: str = "cap", sme: str = "gaps", license: str = "electricity_and_gas", party: str = "edp"
    ) -> Granted:
        client = self.client(name, party)
        request = self.request(client, self.license(license))
        callback = self.walk(request.url, sme, party).url
        return Granted(client, request, self.plant("code", client.code(request, callback)), callback)

    def redeemed(self, granted: Granted) -> Tokens:
        answer = granted.client.redeem(granted.request, granted.code)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        self.plant("access token", body["access_token"])
        self.plant("refresh token", body["refresh_token"])
        return Tokens(granted, body["access_token"], body["refresh_token"])

    def tokens(
        self, name: str = "cap", sme: str = "gaps", license: str = "electricity_and_gas", party: str = "edp"
    ) -> Tokens:
        return self.redeemed(self.grant(name, sme, license, party))

    def data(self, client: Client, token: str | None, path: str = "/datasources", **more: Any) -> httpx.Response:
        """A data call at the EDP, or at the CAP for /emissions."""
        party = "cap" if path.startswith("/emissions") else "edp"
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return client.http.get(self.manifest["resources"][party] + path, **{"headers": headers, **more})

    @contextmanager
    def clock(self, offset_s: int) -> Iterator[None]:
        """Every process of the sandbox at the true time plus this; back to the true time at the end.

        What was asked in a past of more than a day is then cleared away, before anyone compares stores again: a step of more
        than an hour makes retention due.
        """
        try:
            self.sandbox.control("clock", offset_s=offset_s)
            yield
            if offset_s < -DAY:
                self.sandbox.control("clock", offset_s=RETENTION_S + 1)
                until(lambda: not self._left_over(), "retention has not run")
        finally:
            self.sandbox.control("clock", offset_s=0)

    def _left_over(self) -> bool:
        return any(row["created"] < clock.now() - DAY for row in self.oracle.stores["edp"].rows("pushed_request"))

    def _keep_refusals(self, answer: httpx.Response) -> None:
        if answer.status_code >= 400:
            answer.read()
            self.bodies.append(answer.text)

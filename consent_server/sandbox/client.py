"""A minimal OAuth client for the walk and the tests: what a member's own software does.

It uses the manifest and none of our code: discovery (RFC 8414), PAR (RFC 9126) with PKCE, code and refresh over mutual
TLS, data, revocation.
"""

import base64
import hashlib
import json
import secrets
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import httpx


@dataclass
class Request:
    """A pushed request: send the browser to `url`, and keep the rest for its return."""

    url: str
    state: str
    verifier: str
    redirect_uri: str


@dataclass
class Client:
    """One client of the manifest (its entry under `clients`), with the PEM file of the server root."""

    entry: dict[str, Any]
    server_ca: str
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        context = ssl.create_default_context(cafile=self.server_ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.entry["chain"], self.entry["key"])
        self.http = httpx.Client(verify=context, timeout=30.0, trust_env=False)

    @property
    def client_id(self) -> str:
        return str(self.entry["client_id"])

    def discover(self, issuer: str) -> dict[str, Any]:
        parts = urlsplit(issuer)
        url = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path}"
        self.metadata = self.http.get(url).raise_for_status().json()
        assert self.metadata["issuer"] == issuer, "the metadata is another issuer's"
        return self.metadata

    def push(self, license: str, redirect_uri: str) -> Request:
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        answer = self.http.post(
            self.metadata["pushed_authorization_request_endpoint"],
            data={
                "response_type": "code",
                "client_id": self.client_id,
                "redirect_uri": redirect_uri,
                "scope": license,
                "state": state,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            },
        )
        assert answer.status_code == 201, f"PAR returned {answer.status_code}: {answer.text}"
        query = urlencode({"client_id": self.client_id, "request_uri": answer.json()["request_uri"]})
        return Request(f"{self.metadata['authorization_endpoint']}?{query}", state, verifier, redirect_uri)

    def code(self, request: Request, callback: str) -> str:
        """Return the code in the callback URL, after checking its state and iss."""
        query = parse_qs(urlsplit(callback).query)
        assert query.get("state") == [request.state], "another state came back"
        assert query.get("iss") == [self.metadata["issuer"]], "another issuer responded"
        assert "code" in query, f"no code came back: {query.get('error')}"
        return query["code"][0]

    def redeem(self, request: Request, code: str) -> httpx.Response:
        return self.token(
            grant_type="authorization_code",
            code=code,
            code_verifier=request.verifier,
            redirect_uri=request.redirect_uri,
        )

    def refresh(self, refresh_token: str) -> httpx.Response:
        return self.token(grant_type="refresh_token", refresh_token=refresh_token)

    def token(self, **form: str) -> httpx.Response:
        return self.http.post(self.metadata["token_endpoint"], data={"client_id": self.client_id, **form})

    def permission(self, token: str) -> httpx.Response:
        return self.http.post(self.metadata["ib1_permission_endpoint"], data={"token": token})

    def revoke(self, token: str) -> httpx.Response:
        return self.http.post(self.metadata["revocation_endpoint"], data={"token": token, "client_id": self.client_id})

    def get(self, url: str, access_token: str, **query: str) -> httpx.Response:
        return self.http.get(url, params=query or None, headers={"Authorization": f"Bearer {access_token}"})

    def readings(
        self, resource: str, access_token: str, source: str, measure: str, start: str, end: str
    ) -> httpx.Response:
        path = f"{resource}/datasources/{quote(source, safe='')}/{measure}"
        return self.get(path, access_token, **{"from": start, "to": end})


def claims(token: str) -> dict[str, Any]:
    """Return the claims of a token, unverified, to be shown."""
    body = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found

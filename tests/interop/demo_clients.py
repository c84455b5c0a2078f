"""The scheme's public demo programs as an issuer and a data provider meet them: their published requests, in our own words.

Each method of a program is one of its steps, under the name of what it does there, and asserts what the program asserts.
`went()` takes the steps in order and keeps what became of each.
"""

import hashlib
import re
import secrets
import ssl
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, urlsplit

import httpx
from cryptography import x509

from consent_server import clock
from consent_server.pki.member_certificate import load_certificates
from consent_server.sandbox.browser import Browser, follow
from consent_server.scheme import instant
from consent_server.scheme.provenance.container import VerifiedStep, verify
from tests.jose import s256
from tests.waiting import until

MONTHS = 12


def went(program: "Program") -> dict[str, Exception | None]:
    """Take a program's steps until one fails; return what each raised."""
    outcome: dict[str, Exception | None] = {}
    for step in program.STEPS:
        try:
            getattr(program, step)()
        except Exception as fault:
            outcome[step] = fault
            break
        outcome[step] = None
    program.close()
    return outcome


class Program:
    """A client program with a member's certificate, and the SME whom it sends to the provider."""

    STEPS: ClassVar[tuple[str, ...]] = ()
    REDIRECT_URI: ClassVar[str]

    def __init__(self, manifest: dict[str, Any], client: str, sme: str, license: str) -> None:
        self.manifest = manifest
        self.client = manifest["clients"][client]
        self.client_id = self.client["client_id"]
        self.sme = next(each for each in manifest["smes"] if each["name"] == sme)
        self.license = manifest["licenses"][license]
        self.issuer = manifest["issuers"]["edp"]
        self.resource = manifest["resources"]["edp"]
        authenticated = self._context()
        authenticated.load_cert_chain(self.client["chain"], self.client["key"])
        self.public = httpx.Client(verify=self._context(), timeout=60, trust_env=False)
        self.member = httpx.Client(verify=authenticated, timeout=60, trust_env=False)
        self.metadata: dict[str, Any] = {}
        self.tokens: dict[str, Any] = {}
        self.opened = self.state = self.verifier = self.code = ""
        #: The members of our transfer steps that are not what the program compares with.
        self.differs: set[str] = set()

    def close(self) -> None:
        self.public.close()
        self.member.close()

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.manifest["trust"]["server_ca"])

    def endpoint(self, name: str) -> str:
        return str(self.metadata["mtls_endpoint_aliases"][name])

    def post(self, endpoint: str, **form: str) -> httpx.Response:
        return self.member.post(self.endpoint(endpoint), data=form)

    def get(self, address: str, **headers: str) -> httpx.Response:
        bearer = f"Bearer {self.tokens['access_token']}"
        return self.member.get(address, headers={"Authorization": bearer, "Accept": "application/json", **headers})

    # The steps that all of them have

    def discovery(self) -> None:
        answer = self.public.get(f"{self.issuer}/.well-known/oauth-authorization-server")
        assert answer.status_code == 200
        self.metadata = answer.json()
        assert self.metadata["issuer"] == self.issuer
        for name in ("pushed_authorization_request", "token", "revocation", "ib1_permission"):
            assert urlsplit(self.endpoint(f"{name}_endpoint")).scheme == "https"

    def pushed_request(self) -> None:
        self.verifier, self.state = secrets.token_urlsafe(32), secrets.token_urlsafe(16)
        answer = self.post(
            "pushed_authorization_request_endpoint",
            client_id=self.client_id,
            redirect_uri=self.REDIRECT_URI,
            response_type="code",
            scope=self.license,
            code_challenge=s256(self.verifier),
            code_challenge_method="S256",
            state=self.state,
        )
        assert answer.status_code == 201, answer.text
        query = httpx.QueryParams(client_id=self.client_id, request_uri=answer.json()["request_uri"])
        self.opened = f"{self.metadata['authorization_endpoint']}?{query}"

    def authorization_and_callback(self) -> None:
        """The SME agrees; the program compares state and iss before it takes the code."""
        browser = Browser(Path(self.manifest["trust"]["server_ca"]), stops_at=self.REDIRECT_URI)
        try:
            back = follow(browser, browser.open(self.opened), self.sme["journey"]["edp"]).url
        finally:
            browser.close()
        found = parse_qs(urlsplit(back).query)
        assert "error" not in found
        assert (found["state"], found["iss"]) == ([self.state], [self.metadata["issuer"]])
        self.code = found["code"][0]

    def token_exchange(self) -> None:
        answer = self.post(
            "token_endpoint",
            grant_type="authorization_code",
            code=self.code,
            redirect_uri=self.REDIRECT_URI,
            client_id=self.client_id,
            code_verifier=self.verifier,
        )
        assert answer.status_code == 200, answer.text
        self.tokens = answer.json()
        assert self.tokens["access_token"]
        assert self.tokens["refresh_token"]
        assert self.tokens["expires_in"] > 0

    def permission_record(self) -> None:
        answer = self.post("ib1_permission_endpoint", token=self.tokens["refresh_token"])
        assert answer.status_code == 200, answer.text
        record = answer.json()["permission"]
        assert (record["license"], record["client"]) == (self.license, self.client_id)
        assert not record.get("revoked")

    def heartbeat(self) -> None:
        answer = self.member.get(f"{self.resource}/heartbeat")
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")

    def revocation(self) -> None:
        answer = self.post("revocation_endpoint", token=self.tokens["refresh_token"], client_id=self.client_id)
        assert answer.status_code == 200, answer.text

    def transfer_of(self, body: dict[str, Any]) -> VerifiedStep:
        """The one transfer step of a body's provenance record, every signature in it verified up to the Directory's root."""
        root: x509.Certificate = load_certificates(Path(self.manifest["trust"]["signing_ca"]).read_bytes())[0]
        steps = verify(body["provenance"], f"{self.manifest['trust']['registry']}/trust-framework", root)
        (transfer,) = (step for step in steps if step["type"] == "transfer")
        return transfer


class DemoCap(Program):
    """The demo carbon accounting provider, v2.4.0 (web application and command line)."""

    STEPS = (
        *("discovery", "pushed_request", "authorization_and_callback", "token_exchange"),
        *("meter_catalog", "consumption_of_twelve_months", "provenance", "permission_record"),
        *("refresh_token", "heartbeat", "withdrawal_at_the_provider", "withdrawal_message"),
    )
    REDIRECT_URI = "http://localhost:3000/callback"

    def meter_catalog(self) -> None:
        answer = self.get(f"{self.resource}/datasources/")
        assert answer.status_code == 200, answer.text
        self.meter = answer.json()["data"][0]
        assert self.meter["availableMeasures"]

    def consumption_of_twelve_months(self) -> None:
        """Dates alone, and gzip: the demo provider refuses more than 60 days without it."""
        end = instant.month_start(clock.now())
        window = {"from": instant.text(instant.months_later(end, -MONTHS))[:10], "to": instant.text(end)[:10]}
        meter, measure = quote(self.meter["id"], safe=""), quote(self.meter["availableMeasures"][0], safe="")
        address = f"{self.resource}/datasources/{meter}/{measure}?{httpx.QueryParams(window)}"
        answer = self.get(address, **{"Accept-Encoding": "gzip"})
        assert (answer.status_code, answer.headers["Content-Encoding"]) == (200, "gzip")
        self.body = answer.json()
        assert len(self.body["data"]) > 300 * 48

    def provenance(self) -> None:
        """Decoding needs a verified record whose transfer is of the registered standard."""
        assert self.transfer_of(self.body)["standard"].endswith("/standard/energy-consumption-data/2026-03-12")

    def refresh_token(self) -> None:
        answer = self.post(
            "token_endpoint",
            grant_type="refresh_token",
            refresh_token=self.tokens["refresh_token"],
            client_id=self.client_id,
        )
        assert answer.status_code == 200, answer.text
        self.tokens |= answer.json()
        assert self.get(f"{self.resource}/datasources/").status_code == 200

    def withdrawal_at_the_provider(self) -> None:
        """The SME withdraws on the provider's pages: the newest token ends at once."""
        browser = Browser(Path(self.manifest["trust"]["server_ca"]))
        try:
            steps = self.sme["withdraw"]["edp"]
            follow(browser, browser.open(f"{self.manifest['pages']['edp']}{steps[0]['path']}"), steps)
        finally:
            browser.close()
        record = self.post("ib1_permission_endpoint", token=self.tokens["refresh_token"]).json()["permission"]
        assert record["revoked"]
        assert self.get(f"{self.resource}/datasources/").status_code == 401

    def withdrawal_message(self) -> None:
        """The message endpoint takes what has `ib1:message`; the sandbox's inbox keeps what arrived, of the token a digest."""
        digest = hashlib.sha256(self.tokens["refresh_token"].encode()).hexdigest()

        def arrived() -> bool:
            inbox = self.public.get(f"{self.manifest['control']}/messages").json()["messages"]
            return any(each["token_sha256"] == digest for each in inbox)

        until(arrived, "no withdrawal message arrived")


class Agent(Program):
    """The Perseus-ready agent, 563bd40: its checks of the Directory, the Registry and the provider before it reports."""

    STEPS = (
        *("directory", "application", "data_service", "permission_text", "discovery", "pushed_request"),
        *("authorization_and_callback", "token_exchange", "permission_record", "data", "revocation"),
    )
    REDIRECT_URI = "http://localhost:3000/api/auth/callback"

    def directory(self) -> None:
        found = self._directory(f"{self.client['member']}?include=memberships")
        assert found["id"] == self.client["member"]
        assert set(self.client["roles"]) <= set(found["roles"])
        membership = found["trustFrameworkMemberships"][0]
        assert membership["membershipStatus"].lower() == "active"
        assert membership["membershipExpiry"] > instant.text(clock.now())
        scheme = next(each for each in found["schemeMemberships"] if each["scheme"] == self._scheme)
        assert set(self.client["roles"]) <= set(scheme["orgRoles"])
        assert any(each["expiry"] > instant.text(clock.now()) for each in scheme["executions"])

    def application(self) -> None:
        found = self._directory(self.client_id)
        assert (found["id"], found["publisher"], found["scheme"]) == (
            self.client_id,
            self.client["member"],
            self._scheme,
        )
        assert set(self.client["roles"]) <= set(found["role"])
        assert found["title"]

    def data_service(self) -> None:
        standard = f"{self._scheme}/standard/energy-consumption-data/2026-03-12"
        listed = self._directory(
            f"{self.manifest['trust']['directory']}/query/data-services?{httpx.QueryParams(conformsTo=standard)}"
        )
        (service,) = listed["apis"]
        assert re.search(r"/m/[A-Za-z0-9]+/?$", service["publisher"])
        assert f"{self._scheme}/role/energy-data-provider" in self._directory(service["publisher"])["roles"]
        assert service["title"]
        self.issuer = service["oauthIssuer"]
        self.resource = service["endpointURL"].removesuffix("/").removesuffix("/datasources")

    def permission_text(self) -> None:
        """The text is a document of its own; the fragment of its URL is the digest."""
        answer = self.public.get(self.license, headers={"Accept": "application/ld+json"})
        url, _, digest = answer.json()["ib1:permissionText"]["@id"].partition("#")
        assert hashlib.sha256(self.public.get(url).content).hexdigest() == digest

    def discovery(self) -> None:
        super().discovery()
        assert self.metadata["require_pushed_authorization_requests"] is True
        assert "S256" in self.metadata["code_challenge_methods_supported"]
        assert "tls_client_auth" in self.metadata["token_endpoint_auth_methods_supported"]
        assert self.metadata["tls_client_certificate_bound_access_tokens"] is True

    def data(self) -> None:
        sources = self.get(f"{self.resource}/datasources").json()["data"]
        end = instant.month_start(clock.now())
        query = f"from={instant.text(instant.months_later(end, -1))}&to={instant.text(end)}"
        for source in sources:
            address = f"{self.resource}/datasources/{quote(source['id'], safe='')}/import"
            answer = self.get(f"{address}?{query}", **{"Accept-Encoding": "gzip"})
            assert answer.status_code == 200, answer.text
            body = answer.json()
            assert {each["energy"]["unitCode"] for each in body["data"]} <= {"WHR", "KWH", "MTQ"}
            assert body["location"]["ukPostcodeOutcode"] == source["location"]["ukPostcodeOutcode"]
            self.differs |= self._compare(self.transfer_of(body), address, query)

    def _compare(self, transfer: VerifiedStep, address: str, query: str) -> set[str]:
        """Where our transfer step is the specification's and not what the agent compares with."""
        minutes = {name: f"{value[:16]}Z" for name, value in (pair.split("=") for pair in query.split("&"))}
        wanted = {
            "to": self.client_id,
            "scheme": self._scheme,
            "standard": f"{self._scheme}/standard/energy-consumption-data/2026-03-12",
            "license": self.license,
            "service": address,
            "path": "/readings",
            "parameters": {"measure": "import", **minutes},
        }
        signed = transfer["_signature"]["signed"]
        assert signed["member"] == self.manifest["clients"]["edp"]["member"]
        assert f"{self._scheme}/role/energy-data-provider" in signed["roles"]
        return {name for name, value in wanted.items() if transfer[name] != value}

    @property
    def _scheme(self) -> str:
        return f"{self.manifest['trust']['registry']}/scheme/perseus"

    def _directory(self, url: str) -> dict[str, Any]:
        answer = self.public.get(url, headers={"Accept": "application/json"})
        assert answer.status_code == 200, url
        return dict(answer.json())

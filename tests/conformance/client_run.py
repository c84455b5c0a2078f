"""Run the client plan of the conformance suite itself against our CAP: python -m tests.conformance.client_run

The suite's program runs on this machine, with both of its addresses set to the one here (docs/conformance.md). A server with a
certificate that a CAP accepts stands in front of it, and adds what IB1 requires of an issuer and the suite does not have.
"""

import argparse
import json
import secrets
import ssl
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from http.client import HTTPConnection
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from consent_server import clock
from tests.conformance.client_plan import PREFIX
from tests.conformance.plan import ALIAS
from tests.interop.our_cap import Certificates, OurCap, our_cap
from tests.interop.unkind_edp import METADATA, UnkindEdp
from tests.outbound.conftest import Answer, Asked, json_answer

PLAN: Final = f"{PREFIX}test-plan"
VARIANT: Final = {
    "fapi_client_type": "plain_oauth",
    "client_auth_type": "mtls",
    "sender_constrain": "mtls",
    "fapi_profile": "plain_fapi",
}
#: The suite's own name for the resource.
ACCOUNTS: Final = f"/test-mtls/a/{ALIAS}/open-banking/v1.1/accounts"
HOP_BY_HOP: Final = {"connection", "transfer-encoding", "keep-alive", "content-length"}
LONGEST_S: Final = 120


class Suite:
    """The suite's own API, at the address (host:port) at which its program listens."""

    def __init__(self, address: str) -> None:
        self.address = address

    def call(self, method: str, path: str, document: object = None, **query: str) -> Any:
        body = None if document is None else json.dumps(document).encode()
        url = f"http://{self.address}/api/{path}?{urlencode(query)}"
        headers = {"Content-Type": "application/json", "X-Forwarded-Proto": "https"}
        sent = urllib.request.Request(url, body, headers, method=method)
        with urllib.request.urlopen(sent, timeout=60) as answer:
            return json.load(answer)

    def wait(self, module: str, *states: str) -> Any:
        """Return what the suite says of a module, once it is in one of `states`."""
        for _ in range(LONGEST_S):
            info = self.call("GET", f"info/{module}")
            if info["status"] in states:
                return info
            time.sleep(1)
        raise TimeoutError(f"module {module} is {info['status']}")


class OneClientCertificate(Certificates):
    """The client certificate is that of all modules, since the plan's configuration names it."""

    @cached_property
    def _client(self) -> tuple[Path, Path]:
        return super().client()

    def client(self) -> tuple[Path, Path]:
        return self._client


class SuiteFront(UnkindEdp):
    """The suite as a provider of our CAP."""

    suite = ""  # where its program listens: host:port

    def __init__(self, chain: Path, key: Path, client_root: Path) -> None:
        super().__init__(chain, key, client_root)
        self.issuer = f"{self.url}/test/a/{ALIAS}/"
        self.server.routes = {
            f"{METADATA}/test/a/{ALIAS}": self._metadata,
            "/datasources": self._accounts,
            "/revocation_endpoint": Answer(),
            "*": lambda asked: self._passed_on(asked, asked.path),
        }

    def authorize(self, url: str, **changes: str | None) -> str:
        """The suite has no pages, and comes back at once; it spoils its responses itself."""
        assert not changes
        parts = urlsplit(url)
        answer = self._ask("GET", f"{parts.path}?{parts.query}")
        return urlsplit(answer.headers["Location"]).query

    def _metadata(self, asked: Asked) -> Answer:
        answer = self._passed_on(asked, asked.path)
        missing = {name: f"{self.url}/{name}" for name in ("revocation_endpoint", "ib1_permission_endpoint")}
        return json_answer({**json.loads(answer.body), **missing}, answer.status)

    def _accounts(self, asked: Asked) -> Answer:
        answer = self._passed_on(asked, ACCOUNTS)
        return json_answer({"data": []}) if answer.status == 200 else answer

    def _passed_on(self, asked: Asked, path: str) -> Answer:
        assert asked.certificate is not None
        pem = ssl.DER_cert_to_PEM_cert(asked.certificate).replace("\n", " ")  # as nginx passes it on
        target = f"{path}?{urlencode(asked.query)}" if asked.query else path
        headers = {**asked.headers, "accept-encoding": "identity", "X-Ssl-Cert": pem}
        return self._ask(asked.method, target, asked.body, headers)

    def _ask(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] = MappingProxyType({})
    ) -> Answer:
        forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "localhost"}
        forwarded |= {"X-Forwarded-Port": str(self.port), "X-Ssl-Protocol": "TLSv1.3"}
        connection = HTTPConnection(self.suite, timeout=LONGEST_S)
        connection.request(method, target, body, {**headers, **forwarded, "X-Ssl-Cipher": "TLS_AES_128_GCM_SHA256"})
        answer = connection.getresponse()
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP}
        return Answer(answer.status, answer.read(), kept)


def configuration(cap: OurCap) -> dict[str, Any]:
    """Return the plan's configuration (docs/conformance.md says what each key is)."""
    settings = cap.deployment.settings
    assert settings.keys.client_certificate is not None
    leaf = x509.load_pem_x509_certificates(settings.keys.client_certificate.read_bytes())[0]
    client = {
        "client_id": settings.member.application,
        "scope": settings.collection.license.url,
        "redirect_uri": f"{settings.public.origin}/callback",
        "certificate": leaf.public_bytes(Encoding.PEM).decode(),
    }
    return {"alias": ALIAS, "description": "a CAP", "client": client, "waitTimeoutSeconds": 5}


def run(suite: Suite, cap: OurCap, plan: str, module: Mapping[str, Any]) -> str:
    """Run one module of the plan: connect the provider, and collect if that went well. Return the suite's result."""
    name, variant = module["testModule"], json.dumps(module["variant"])
    made = suite.call("POST", "runner", test=name, plan=plan, variant=variant)
    suite.wait(made["id"], "WAITING")
    browser = cap.signed_in()
    if cap.sent_off(browser).status == 303:
        cap.back(browser)
    cap.collect()
    info = suite.wait(made["id"], "FINISHED", "INTERRUPTED")
    return f"{info['status']} {info['result']}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the suite's client plan against our CAP.")
    parser.add_argument("--suite", default="127.0.0.1:8080", help="host and port at which the suite's program listens")
    parser.add_argument("--port", type=int, default=9470, help="port of the suite's two addresses, on localhost")
    given = parser.parse_args()
    SuiteFront.suite, SuiteFront.port = given.suite, given.port
    suite, results = Suite(given.suite), set()
    with tempfile.TemporaryDirectory() as folder:
        certificates = OneClientCertificate(Path(folder) / "wire")

        def new_cap() -> AbstractContextManager[OurCap]:
            """A CAP that has nothing from the module before, which was another server at the same address."""
            now = SimpleNamespace(instant=clock.now())
            return our_cap(certificates, f"sqlite:///{folder}/{secrets.token_hex(4)}.db", now, SuiteFront)

        with new_cap() as cap:
            plan = suite.call("POST", "plan", configuration(cap), planName=PLAN, variant=json.dumps(VARIANT))
        for module in plan["modules"]:
            with new_cap() as cap:
                result = run(suite, cap, plan["id"], module)
            print(f"{result:20} {module['testModule']}", flush=True)
            results.add(result)
    sys.exit(results != {"FINISHED PASSED"})


if __name__ == "__main__":
    main()

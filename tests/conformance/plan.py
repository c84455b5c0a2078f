"""A plan of the conformance suite against one issuer of a sandbox: its clients, its browser's steps, its configuration.

`python -m tests.conformance.plan edp` writes the configuration that the suite itself takes (docs/conformance.md).
"""

import argparse
import base64
import json
import re
import secrets
import ssl
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric import ec

ALIAS: Final = "perseus"
#: Where these tests' suite takes its answers. Nothing listens there; the browser stops at it.
SUITE: Final = "https://suite.example/"
CALLBACK: Final = f"{SUITE}test/a/{ALIAS}/callback"
UNRESERVED: Final = string.ascii_letters + string.digits + "-._~"

#: Names of IB1's that no RFC knows.
ALLOWED_UNKNOWN: Final = (
    "use_mtls_endpoint_aliases",
    "authorization_endpoint_auth_methods_supported",
    "ib1_permission_endpoint",
)
#: Which clients of the manifest play the suite's two, what they ask for, and where it is read.
PARTIES: Final = {
    "edp": (("cap", "cap2"), "electricity_and_gas", "/datasources"),
    "cap": (("fsp", "fsp2"), "emissions", "/emissions"),
}
SME: Final = "normal"


@dataclass(frozen=True)
class SuiteClient:
    """One of the two clients that a plan is configured with: an entry of the manifest, and its connection."""

    number: int
    entry: Mapping[str, Any]
    http: httpx.Client

    @property
    def client_id(self) -> str:
        return str(self.entry["client_id"])

    @property
    def redirect_uri(self) -> str:
        return CALLBACK if self.number == 1 else f"{CALLBACK}?dummy1=lorem&dummy2=ipsum"

    def state(self) -> str:
        """Ten letters and digits; the second client tries 128 of every unreserved character."""
        if self.number == 1:
            return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(10))
        return "-._~" + "".join(secrets.choice(UNRESERVED) for _ in range(124))

    def resource_headers(self) -> dict[str, str]:
        if self.number != 1:
            return {}
        return {
            "x-fapi-auth-date": "Tue, 11 Sep 2012 19:43:31 GMT",
            "x-fapi-customer-ip-address": "198.51.100.119",
            "x-fapi-interaction-id": "c770AEF3-6784-41f7-8E0e-ff5f97BDDB3A",
        }


@dataclass(frozen=True)
class Plan:
    """One issuer, one resource, one scope, two clients, and how the SME's browser gets through the journey."""

    party: str
    issuer: str
    resource_url: str
    scope: str
    steps: Sequence[Mapping[str, Any]]
    server_ca: Path
    first: SuiteClient
    second: SuiteClient

    @property
    def discovery_url(self) -> str:
        parts = urlsplit(self.issuer)
        return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path}"

    @property
    def both(self) -> tuple[SuiteClient, SuiteClient]:
        return self.first, self.second

    def without_certificate(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.server_ca))

    def close(self) -> None:
        for client in self.both:
            client.http.close()


def make(manifest: Mapping[str, Any], party: str) -> Plan:
    """The plan for the issuer of "edp" or "cap"."""
    names, license_, path = PARTIES[party]
    server_ca = Path(manifest["trust"]["server_ca"])
    first, second = (_client(n, manifest["clients"][name], server_ca) for n, name in enumerate(names, start=1))
    sme = next(sme for sme in manifest["smes"] if sme["name"] == SME)
    return Plan(
        party=party,
        issuer=manifest["issuers"][party],
        resource_url=manifest["resources"][party] + path + (_last_month(manifest) if path == "/emissions" else ""),
        scope=manifest["licenses"][license_],
        steps=sme["journey"][party],
        server_ca=server_ca,
        first=first,
        second=second,
    )


def _client(number: int, entry: Mapping[str, Any], server_ca: Path) -> SuiteClient:
    context = ssl.create_default_context(cafile=str(server_ca))
    context.load_cert_chain(entry["chain"], entry["key"])  # refuses a key that does not match
    http = httpx.Client(verify=context, timeout=60.0, trust_env=False, follow_redirects=False)
    return SuiteClient(number, entry, http)


def _last_month(manifest: Mapping[str, Any]) -> str:
    """The last whole month of the readings, as a query: `resource.resourceUrl` is one fixed URL."""
    end = datetime.fromisoformat(manifest["readings"]["to"]).astimezone(UTC).date().replace(day=1)
    start = end.replace(year=end.year - 1, month=12) if end.month == 1 else end.replace(month=end.month - 1)
    return f"?from={start}&to={end}"


# The suite's own configuration


def configuration(plan: Plan, suite: str) -> dict[str, Any]:
    """The JSON that the suite takes. `suite` is its base URL, ending with a slash."""
    module = "fapi2-security-profile-final-"
    reject = [_browser(plan, suite, [{**plan.steps[0], "fill": {}, "check": [], "click": "cancel"}])]
    visit_then_allow = [{**_browser(plan, suite, []), "match-limit": 1, "tasks": []}, _browser(plan, suite, plan.steps)]
    return {
        "alias": ALIAS,
        "description": f"consent-server sandbox, issuer of the {plan.party.upper()}",
        "server": {"discoveryUrl": plan.discovery_url, "allow_unexpected_metadata_fields": list(ALLOWED_UNKNOWN)},
        "client": _configured(plan, plan.first),
        "client2": _configured(plan, plan.second),
        "mtls": client_pem(plan.first.entry),
        "mtls2": client_pem(plan.second.entry),
        "resource": {"resourceUrl": plan.resource_url},
        "browser": [_browser(plan, suite, plan.steps)],
        "override": {
            f"{module}user-rejects-authentication": {"browser": reject},
            f"{module}par-ensure-reused-request-uri-prior-to-auth-completion-succeeds": {"browser": visit_then_allow},
        },
    }


def _configured(plan: Plan, client: SuiteClient) -> dict[str, Any]:
    return {"client_id": client.client_id, "scope": plan.scope, "jwks": {"keys": [_unused_key(client.number)]}}


def _unused_key(number: int) -> dict[str, str]:
    """A signing key that the suite insists on and mutual TLS never uses."""
    numbers = ec.generate_private_key(ec.SECP256R1()).private_numbers()
    integers = {"x": numbers.public_numbers.x, "y": numbers.public_numbers.y, "d": numbers.private_value}
    encoded = {name: base64.urlsafe_b64encode(value.to_bytes(32)).rstrip(b"=") for name, value in integers.items()}
    return {
        "kty": "EC",
        "crv": "P-256",
        "use": "sig",
        "alg": "ES256",
        "kid": f"unused-{number}",
        **{name: value.decode() for name, value in encoded.items()},
    }


def client_pem(entry: Mapping[str, Any]) -> dict[str, str]:
    """The leaf, its key, and the issuers between the leaf and the root: without them the server knows no path."""
    chain = Path(entry["chain"]).read_text(encoding="ascii")
    leaf, *issuers = re.findall(r"-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----\n", chain, re.DOTALL)
    return {"cert": leaf, "key": Path(entry["key"]).read_text(encoding="ascii"), "ca": "".join(issuers)}


def _browser(plan: Plan, suite: str, steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One entry of `browser`: every page may be left out, since a refusal goes straight to the callback or a page."""
    parts = urlsplit(plan.issuer)
    origin = f"{parts.scheme}://{parts.netloc}"
    tasks = [
        {"task": step["path"], "match": f"{origin}{step['path']}*", "optional": True, "commands": _commands(step)}
        for step in steps
    ]
    screenshot = ["wait", "id", "oauth-error", 10, ".*", "update-image-placeholder-optional"]
    tasks += [
        {"task": "Error page", "match": f"{origin}/authorize*", "optional": True, "commands": [screenshot]},
        {
            "task": "Callback",
            "match": f"{suite}test/*/callback*",
            "optional": True,
            "commands": [["wait", "id", "submission_complete", 10]],
        },
    ]
    return {"match": f"{origin}/authorize*", "tasks": tasks}


def _commands(step: Mapping[str, Any]) -> list[list[str]]:
    filled = [["text", "id", name, value] for name, value in step["fill"].items()]
    return [*filled, *(["click", "id", name] for name in (*step["check"], step["click"]))]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the conformance suite's configuration for a running sandbox.")
    parser.add_argument("party", choices=sorted(PARTIES))
    parser.add_argument("--manifest", type=Path, default=Path(".sandbox/manifest.json"))
    parser.add_argument("--suite", default="https://localhost.emobix.co.uk:8443/", help="the suite's base URL")
    given = parser.parse_args()
    plan = make(json.loads(given.manifest.read_text(encoding="utf-8")), given.party)
    print(json.dumps(configuration(plan, given.suite), indent=2))


if __name__ == "__main__":
    main()

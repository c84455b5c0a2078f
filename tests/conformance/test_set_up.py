"""What a plan is set up with, the metadata without the alias that RFC 8705 does not know, and whether the checks bite."""

import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from consent_server.issuer import metadata
from consent_server.sandbox.browser import Page
from consent_server.settings import load
from tests.conformance import suite
from tests.conformance.plan import CALLBACK, Plan, client_pem, configuration
from tests.conformance.suite import Asked, Run
from tests.conftest import RunningSandbox

pytestmark = pytest.mark.xdist_group("sandbox")


# Section 1


def test_the_configuration_is_one_that_the_suite_accepts(plan: Plan) -> None:
    made = json.loads(json.dumps(configuration(plan, "https://localhost:8443/")))
    keys = [made[name]["jwks"]["keys"] for name in ("client", "client2")]
    assert all(len(each) == 1 for each in keys)
    assert keys[0][0]["d"] != keys[1][0]["d"]
    assert all({"kid", "alg", "d"} <= each[0].keys() for each in keys)
    assert made["client"]["client_id"] != made["client2"]["client_id"]
    assert made["client"]["scope"] == plan.scope
    for url in (made["resource"]["resourceUrl"], made["server"]["discoveryUrl"]):
        assert not set(url) & set("%{}"), "characters that the suite's client re-encodes"
    clicked = [task["commands"][-1] for task in made["browser"][0]["tasks"]]
    assert ["click", "id", "allow"] in clicked
    overridden = {name.removeprefix("fapi2-security-profile-final-").replace("-", "_") for name in made["override"]}
    assert overridden <= set(_modules())


def test_the_page_lists_the_modules_that_are_tested() -> None:
    page = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `([a-z0-9_-]+)` \|", page, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 32))
    assert [name.replace("-", "_") for _, name in rows] == _modules()


def _modules() -> list[str]:
    tests = Path(__file__).with_name("test_modules.py").read_text(encoding="utf-8")
    return re.findall(r"^def test_fapi2_security_profile_final_(\w+)\(", tests, re.MULTILINE)


def test_client_certificates_are_as_the_suite_wants_them(plan: Plan) -> None:
    addresses = []
    for client in plan.both:
        pem = client_pem(client.entry)
        assert re.match(r"-----BEGIN (EC )?PRIVATE KEY-----\n", pem["key"])
        assert pem["ca"], "without the issuer between, the server cannot reach its root"
        certificate = x509.load_pem_x509_certificate(pem["cert"].encode())
        key = serialization.load_pem_private_key(pem["key"].encode(), None)
        assert key.public_key() == certificate.public_key()
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses += names.get_values_for_type(x509.UniformResourceIdentifier)
    assert addresses == [client.client_id for client in plan.both]


# Section 0: the other form of the metadata


def test_a_setting_leaves_nothing_that_the_suite_fails(run: Run, sandbox: RunningSandbox) -> None:
    file = sandbox.directory / run.plan.party / "settings.toml"
    settings = load(file, {"metadata.authorization_alias": "false"})
    document = metadata.document(settings, run.metadata["scopes_supported"])
    assert suite.alias_failures(document) == []
    suite.check_discovery(run.plan, httpx.Response(200, json=document))
    aliases = {**document["mtls_endpoint_aliases"], "authorization_endpoint": document["authorization_endpoint"]}
    assert {**document, "mtls_endpoint_aliases": aliases} == run.metadata


# Whether the checks bite: each good answer, spoilt in one way


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"issuer": "https://elsewhere.example"}, id="another issuer"),
        pytest.param({"scopes_supported": "one two"}, id="a text for a list"),
        pytest.param({"scopes_supported": ['a"quote']}, id="no scope-token"),
        pytest.param({"response_types_supported": ["token"]}, id="no code"),
        pytest.param({"authorization_response_iss_parameter_supported": False}, id="no iss"),
        pytest.param({"pushed_authorization_request_endpoint": "http://localhost/par"}, id="no https"),
        pytest.param({"tls_client_certificate_bound_access_tokens": "true"}, id="a text for true"),
        pytest.param({"token_endpoint_auth_methods_supported": ["client_secret_basic"]}, id="no tls_client_auth"),
        pytest.param({"code_challenge_methods_supported": ["plain"]}, id="no S256"),
        pytest.param({"grant_types_supported": ["authorization_code"]}, id="no refresh_token"),
        pytest.param({"surprise_supported": True}, id="an unknown name"),
    ],
)
def test_spoilt_metadata_fails(run: Run, change: dict[str, Any]) -> None:
    suite.check_discovery(run.plan, httpx.Response(200, json=run.metadata))
    with pytest.raises(AssertionError):
        suite.check_discovery(run.plan, httpx.Response(200, json={**run.metadata, **change}))


@pytest.mark.parametrize(
    ("aliases", "fails"),
    [
        ({}, False),
        ({"token_endpoint": "https://a.example/token"}, False),
        ({"token": "https://a.example/token"}, True),
        ({"device_endpoint": "https://a.example/device"}, True),
        ({"authorization_endpoint": "https://a.example/authorize"}, True),
        ([], True),
    ],
)
def test_which_aliases_fail(aliases: object, fails: bool) -> None:
    document = {"token_endpoint": "", "token": "", "authorization_endpoint": "", "mtls_endpoint_aliases": aliases}
    assert bool(suite.alias_failures(document)) is fails


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda url: url.replace("?", "#"), id="in the fragment"),
        pytest.param(lambda url: url + "&extra=1", id="an unexpected parameter"),
        pytest.param(lambda url: url + "&state=again", id="twice the same"),
        pytest.param(lambda url: url.replace("dummy2=ipsum&", ""), id="the client's own query cut"),
        pytest.param(lambda url: url.replace("state=", "state=x"), id="another state"),
        pytest.param(lambda url: url.replace("iss=", "iss=x"), id="another issuer"),
        pytest.param(lambda url: re.sub(r"code=[^&]*", "code=" + "ab" * 20, url), id="a code without entropy"),
        pytest.param(lambda url: re.sub(r"code=[^&]*", "error=access_denied", url), id="an error"),
        pytest.param(lambda url: url.replace("suite", "other"), id="another host"),
    ],
)
def test_a_spoilt_callback_fails(run: Run, spoil: Any) -> None:
    asked = run.ask(run.plan.second)
    code = "".join(chr(ord("A") + n) for n in range(50))
    good = f"{CALLBACK}?dummy1=lorem&dummy2=ipsum&code={code}&state={asked.form['state']}&iss={run.metadata['issuer']}"
    assert run.granted(asked, _page(good)) == code
    with pytest.raises((AssertionError, KeyError, ValueError)):
        run.granted(asked, _page(spoil(good)))


def test_a_state_that_was_not_sent_must_not_come_back(run: Run) -> None:
    asked = Asked(run.plan.first, "", {"redirect_uri": CALLBACK})
    with pytest.raises(AssertionError):
        run.callback(asked, _page(f"{CALLBACK}?state=x&iss={run.metadata['issuer']}"), {"state", "iss"})


def _page(url: str) -> Page:
    return Page(url, 0, "")


_RANDOM = "k3Jx0ZqWvT8nLr5YbHs2MdFgAeUcPi7o"
_TOKENS = {"access_token": _RANDOM, "refresh_token": _RANDOM, "token_type": "Bearer", "expires_in": 600}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"access_token": "a" * 40}, id="no entropy"),
        pytest.param({"refresh_token": "short"}, id="a short refresh token"),
        pytest.param({"token_type": "N_A"}, id="another type"),
        pytest.param({"expires_in": None}, id="no expires_in"),
        pytest.param({"expires_in": "600"}, id="expires_in as text"),
        pytest.param({"expires_in": 40_000_000}, id="longer than a year"),
        pytest.param({"id_token": "x"}, id="an ID token"),
    ],
)
def test_spoilt_tokens_fail(change: dict[str, Any]) -> None:
    headers = {"Cache-Control": "no-store"}
    suite.check_refreshed(httpx.Response(200, json=_TOKENS, headers=headers))
    with pytest.raises(AssertionError):
        suite.check_refreshed(httpx.Response(200, json={**_TOKENS, **change}, headers=headers))
    with pytest.raises((AssertionError, KeyError)):
        suite.check_refreshed(httpx.Response(200, json=_TOKENS))


@pytest.mark.parametrize(
    ("status", "body", "passes"),
    [
        (400, {"error": "invalid_grant", "error_description": "The code is not valid."}, True),
        (401, {"error": "invalid_client"}, True),
        (401, {"error": "invalid_grant"}, False),
        (403, {"error": "invalid_client"}, False),
        (400, {"error": "invalid_request"}, False),
        (400, {"error": "invalid_grant", "error_description": 'The "code" is not valid.'}, False),
        (400, {"error": "invalid_grant", "error_description": "Le code n’est pas valable."}, False),
        (400, {"error": "invalid_grant", "error_description": "one\ntwo"}, False),
        (400, {"error": "invalid_grant", "error_uri": "no address"}, False),
        (400, ["invalid_grant"], False),
    ],
)
def test_which_errors_of_the_token_endpoint_pass(status: int, body: object, passes: bool) -> None:
    answer = httpx.Response(status, json=body)
    if passes:
        suite.check_error(answer, "invalid_grant", "invalid_client")
        return
    with pytest.raises(AssertionError):
        suite.check_error(answer, "invalid_grant", "invalid_client")


def test_the_tls_probes_see_old_versions(plan: Plan) -> None:
    with _listening(plan, ssl.TLSVersion.TLSv1_2) as url, pytest.raises(AssertionError):
        suite.check_tls(url)
    with _listening(plan, ssl.TLSVersion.TLSv1_3) as url:
        suite.check_tls(url)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<h1>No required SSL certificate was sent</h1>",
        b'HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n\r\n{"error": "invalid_client"}',
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"access_token": "x"}',
    ],
    ids=["closed without an alert", "a page of a proxy", "403", "tokens"],
)
def test_holder_of_key_wants_an_alert_or_json(plan: Plan, answer: bytes) -> None:
    with _listening(plan, ssl.TLSVersion.TLSv1_3, answer) as url, pytest.raises((AssertionError, KeyError)):
        suite.check_refused_without_certificate(url, {"client_id": "x"})


@contextmanager
def _listening(plan: Plan, least: ssl.TLSVersion, answer: bytes = b"") -> Iterator[str]:
    """A server that nobody should run: it asks for no certificate, and answers everything in the same way."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = least
    context.load_cert_chain(plan.first.entry["chain"], plan.first.entry["key"])
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):  # the listener is closed at the end
            while True:
                raw, _ = listener.accept()
                with raw, suppress(OSError), context.wrap_socket(raw, server_side=True) as channel:
                    channel.recv(65536)
                    channel.sendall(answer)
                    channel.unwrap()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"https://localhost:{listener.getsockname()[1]}/token"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)

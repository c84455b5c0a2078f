"""The refusal matrix of the issuer: one good request, and one row for each way to spoil it. The row's name is the id.

After each refusal the database is as it was, the answer is JSON with its help page, and nothing secret is in it or in
the log.
"""

import io
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest

from consent_server.refusal import Refusal
from consent_server.serving import lines
from consent_server.store.tables.audit import KeptEvent
from consent_server.store.tables.journeys import Journey, PushedRequest
from consent_server.store.tables.permissions import Permission
from consent_server.tokens import refresh_token
from tests.issuer import conftest

CAP2 = "https://directory.example/a/cap2"
URL = "https://registry.example/scheme/perseus/license/{}/2026-03-12"
BOTH = URL.format("energy-consumption-edp-cap")
COMBINED = URL.format("energy-consumption-emissions-edp-cap-fsp")
BANK = "https://directory.example/m/bank"

Change = dict[str, str | None]

# What is changed in the good pushed request -> status, error, refusal
PUSHED: dict[str, tuple[Change, int, str, str]] = {
    # client authentication
    "no client_id": ({"client_id": None}, 401, "invalid_client", "client_id_missing"),
    "another client's client_id": ({"client_id": CAP2}, 401, "invalid_client", "client_id_mismatch"),
    "client_id with a slash": (
        {"client_id": "https://directory.example/a/cap/"},
        401,
        "invalid_client",
        "client_id_mismatch",
    ),
    "client_secret": ({"client_secret": "hush"}, 400, "invalid_request", "second_authentication_method"),
    "client_assertion": ({"client_assertion": "e.y.J"}, 400, "invalid_request", "second_authentication_method"),
    # request objects
    "request": ({"request": "e.y.J"}, 400, "invalid_request", "request_object"),
    "request_uri": ({"request_uri": "https://evil.example/object"}, 400, "invalid_request", "request_object"),
    "request_uri of ours": (
        {"request_uri": "urn:ietf:params:oauth:request_uri:x"},
        400,
        "invalid_request",
        "request_object",
    ),
    # response
    "no response_type": ({"response_type": None}, 400, "invalid_request", "response_type_missing"),
    **{
        f"response_type {value}": (
            {"response_type": value},
            400,
            "unsupported_response_type",
            "response_type_unsupported",
        )
        for value in ("token", "code id_token", "none", "id_token", "Code")
    },
    **{
        f"response_mode {value}": ({"response_mode": value}, 400, "invalid_request", "response_mode_unsupported")
        for value in ("fragment", "form_post", "jwt", "query.jwt")
    },
    # PKCE
    "no code_challenge": ({"code_challenge": None}, 400, "invalid_request", "code_challenge_missing"),
    **{
        f"code_challenge_method {value}": (
            {"code_challenge_method": value},
            400,
            "invalid_request",
            "code_challenge_method_unsupported",
        )
        for value in ("plain", "s256", "S512", None)
    },
    **{
        f"code_challenge of {name}": ({"code_challenge": value}, 400, "invalid_request", "code_challenge_malformed")
        for name, value in {
            "42 characters": "x" * 42,
            "44 characters": "x" * 44,
            "129 characters": "x" * 129,
            "43 characters and padding": "x" * 43 + "=",
            "another alphabet": "x" * 42 + "+",
        }.items()
    },
    # scope
    "no scope": ({"scope": None}, 400, "invalid_scope", "license_missing"),
    "empty scope": ({"scope": ""}, 400, "invalid_scope", "license_missing"),
    "offline_access alone": ({"scope": "offline_access"}, 400, "invalid_scope", "more_than_one_license"),
    "two licenses": ({"scope": f"{BOTH} {COMBINED}"}, 400, "invalid_scope", "more_than_one_license"),
    "one license twice": ({"scope": f"{BOTH} {BOTH}"}, 400, "invalid_scope", "more_than_one_license"),
    "openid beside the license": ({"scope": f"openid {BOTH}"}, 400, "invalid_scope", "more_than_one_license"),
    "two spaces": ({"scope": f"offline_access  {BOTH}"}, 400, "invalid_scope", "more_than_one_license"),
    **{
        f"scope {value}": ({"scope": value}, 400, "invalid_scope", "license_unknown")
        for value in (
            "openid",
            BOTH.replace("https", "http"),
            BOTH + "/",
            BOTH.upper(),
            BOTH.replace("2026-03-12", "2024-12-05"),
            URL.format("emissions-cap-fsp"),
            BOTH.replace("perseus", "another"),
            BOTH.replace("registry.example", "registry.core.trust.ib1.org"),
        )
    },
    # the bank for which is asked, and the text that was read
    "a bank under a license that names none": ({"fsp": BANK}, 400, "invalid_request", "bank_not_in_license"),
    **{
        f"fsp {value}": ({"fsp": value, "scope": COMBINED}, 400, "invalid_request", "bank_unknown")
        for value in (
            "bank",
            BANK.replace("https", "http"),
            f"{BANK}?x=1",
            f"{BANK}/../../a/cap",
            "https://directory.example.evil.example/m/bank",
            "https://user@directory.example/m/bank",
            "//directory.example/m/bank",
        )
    },
    **{
        f"text read {value}": ({"permission_text_sha256": value}, 400, "invalid_request", "another_text_was_read")
        for value in ("0" * 64, "x", conftest.BOTH.text_sha256.upper(), conftest.BOTH.text_sha256 + " ")
    },
    # state
    "state of 2049 characters": ({"state": "x" * 2049}, 400, "invalid_request", "state_too_long"),
    "state of 100 kB": ({"state": "x" * 100_000}, 413, "invalid_request", "body_too_large"),
    "CR and LF in state": ({"state": "x\r\nSet-Cookie: a=b"}, 400, "invalid_request", "malformed_parameters"),
    "NUL in state": ({"state": "x\0"}, 400, "invalid_request", "malformed_parameters"),
    "LF in scope": ({"scope": f"{BOTH}\n"}, 400, "invalid_request", "malformed_parameters"),
    # redirect_uri
    "no redirect_uri": ({"redirect_uri": None}, 400, "invalid_request", "redirect_uri_missing"),
    "LF in redirect_uri": ({"redirect_uri": "https://c.example/\n"}, 400, "invalid_request", "malformed_parameters"),
    **{
        f"redirect_uri {value}": ({"redirect_uri": value}, 400, "invalid_request", "redirect_uri_refused")
        for value in (
            "http://client.example/cb",
            "http://localhost.client.example/cb",
            "http://client.localhost/cb",
            "http://localhost@client.example/cb",
            "http://192.0.2.7/cb",
            "http://127.1/cb",
            "http://[::ffff:192.0.2.7]/cb",
            "http:localhost/cb",
            "HTTPS://client.example/cb",
            "//client.example/cb",
            "/cb",
            "client.example/cb",
            "javascript:alert(1)//https://client.example",
            "data:text/html,x",
            "com.example.app:/cb",
            "https:client.example",
            "https:/client.example",
            "https:///client.example",
            "https://",
            "https://?x",
            "https://client.example/cb#",
            "https://client.example/cb#x",
            "https://user@client.example/cb",
            "https://client.example:443@evil.example/cb",
            "https://client.example\\@evil.example/cb",
            "https://client.example/\\evil",
            "https://client.example /cb",
            "https://client.example/a b",
            "https://clïent.example/cb",
            "https://client.example/ü",
            "https://client_1.example/cb",
            "https://-client.example/cb",
            "https://client..example/cb",
            "https://client.example./cb",
            "https://client.example:/cb",
            "https://client.example:0/cb",
            "https://client.example:65536/cb",
            f"https://{'.'.join(['a' * 63] * 4)}/cb",
            "https://client.example:80a/cb",
            "https://2130706433/cb",
            "https://0x7f000001/cb",
            "https://127.1/cb",
            "https://127.0.0.01/cb",
            "https://[::1/cb",
            "https://[::g]/cb",
            "https://client.example/%",
            "https://client.example/%zz",
            "https://client.example/%0d%0aSet-Cookie:x",
            "https://client.example/cb?x=%00",
            "https://client.example/cb?code=1",
            "https://client.example/cb?a=1&iss=https://evil.example",
            "https://client.example/cb?%69ss=x",
            "https://client.example/cb?state",
            "https://client.example/<script>",
            "https://client.example/" + "x" * 2000,
        )
    },
}


def asked(answer: Any, status: int, error: str, refusal: str) -> None:
    """The form that every refusal of a machine endpoint has."""
    assert (answer.status_code, answer.get_json()["error"]) == (status, error), answer.text
    body = answer.get_json()
    assert body["error_uri"] == f"https://edp.example/errors/{refusal}"
    assert body["correlation_id"] == answer.headers["X-Request-Id"]
    assert re.fullmatch(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+", body["error_description"])
    assert answer.content_type == "application/json"
    assert "no-store" in answer.headers["Cache-Control"]
    assert "Location" not in answer.headers


@pytest.fixture
def unchanged() -> Callable[[Any], Any]:
    @contextmanager
    def watch(issuer: Any) -> Iterator[None]:
        before = issuer.everything()
        yield
        assert issuer.everything() == before

    return watch


@pytest.mark.parametrize(("change", "status", "error", "refusal"), PUSHED.values(), ids=[name[:70] for name in PUSHED])
def test_pushed_request(refusing: Any, unchanged: Any, change: Change, status: int, error: str, refusal: str) -> None:
    with unchanged(refusing):
        asked(refusing.post("/par", refusing.good_push(**change)), status, error, refusal)


@pytest.mark.parametrize("change", [{}, {"state": "x" * 2048}], ids=["as it is", "state of 2048 characters"])
def test_the_good_pushed_request_is_accepted(refusing: Any, change: Change) -> None:
    assert refusing.post("/par", refusing.good_push(**change)).status_code == 201


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://localhost/cb",
        "https://localhost:8443/cb",
        "https://127.0.0.1:8443/cb",
        "https://[::1]:8443/cb",
        "https://intranet/cb",
        "https://CLIENT.example/cb",
        "https://xn--clent-6va.example/test/a/x/callback?dummy1=lorem&dummy2=ipsum",
        "https://client.example",
        "https://client.example?x=https://other.example/?y",
        "https://client.example:1/cb",
        "https://client.example:65535/cb",
        f"https://{'.'.join(['a' * 63] * 3)}.{'a' * 61}/cb",
        "https://client.example/".ljust(2000, "x"),
    ],
    ids=lambda uri: uri[:70],
)
def test_the_sandbox_accepts_any_https_host(refusing: Any, redirect_uri: str) -> None:
    assert refusing.post("/par", refusing.good_push(redirect_uri=redirect_uri)).status_code == 201


@pytest.mark.parametrize("host", ["localhost:3000", "LOCALHOST", "127.0.0.1:3000", "127.8.0.1", "[::1]"])
def test_the_sandbox_accepts_http_on_a_loopback_host(refusing: Any, host: str) -> None:
    assert refusing.post("/par", refusing.good_push(redirect_uri=f"http://{host}/callback")).status_code == 201


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "http://localhost:3000/callback",
        "http://127.0.0.1/cb",
        "http://[::1]/cb",
        "http://client.example/cb",
        "https://localhost/cb",
        "https://api.localhost/cb",
        "https://intranet/cb",
        "https://127.0.0.1/cb",
        "https://192.0.2.7/cb",
        "https://[2001:db8::1]/cb",
        "https://client.example:8443/cb",
        "https://client.example:443/cb",
    ],
)
def test_production_accepts_public_names_alone(changed: Any, unchanged: Any, redirect_uri: str) -> None:
    issuer = changed(
        environment="production",
        revocation_list__source="https://directory.example/crl",
        database__withdrawal_journal="withdrawals.jsonl",
        public__contact={"email": "help@edp.example"},
    )
    assert issuer.post("/par", issuer.good_push()).status_code == 201
    with unchanged(issuer):
        asked(
            issuer.post("/par", issuer.good_push(redirect_uri=redirect_uri)),
            400,
            "invalid_request",
            "redirect_uri_refused",
        )


ENDPOINTS = {
    "/par": "POST",
    "/token": "POST",
    "/revoke": "POST",
    "/permission": "POST",
    "/introspect": "POST",
}
WRONG_METHODS = [
    *((path, method) for path in ENDPOINTS for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"))
]


@pytest.mark.parametrize(("path", "method"), WRONG_METHODS, ids=lambda value: value)
def test_wrong_methods_at_the_mutual_tls_door(refusing: Any, path: str, method: str) -> None:
    answer = refusing.call(method, path)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"
    if method != "HEAD":
        asked(answer, 405, "invalid_request", "method_not_allowed")


@pytest.mark.parametrize("path", ["/authorize", "/jwks", "/status-list", "/.well-known/oauth-authorization-server"])
@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS"])
def test_wrong_methods_at_the_public_door(refusing: Any, path: str, method: str) -> None:
    assert refusing.public.test_client().open(path, method=method).status_code == 405


def test_head_opens_no_journey(issuer: Any) -> None:
    query = {"client_id": issuer.cap.application, "request_uri": issuer.push()}
    assert issuer.public.test_client().head("/authorize", query_string=query).status_code == 405
    assert not issuer.rows(Journey)


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"content_type": "application/json", "data": "{}"}, 415),
        ({"content_type": "multipart/form-data; boundary=x", "data": "--x--"}, 415),
        ({"content_type": "application/x-www-form-urlencoded; charset=utf-16", "data": "a=b"}, 415),
        ({"content_type": "application/x-www-form-urlencoded", "data": b"a=%ff"}, 400),
        ({"content_type": "application/x-www-form-urlencoded", "data": b"a=%0"}, 400),
        ({"content_type": "application/x-www-form-urlencoded", "data": b"a=1&a=2"}, 400),
        ({"content_type": "application/x-www-form-urlencoded", "data": b"a=" + b"x" * 2**20}, 413),
        ({"content_type": "application/x-www-form-urlencoded", "data": b"&".join([b"a=1"] * 10_000)}, 400),
        ({"content_type": "application/x-www-form-urlencoded", "data": b"a=1", "query_string": "a=1"}, 400),
    ],
    ids=["JSON", "multipart", "UTF-16", "not UTF-8", "bad percent", "doubled", "1 MiB", "10,000 fields", "query"],
)
def test_malformed_bodies(refusing: Any, path: str, more: dict[str, Any], status: int) -> None:
    client = refusing.clients["edp_data" if path == "/introspect" else "cap"]
    answer = refusing.call("POST", path, client, **more)
    assert (answer.status_code, answer.get_json()["error"]) == (status, "invalid_request")


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    "form", [{}, {"data": b"", "content_type": "application/x-www-form-urlencoded"}, {"data": {"x": "y"}}]
)
def test_an_empty_form_is_an_invalid_request(refusing: Any, path: str, form: dict[str, Any]) -> None:
    client = refusing.clients["edp_data" if path == "/introspect" else "cap"]
    asked(refusing.call("POST", path, client, **form), 400, "invalid_request", "missing_parameter")


@pytest.mark.parametrize("path", ["/par", "/token", "/revoke", "/permission"])
@pytest.mark.parametrize("client", ["no_role", "fsp"])
def test_a_certificate_without_the_role_is_refused_before_anything_is_read(
    refusing: Any, path: str, client: str
) -> None:
    answer = refusing.call("POST", path, refusing.clients[client], data="nonsense", content_type="text/plain")
    asked(answer, 403, "unauthorized_client", "role_missing")


@pytest.mark.parametrize("path", ["/token", "/revoke", "/permission"])
@pytest.mark.parametrize(
    ("spoil", "status", "error", "refusal"),
    [
        ({"client_id": CAP2}, 401, "invalid_client", "client_id_mismatch"),
        ({"client_secret": "hush"}, 400, "invalid_request", "second_authentication_method"),
    ],
    ids=["another's client_id", "client_secret"],
)
def test_client_authentication_everywhere(
    refusing: Any, path: str, spoil: Change, status: int, error: str, refusal: str
) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "x", "token": "x", "client_id": refusing.cap.application}
    asked(refusing.post(path, {**form, **spoil}), status, error, refusal)


@pytest.mark.parametrize("path", ENDPOINTS)
def test_an_authorization_header_beside_the_certificate(refusing: Any, path: str) -> None:
    client = refusing.clients["edp_data" if path == "/introspect" else "cap"]
    form = {**refusing.good_push(client), "grant_type": "refresh_token", "token": "x", "refresh_token": "x"}
    answer = refusing.post(path, form, client, headers={"Authorization": "Basic eDp5"})
    asked(answer, 400, "invalid_request", "second_authentication_method")


@pytest.mark.parametrize("path", ["/par", "/token", "/revoke", "/permission"])
def test_another_client_id_in_the_query_is_a_failed_authentication(refusing: Any, path: str) -> None:
    form = {**refusing.good_push(), "grant_type": "refresh_token", "token": "x", "refresh_token": "x"}
    answer = refusing.post(path, form, query_string={"client_id": CAP2})
    asked(answer, 401, "invalid_client", "client_id_mismatch")


def test_a_client_that_floods_par_is_told_to_wait_and_no_other(changed: Any, held_clock: Any) -> None:
    issuer = changed(limits__pushed_requests_per_client=3)
    for _ in range(3):
        issuer.push()
    answer = issuer.post("/par", issuer.good_push())
    asked(answer, 429, "temporarily_unavailable", "too_many_pushed_requests")
    assert len(issuer.rows(PushedRequest)) == 3
    issuer.push(issuer.clients["cap2"])
    held_clock.step(int(answer.headers["Retry-After"]))
    issuer.push()


# The authorization endpoint


def visible(page: Any) -> str:
    """What is read without opening anything."""
    return str(page.text.partition("<details")[0])


def shows_the_page(answer: Any, status: int = 400) -> None:
    assert answer.status_code == status
    assert "Location" not in answer.headers
    assert 'id="oauth-error"' in answer.text
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"client_id": "https://directory.example/a/cap"},
        {"request_uri": "urn:ietf:params:oauth:request_uri:x"},
        {
            "client_id": "https://directory.example/a/cap",
            "response_type": "code",
            "redirect_uri": "https://evil.example/cb",
            "scope": BOTH,
            "state": "x",
        },
        {"client_id": "https://directory.example/a/cap", "response_type": "x", "redirect_uri": "https://evil.example"},
        {"client_id": "https://directory.example/a/cap", "request": "e.y.J"},
    ],
    ids=["nothing", "client_id alone", "request_uri alone", "all in the URL", "bad type, evil URI", "request object"],
)
def test_a_request_that_was_not_pushed_gets_the_page(issuer: Any, query: dict[str, str]) -> None:
    page = issuer.get("/authorize", **query)
    shows_the_page(page)
    assert "must tell us first what it asks for" in visible(page)


@pytest.mark.parametrize("request_uri", ["x", "https://evil.example/object", "urn:ietf:params:oauth:request_uri:x"])
def test_an_unknown_request_uri_gets_the_page(issuer: Any, request_uri: str) -> None:
    page = issuer.visit(request_uri, redirect_uri="https://evil.example/cb")
    shows_the_page(page)
    assert "We do not know the request in this link" in visible(page)


def test_a_damaged_link_gets_the_page(issuer: Any) -> None:
    page = issuer.get("/authorize", client_id="a\x00b")
    shows_the_page(page)
    assert "is damaged" in visible(page)


@pytest.mark.parametrize("state", ["open", "used", "expired"])
def test_another_clients_request_uri_gets_the_page_whatever_its_state(issuer: Any, held_clock: Any, state: str) -> None:
    request_uri = issuer.push()
    if state == "used":
        issuer.decide(issuer.open(request_uri))
    if state == "expired":
        held_clock.step(90)
    page = issuer.visit(request_uri, issuer.clients["cap2"])
    shows_the_page(page)
    assert "or another app made it" in visible(page)
    if state == "open":
        issuer.open(request_uri)  # the owner may go on


def test_guessing_request_uris_ends_in_429(changed: Any) -> None:
    issuer = changed(limits__unknown_links_per_network=3)
    for _ in range(3):
        assert issuer.visit("urn:ietf:params:oauth:request_uri:guess").status_code == 400
    answer = issuer.visit("urn:ietf:params:oauth:request_uri:guess")
    shows_the_page(answer, 429)
    assert int(answer.headers["Retry-After"]) > 0


def test_H12_a_good_link_works_whatever_was_opened_before_it(changed: Any) -> None:
    """Images of /authorize on another site's page spend the budget of the visitor's network, and harm nobody."""
    issuer = changed(limits__unknown_links_per_network=3)
    statuses = [issuer.visit("urn:ietf:params:oauth:request_uri:guess").status_code for _ in range(50)]
    assert statuses == [400] * 3 + [429] * 47
    request_uri = issuer.push()
    shows_the_page(issuer.visit(request_uri, issuer.clients["cap2"]), 429)
    issuer.open(request_uri)


@pytest.mark.parametrize("more", [{}, {"prompt": "none"}, {"state": "another", "redirect_uri": "https://evil.example"}])
@pytest.mark.parametrize("how", ["agreed", "declined", "expired", "expired long ago"])
def test_a_used_or_expired_request_goes_back_to_its_client(
    issuer: Any, shared: Any, held_clock: Any, how: str, more: dict[str, str]
) -> None:
    request_uri = issuer.push()
    if how == "agreed":
        issuer.decide(issuer.open(request_uri))
    if how == "declined":
        issuer.decline(issuer.open(request_uri))
    held_clock.step({"expired": 90, "expired long ago": 80_000}.get(how, 0))
    before = issuer.everything()
    answer = issuer.visit(request_uri, **more)
    assert answer.status_code == 303
    location = answer.headers["Location"]
    assert location.startswith(shared.REDIRECT + "?")
    found = shared.answer_in(location)
    assert found.keys() == {"error", "error_description", "state", "iss"}
    assert (found["error"], found["state"]) == ("invalid_request_uri", "the state")
    assert found["iss"] == shared.PUBLIC
    assert issuer.everything() == before


def test_a_request_is_good_to_its_last_second(issuer: Any, held_clock: Any) -> None:
    request_uri = issuer.push()
    held_clock.step(89)
    assert issuer.visit(request_uri).headers["Location"].startswith("/journey/")


def test_of_two_journeys_on_one_request_the_first_wins(issuer: Any, unchanged: Any) -> None:
    request_uri = issuer.push()
    first, second = issuer.open(request_uri), issuer.open(request_uri)
    issuer.decide(second)
    with unchanged(issuer):
        for late in (issuer.decide, issuer.decline):
            for journey in (first, second):
                assert late(journey) is None


# The token endpoint

GRANT_TYPES = [
    "password",
    "client_credentials",
    "implicit",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "urn:ietf:params:oauth:grant-type:token-exchange",
    "Authorization_Code",
]


@pytest.mark.parametrize("grant_type", GRANT_TYPES)
def test_other_grants(refusing: Any, grant_type: str) -> None:
    answer = refusing.post("/token", {"grant_type": grant_type, "client_id": refusing.cap.application})
    asked(answer, 400, "unsupported_grant_type", "grant_type_unsupported")


def test_no_grant_type(refusing: Any) -> None:
    asked(refusing.post("/token", {"client_id": refusing.cap.application}), 400, "invalid_request", "missing_parameter")


CODES: dict[str, tuple[Change, int, str, str]] = {
    "no client_id": ({"client_id": None}, 401, "invalid_client", "client_id_missing"),
    "another client's client_id": ({"client_id": CAP2}, 401, "invalid_client", "client_id_mismatch"),
    "no code": ({"code": None}, 400, "invalid_request", "code_request_incomplete"),
    "unknown code": ({"code": "x" * 43}, 400, "invalid_grant", "code_refused"),
    "no redirect_uri": ({"redirect_uri": None}, 400, "invalid_request", "code_request_incomplete"),
    "another redirect_uri": (
        {"redirect_uri": "https://client.example/callback/"},
        400,
        "invalid_grant",
        "code_refused",
    ),
    "no code_verifier": ({"code_verifier": None}, 400, "invalid_grant", "code_verifier_refused"),
    "another code_verifier": ({"code_verifier": "x" * 43}, 400, "invalid_grant", "code_verifier_refused"),
}


@pytest.mark.parametrize(("change", "status", "error", "refusal"), CODES.values(), ids=CODES)
def test_a_code_presented_wrongly_is_not_consumed(
    issuer: Any, change: Change, status: int, error: str, refusal: str
) -> None:
    granted = issuer.grant()
    asked(issuer.redeem(granted, **change), status, error, refusal)
    assert issuer.code(granted).redeemed is None
    assert issuer.redeem(granted).status_code == 200


def test_a_verifier_that_matches_has_43_to_128_unreserved_characters(issuer: Any) -> None:
    for verifier in ("x" * 42, "x" * 129, "x" * 42 + "+"):
        answer = issuer.redeem(issuer.grant(verifier=verifier))
        asked(answer, 400, "invalid_grant", "code_verifier_refused")
    for verifier in ("x" * 43, "x" * 128):
        assert issuer.redeem(issuer.grant(verifier=verifier)).status_code == 200


def test_another_clients_code_changes_nothing(issuer: Any, unchanged: Any) -> None:
    granted = issuer.grant()
    with unchanged(issuer):
        asked(issuer.redeem(granted, issuer.clients["cap2"]), 400, "invalid_grant", "code_refused")
    assert issuer.redeem(granted).status_code == 200
    with unchanged(issuer):
        asked(issuer.redeem(granted, issuer.clients["cap2"]), 400, "invalid_grant", "code_refused")


def test_a_code_is_over_when_its_time_is(issuer: Any, held_clock: Any, unchanged: Any) -> None:
    granted = issuer.grant()
    held_clock.step(60)
    with unchanged(issuer):
        asked(issuer.redeem(granted), 400, "invalid_grant", "code_refused")
    held_clock.step(-1)
    assert issuer.redeem(granted).status_code == 200


def test_five_wrong_verifiers_end_a_code(issuer: Any) -> None:
    granted = issuer.grant()
    for _ in range(4):
        issuer.redeem(granted, code_verifier="x" * 43)
    issuer.redeem(granted, code_verifier=None)  # no guess, not counted
    assert issuer.code(granted).wrong_verifiers == 4
    issuer.redeem(granted, code_verifier="x" * 43)
    asked(issuer.redeem(granted), 400, "invalid_grant", "code_refused")
    assert issuer.code(granted).redeemed is None


@pytest.mark.parametrize("later", [1, 3600])
def test_a_code_used_twice_ends_what_it_issued(issuer: Any, held_clock: Any, later: int) -> None:
    granted = issuer.grant()
    tokens = issuer.redeem(granted).get_json()
    held_clock.step(later)
    asked(issuer.redeem(granted), 400, "invalid_grant", "code_replayed")
    permission = issuer.permission(tokens["refresh_token"])
    assert (permission.ended, permission.ended_as, permission.ended_by) == (
        held_clock.instant,
        "withdrawn",
        "issuer",
    )
    asked(issuer.refresh(tokens["refresh_token"]), 400, "invalid_grant", "refresh_token_refused")
    events = [event.event for event in issuer.rows(KeptEvent)]
    assert events == ["pushed_request", "permission_granted", "code_replayed", "permission_withdrawn"]


@pytest.mark.parametrize(
    "change",
    [{"code_verifier": "x" * 43}, {"code_verifier": None}, {"redirect_uri": "https://evil.example/cb"}],
    ids=str,
)
def test_a_used_code_that_is_injected_elsewhere_ends_nothing(issuer: Any, change: Change) -> None:
    """Whoever stole a used code cannot end the permission through the honest client's own certificate."""
    granted = issuer.grant()
    tokens = issuer.redeem(granted).get_json()
    issuer.redeem(granted, **change)
    assert issuer.permission(tokens["refresh_token"]).ended is None


@pytest.mark.parametrize("how", ["withdrawn", "expired"])
def test_a_code_of_an_ended_permission_yields_nothing(
    issuer: Any, changed: Any, held_clock: Any, how: str, shared: Any
) -> None:
    granted = issuer.grant()
    if how == "withdrawn":
        issuer.end(issuer.row(Permission).id, shared.START)
    else:
        held_clock.instant = issuer.row(Permission).expires
    asked(issuer.redeem(granted), 400, "invalid_grant", "code_refused")


REFRESHES: dict[str, tuple[Change, int, str, str]] = {
    "no client_id": ({"client_id": None}, 401, "invalid_client", "client_id_missing"),
    "no refresh_token": ({"refresh_token": None}, 400, "invalid_request", "refresh_token_missing"),
    "unknown refresh_token": ({"refresh_token": "1.x.y"}, 400, "invalid_grant", "refresh_token_refused"),
    "another license": ({"scope": COMBINED}, 400, "invalid_scope", "scope_not_granted"),
    "two licenses": ({"scope": f"{BOTH} {COMBINED}"}, 400, "invalid_scope", "scope_not_granted"),
    "openid": ({"scope": f"{BOTH} openid"}, 400, "invalid_scope", "scope_not_granted"),
    "offline_access alone": ({"scope": "offline_access"}, 400, "invalid_scope", "scope_not_granted"),
}


@pytest.mark.parametrize(("change", "status", "error", "refusal"), REFRESHES.values(), ids=REFRESHES)
def test_refresh(issuer: Any, unchanged: Any, change: Change, status: int, error: str, refusal: str) -> None:
    form = {
        "grant_type": "refresh_token",
        "client_id": issuer.cap.application,
        "refresh_token": issuer.tokens()["refresh_token"],
        **change,
    }
    with unchanged(issuer):
        answer = issuer.post("/token", {name: value for name, value in form.items() if value is not None})
    asked(answer, status, error, refusal)


def altered(token: str) -> str:
    return token[:-1] + ("A" if token[-1] != "A" else "B")


@pytest.mark.parametrize("what", ["another client's", "a forged one", "an access token", "a code"])
@pytest.mark.parametrize("path", ["/token", "/permission"])
def test_what_is_not_this_clients_refresh_token_is_answered_alike(issuer: Any, path: str, what: str) -> None:
    tokens = issuer.tokens()
    client = issuer.clients["cap2"] if what == "another client's" else issuer.cap
    token = {
        "another client's": tokens["refresh_token"],
        "a forged one": altered(tokens["refresh_token"]),
        "an access token": tokens["access_token"],
        "a code": "x" * 43,
    }[what]
    form = {"grant_type": "refresh_token", "client_id": client.application, "refresh_token": token, "token": token}
    refusal = "refresh_token_refused" if path == "/token" else "no_permission_record"
    asked(issuer.post(path, form, client), 400, "invalid_grant", refusal)


def test_an_expired_permission_refreshes_no_more(issuer: Any, held_clock: Any) -> None:
    token = issuer.tokens()["refresh_token"]
    held_clock.instant = issuer.permission(token).expires
    asked(issuer.refresh(token), 400, "invalid_grant", "refresh_token_refused")


def test_no_record_before_the_token_was_issued(issuer: Any) -> None:
    issuer.grant()
    permission = issuer.row(Permission)
    token = refresh_token.text(issuer.deployment.refresh_keys, permission.refresh_version, permission.refresh_id)
    asked(issuer.post("/permission", {"token": token}), 400, "invalid_grant", "no_permission_record")


@pytest.mark.parametrize("token", ["", None], ids=["empty", "none"])
@pytest.mark.parametrize("path", ["/permission", "/revoke", "/introspect"])
def test_no_token(refusing: Any, path: str, token: str | None) -> None:
    client = refusing.clients["edp_data" if path == "/introspect" else "cap"]
    form = {"client_id": client.application} | ({} if token is None else {"token": token})
    asked(refusing.post(path, form, client), 400, "invalid_request", "missing_parameter")


@pytest.mark.parametrize(
    "what", ["another client's refresh token", "another client's access token", "unknown", "forged"]
)
def test_revoking_what_is_not_ones_own_is_answered_alike_and_does_nothing(
    issuer: Any, unchanged: Any, what: str
) -> None:
    tokens = issuer.tokens()
    client = issuer.clients["cap2"] if "another" in what else issuer.cap
    token = {
        "another client's refresh token": tokens["refresh_token"],
        "another client's access token": tokens["access_token"],
        "unknown": "unknown",
        "forged": altered(tokens["refresh_token"]),
    }[what]
    with unchanged(issuer):
        answer = issuer.post("/revoke", {"token": token, "client_id": client.application}, client)
    assert (answer.status_code, answer.get_json()) == (200, {})


@pytest.mark.parametrize("client", ["cap", "fsp", "no_role"])
def test_introspection_by_anyone_else(issuer: Any, client: str) -> None:
    token = issuer.tokens()["access_token"]
    answer = issuer.post("/introspect", {"token": token}, issuer.clients[client])
    asked(answer, 403, "unauthorized_client", "not_an_introspector")


@pytest.mark.parametrize("path", ["/userinfo", "/register", "/registration", "/introspection", "/connect/register"])
def test_endpoints_that_must_not_exist(refusing: Any, path: str) -> None:
    assert refusing.call("POST", path).status_code == 404
    assert refusing.get(path).status_code == 404


def test_F06_no_secret_reaches_the_log_whatever_is_switched_on(changed: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Every logger at DEBUG, those of other packages too: what they then say is not written."""
    for name in (None, *logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)
    written = io.StringIO()
    handler = lines.handler("test", written)
    logging.root.addHandler(handler)
    try:
        secrets = secrets_of_a_flow(changed())  # a new one: SQLAlchemy looks at the level when an engine is made
    finally:
        logging.root.removeHandler(handler)
    assert "canary-state" in caplog.text, "what other packages said of it"
    assert "token_refreshed" in written.getvalue()
    for secret in secrets:
        for spelling in (secret, quote(secret, safe=""), secret.rpartition(":")[2]):
            assert spelling not in written.getvalue()


def secrets_of_a_flow(issuer: Any) -> tuple[str, ...]:
    request_uri = issuer.push(state="canary-state")
    issuer.visit(request_uri)
    granted = issuer.grant()
    issuer.redeem(granted, code_verifier="x" * 43)
    tokens = issuer.redeem(granted).get_json()
    refreshed = issuer.refresh(tokens["refresh_token"]).get_json()
    issuer.refresh(tokens["refresh_token"], issuer.clients["cap2"])
    issuer.post("/permission", {"token": tokens["access_token"]})
    issuer.post("/introspect", {"token": tokens["refresh_token"]}, issuer.clients["edp_data"])
    issuer.redeem(granted)
    issuer.post("/revoke", {"token": tokens["refresh_token"]})
    return (
        request_uri,
        granted.code,
        granted.verifier,
        tokens["refresh_token"],
        tokens["access_token"],
        refreshed["access_token"],
        "canary-state",
    )


def test_every_refusal_of_this_room_is_met_by_a_test() -> None:
    tables = {row[3] for table in (PUSHED, CODES, REFRESHES) for row in table.values()}
    by_name = {
        *("request_not_pushed", "request_unknown", "request_used", "request_expired"),
        *("not_agreed", "text_is_not_the_license", "fuel_not_in_license", "code_replayed", "too_many_meters"),
        *("no_permission_record", "not_an_introspector", "too_many_pushed_requests", "grant_type_unsupported"),
    }
    ours = {code for code, kind in Refusal.family.items() if kind.__module__.startswith("consent_server.issuer")}
    assert ours == (tables | by_name) & ours
    assert not by_name - ours

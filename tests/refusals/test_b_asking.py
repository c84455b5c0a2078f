"""Section B of the security matrix, from outside: pushed requests and the authorization endpoint.

One good request, and one row for each way to spoil it. Each test begins with the id of the matrix's row that it holds.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from tests.refusals.flows import CALLBACK, World, query_of

pytestmark = pytest.mark.xdist_group("sandbox")

Change = dict[str, str | None]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ENDPOINTS = {
    "par": "pushed_authorization_request_endpoint",
    "token": "token_endpoint",
    "revoke": "revocation_endpoint",
    "permission": "ib1_permission_endpoint",
}
REQUEST_URI = "urn:ietf:params:oauth:request_uri:"
EVIL = "https://evil.example/cb"


def cases(table: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("case", table.values(), ids=table.keys())


def at_authorize(world: World, **query: str) -> httpx.Response:
    return world.public.get(f"{world.manifest['issuers']['edp']}/authorize", params=query)


def shows_its_own_page(answer: httpx.Response) -> None:
    """Local error page, and nobody is sent anywhere."""
    assert "Location" not in answer.headers
    assert 'id="oauth-error"' in answer.text
    assert "evil.example" not in answer.text


def goes_back(answer: httpx.Response, world: World, state: str) -> None:
    """To the redirect_uri that was pushed, with one each of error, state and iss."""
    location = answer.headers["Location"]
    assert location.startswith(f"{CALLBACK}?")
    found = query_of(location)
    assert found.keys() == {"error", "error_description", "state", "iss"}
    assert (found["error"], found["state"]) == (["invalid_request_uri"], [state])
    assert found["iss"] == [world.manifest["issuers"]["edp"]]


# B01 - B06: the authorization endpoint

NOT_PUSHED: dict[str, Callable[[World], dict[str, str]]] = {
    "nothing": lambda world: {},
    "client_id alone": lambda world: {"client_id": world.client().client_id},
    "request_uri alone": lambda world: {"request_uri": REQUEST_URI + "x"},
    "everything in the URL": lambda world: world.good_push(world.client()),
    "a request object": lambda world: {"client_id": world.client().client_id, "request": "e30.e30."},
}


@cases(NOT_PUSHED)
def test_B01_a_request_that_was_not_pushed(world: World, case: Any) -> None:
    query = case(world)
    answer = world.oracle.refused(lambda: at_authorize(world, **query), "request_not_pushed", 400, door="edp_public")
    shows_its_own_page(answer)


@pytest.fixture(scope="module")
def finished(world: World) -> Any:
    """A flow that has had its code."""
    return world.grant()


@pytest.mark.parametrize(
    "more", [{}, {"prompt": "none"}, {"state": "another", "redirect_uri": EVIL}], ids=["plain", "prompt=none", "EVIL"]
)
def test_B02_a_request_uri_that_has_had_its_decision(world: World, finished: Any, more: dict[str, str]) -> None:
    answer = world.oracle.refused(
        lambda: world.public.get(f"{finished.request.url}&{urlencode(more)}"),
        "request_used",
        303,
        "invalid_request_uri",
        door="edp_public",
    )
    goes_back(answer, world, finished.request.state)


def test_B03_a_request_uri_may_be_loaded_twice_before_the_decision(world: World) -> None:
    request = world.request(world.client())
    first, second = world.browser(), world.browser()
    pages = [browser.open(request.url) for browser in (first, second)]
    assert [(page.status, page.path) for page in pages] == [(200, "/journey/identify")] * 2
    callback = world.walk(request.url, browser=second).url
    assert "code" in query_of(callback)


def test_B04_a_request_uri_whose_time_is_over(world: World) -> None:
    request = world.request(world.client())
    with world.clock(90):
        answer = world.oracle.refused(
            lambda: world.public.get(request.url), "request_expired", 303, "invalid_request_uri", door="edp_public"
        )
    goes_back(answer, world, request.state)


def test_B05_another_clients_request_uri(world: World) -> None:
    request = world.request(world.client("cap"))
    handle = query_of(request.url)["request_uri"][0]
    answer = world.oracle.refused(
        lambda: at_authorize(world, client_id=world.client("cap2").client_id, request_uri=handle, redirect_uri=EVIL),
        "request_unknown",
        400,
        door="edp_public",
        secrets=[handle.removeprefix(REQUEST_URI)],
    )
    shows_its_own_page(answer)
    assert world.public.get(request.url).headers["Location"].startswith("/journey/")


def test_B06_a_request_uri_cannot_be_guessed(world: World) -> None:
    """256 random bits each; that guessing ends in 429 is held in tests/issuer, since the sandbox's limit is far away."""
    handles = {query_of(world.request(world.client()).url)["request_uri"][0] for _ in range(16)}
    assert len(handles) == 16
    for handle in handles:
        assert re.fullmatch(re.escape(REQUEST_URI) + r"[A-Za-z0-9_-]{43}", handle)
    world.oracle.refused(
        lambda: at_authorize(world, client_id=world.client().client_id, request_uri=REQUEST_URI + "x" * 43),
        "request_unknown",
        400,
        door="edp_public",
    )


# B07 - B17: the pushed request

PUSHED: dict[str, tuple[Change, str, str]] = {
    "B07-request_uri": ({"request_uri": REQUEST_URI + "x"}, "request_object", "invalid_request"),
    "B07-request_uri on the web": ({"request_uri": EVIL}, "request_object", "invalid_request"),
    "B07-request": ({"request": "eyJhbGciOiJub25lIn0.e30."}, "request_object", "invalid_request"),
    "B11-token": ({"response_type": "token"}, "response_type_unsupported", "unsupported_response_type"),
    "B11-code id_token": ({"response_type": "code id_token"}, "response_type_unsupported", "unsupported_response_type"),
    "B11-none": ({"response_type": "none"}, "response_type_unsupported", "unsupported_response_type"),
    "B11-CODE": ({"response_type": "CODE"}, "response_type_unsupported", "unsupported_response_type"),
    "B11-absent": ({"response_type": None}, "response_type_missing", "invalid_request"),
    "B11-empty": ({"response_type": ""}, "response_type_missing", "invalid_request"),
    **{
        f"B11-response_mode {mode}": ({"response_mode": mode}, "response_mode_unsupported", "invalid_request")
        for mode in ("fragment", "form_post", "jwt", "query.jwt", "web_message")
    },
    "B12-no code_challenge": ({"code_challenge": None}, "code_challenge_missing", "invalid_request"),
    "B12-empty code_challenge": ({"code_challenge": ""}, "code_challenge_missing", "invalid_request"),
    "B12-no PKCE at all": (
        {"code_challenge": None, "code_challenge_method": None},
        "code_challenge_missing",
        "invalid_request",
    ),
    "B13-plain": ({"code_challenge_method": "plain"}, "code_challenge_method_unsupported", "invalid_request"),
    "B13-no method": ({"code_challenge_method": None}, "code_challenge_method_unsupported", "invalid_request"),
    "B13-s256": ({"code_challenge_method": "s256"}, "code_challenge_method_unsupported", "invalid_request"),
    "B13-42 characters": ({"code_challenge": "x" * 42}, "code_challenge_malformed", "invalid_request"),
    "B13-44 characters": ({"code_challenge": "x" * 44}, "code_challenge_malformed", "invalid_request"),
    "B13-129 characters": ({"code_challenge": "x" * 129}, "code_challenge_malformed", "invalid_request"),
    "B13-padded": ({"code_challenge": "x" * 43 + "="}, "code_challenge_malformed", "invalid_request"),
    "B13-not base64url": ({"code_challenge": "x" * 42 + "/"}, "code_challenge_malformed", "invalid_request"),
}


def spoilt(world: World, change: Change, refusal: str, error: str) -> None:
    client = world.client()
    world.oracle.refused(lambda: world.push(client, **change), refusal, 400, error)


@cases(PUSHED)
def test_B07_B11_B12_B13_a_pushed_request(world: World, case: tuple[Change, str, str]) -> None:
    spoilt(world, *case)


SCOPES: dict[str, tuple[Callable[[World], str], str]] = {
    "B14-unknown": (lambda world: world.license() + "x", "license_unknown"),
    "B14-a version that is no more": (
        lambda world: world.license().rpartition("/")[0] + "/2023-01-01",
        "license_unknown",
    ),
    "B14-another scheme's": (lambda world: world.license().replace("/perseus/", "/other/"), "license_unknown"),
    "B14-http": (lambda world: world.license().replace("https://", "http://"), "license_unknown"),
    "B14-upper case": (lambda world: world.license().replace("/license/", "/LICENSE/"), "license_unknown"),
    "B14-a slash more": (lambda world: world.license() + "/", "license_unknown"),
    "B14-production's": (
        lambda world: (
            "https://registry.core.trust.ib1.org/scheme/perseus/license/energy-consumption-edp-cap/2026-03-12"
        ),
        "license_unknown",
    ),
    "B14-the other issuer's": (lambda world: world.license("emissions"), "license_unknown"),
    "B14-openid": (lambda world: "openid", "license_unknown"),
    "B15-two": (lambda world: f"{world.license()} {world.license('one_permission')}", "more_than_one_license"),
    "B15-older and newer": (lambda world: f"{world.license('electricity')} {world.license()}", "more_than_one_license"),
    "B15-twice": (lambda world: f"{world.license()} {world.license()}", "more_than_one_license"),
    "B15-both issuers'": (lambda world: f"{world.license()} {world.license('emissions')}", "more_than_one_license"),
    "B15-sandbox and production": (
        lambda world: f"{world.license()} https://registry.core.trust.ib1.org/scheme/perseus/license/x/2026-03-12",
        "more_than_one_license",
    ),
    "B15-two spaces": (lambda world: f"{world.license()}  ", "more_than_one_license"),
    "B15-openid beside": (lambda world: f"openid {world.license()}", "more_than_one_license"),
    "B15-offline_access alone": (lambda world: "offline_access", "more_than_one_license"),
}


@cases(SCOPES)
def test_B14_B15_scope_is_one_license_of_this_issuer(world: World, case: Any) -> None:
    scope, refusal = case
    spoilt(world, {"scope": scope(world)}, refusal, "invalid_scope")


def test_B14_no_scope(world: World) -> None:
    spoilt(world, {"scope": None}, "license_missing", "invalid_scope")


REDIRECTS = {
    "http": "http://client.example/cb",
    "no scheme": "//client.example/cb",
    "relative": "/cb",
    "fragment": "https://client.example/cb#x",
    "empty fragment": "https://client.example/cb#",
    "user name": "https://user@client.example/cb",
    "host in disguise": "https://localhost@evil.example/cb",
    "javascript": "javascript:alert(1)",
    "data": "data:text/html,x",
    "own scheme": "com.example.app:/cb",
    "backslash": "https://client.example\\@evil.example/cb",
    "no host": "https:///cb",
    "decimal address": "https://2130706433/cb",
    "hexadecimal address": "https://0x7f.1/cb",
    "not ASCII": "https://cli\u00ebnt.example/cb",
    "fullwidth dot": "https://client\uff0eexample/cb",
    "wildcard": "https://*.example/cb",
    "empty label": "https://client..example/cb",
    "port 0": "https://client.example:0/cb",
    "port 65536": "https://client.example:65536/cb",
    "space": "https://client.example/c b",
    "markup": 'https://client.example/"><script>',
    "its own code": "https://client.example/cb?code=x",
    "its own iss": "https://client.example/cb?iss=https://evil.example",
    "endless": "https://client.example/" + "x" * 2000,
}


@cases(REDIRECTS)
def test_B16_redirect_uri(world: World, case: str) -> None:
    """Loopback and IP addresses, which the sandbox takes, are refused by production: held in tests/issuer."""
    spoilt(world, {"redirect_uri": case}, "redirect_uri_refused", "invalid_request")


@pytest.mark.parametrize("sent", [None, ""], ids=["absent", "empty"])
def test_B16_no_redirect_uri(world: World, sent: str | None) -> None:
    spoilt(world, {"redirect_uri": sent}, "redirect_uri_missing", "invalid_request")


@pytest.mark.parametrize("control", ["\r\nSet-Cookie: a=b", "\n", "\r", "\x00", "\x7f", "\u0085"], ids=ascii)
@pytest.mark.parametrize("name", ["redirect_uri", "state", "scope", "client_id"])
def test_B17_control_characters(world: World, name: str, control: str) -> None:
    client = world.client()
    good = world.good_push(client)
    spoilt(world, {name: good[name] + control}, "malformed_parameters", "invalid_request")


@pytest.mark.parametrize("encoded", ["%0d%0aSet-Cookie:a=b", "%0A", "%00", "%7f"])
def test_B17_encoded_control_characters_in_the_redirect_uri(world: World, encoded: str) -> None:
    spoilt(world, {"redirect_uri": CALLBACK + encoded}, "redirect_uri_refused", "invalid_request")


def test_B17_encoded_control_characters_in_state_stay_encoded(world: World) -> None:
    state = "x%0d%0aSet-Cookie: a=b"
    callback = declined(world, state)
    assert query_of(callback)["state"] == [state]
    assert quote(state, safe="").replace("%20", "+") in callback


# B08 - B10: every form endpoint


@pytest.fixture(scope="module")
def live(world: World) -> Any:
    """A permission for requests that would be honoured if they were not spoilt."""
    return world.tokens(sme="export")


def good_form(world: World, live: Any, endpoint: str) -> dict[str, str]:
    client_id = world.client().client_id
    return {
        "par": world.good_push(world.client()),
        "token": {"grant_type": "refresh_token", "refresh_token": live.refresh, "client_id": client_id},
        "revoke": {"token": live.refresh, "client_id": client_id},
        "permission": {"token": live.refresh, "client_id": client_id},
    }[endpoint]


def post(world: World, endpoint: str, content: Any, headers: dict[str, str] | None = None, query: str = "") -> Any:
    url = world.client().metadata[ENDPOINTS[endpoint]] + query
    return lambda: world.client().http.post(url, content=content, headers=headers or FORM)


@pytest.mark.parametrize("where", ["in the body", "with another value", "in query and body", "in the query alone"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_B08_a_parameter_twice(world: World, live: Any, endpoint: str, where: str) -> None:
    form = good_form(world, live, endpoint)
    name = next(iter(form))
    body, query = urlencode(form), ""
    if where == "in the body":
        body += f"&{urlencode({name: form[name]})}"
    elif where == "with another value":
        body = f"{name}=another&{body}"
    elif where == "in query and body":
        query = f"?{urlencode({'client_id': form['client_id']})}"
    else:
        query, body = f"?{body}", ""
    refusal = "repeated_parameter" if ("body" in where and not query) or "value" in where else "parameter_in_query"
    secrets = [live.refresh] if endpoint != "par" else []
    world.oracle.refused(post(world, endpoint, body, query=query), refusal, 400, "invalid_request", secrets=secrets)


LARGE: dict[str, tuple[bytes, int, str]] = {
    "1 MiB": (b"state=" + b"x" * 2**20, 413, "body_too_large"),
    "100 kB of state": (b"state=" + b"x" * 100_000, 413, "body_too_large"),
    "10,000 fields": (b"&".join(b"a%d=1" % n for n in range(10_000))[:60_000], 400, "too_many_parameters"),
    "10,000 times one field": (b"&".join([b"a=1"] * 10_000), 400, "too_many_parameters"),
    "one field of 9,000 characters": (b"state=" + b"x" * 9_000, 400, "parameter_too_long"),
}


@cases(LARGE)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_B09_too_much_is_refused(world: World, endpoint: str, case: tuple[bytes, int, str]) -> None:
    content, status, refusal = case
    send = post(world, endpoint, content)
    world.oracle.refused(send, refusal, status, "invalid_request")


def declined(world: World, state: str) -> str:
    """The callback of a request with this state, which the SME cancels."""
    client = world.client()
    pushed = world.push(client, state=state)
    assert pushed.status_code == 201, pushed.text
    query = urlencode({"client_id": client.client_id, "request_uri": pushed.json()["request_uri"]})
    browser = world.browser()
    page = browser.open(f"{client.metadata['authorization_endpoint']}?{query}")
    callback = browser.click(page, "cancel").url
    assert query_of(callback)["error"] == ["access_denied"]
    return callback


@pytest.mark.parametrize(
    "state",
    ["x" * 1000, "a b+c%20d&e=f?g#h/i\"j'k<l>m", "\u00e9\u4e2d\U0001f4a1"],
    ids=["1,000", "reserved", "Unicode"],
)
def test_B09_an_accepted_state_comes_back_byte_for_byte(world: World, state: str) -> None:
    assert query_of(declined(world, state))["state"] == [state]


def test_B09_a_state_that_fits_no_location(world: World) -> None:
    spoilt(world, {"state": "x" * 2049}, "state_too_long", "invalid_request")


BODIES: dict[str, tuple[dict[str, str], bytes, int, str]] = {
    "JSON": ({"Content-Type": "application/json"}, b'{"a":"b"}', 415, "not_a_form"),
    "multipart": ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", 415, "not_a_form"),
    "no type": ({}, b"a=b", 415, "not_a_form"),
    "UTF-16": ({"Content-Type": FORM["Content-Type"] + "; charset=utf-16"}, "a=b".encode("utf-16"), 415, "not_a_form"),
    "UTF-16 unsaid": (FORM, "a=b".encode("utf-16"), 400, "malformed_parameters"),
    "compressed": ({**FORM, "Content-Encoding": "gzip"}, b"\x1f\x8b", 415, "not_a_form"),
    "bad percent": (FORM, b"a=%0", 400, "malformed_parameters"),
    "percent without digits": (FORM, b"a=%zz", 400, "malformed_parameters"),
    "not UTF-8": (FORM, b"a=%ff", 400, "malformed_parameters"),
    "overlong UTF-8": (FORM, b"a=%c0%af", 400, "malformed_parameters"),
    "surrogate": (FORM, b"a=%ed%a0%80", 400, "malformed_parameters"),
    "NUL": (FORM, b"a=%00", 400, "malformed_parameters"),
    "raw NUL": (FORM, b"a=\x00", 400, "malformed_parameters"),
    "NUL in a name": (FORM, b"a%00=b", 400, "malformed_parameters"),
}


@cases(BODIES)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_B10_what_is_no_form(world: World, endpoint: str, case: tuple[dict[str, str], bytes, int, str]) -> None:
    headers, content, status, refusal = case
    world.oracle.refused(
        post(world, endpoint, content, headers or {"Content-Type": ""}), refusal, status, "invalid_request"
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_B10_other_methods(world: World, live: Any, endpoint: str, method: str) -> None:
    form = good_form(world, live, endpoint)
    url = world.client().metadata[ENDPOINTS[endpoint]]
    more = {"params": form} if method == "GET" else {"content": urlencode(form), "headers": FORM}
    answer = world.oracle.refused(
        lambda: world.client().http.request(method, url, **more), "method_not_allowed", 405, "invalid_request"
    )
    assert answer.headers["Allow"] == "POST"


# B18 - B22: what comes back

OUTWARD: dict[str, Callable[[World], dict[str, str]]] = {
    "unknown client": lambda world: {"client_id": "https://evil.example/app", "request_uri": REQUEST_URI + "x"},
    "unknown request": lambda world: {"client_id": world.client().client_id, "request_uri": REQUEST_URI + "x"},
    "request on the web": lambda world: {"client_id": world.client().client_id, "request_uri": EVIL},
    "bad response_type": lambda world: {"client_id": world.client().client_id, "response_type": "x"},
    "bad scope": lambda world: {"client_id": world.client().client_id, "response_type": "code", "scope": "x"},
    "no client": lambda world: {"response_type": "code"},
}


@cases(OUTWARD)
@pytest.mark.parametrize("address", [EVIL, "javascript:alert(1)", CALLBACK], ids=["evil", "javascript", "once pushed"])
def test_B18_no_error_leads_to_where_the_browser_says(world: World, case: Any, address: str) -> None:
    answer = world.oracle.refused(
        lambda: at_authorize(world, redirect_uri=address, state="x", **case(world)),
        ("request_not_pushed", "request_unknown"),
        400,
        door="edp_public",
    )
    shows_its_own_page(answer)


def test_B18_a_doubled_parameter_leads_nowhere(world: World) -> None:
    request = world.request(world.client())
    url = f"{request.url}&{urlencode({'client_id': 'https://evil.example/a', 'redirect_uri': EVIL})}"
    answer = world.oracle.refused(lambda: world.public.get(url), "repeated_parameter", 400, door="edp_public")
    shows_its_own_page(answer)


def test_B19_what_the_browser_adds_counts_for_nothing(world: World) -> None:
    request = world.request(world.client())
    more = urlencode(
        {"scope": world.license("electricity"), "state": "another", "redirect_uri": EVIL, "response_mode": "fragment"}
    )
    callback = world.walk(f"{request.url}&{more}").url
    assert callback.startswith(f"{CALLBACK}?")
    code = world.plant("code", world.client().code(request, callback))
    answer = world.client().redeem(request, code)
    assert answer.json()["scope"] == world.license()
    for kind in ("access_token", "refresh_token"):
        world.plant(kind, answer.json()[kind])


def test_B20_every_answer_names_its_issuer_once(world: World, finished: Any) -> None:
    """`iss` with code, with a refusal by the SME, and with a refusal of ours; a client's own `iss` was refused in B16.

    That our own client refuses a callback of another issuer is held in tests/client.
    """
    issuer = world.client().metadata["issuer"]
    used = world.public.get(finished.request.url).headers["Location"]
    for callback in (finished.callback, declined(world, "x"), used):
        assert query_of(callback)["iss"] == [issuer]
        assert callback.count("iss=") == 1


def test_B21_redirects_after_a_form_are_303_and_no_script_reads_them(world: World) -> None:
    seen: list[httpx.Response] = []
    browser = world.browser()
    browser._client.event_hooks["response"].append(seen.append)
    world.walk(world.request(world.client()).url, browser=browser)
    browser._client.headers["Origin"] = "https://evil.example"
    browser.open(world.request(world.client()).url)
    assert {answer.status_code for answer in seen if answer.is_redirect} == {303}
    assert sum(answer.request.method == "POST" and answer.is_redirect for answer in seen) >= 2
    assert not [name for answer in seen for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "PUT", "HEAD"])
def test_B21_the_authorization_endpoint_takes_GET_alone(world: World, method: str) -> None:
    request = world.request(world.client())
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    act = lambda: world.public.request(method, request.url, headers=headers)  # noqa: E731
    answer = world.oracle.refused(act, "method_not_allowed", 405, door="edp_public")
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("party", ["edp", "cap"])
def test_B22_the_metadata_says_what_is(world: World, party: str) -> None:
    metadata = world.client("cap_fsp", party).metadata
    aliases = metadata["mtls_endpoint_aliases"]
    assert aliases
    assert all(metadata[name] == url for name, url in aliases.items())
    assert metadata["issuer"] == world.manifest["issuers"][party]
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["response_types_supported"] == ["code"]
    methods = {
        value for name, values in metadata.items() if name.endswith("auth_methods_supported") for value in values
    }
    assert methods == {"tls_client_auth"}
    assert not {"userinfo_endpoint", "registration_endpoint", "introspection_endpoint"} & metadata.keys()


@pytest.mark.parametrize("path", ["/userinfo", "/register", "/registration", "/connect/register", "/introspection"])
@pytest.mark.parametrize("door", ["edp_mutual_tls", "edp_public"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_B22_what_is_not_advertised_is_not_there(world: World, path: str, door: str, method: str) -> None:
    origin = world.manifest["doors" if door == "edp_mutual_tls" else "pages"]["edp"]
    http = world.client().http if door == "edp_mutual_tls" else world.public
    world.oracle.refused(lambda: http.request(method, origin + path), "not_found", 404, "not_found", door=door)

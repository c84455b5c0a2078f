"""What our CAP does with a provider that surprises it: it goes on, or it waits, or it stops and says why.

Specifications allow the first table and forbid the others. The provider is `unkind_edp`, over real mutual TLS.
"""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from consent_server import store
from consent_server.collect import provider
from consent_server.portal.providers import ProviderUnreachable, ProviderWrong
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.store import connections
from consent_server.withdrawal import outbox
from consent_server.withdrawal.withdraw import Withdrawal, withdraw
from tests.deployments import layout
from tests.interop.our_cap import IMPATIENT, RETRY_S, Certificates, OurCap, our_cap
from tests.interop.unkind_edp import METADATA, UnkindEdp, any_token, with_, without
from tests.outbound.conftest import Answer

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

TOKEN, PUSH = "/token_endpoint", "/pushed_authorization_request_endpoint"
Surprise = Callable[[UnkindEdp], None]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("wire"))


@pytest.fixture
def cap(
    certificates: Certificates, database_url: str, held_clock: Any, caplog: pytest.LogCaptureFixture
) -> Iterator[OurCap]:
    caplog.set_level(logging.INFO, "consent_server")
    with our_cap(certificates, database_url, held_clock) as cap:
        yield cap


def spoilt(path: str, *changes: Any) -> Surprise:
    def spoil(edp: UnkindEdp) -> None:
        edp.spoil[path] = changes[0]

    return spoil


def instead(path: str, status: int = 200, body: bytes = b"", **others: Any) -> Surprise:
    def replace(edp: UnkindEdp) -> None:
        edp.instead[path] = Answer(status, body, **others)

    return replace


def breaks_off(_wfile: Any) -> None:
    return


def drips(wfile: Any) -> None:
    """A response that would take hours, a byte at a time."""
    wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n")
    for _ in range(20):
        wfile.write(b" ")
        wfile.flush()
        time.sleep(0.1)


def attribute(name: str, value: Any) -> Surprise:
    return lambda edp: setattr(edp, name, value)


# Goes on


@pytest.mark.parametrize(
    "surprise",
    [
        pytest.param(attribute("new_code", any_token), id="a code of any character"),
        pytest.param(attribute("new_token", any_token), id="tokens of any character"),
        pytest.param(attribute("demands_gzip", True), id="gzip demanded"),
        pytest.param(spoilt(TOKEN, without("expires_in")), id="no expires_in"),
        pytest.param(spoilt(TOKEN, with_(expires_in=-1)), id="expires_in below zero"),
        pytest.param(spoilt(TOKEN, with_(expires_in="soon")), id="expires_in in words"),
        pytest.param(spoilt(TOKEN, with_(expires_in=10**30)), id="expires_in beyond all time"),
        pytest.param(spoilt(TOKEN, with_(token_type="bEARER")), id="token_type in any case"),
        pytest.param(spoilt(TOKEN, without("token_type")), id="no token_type"),
        pytest.param(spoilt(TOKEN, with_(scope="LICENSE")), id="scope as requested"),
        pytest.param(spoilt(TOKEN, with_(scope="offline_access LICENSE")), id="scope with offline_access"),
        pytest.param(spoilt(TOKEN, with_(id_token="x", hint={"a": [1]})), id="unknown members of a token response"),
        pytest.param(spoilt(METADATA, with_(surprise_supported=["x" * 9] * 9000)), id="unknown members of metadata"),
        pytest.param(spoilt(METADATA, with_(jwks_uri=None)), id="no jwks_uri"),
    ],
)
def test_it_connects_and_collects(cap: OurCap, surprise: Surprise) -> None:
    surprise(cap.edp)
    for path, change in cap.edp.spoil.items():
        cap.edp.spoil[path] = lambda document, change=change: _filled(change(document))
    assert cap.connected(cap.signed_in()).path == "/connected"
    assert cap.collect() == 1, cap.row().trouble
    assert cap.edp.asked("/jwks_uri") == [], "access tokens are opaque to a client"


def _filled(document: dict[str, Any]) -> dict[str, Any]:
    license_ = layout().license("electricity_and_gas")
    return {name: each.replace("LICENSE", license_) if name == "scope" else each for name, each in document.items()}


def test_refresh_tokens_that_rotate_are_followed_to_the_last(cap: OurCap) -> None:
    edp = cap.edp
    edp.rotates, edp.new_token = True, any_token
    cap.connected(cap.signed_in())
    seen = {cap.held()}
    for _ in range(3):
        assert cap.collect() == 1, cap.row().trouble
        assert {cap.held()} == edp.refresh_tokens
        seen.add(cap.held())
        cap.clock.step(DAY)
    assert len(seen) == 4
    last = cap.held()
    withdraw(cap.row().id, Withdrawal("sme", "portal", "the SME withdrew"))
    assert outbox.dispatch().done == 1
    assert edp.revoked == [last]


def test_either_certificate_may_be_renewed_between_two_calls(cap: OurCap, certificates: Certificates) -> None:
    cap.hold()
    assert cap.collect() == 1, cap.row().trouble
    cap.clock.step(DAY)
    cap.edp.renew(*certificates.server())
    cap.call_as(certificates.client())
    assert cap.collect() == 1, cap.row().trouble
    assert len({each.certificate for each in cap.edp.asked(TOKEN)}) == 2


def test_a_window_is_never_longer_than_the_provider_allows(cap: OurCap) -> None:
    settings = cap.deployment.settings
    months = settings.collection.model_copy(update={"months": 13})
    cap.deployment.settings = settings.model_copy(update={"collection": months})
    cap.hold()
    assert cap.collect() == 1, cap.row().trouble
    with store.reading() as c:
        windows = connections.collected(c, "c")
    assert [windows[0].window_start, windows[-1].window_end] == [
        instant.parse("2025-02-01T00:00:00Z"),
        instant.parse("2026-03-01T00:00:00Z"),
    ]


# Waits


def test_readings_that_take_hours_are_waited_for_as_long_as_the_provider_says(cap: OurCap) -> None:
    cap.hold()
    cap.edp.late = ["60", "Thu, 12 Mar 2026 13:30:00 GMT", "soon", "999999999"]
    for seconds in (60, 4 * 3600 - 60, 60, DAY):
        assert cap.collect() == 0
        assert cap.row().collect_due == cap.clock.instant + seconds
        assert cap.row().trouble == "The provider is still collecting the readings."
        if seconds == 60:
            assert "still collecting the readings" in cap.signed_in().open("/connected").html
        cap.clock.step(seconds - 1)
        assert cap.collect() == 0, "before its time"
        cap.clock.step(1)
    assert cap.collect() == 1, cap.row().trouble


@pytest.mark.parametrize(
    ("surprise", "waits"),
    [
        pytest.param(instead(TOKEN, raw=breaks_off), RETRY_S, id="it breaks off"),
        pytest.param(instead(TOKEN, raw=drips), RETRY_S, id="it drips"),
        pytest.param(instead(TOKEN, 503), RETRY_S, id="503"),
        pytest.param(instead(TOKEN, 429, headers={"Retry-After": "1800"}), 1800, id="429 with a time"),
        pytest.param(instead("/datasources", 503, headers={"Retry-After": "7200"}), 7200, id="503 with a time"),
    ],
)
def test_a_provider_that_is_not_there_is_tried_again(cap: OurCap, surprise: Surprise, waits: int) -> None:
    cap.hold()
    surprise(cap.edp)
    _be_impatient(cap)
    for pause in (waits, 2 * waits) if waits == RETRY_S else (waits,):
        assert cap.collect() == 0
        row = cap.row()
        assert (row.trouble, row.collect_due) == (provider.UNREACHABLE, cap.clock.instant + pause)
        cap.clock.step(pause)
    cap.edp.instead.clear()
    cap.call_as(None)
    assert cap.collect() == 1


def _be_impatient(cap: OurCap) -> None:
    """Wait for no more than a moment where the provider drips."""
    if any(each.raw is drips for each in cap.edp.instead.values()):
        cap.call_as(None, IMPATIENT)


# Stops: collecting

OTHER = "https://registry.example/license/other"
UNUSABLE = [
    pytest.param(with_(access_token=7), "access_token", id="an access token that is none"),
    pytest.param(with_(access_token="at the end "), "access_token", id="an access token that no header carries"),
    pytest.param(with_(token_type="DPoP"), "token_type", id="another token_type"),
    pytest.param(with_(scope=OTHER), "scope", id="another scope"),
    pytest.param(with_(scope=["a"]), "scope", id="a scope that is no text"),
]


@pytest.mark.parametrize(("change", "reason"), UNUSABLE)
def test_the_newest_refresh_token_is_kept_whatever_else_is_wrong(
    cap: OurCap, caplog: pytest.LogCaptureFixture, change: Any, reason: str
) -> None:
    cap.edp.rotates = True
    cap.hold()
    cap.edp.spoil[TOKEN] = change
    for waits in (RETRY_S, 2 * RETRY_S, 4 * RETRY_S):
        assert cap.collect() == 0
        row = cap.row()
        assert (row.trouble, row.collect_due) == (provider.WRONG, cap.clock.instant + waits)
        assert {cap.held()} == cap.edp.refresh_tokens
        cap.clock.step(waits)
    assert f"localhost: {reason}" in caplog.text
    assert cap.edp.asked("/datasources") == []
    cap.edp.spoil.clear()
    assert cap.collect() == 1, "nothing was lost"


def test_a_token_that_has_died_is_tried_less_and_less(cap: OurCap) -> None:
    cap.hold()
    cap.edp.refresh_tokens = set()
    for waits in (RETRY_S, 2 * RETRY_S, 4 * RETRY_S):
        assert cap.collect() == 0
        assert (cap.row().trouble, cap.row().collect_due) == (provider.REFUSED, cap.clock.instant + waits)
        cap.clock.step(waits)


@pytest.mark.parametrize("revoked", [None, "2026-03-12T09:00:00Z"], ids=["null", "a time"])
def test_a_record_in_the_other_wrapper_ends_a_connection_too(cap: OurCap, revoked: str | None) -> None:
    cap.hold()
    row = cap.row()
    provider.end_if_revoked(row)
    assert cap.rows() == [row]
    cap.edp.spoil["/ib1_permission_endpoint"] = lambda document: {
        "permissions": {**document["permissions"], "revoked": revoked}
    }
    provider.end_if_revoked(row)
    assert cap.rows() == []


# Stops: connecting


@pytest.mark.parametrize(
    ("change", "reason"), [*UNUSABLE, pytest.param(without("refresh_token"), "no refresh token", id="no refresh token")]
)
def test_what_was_granted_and_cannot_be_used_is_given_back(
    cap: OurCap, caplog: pytest.LogCaptureFixture, change: Any, reason: str
) -> None:
    cap.edp.spoil[TOKEN] = change
    browser = cap.connected(cap.signed_in())
    assert browser.status == 502
    assert ProviderWrong.public in browser.html
    assert f"localhost: {reason}" in caplog.text
    assert cap.rows() == []
    granted = [] if reason == "no refresh token" else list(cap.edp.refresh_tokens)
    assert outbox.dispatch().done == len(granted)
    assert cap.edp.revoked == granted
    cap.edp.spoil.clear()
    assert cap.connected(browser).path == "/connected"


WRONG_METADATA = [
    pytest.param(spoilt(METADATA, with_(issuer="https://localhost")), "issuer is not the one", id="another issuer"),
    pytest.param(spoilt(METADATA, without("issuer")), "issuer is missing", id="no issuer"),
    pytest.param(spoilt(METADATA, with_(code_challenge_methods_supported=["plain"])), "S256 is not", id="no S256"),
    pytest.param(spoilt(METADATA, without("token_endpoint")), "token_endpoint is missing", id="a missing endpoint"),
    pytest.param(spoilt(METADATA, with_(revocation_endpoint="/revoke")), "revocation_endpoint is not", id="half a URL"),
    pytest.param(instead(METADATA, body=b"<html>"), "unreadable: not JSON", id="no JSON"),
    pytest.param(instead(METADATA, body=b" " * (3 << 20)), "too_large", id="huge"),
    pytest.param(instead(METADATA, 302, headers={"Location": "https://localhost/"}), "redirect", id="elsewhere"),
    pytest.param(instead(METADATA, 404), "status 404", id="gone"),
    pytest.param(instead(METADATA, 403), "status 403", id="forbidden"),
]


@pytest.mark.parametrize(("surprise", "reason"), WRONG_METADATA)
def test_wrong_metadata_are_a_stop_whatever_was_right_before(
    cap: OurCap, caplog: pytest.LogCaptureFixture, surprise: Surprise, reason: str
) -> None:
    """I13, I14: the copy that we have serves when nobody answers, never when the answer is wrong."""
    browser = cap.connected(cap.signed_in())
    before = len(cap.edp.server.asked)
    surprise(cap.edp)
    assert cap.sent_off(browser).status == 502
    assert ProviderWrong.public in browser.html
    assert "our fault" not in browser.html
    assert cap.collect() == 0
    assert cap.row().trouble == provider.WRONG
    assert [each.path for each in cap.edp.server.asked[before:]] == [METADATA] * 2
    assert caplog.text.count(reason) >= 2
    assert "is used" not in caplog.text


@pytest.mark.parametrize(
    "surprise",
    [instead(METADATA, 503), instead(METADATA, raw=breaks_off)],
    ids=["503", "it breaks off"],
)
def test_the_metadata_of_before_serve_while_nobody_answers(
    cap: OurCap, caplog: pytest.LogCaptureFixture, surprise: Surprise
) -> None:
    browser = cap.connected(cap.signed_in())
    surprise(cap.edp)
    assert cap.connected(browser).path == "/connected"
    assert "the copy of 2026-03-12T09:30:00Z is used" in caplog.text
    cap.clock.step(DAY + 1)
    assert cap.sent_off(cap.signed_in()).status == 503
    assert ProviderUnreachable.public in cap.sent_off(cap.signed_in()).html


MARKUP = "<script>alert(1)</script> <a href='https://evil.example'>ring-the-swindler</a>"


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        pytest.param({"iss": None}, 400, "localhost: iss", id="no iss"),
        pytest.param({"iss": "https://other.example"}, 400, "localhost: iss", id="mix-up"),
        pytest.param({"state": None}, 400, "", id="no state"),
        pytest.param({"state": "invalid"}, 400, "", id="invalid state"),
        pytest.param({"code": None}, 400, "localhost: code", id="no code"),
        pytest.param({"error": "server_error", "error_description": MARKUP}, 502, "oauth server_error", id="an error"),
        pytest.param({"error": MARKUP, "code": None}, 502, "oauth unknown_error", id="an error of markup"),
        pytest.param({"error": "access_denied", "iss": None}, 400, "localhost: iss", id="a stranger's refusal"),
    ],
)
def test_what_comes_back_wrong_goes_no_further(
    cap: OurCap, caplog: pytest.LogCaptureFixture, changes: dict[str, str | None], status: int, reason: str
) -> None:
    browser = cap.back(cap.sent_off(cap.signed_in()), **changes)
    assert (browser.status, cap.rows(), cap.edp.asked(TOKEN)) == (status, [], [])
    assert reason in caplog.text
    for spoken in (browser.html, caplog.text):
        assert "alert(1)" not in spoken
        assert "ring-the-swindler" not in spoken


@pytest.mark.parametrize(
    ("surprise", "status", "reason"),
    [
        pytest.param(instead(PUSH, 200, b"{}"), 502, "localhost: request_uri", id="no request_uri"),
        pytest.param(instead(PUSH, 201, b"<html>"), 502, "localhost: json", id="no JSON"),
        pytest.param(instead(PUSH, 404), 502, "localhost: status 404", id="404"),
        pytest.param(instead(PUSH, 302, headers={"Location": "/"}), 502, "localhost: status 302", id="redirect"),
        pytest.param(instead(PUSH, 400, b'{"error": "invalid_client"}'), 502, "oauth invalid_client", id="refused"),
        pytest.param(instead(PUSH, 503), 503, "localhost: status 503", id="503"),
        pytest.param(instead(PUSH, raw=drips), 503, "localhost: time", id="it drips"),
    ],
)
def test_a_push_that_leads_nowhere_says_why(
    cap: OurCap, caplog: pytest.LogCaptureFixture, surprise: Surprise, status: int, reason: str
) -> None:
    browser = cap.signed_in().open("/connect").click("continue")
    surprise(cap.edp)
    _be_impatient(cap)
    browser.click("continue", agree="yes")
    while browser.path == "/connect/leaving" and browser.status == 200:
        browser.open("/connect/leaving")
    assert (browser.status, cap.rows()) == (status, [])
    assert reason in caplog.text
    assert "our fault" not in browser.html

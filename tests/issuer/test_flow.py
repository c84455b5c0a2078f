"""The good path, as a client meets it, with what conformance programs look at on the way."""

import json
import logging
import math
from collections import Counter
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlsplit

import pytest

from consent_server import store
from consent_server.issuer.decision import FuelNotInLicense
from consent_server.outbound.directory import Directory, Member
from consent_server.outbound.errors import BadAnswer, Unreachable
from consent_server.refusal import Refusal
from consent_server.store import journeys
from consent_server.store.tables.audit import KeptEvent
from consent_server.store.tables.journeys import Journey, PushedRequest
from consent_server.store.tables.owed import OwedCall
from consent_server.store.tables.permissions import AuthorizationCode, Evidence, Link, Permission
from consent_server.tokens import access_token, binding, keys, status
from tests.issuer.conftest import CAP_ROLE, COMBINED, DIRECTORY, FSP_ROLE
from tests.jose import claims_of


def entropy(text: str) -> float:
    return sum(-count * math.log2(count / len(text)) for count in Counter(text).values())


def test_a_pushed_request_is_answered_as_rfc_9126_has_it(issuer: Any) -> None:
    answer = issuer.post("/par", issuer.good_push())
    assert answer.status_code == 201
    assert answer.content_type == "application/json"
    assert "no-store" in answer.headers["Cache-Control"]
    body = answer.get_json()
    assert body.keys() == {"request_uri", "expires_in"}
    assert body["expires_in"] == 90
    assert body["request_uri"].startswith("urn:ietf:params:oauth:request_uri:")
    row = issuer.row(PushedRequest)
    assert (row.expires - row.created, row.certificate) == (90, issuer.cap.fingerprint)
    assert body["request_uri"] not in repr(row)


def test_a_pushed_request_is_logged_as_the_clients_word_that_it_has_the_permission(
    issuer: Any, shared: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "consent_server.audit"):
        request_uri = issuer.post("/par", issuer.good_push()).get_json()["request_uri"]
    (line,) = (json.loads(each) for each in caplog.messages if '"pushed_request"' in each)
    assert len(line.pop("correlation_id")) > 10
    assert line == {
        "at": shared.START,
        "event": "pushed_request",
        "client_id": issuer.cap.application,
        "member": issuer.cap.member,
        "license": shared.BOTH.url,
        "redirect_host": urlsplit(issuer.good_push()["redirect_uri"]).hostname,
        "certificate": issuer.cap.fingerprint,
    }
    assert request_uri not in caplog.text


def test_the_browser_goes_into_the_journey_with_a_cookie_of_this_service(issuer: Any) -> None:
    answer = issuer.visit(issuer.push())
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/journey/identify?journey=")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-edp-journey-")
    assert all(part in cookie for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"))
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_many_journeys_in_one_browser_never_fill_its_cookie_header(issuer: Any, shared: Any) -> None:
    """95 of them would: gunicorn then answers every request of that browser with 431, one that withdraws too."""
    held = "; ".join(["__Host-edp-manage=m", *(f"__Host-edp-journey-{number}=s" for number in range(22))])
    query = {"client_id": issuer.cap.application, "request_uri": issuer.push()}
    answer = issuer.public.test_client(use_cookies=False).get(
        "/authorize", base_url=shared.PUBLIC, query_string=query, headers={"Cookie": held}
    )
    forgotten = [cookie.partition("=")[0] for cookie in answer.headers.getlist("Set-Cookie") if "Max-Age=0" in cookie]
    assert forgotten == [f"__Host-edp-journey-{number}" for number in range(3)]


def test_one_request_keeps_a_bounded_number_of_journeys(issuer: Any, held_clock: Any) -> None:
    """Who follows one link again and again fills no table; what was begun, and what was looked at last, goes on."""
    request_uri = issuer.push()
    begun, idle = issuer.open(request_uri), issuer.open(request_uri)
    with issuer.public.app_context(), store.writing() as c:
        journeys.touch(c, begun.id, held_clock.instant, claimed=held_clock.instant)
    other = issuer.open(issuer.push())
    for _ in range(2 * journeys.MOST_OPEN):
        held_clock.step(1)
        newest = issuer.open(request_uri)
    kept = {row.id for row in issuer.rows(Journey)}
    assert len(kept) == journeys.MOST_OPEN + 1
    assert {begun.id, newest.id, other.id} <= kept
    assert idle.id not in kept
    assert "code=" in issuer.decide(begun)


def test_the_whole_path_ends_in_tokens_that_say_what_was_agreed(issuer: Any, shared: Any) -> None:
    granted = issuer.grant()
    answer = shared.answer_in(granted.location)
    assert answer.keys() == {"code", "state", "iss"}
    assert (answer["state"], answer["iss"]) == ("the state", shared.PUBLIC)
    assert entropy(answer["code"]) > 96

    response = issuer.redeem(granted)
    assert response.status_code == 200
    assert "no-store" in response.headers["Cache-Control"]
    body = response.get_json()
    assert body.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 600, shared.BOTH.url)
    assert min(entropy(body["access_token"]), entropy(body["refresh_token"])) > 96

    token = access_token.read(
        body["access_token"],
        issuer.deployment.signing_keys,
        issuer=shared.PUBLIC,
        audience=shared.MUTUAL_TLS,
        at=shared.START,
    )
    permission = issuer.permission(body["refresh_token"])
    assert token.sub == permission.account
    assert token.client_id == issuer.cap.application
    assert token.permission.text_sha256 == shared.BOTH.text_sha256
    assert (token.permission.granted, token.iat) == (shared.START, shared.START)
    assert token.fuels == ("electricity", "gas")
    assert list(token.datasources) == [source["id"] for source in permission.datasources]
    assert token.cnf is None
    assert permission.redeemed == shared.START


def test_a_redemption_signs_one_access_token(issuer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    granted, minted, mint = issuer.grant(), [], access_token.mint
    monkeypatch.setattr(access_token, "mint", lambda keys, token: minted.append(token) or mint(keys, token))
    assert issuer.redeem(granted).status_code == 200
    assert len(minted) == 1


def test_a_decision_leaves_permission_evidence_code_and_event_together(issuer: Any, shared: Any) -> None:
    issuer.grant()
    permission = issuer.row(Permission)
    assert (permission.sme, permission.license, permission.ended) == ("acme", shared.BOTH.url, None)
    assert permission.expires == shared.START + 365 * 86400
    evidence = issuer.row(Evidence, subject=permission.id)
    assert (evidence.at, evidence.raw_sha256, evidence.address) == (shared.START, shared.BOTH.text_sha256, "192.0.2.7")
    code = issuer.row(AuthorizationCode, permission=permission.id)
    assert (code.issued, code.expires, code.redeemed) == (shared.START, shared.START + 60, None)
    assert [event.event for event in issuer.rows(KeptEvent)] == ["pushed_request", "permission_granted"]
    assert issuer.row(PushedRequest).concluded == issuer.row(Journey).concluded == shared.START


def test_a_grant_rests_on_what_the_party_says(changed: Any) -> None:
    issuer = changed(resting_on=("connection-of-{sme}",))
    issuer.grant()
    permission = issuer.row(Permission)
    assert [(link.support, link.dependent) for link in issuer.rows(Link)] == [("connection-of-acme", permission.id)]


@pytest.mark.parametrize(
    "redirect_uri", ["https://client.example/cb?dummy1=lorem&dummy2=ipsum%20x", "https://c.example"]
)
def test_the_clients_own_query_comes_back_as_it_was(issuer: Any, redirect_uri: str, shared: Any) -> None:
    location = issuer.grant(redirect_uri=redirect_uri).location
    assert location.startswith(redirect_uri + ("&" if "?" in redirect_uri else "?"))
    assert shared.answer_in(location)["iss"] == shared.PUBLIC


@pytest.mark.parametrize(
    "state",
    ["x" * 1000, "-._~" * 32, "a b+c&d=e%20/?#'\"<>\\", "grüße 測試 {{7*7}}", "=", None],
    ids=["1000 characters", "unreserved", "reserved", "not ASCII", "an equals sign", "none"],
)
def test_state_comes_back_byte_for_byte(issuer: Any, shared: Any, state: str | None) -> None:
    for conclude in (issuer.decide, issuer.decline):
        answer = shared.answer_in(conclude(issuer.open(issuer.push(state=state))))
        assert answer.get("state") == state


def test_declining_says_so_and_grants_nothing(issuer: Any, shared: Any) -> None:
    answer = shared.answer_in(issuer.decline(issuer.open(issuer.push())))
    assert answer.keys() == {"error", "error_description", "state", "iss"}
    assert (answer["error"], answer["state"], answer["iss"]) == ("access_denied", "the state", shared.PUBLIC)
    assert not issuer.rows(Permission)
    assert [event.event for event in issuer.rows(KeptEvent)] == ["pushed_request", "permission_declined"]


def test_offline_access_beside_the_license_is_dropped(issuer: Any, shared: Any) -> None:
    issuer.push(scope=f"offline_access {shared.BOTH.url}")
    assert issuer.row(PushedRequest).license == shared.BOTH.url


def test_unknown_parameters_are_ignored(issuer: Any) -> None:
    issuer.push(nonce="n", prompt="none", claims="{}")


def test_what_the_browser_adds_counts_for_nothing(issuer: Any, shared: Any) -> None:
    request_uri = issuer.push(state=None)
    answer = issuer.visit(
        request_uri, redirect_uri="https://evil.example", state="another", scope="x", response_type="token"
    )
    assert answer.status_code == 303
    journey = issuer.row(Journey)
    assert (journey.redirect_uri, journey.state, journey.license) == (shared.REDIRECT, None, shared.BOTH.url)


def test_the_request_uri_may_be_opened_again_until_it_is_concluded(issuer: Any) -> None:
    request_uri = issuer.push()
    issuer.open(request_uri)
    issuer.decide(issuer.open(request_uri))
    assert len(issuer.rows(Permission)) == 1


def test_the_journey_outlives_the_pushed_requests_90_seconds(issuer: Any, held_clock: Any, shared: Any) -> None:
    journey = issuer.open(issuer.push())
    held_clock.step(600)
    assert "code" in shared.answer_in(issuer.decide(journey))


def test_the_data_sources_of_one_client_and_sme_are_stable_and_no_others_know_them(issuer: Any) -> None:
    first, again = (issuer.permission(issuer.tokens()["refresh_token"]) for _ in range(2))
    other = issuer.permission(issuer.tokens(issuer.clients["cap2"])["refresh_token"])
    assert first.datasources == again.datasources
    assert {source["id"] for source in first.datasources}.isdisjoint(source["id"] for source in other.datasources)
    assert first.account != again.account


def test_refreshing_yields_access_tokens_and_keeps_the_refresh_token(issuer: Any, held_clock: Any, shared: Any) -> None:
    tokens = issuer.tokens()
    before = issuer.everything()
    held_clock.step(3600)
    for more in ({}, {"scope": shared.BOTH.url}, {"scope": f"{shared.BOTH.url} offline_access"}):
        answer = issuer.refresh(tokens["refresh_token"], **more)
        assert answer.status_code == 200
        assert "no-store" in answer.headers["Cache-Control"]
        body = answer.get_json()
        assert body.keys() == {"access_token", "token_type", "expires_in", "scope"}
        claims = claims_of(body["access_token"])
        assert (claims["iat"], claims["exp"]) == (shared.START + 3600, shared.START + 4200)
    assert issuer.everything() == before


def test_a_renewed_certificate_of_the_same_application_refreshes(issuer: Any) -> None:
    tokens = issuer.tokens()
    assert issuer.refresh(tokens["refresh_token"], issuer.clients["cap_renewed"]).status_code == 200


def test_an_access_token_never_outlives_its_permission(issuer: Any, held_clock: Any) -> None:
    tokens = issuer.tokens()
    permission = issuer.permission(tokens["refresh_token"])
    held_clock.instant = permission.expires - 7
    body = issuer.refresh(tokens["refresh_token"]).get_json()
    assert body["expires_in"] == 7
    assert claims_of(body["access_token"])["exp"] == permission.expires


def test_a_setting_binds_tokens_to_the_certificate(changed: Any) -> None:
    issuer = changed(tokens__bind_to_certificate=True)
    tokens = issuer.tokens()
    assert claims_of(tokens["access_token"])["cnf"] == {"x5t#S256": binding.thumbprint(issuer.cap.der)}
    renewed = issuer.clients["cap_renewed"]
    body = issuer.refresh(tokens["refresh_token"], renewed).get_json()
    assert claims_of(body["access_token"])["cnf"] == {"x5t#S256": binding.thumbprint(renewed.der)}


def test_the_permission_record_has_the_specifications_fields(issuer: Any, held_clock: Any, shared: Any) -> None:
    granted = issuer.grant()
    held_clock.step(5)
    token = issuer.redeem(granted).get_json()["refresh_token"]
    permission = issuer.permission(token)
    held_clock.step(86400)
    answer = issuer.post("/permission", {"token": token})
    assert answer.status_code == 200
    assert answer.get_json() == {
        "permission": {
            "oauthIssuer": shared.PUBLIC,
            "client": issuer.cap.application,
            "license": shared.BOTH.url,
            "account": permission.account,
            "lastGranted": "2026-03-12T09:30:00Z",
            "expires": "2027-03-12T09:30:00Z",
            "evidence": f"{shared.PUBLIC}/evidence/{issuer.row(Evidence, subject=permission.id).id}",
            "dataAvailableFrom": "2025-02-12T09:30:00Z",
            "tokenIssuedAt": "2026-03-12T09:30:05Z",
            "tokenExpires": "2027-03-12T09:30:00Z",
        }
    }


def test_the_record_of_an_ended_permission_answers_for_13_months(issuer: Any, held_clock: Any, shared: Any) -> None:
    token = issuer.tokens()["refresh_token"]
    issuer.end(issuer.permission(token).id, shared.START + 60)
    held_clock.instant = shared.instant.months_later(shared.START + 60, 13) - 1
    record = issuer.post("/permission", {"token": token}).get_json()["permission"]
    assert record["revoked"] == "2026-03-12T09:31:00Z"
    held_clock.step(1)
    answer = issuer.post("/permission", {"token": token})
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_grant")


def test_the_record_of_an_expired_permission_answers_and_is_not_revoked(issuer: Any, held_clock: Any) -> None:
    token = issuer.tokens()["refresh_token"]
    held_clock.instant = issuer.permission(token).expires + 360 * 86400
    assert "revoked" not in issuer.post("/permission", {"token": token}).get_json()["permission"]


@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
@pytest.mark.parametrize("hint", [{}, {"token_type_hint": "access_token"}, {"token_type_hint": "pigeon"}], ids=str)
def test_a_client_revokes_with_either_token(issuer: Any, kind: str, hint: dict[str, str]) -> None:
    tokens = issuer.tokens()
    answer = issuer.post("/revoke", {"token": tokens[kind], **hint})
    assert answer.status_code == 200
    permission = issuer.permission(tokens["refresh_token"])
    assert (permission.ended_as, permission.ended_by) == ("withdrawn", "client")
    assert issuer.refresh(tokens["refresh_token"]).get_json()["error"] == "invalid_grant"
    assert not issuer.rows(OwedCall)  # the client that asked is not told what it said itself
    assert issuer.post("/revoke", {"token": tokens[kind]}).status_code == 200


def test_introspection_tells_our_own_resource_server_what_lives(issuer: Any, held_clock: Any, shared: Any) -> None:
    tokens = issuer.tokens()
    ours = issuer.clients["edp_data"]
    body = issuer.post("/introspect", {"token": tokens["access_token"]}, ours).get_json()
    assert (body["active"], body["client_id"], body["scope"]) == (True, issuer.cap.application, shared.BOTH.url)
    assert body["aud"] == shared.MUTUAL_TLS
    assert issuer.post("/introspect", {"token": tokens["refresh_token"]}, ours).get_json()["active"] is True
    withdrawn = issuer.tokens(sme="bolts")
    issuer.end(issuer.permission(withdrawn["refresh_token"]).id, held_clock.instant)
    for token in (withdrawn["access_token"], withdrawn["refresh_token"], "unknown"):
        assert issuer.post("/introspect", {"token": token}, ours).get_json() == {"active": False}
    held_clock.step(600)
    assert issuer.post("/introspect", {"token": tokens["access_token"]}, ours).get_json() == {"active": False}
    held_clock.instant = issuer.permission(tokens["refresh_token"]).expires
    assert issuer.post("/introspect", {"token": tokens["refresh_token"]}, ours).get_json() == {"active": False}


def test_keys_and_status_list_are_what_a_resource_server_needs(issuer: Any, shared: Any) -> None:
    first, second = (issuer.tokens(sme=sme) for sme in ("acme", "bolts"))
    issuer.end(issuer.permission(second["refresh_token"]).id, shared.START)
    jwks = issuer.get("/jwks")
    assert jwks.headers["Cache-Control"] == f"public, max-age={keys.JWKS_MAX_AGE}"
    public_keys = keys.PublicKeys(jwks.get_json(force=True))
    token = access_token.read(
        first["access_token"], public_keys, issuer=shared.PUBLIC, audience=shared.MUTUAL_TLS, at=shared.START
    )
    answer = issuer.get("/status-list")
    assert answer.content_type == "application/statuslist+jwt"
    assert answer.headers["Cache-Control"] == "public, max-age=2"
    listed = status.decode(answer.text, public_keys, token.status_uri, shared.START)
    assert [listed.withdrawn(index) for index in (0, 1)] == [False, True]
    assert token.status_idx == 0


def test_the_status_list_of_no_permissions_can_be_read(issuer: Any, shared: Any) -> None:
    listed = status.decode(
        issuer.get("/status-list").text, issuer.deployment.signing_keys, f"{shared.PUBLIC}/status-list", shared.START
    )
    assert listed.withdrawn(0) is False


def test_nothing_is_written_by_a_refused_decision(issuer: Any, shared: Any) -> None:
    journey = issuer.open(issuer.push())
    before = issuer.everything()
    for changes in ({"agreed": False}, {"raw_sha256": "0" * 64}, {"fuels": ["electricity", "oil"]}, {"fuels": []}):
        with pytest.raises(Refusal):
            issuer.decide(journey, shared.Decided(**changes))
    assert issuer.everything() == before


def test_gas_is_never_granted_under_the_electricity_text(issuer: Any, shared: Any) -> None:
    journey = issuer.open(issuer.push(scope=shared.ELECTRICITY.url))
    with pytest.raises(FuelNotInLicense):
        issuer.decide(journey, shared.Decided(raw_sha256=shared.ELECTRICITY.text_sha256))


def test_a_failing_database_is_503_and_the_permission_lives_on(issuer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = issuer.tokens()

    def broken(*_: object) -> None:
        raise store.StoreUnavailable("a test")

    monkeypatch.setattr("consent_server.withdrawal.withdraw.withdraw_in", broken)
    answer = issuer.post("/revoke", {"token": tokens["refresh_token"]})
    assert answer.status_code == 503
    assert answer.get_json()["error"] == "temporarily_unavailable"
    monkeypatch.undo()
    assert issuer.permission(tokens["refresh_token"]).ended is None


def test_a_client_has_the_directory_asked_about_few_banks(changed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is counted before the Directory is asked, for this client alone."""
    issuer, asked = changed(limits__unknown_links_per_network=2), Mock(side_effect=BadAnswer("gone", "x", 404))
    monkeypatch.setattr(Directory, "member", asked)
    named = [{"scope": COMBINED.url, "fsp": f"{DIRECTORY}/m/bank{number}"} for number in range(3)]
    responses = [issuer.post("/par", issuer.good_push(**each)) for each in named]
    assert [response.status_code for response in responses] == [400, 400, 429]
    assert int(responses[2].headers["Retry-After"]) > 0
    assert asked.call_count == 2
    assert issuer.post("/par", issuer.good_push()).status_code == 201, "what names no bank goes on"
    monkeypatch.undo()
    assert issuer.post("/par", issuer.good_push(issuer.clients["cap2"]), issuer.clients["cap2"]).status_code == 201


def test_a_pushed_request_names_the_bank_and_the_text_that_was_read(
    issuer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any member is no bank; one that the Directory does not know is none; while the Directory is down nothing is taken."""
    bank, read = f"{DIRECTORY}/m/bank", COMBINED.text_sha256
    named = {"scope": COMBINED.url, "fsp": bank, "permission_text_sha256": read, "login_hint": "h" * 48}
    answers: dict[str, Any] = {
        "bank_unknown": Member(bank, "Bank plc", "Bank", (CAP_ROLE,), None, True),
        "membership_unknown": Unreachable("connection", "directory.example"),
        "": Member(bank, "Bank plc", "Bank", (FSP_ROLE,), None, True),
    }

    for code, says in answers.items():
        played = Mock(side_effect=says) if isinstance(says, Unreachable) else Mock(return_value=says)
        monkeypatch.setattr(Directory, "member", played)
        response = issuer.post("/par", issuer.good_push(**named))
        assert response.get_json().get("error_uri", "").rpartition("/")[2] == code
    journey = issuer.open(response.get_json()["request_uri"])
    assert (journey.fsp, journey.text_read, journey.hint) == (bank, read, "h" * 48)
    assert issuer.open(issuer.push(login_hint="h" * 49)).hint is None, "none that we have given"

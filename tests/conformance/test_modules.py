"""The 31 modules of the FAPI 2.0 Security Profile Final plan (mtls, mtls, plain OAuth), each under its own name.

At the EDP's issuer the manifest's `cap` and `cap2` are the suite's two clients, at the CAP's issuer `fsp` and `fsp2`. A test
fails where the suite would say FAILURE or WARNING. REVIEW (a page, where the suite wants a screenshot) is expected of
modules 11 and 24 alone.
"""

import secrets
import string
from collections.abc import Callable

import httpx
import pytest

from tests.conformance import suite
from tests.conformance.plan import CALLBACK
from tests.conformance.suite import Run

pytestmark = pytest.mark.xdist_group("sandbox")

PassTime = Callable[[int], None]


# 1


def test_fapi2_security_profile_final_discovery_end_point_verification(run: Run) -> None:
    answer = httpx.get(run.plan.discovery_url, verify=run.plan.without_certificate(), trust_env=False)
    suite.check_discovery(run.plan, answer)


# 2


def test_fapi2_security_profile_final_happy_flow(run: Run) -> None:
    first, second = run.plan.both
    suite.check_tls(run.plan.resource_url)
    tokens = run.whole_flow(first)
    assert _token_in_the_query(run, tokens["access_token"]).status_code in {400, 401, 414}
    others = {"Accept": "application/json;charset=UTF-8", "Accept-Charset": "UTF-8"}
    run.check_resource(first, tokens, headers={"x-fapi-customer-ip-address": "2001:db8::1893:def4", **others})
    run.check_resource(first, tokens, headers={"Accept": "application/json, application/*+json, */*"})

    asked = run.push(second)
    tokens = run.finish(asked, run.allow(run.url(asked, backwards=True)))
    run.check_other_client_is_refused(tokens)


def _token_in_the_query(run: Run, access_token: str) -> httpx.Response:
    url = run.plan.resource_url
    url += f"{'&' if '?' in url else '?'}access_token={access_token}"
    return run.plan.first.http.get(url, headers={"Accept": "application/json"})


# 3


def test_fapi2_security_profile_final_user_rejects_authentication(run: Run) -> None:
    for client, button in zip(run.plan.both, ("cancel", "decline"), strict=True):
        asked = run.push(client)
        run.refused_by_redirect(asked, run.reject(run.url(asked), at=button), "access_denied")


# 4 to 8: state


def test_fapi2_security_profile_final_ensure_authorization_request_without_state_success(run: Run) -> None:
    asked = run.push(run.plan.first, "state")
    run.finish(asked, run.allow(run.url(asked)))  # `callback` holds that none came back


def test_fapi2_security_profile_final_access_token_type_header_case_sensitivity(run: Run) -> None:
    tokens = run.whole_flow(run.plan.first)
    run.check_resource(run.plan.first, tokens, scheme=tokens["token_type"].swapcase())


def test_fapi2_security_profile_final_ensure_different_state_inside_and_outside_request_object(run: Run) -> None:
    asked = run.push(run.plan.first)
    run.finish(asked, run.allow(run.url(asked, state=run.plan.first.state())))


def test_fapi2_security_profile_final_ensure_authorization_request_with_long_state(run: Run) -> None:
    asked = run.push(run.plan.first, state="".join(secrets.choice(string.ascii_letters) for _ in range(1000)))
    run.finish(asked, run.allow(run.url(asked)))


def test_fapi2_security_profile_final_state_only_outside_request_object_not_used(run: Run) -> None:
    asked = run.push(run.plan.first, "state")
    run.finish(asked, run.allow(run.url(asked, state=run.plan.first.state())))


# 9 to 12: redirect_uri, and requests that were not pushed


def test_fapi2_security_profile_final_ensure_request_object_without_redirect_uri_fails(run: Run) -> None:
    asked = run.ask(run.plan.first, "redirect_uri")
    suite.check_par_error(run.send(asked), "invalid_request", "invalid_request_object")


def test_fapi2_security_profile_final_plain_fapi_tolerate_unregistered_redirect_uri(run: Run) -> None:
    extra = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(10))
    asked = run.push(run.plan.first, redirect_uri=f"{CALLBACK}/{extra}")
    run.finish(asked, run.allow(run.url(asked)))


def test_fapi2_security_profile_final_ensure_unsigned_authorization_request_without_using_par_fails(run: Run) -> None:
    asked = run.ask(run.plan.first)
    others = {name: asked.form[name] for name in ("state", "code_challenge", "code_challenge_method")}
    suite.check_error_page(run.open(run.url(asked, "request_uri", **others)))  # REVIEW


def test_fapi2_security_profile_final_ensure_redirect_uri_in_authorization_request(run: Run) -> None:
    asked = run.ask(run.plan.first, "redirect_uri")
    suite.check_par_error(run.send(asked), "invalid_request")


# 13, 14: response types

_RESPONSE_TYPE_ERRORS = ("unsupported_response_type", "invalid_request", "unauthorized_client")


def test_fapi2_security_profile_final_ensure_response_type_code_idtoken_fails(run: Run) -> None:
    asked = run.ask(run.plan.first, response_type="code id_token")
    suite.check_par_error(run.send(asked), *_RESPONSE_TYPE_ERRORS)


def test_fapi2_security_profile_final_ensure_response_type_token_fails(run: Run) -> None:
    asked = run.ask(run.plan.first, response_type="token")
    suite.check_par_error(run.send(asked), *_RESPONSE_TYPE_ERRORS)


# 15 to 19: the code, and whose it is


def test_fapi2_security_profile_final_ensure_client_id_in_token_endpoint(run: Run) -> None:
    asked, code = run.code(run.plan.first)
    answer = run.code_request(asked, code, client_id=run.plan.second.client_id)
    suite.check_error(answer, "invalid_client", "invalid_grant")


def test_fapi2_security_profile_final_ensure_holder_of_key_required(run: Run) -> None:
    suite.check_tls(run.metadata["authorization_endpoint"])
    suite.check_tls(run.endpoint("token_endpoint"))
    asked, code = run.code(run.plan.first)
    form = {
        "client_id": run.plan.first.client_id,
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": asked.form["redirect_uri"],
        "code_verifier": asked.verifier,
    }
    suite.check_refused_without_certificate(run.endpoint("token_endpoint"), form)


def test_fapi2_security_profile_final_ensure_authorization_code_is_bound_to_client(run: Run) -> None:
    asked, code = run.code(run.plan.first)
    suite.check_error(run.code_request(asked, code, by=run.plan.second), "invalid_grant")


def test_fapi2_security_profile_final_attempt_reuse_authorization_code_after_one_second(
    run: Run, pass_time: PassTime
) -> None:
    asked, code = run.code(run.plan.first)
    tokens = run.redeem(asked, code)
    run.check_resource(run.plan.first, tokens)
    pass_time(1)
    suite.check_error(run.code_request(asked, code), "invalid_grant")
    # A token that outlives the replay is a WARNING.
    assert 400 <= run.resource(run.plan.first, tokens).status_code < 500


def test_fapi2_security_profile_final_ensure_token_endpoint_fails_with_expired_auth_code(
    run: Run, pass_time: PassTime
) -> None:
    asked, code = run.code(run.plan.first)
    pass_time(62)
    suite.check_error(run.code_request(asked, code), "invalid_grant")


# 20


def test_fapi2_security_profile_final_refresh_token(run: Run, pass_time: PassTime) -> None:
    first, second = run.plan.both
    tokens = {client.number: run.whole_flow(client) for client in run.plan.both}
    assert "refresh_token" in run.metadata["grant_types_supported"]
    for client, scope in ((first, {"scope": run.plan.scope}), (second, {})):
        form = {"grant_type": "refresh_token", "refresh_token": tokens[client.number]["refresh_token"]}
        refreshed = suite.check_refreshed(run.token_request(client, {**form, **scope}))
        # FAPI 2.0 section 5.3.2.1 item 9: not rotated. The suite would wait 30 s and want the old one to work still.
        assert refreshed.get("refresh_token", form["refresh_token"]) == form["refresh_token"]
        pass_time(30)
        again = suite.check_refreshed(run.token_request(client, form))
        run.check_resource(client, again)
        pass_time(0)
        run.check_resource(client, refreshed)
        endpoint = run.endpoint("token_endpoint")
        suite.check_refused_without_certificate(endpoint, {"client_id": client.client_id, **form})
    other = {"grant_type": "refresh_token", "refresh_token": tokens[second.number]["refresh_token"]}
    suite.check_error(run.token_request(first, other), "invalid_grant")
    run.check_other_client_is_refused(tokens[second.number])


# 21 to 26: pushed requests


def test_fapi2_security_profile_final_par_ensure_reused_request_uri_prior_to_auth_completion_succeeds(run: Run) -> None:
    asked = run.push(run.plan.first)
    with run.browser() as browser:
        first_visit = browser.open(run.url(asked))
        assert (first_visit.path, first_visit.status) == (run.plan.steps[0]["path"], 200)
        run.finish(asked, run.allow(run.url(asked), browser))


def test_fapi2_security_profile_final_par_attempt_reuse_request_uri(run: Run) -> None:
    asked = run.push(run.plan.first)
    run.finish(asked, run.allow(run.url(asked)))
    run.refused_by_redirect(asked, run.open(run.url(asked)), "invalid_request_uri")


def test_fapi2_security_profile_final_par_attempt_to_use_expired_request_uri(run: Run, pass_time: PassTime) -> None:
    asked = run.push(run.plan.first)
    pass_time(asked.expires_in)
    run.refused_by_redirect(asked, run.open(run.url(asked)), "invalid_request_uri")


def test_fapi2_security_profile_final_par_attempt_to_use_request_uri_for_different_client(run: Run) -> None:
    asked = run.push(run.plan.first)
    suite.check_error_page(run.open(run.url(asked, client_id=run.plan.second.client_id)))  # REVIEW


def test_fapi2_security_profile_final_par_authorization_request_containing_request_uri_form_param(run: Run) -> None:
    earlier = run.push(run.plan.first)
    asked = run.ask(run.plan.first, request_uri=earlier.request_uri)
    suite.check_par_error(run.send(asked), "invalid_request", "invalid_request_object", "request_uri_not_supported")


def test_fapi2_security_profile_final_par_attempt_invalid_http_method(run: Run) -> None:
    asked = run.ask(run.plan.first)
    answer = run.plan.first.http.put(run.endpoint("pushed_authorization_request_endpoint"), data=asked.form)
    assert 400 <= answer.status_code < 600


# 27 to 30: PKCE


def test_fapi2_security_profile_final_par_ensure_pkce_required(run: Run) -> None:
    asked = run.ask(run.plan.first, "code_challenge", "code_challenge_method")
    suite.check_par_error(run.send(asked), "invalid_request")


def test_fapi2_security_profile_final_ensure_pkce_code_verifier_required(run: Run) -> None:
    asked, code = run.code(run.plan.first)
    suite.check_error(run.code_request(asked, code, "code_verifier"), "invalid_grant")


def test_fapi2_security_profile_final_incorrect_pkce_code_verifier_rejected(run: Run) -> None:
    asked, code = run.code(run.plan.first)
    other = run.ask(run.plan.first).verifier
    suite.check_error(run.code_request(asked, code, code_verifier=other), "invalid_grant")


def test_fapi2_security_profile_final_par_plain_pkce_rejected(run: Run) -> None:
    asked = run.ask(run.plan.first, code_challenge_method="plain")
    asked.form["code_challenge"] = asked.verifier
    suite.check_par_error(run.send(asked), "invalid_request")


# 31


def test_fapi2_security_profile_final_par_without_duplicate_parameters(run: Run) -> None:
    asked = run.push(run.plan.first)
    run.finish(asked, run.allow(run.url(asked, "redirect_uri", "response_type", "scope")))

"""When the copy of an issuer's metadata serves: while nobody answers, and never when the answer is wrong (I13)."""

import json

import pytest

from consent_server.outbound.errors import Unreachable
from consent_server.outbound.log_in import LogInProvider
from consent_server.outbound.upstream import Upstream
from consent_server.settings.journey import LoginSettings

NO_STORE = {"Cache-Control": "no-store"}


def an_upstream(settings, session, cache, origin):
    return Upstream(settings.member.application, session, cache).metadata, "/.well-known/oauth-authorization-server"


def a_log_in_provider(settings, session, cache, origin):
    made = LogInProvider(LoginSettings(issuer=origin, client_id="us"), session, cache)
    return lambda issuer: made.metadata(), "/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("status", "change", "serves"),
    [
        pytest.param(503, {}, True, id="503"),
        pytest.param(429, {}, True, id="429"),
        pytest.param(404, {}, False, id="404"),
        pytest.param(403, {}, False, id="403"),
        pytest.param(302, {}, False, id="a redirect elsewhere"),
        pytest.param(200, {"issuer": "https://other.example"}, False, id="another issuer"),
        pytest.param(200, {"authorization_endpoint": None}, False, id="a missing endpoint"),
    ],
)
@pytest.mark.parametrize("client", [an_upstream, a_log_in_provider])
def test_which_answers_let_a_kept_copy_serve(
    settings, session, cache, trust, wire, caplog, client, status, change, serves
):
    origin = trust.url(host=wire.directory if client is a_log_in_provider else wire.member)
    read, path = client(settings, session, cache, origin)
    endpoints = ("authorization", "token", "pushed_authorization_request", "revocation", "ib1_permission")
    document = {
        "issuer": origin,
        "jwks_uri": f"{origin}/jwks",
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "id_token_signing_alg_values_supported": ["ES256"],
        **{f"{name}_endpoint": f"{origin}/{name}" for name in endpoints},
    }
    trust.routes[path] = wire.answer(200, json.dumps(document).encode(), NO_STORE)
    before = read(origin)
    headers = {**NO_STORE, "Location": "https://elsewhere.example/"}
    trust.routes[path] = wire.answer(status, json.dumps({**document, **change}).encode(), headers)
    if serves:
        assert read(origin) == before
        assert "is used" in caplog.text
    else:
        with pytest.raises(Unreachable) as stopped:
            read(origin)
        assert stopped.value.is_wrong

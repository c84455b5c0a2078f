"""The metadata, held against OAuth with Member Identity Certificates and against the endpoints that it describes."""

from typing import Any

import pytest

WELL_KNOWN = "/.well-known/oauth-authorization-server"


def test_the_document_is_exactly_this(refusing: Any, shared: Any) -> None:
    answer = refusing.get(WELL_KNOWN)
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    endpoints = {
        "authorization_endpoint": "https://edp.example/authorize",
        "token_endpoint": "https://mtls.edp.example/token",
        "pushed_authorization_request_endpoint": "https://mtls.edp.example/par",
        "revocation_endpoint": "https://mtls.edp.example/revoke",
        "ib1_permission_endpoint": "https://mtls.edp.example/permission",
    }
    assert answer.get_json() == {
        "issuer": "https://edp.example",
        **endpoints,
        "mtls_endpoint_aliases": endpoints,
        "use_mtls_endpoint_aliases": True,
        "jwks_uri": "https://edp.example/jwks",
        "scopes_supported": [one.url for one in (shared.ELECTRICITY, shared.BOTH, shared.COMBINED)],
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_endpoint_auth_methods_supported": ["tls_client_auth"],
        "token_endpoint_auth_methods_supported": ["tls_client_auth"],
        "revocation_endpoint_auth_methods_supported": ["tls_client_auth"],
        "require_pushed_authorization_requests": True,
        "tls_client_certificate_bound_access_tokens": True,
        "authorization_response_iss_parameter_supported": True,
    }


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path", [f"{WELL_KNOWN}/another", f"{WELL_KNOWN}/", "/errors/no_such_refusal", "/openapi/none.json"]
)
def test_what_is_not_there_is_404_whatever_the_method(refusing: Any, path: str, method: str) -> None:
    assert refusing.public.test_client().open(path, method=method).status_code == 404


def test_every_endpoint_in_it_answers(refusing: Any) -> None:
    document = refusing.get(WELL_KNOWN).get_json()
    for name, url in document.items():
        if name.endswith("_endpoint"):
            origin, _, path = url.partition(".example")
            app = refusing.public if origin == "https://edp" else refusing.mutual_tls
            assert app.test_client().open(path, method="TRACE").status_code == 405, name


def test_a_setting_takes_the_authorization_endpoint_out_of_the_aliases(changed: Any) -> None:
    document = changed(metadata__authorization_alias=False).get(WELL_KNOWN).get_json()
    endpoints = {name: url for name, url in document.items() if name.endswith("_endpoint")}
    assert endpoints.pop("authorization_endpoint")
    assert document["mtls_endpoint_aliases"] == endpoints


@pytest.mark.parametrize(("path", "well_known"), [("", WELL_KNOWN), ("/a/b", f"{WELL_KNOWN}/a/b")])
def test_the_well_known_segment_goes_before_the_issuers_path(changed: Any, path: str, well_known: str) -> None:
    issuer = changed(issuer=f"https://edp.example{path}")
    assert issuer.get(well_known).get_json()["issuer"] == f"https://edp.example{path}"
    assert issuer.get(f"{path}/x{WELL_KNOWN}").status_code == 404


def test_lifetimes_advertised_are_lifetimes_enforced(changed: Any, held_clock: Any) -> None:
    issuer = changed(lifetimes__pushed_request=30, lifetimes__access_token=60)
    answer = issuer.post("/par", issuer.good_push()).get_json()
    assert answer["expires_in"] == 30
    held_clock.step(30)
    assert "error=" in issuer.visit(answer["request_uri"]).headers["Location"]
    assert issuer.tokens()["expires_in"] == 60

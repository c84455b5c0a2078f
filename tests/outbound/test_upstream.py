"""The OAuth client of an issuer: B20 (mix-up), discovery, and the tolerance of brief 3.6 for deployed issuers."""

import json
import logging
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from consent_server.outbound.errors import BadAnswer, CallbackRefused, NotAllowed, OAuthRefused, Unreachable
from consent_server.outbound.upstream import Upstream
from tests.jose import s256

LICENSE = "https://registry.example/license/both"
APRIL = 1_775_001_600  # 2026-04-01T00:00:00Z
BACK = "https://cap.example/callback"


class Issuer:
    """A stand-in issuer on a real server: metadata as a dictionary that tests spoil."""

    def __init__(self, server, wire, path="") -> None:
        self.server = server
        self.url = server.url(path)
        self.path = path
        self.metadata = {
            "issuer": self.url,
            "authorization_endpoint": server.url("/authorize"),
            "token_endpoint": server.url("/token"),
            "pushed_authorization_request_endpoint": server.url("/par"),
            "revocation_endpoint": server.url("/revoke"),
            "ib1_permission_endpoint": server.url("/permission"),
            "code_challenge_methods_supported": ["S256"],
            "jwks_uri": server.url("/jwks"),
        }
        server.routes[f"/.well-known/oauth-authorization-server{path}"] = lambda asked: wire.json(self.metadata)


@pytest.fixture
def issuer(serve, wire):
    return Issuer(serve(ask_client=True), wire)


@pytest.fixture
def upstream(settings, session, cache):
    return Upstream(settings.member.application, session, cache)


@pytest.fixture
def known(upstream, issuer):
    return upstream.metadata(issuer.url)


class TestDiscovery:
    def test_endpoints(self, known, issuer):
        assert known.issuer == issuer.url
        assert known.token_endpoint == issuer.metadata["token_endpoint"]
        assert known.jwks_uri == issuer.metadata["jwks_uri"]

    def test_a_path_goes_behind_the_well_known_segment(self, upstream, serve, wire):
        issuer = Issuer(serve(), wire, "/issuer/1")
        assert upstream.metadata(issuer.url).issuer == issuer.url
        assert issuer.server.asked[0].path == "/.well-known/oauth-authorization-server/issuer/1"

    def test_members_use_the_aliases_and_browsers_do_not(self, upstream, issuer):
        issuer.metadata["mtls_endpoint_aliases"] = {
            "token_endpoint": issuer.server.url("/mtls/token"),
            "authorization_endpoint": issuer.server.url("/mtls/authorize"),
        }
        found = upstream.metadata(issuer.url)
        assert urlsplit(found.token_endpoint).path == "/mtls/token"
        assert urlsplit(found.authorization_endpoint).path == "/authorize"
        assert urlsplit(found.revocation_endpoint).path == "/revoke"

    def test_the_older_name_of_the_permission_endpoint(self, upstream, issuer):
        issuer.metadata["permissions_endpoint"] = issuer.metadata.pop("ib1_permission_endpoint")
        assert upstream.metadata(issuer.url).ib1_permission_endpoint == issuer.server.url("/permission")

    @pytest.mark.parametrize(("listed", "own"), [("/", ""), ("", "/"), ("/", "/"), ("", "")])
    def test_the_directory_may_have_a_slash_that_the_issuer_has_not(self, upstream, issuer, listed, own):
        issuer.metadata["issuer"] = issuer.url + own
        assert upstream.metadata(issuer.url + listed).issuer == issuer.url + own

    @pytest.mark.parametrize(
        ("key", "value", "said"),
        [
            ("issuer", "https://evil.example", "issuer is not the one that was requested"),
            ("issuer", None, "issuer is missing"),
            ("issuer", "path", "issuer is not the one that was requested"),
            ("issuer", "slashes", "issuer is not the one that was requested"),
            ("token_endpoint", None, "token_endpoint is missing"),
            ("token_endpoint", "http://member.example/token", "token_endpoint is not an https URL"),
            ("token_endpoint", "https://member.example:secret/", "token_endpoint names no host"),
            ("token_endpoint", "https://[member/", "token_endpoint names no host"),
            ("pushed_authorization_request_endpoint", None, "pushed_authorization_request_endpoint is missing"),
            ("revocation_endpoint", None, "revocation_endpoint is missing"),
            ("ib1_permission_endpoint", None, "ib1_permission_endpoint is missing"),
            ("code_challenge_methods_supported", ["plain"], "S256 is not supported"),
            ("code_challenge_methods_supported", None, "S256 is not supported"),
        ],
    )
    def test_metadata_that_is_refused(self, upstream, issuer, key, value, said):
        issuer.metadata[key] = {"path": issuer.url + "/a", "slashes": issuer.url + "//"}.get(str(value), value)
        with pytest.raises(BadAnswer) as refused:
            upstream.metadata(issuer.url)
        assert (refused.value.kind, refused.value.is_wrong) == (f"unreadable: {said}", True)

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"issuer":'])
    def test_metadata_that_is_no_json_object(self, upstream, issuer, wire, body):
        issuer.server.routes["*"] = issuer.server.routes["/.well-known/oauth-authorization-server"] = wire.answer(
            200, body
        )
        with pytest.raises(BadAnswer, match=r"unreadable: not (JSON|a JSON object)"):
            upstream.metadata(issuer.url)

    def test_a_browser_is_not_sent_to_a_host_beside_the_allowlist(self, upstream, issuer):
        issuer.metadata["authorization_endpoint"] = "https://evil.example/authorize"
        with pytest.raises(NotAllowed):
            upstream.metadata(issuer.url)

    def test_a_back_channel_beside_the_allowlist_is_not_called(self, upstream, issuer):
        issuer.metadata["token_endpoint"] = "https://evil.example/token"
        with pytest.raises(NotAllowed):
            upstream.refresh(upstream.metadata(issuer.url), LICENSE, "r")

    def test_an_issuer_beside_the_allowlist_is_not_called(self, upstream):
        with pytest.raises(NotAllowed):
            upstream.metadata("https://evil.example")


class TestPush:
    def test_what_is_pushed_and_where_the_browser_goes(self, settings, upstream, known, issuer, wire):
        issuer.server.routes["/par"] = wire.json({"request_uri": "urn:x:1", "expires_in": 90}, 201)
        pushed = upstream.push(known, LICENSE, BACK)
        form = issuer.server.asked[-1].form()
        assert form == {
            "response_type": "code",
            "client_id": settings.member.application,
            "code_challenge": s256(pushed.code_verifier),
            "code_challenge_method": "S256",
            "scope": LICENSE,
            "redirect_uri": BACK,
            "state": pushed.state,
        }
        assert 43 <= len(pushed.code_verifier) <= 128
        assert issuer.server.asked[-1].certificate is not None
        assert dict(parse_qsl(urlsplit(pushed.authorization_url).query)) == {
            "client_id": settings.member.application,
            "request_uri": "urn:x:1",
        }
        assert (pushed.expires_in, pushed.license, pushed.redirect_uri) == (90, LICENSE, BACK)
        for secret in (pushed.state, pushed.code_verifier, "urn:x:1"):
            assert secret not in repr(pushed)

    def test_state_and_verifier_are_new_each_time(self, upstream, known, issuer, wire):
        issuer.server.routes["/par"] = wire.json({"request_uri": "urn:x:1", "expires_in": 90}, 201)
        both = [upstream.push(known, LICENSE, BACK) for _ in range(2)]
        assert len({pushed.state for pushed in both} | {pushed.code_verifier for pushed in both}) == 4

    @pytest.mark.parametrize(
        ("document", "status", "error", "said"),
        [
            ({"error": "invalid_scope", "error_description": "canary"}, 400, OAuthRefused, "oauth invalid_scope"),
            ({"error": "Canary <script>"}, 401, OAuthRefused, "oauth unknown_error"),
            ({"detail": "canary"}, 422, BadAnswer, "status 422"),
            ({"error": "canary"}, 503, BadAnswer, "status 503"),
            ({"request_uri": "urn:x:1"}, 201, BadAnswer, "request_uri"),
            ({"request_uri": "a b", "expires_in": 90}, 201, BadAnswer, "request_uri"),
            ({"request_uri": "urn:x", "expires_in": True}, 201, BadAnswer, "request_uri"),
            ([], 201, BadAnswer, "json"),
        ],
    )
    def test_answers_that_are_refused(self, upstream, known, issuer, wire, document, status, error, said):
        issuer.server.routes["/par"] = wire.json(document, status)
        with pytest.raises(error) as refused:
            upstream.push(known, LICENSE, BACK)
        assert (type(refused.value), str(refused.value)) == (error, f"member.example: {said}")


#: 1*VSCHAR (RFC 6749 appendices A.11, A.12 and A.17), the space not at an end.
EVERY_CHARACTER = "".join(map(chr, range(0x7E, 0x20, -1))) + " ~"
GOOD = [("code", "abc"), ("state", "s t"), ("iss", "ISSUER")]


def changed(**values):
    return [(name, values.get(name, value)) for name, value in GOOD if values.get(name, value) is not None]


class TestCallback:
    @pytest.fixture
    def back(self, upstream, known, issuer):
        def call(pairs, state="s t"):
            filled = [(name, issuer.url if value == "ISSUER" else value) for name, value in pairs]
            return upstream.callback(known.issuer, urlencode(filled), state)

        return call

    def test_a_good_callback_returns_its_code(self, back):
        assert back(GOOD) == "abc"
        assert back([*GOOD, ("session_state", "x")]) == "abc"

    def test_a_code_of_any_character(self, back):
        assert back(changed(code=EVERY_CHARACTER)) == EVERY_CHARACTER

    @pytest.mark.parametrize(
        ("pairs", "kind"),
        [
            (changed(state=None), "state"),
            (changed(state="other"), "state"),
            (changed(state=""), "state"),
            (changed(iss=None), "iss"),
            (changed(iss="https://evil.example"), "iss"),
            (changed(iss=""), "iss"),
            ([*GOOD, *((f"x{number}", "") for number in range(62))], "too many"),
            ([*GOOD, ("iss", "ISSUER")], "doubled"),
            ([*GOOD, ("iss", "https://evil.example")], "doubled"),
            ([*GOOD, ("code", "other")], "doubled"),
            ([*GOOD, ("state", "s t")], "doubled"),
            (changed(code=None), "code"),
            (changed(code="with\ttab"), "code"),
            (changed(code="caf\u00e9"), "code"),
            (changed(code="x" * 9000), "code"),
            ([("error", "access_denied"), ("state", "other"), ("iss", "ISSUER")], "state"),
            ([("error", "access_denied"), ("state", "s t")], "iss"),
            ([("error", "access_denied"), ("state", "s t"), ("iss", "https://evil.example")], "iss"),
            ([], "state"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_is_not_the_answer_to_our_request(self, back, pairs, kind):
        with pytest.raises(CallbackRefused) as refused:
            back(pairs)
        assert refused.value.kind == kind

    @pytest.mark.parametrize(("sent", "error"), [("access_denied", "access_denied"), ("<b>", "unknown_error")])
    def test_an_error_of_the_issuer(self, back, sent, error):
        with pytest.raises(OAuthRefused) as refused:
            back([("error", sent), ("error_description", "canary"), ("state", "s t"), ("iss", "ISSUER")])
        assert refused.value.error == error
        assert "canary" not in str(refused.value)


TOKENS = {"access_token": "at-canary", "refresh_token": "rt-canary", "token_type": "Bearer", "expires_in": 600}


class TestTokens:
    def test_a_code_is_exchanged(self, settings, upstream, known, issuer, wire):
        issuer.server.routes["/token"] = wire.json({**TOKENS, "scope": LICENSE})
        tokens = upstream.redeem(known, BACK, LICENSE, "abc", "v" * 64)
        assert (tokens.access_token, tokens.refresh_token, tokens.expires_in) == ("at-canary", "rt-canary", 600)
        assert "canary" not in repr(tokens)
        assert issuer.server.asked[-1].form() == {
            "grant_type": "authorization_code",
            "code": "abc",
            "code_verifier": "v" * 64,
            "redirect_uri": BACK,
            "client_id": settings.member.application,
        }

    def test_a_refresh(self, settings, upstream, known, issuer, wire):
        issuer.server.routes["/token"] = wire.json({"access_token": "new", "scope": f"{LICENSE} offline_access"})
        tokens = upstream.refresh(known, LICENSE, "rt")
        assert (tokens.access_token, tokens.refresh_token, tokens.expires_in) == ("new", None, None)
        assert issuer.server.asked[-1].form() == {
            "grant_type": "refresh_token",
            "refresh_token": "rt",
            "client_id": settings.member.application,
        }

    @pytest.mark.parametrize(
        ("document", "kind"),
        [
            ({"refresh_token": "r"}, "access_token"),
            ({"access_token": ""}, "access_token"),
            ({"access_token": " a"}, "access_token"),
            ({"access_token": "a "}, "access_token"),
            ({"access_token": "a\nb"}, "access_token"),
            ({"access_token": ["a"]}, "access_token"),
            ({"access_token": "a", "refresh_token": 7}, "refresh_token"),
            ({"access_token": "a", "refresh_token": ""}, "refresh_token"),
            ({"access_token": "a", "token_type": "DPoP"}, "token_type"),
            ({"access_token": "a", "scope": "https://registry.example/license/other"}, "scope"),
            ({"access_token": "a", "scope": f"{LICENSE} https://registry.example/license/other"}, "scope"),
            ({"access_token": "a", "scope": ""}, "scope"),
        ],
    )
    def test_tokens_that_are_not_what_was_agreed(self, upstream, known, issuer, wire, document, kind):
        """The refresh token is there for whoever asks for it first: the one before has ended."""
        issuer.server.routes["/token"] = wire.json({"refresh_token": "newest", **document})
        tokens = upstream.refresh(known, LICENSE, "rt")
        assert tokens.refresh_token == (None if kind == "refresh_token" else document.get("refresh_token", "newest"))
        with pytest.raises(BadAnswer) as refused:
            _ = tokens.access_token
        assert (refused.value.kind, refused.value.is_wrong) == (kind, True)

    def test_tokens_of_any_character(self, upstream, known, issuer, wire):
        document = {"access_token": EVERY_CHARACTER, "refresh_token": f" {EVERY_CHARACTER} "}
        issuer.server.routes["/token"] = wire.json(document)
        tokens = upstream.refresh(known, LICENSE, f" {EVERY_CHARACTER} ")
        assert issuer.server.asked[-1].form()["refresh_token"] == f" {EVERY_CHARACTER} "
        assert {"access_token": tokens.access_token, "refresh_token": tokens.refresh_token} == document

    def test_a_grant_without_a_refresh_token_is_no_grant(self, upstream, known, issuer, wire):
        issuer.server.routes["/token"] = wire.json({"access_token": "a"})
        with pytest.raises(BadAnswer, match="no refresh token"):
            _ = upstream.redeem(known, BACK, LICENSE, "abc", "v" * 64).access_token

    def test_an_ended_permission(self, upstream, known, issuer, wire):
        issuer.server.routes["/token"] = wire.json({"error": "invalid_grant"}, 400)
        with pytest.raises(OAuthRefused) as refused:
            upstream.refresh(known, LICENSE, "rt-canary")
        assert (refused.value.error, refused.value.status) == ("invalid_grant", 400)
        assert "canary" not in str(refused.value)

    def test_the_issuer_breaks_off(self, upstream, known, issuer, wire):
        issuer.server.routes["/token"] = wire.answer(raw=lambda wfile: None)
        with pytest.raises(Unreachable) as failed:
            upstream.refresh(known, LICENSE, "rt-canary")
        assert failed.value.kind == "connection"


class TestRevoke:
    def test_done_is_200_alone(self, upstream, known, issuer, wire):
        issuer.server.routes["/revoke"] = wire.answer(200)
        upstream.revoke(known, "rt")
        assert issuer.server.asked[-1].form()["token"] == "rt"
        for status in (204, 302, 400, 503):
            issuer.server.routes["/revoke"] = wire.answer(status)
            with pytest.raises(BadAnswer) as refused:
                upstream.revoke(known, "rt")
            assert refused.value.status == status


class TestPermissionRecord:
    @pytest.fixture
    def record(self, settings, issuer):
        return {
            "oauthIssuer": issuer.url,
            "client": settings.member.application,
            "license": LICENSE,
            "account": "opaque +/=",
            "lastGranted": "2026-03-12T09:30:00Z",
            "expires": "2027-03-12T09:30:00Z",
            "evidence": "https://member.example/evidence/canary",
            "dataAvailableFrom": "2025-02-01T00:00:00Z",
            "tokenIssuedAt": "2026-03-12T09:31:00Z",
            "tokenExpires": "2027-03-12T09:30:00Z",
        }

    @pytest.mark.parametrize("wrapper", ["permission", "permissions"])
    def test_either_wrapper_is_read(self, upstream, known, issuer, wire, record, wrapper, caplog):
        caplog.set_level(logging.INFO, "consent_server.audit")
        issuer.server.routes["/permission"] = wire.json({wrapper: record})
        found = upstream.permission_record(known, "rt")
        assert (found.account, found.license, found.revoked) == ("opaque +/=", LICENSE, False)
        assert found.expires - found.last_granted == 365 * 86400
        assert (found.token_issued_at - found.last_granted, found.token_expires) == (60, found.expires)
        assert issuer.server.asked[-1].form() == {"token": "rt"}
        assert "canary" not in repr(found)
        named = ["permission_record_permissions"] if wrapper == "permissions" else []
        lines = [json.loads(each.message) for each in caplog.records if each.name == "consent_server.audit"]
        assert [line["form"] for line in lines if line["event"] == "deployed_form_accepted"] == named

    @pytest.mark.parametrize(
        ("value", "at"),
        [(None, None), ("", None), ("2026-04-01T00:00:00Z", APRIL), ("2026-04-01T00:00Z", APRIL), ("April", None)],
    )
    def test_the_key_alone_says_revoked(self, upstream, known, issuer, wire, record, value, at):
        issuer.server.routes["/permission"] = wire.json({"permission": {**record, "revoked": value}})
        found = upstream.permission_record(known, "rt")
        assert (found.revoked, found.revoked_at) == (True, at)

    def test_instants_to_the_minute_are_read_as_in_the_specifications_example(
        self, upstream, known, issuer, wire, record
    ):
        short = {name: value[:-4] + "Z" if value.endswith("00Z") else value for name, value in record.items()}
        assert short["expires"] == "2027-03-12T09:30Z"
        found = {}
        for name, sent in (("short", short), ("long", record)):
            issuer.server.routes["/permission"] = wire.json({"permission": sent})
            found[name] = upstream.permission_record(known, "rt")
        assert found["short"] == found["long"]

    @pytest.mark.parametrize(
        "spoilt",
        [
            {"oauthIssuer": "https://evil.example"},
            {"client": "https://directory.example/a/other"},
            {"expires": "2027-02-31T00:00:00Z"},
            {"expires": None},
            {"account": ""},
            {"evidence": "javascript:alert(1)"},
            {"license": 7},
        ],
        ids=lambda spoilt: "-".join(spoilt),
    )
    def test_a_record_that_is_not_ours_or_not_one(self, upstream, known, issuer, wire, record, spoilt):
        issuer.server.routes["/permission"] = wire.json({"permission": {**record, **spoilt}})
        with pytest.raises(BadAnswer):
            upstream.permission_record(known, "rt")

    def test_no_record(self, upstream, known, issuer, wire):
        issuer.server.routes["/permission"] = wire.json({"something": {}})
        with pytest.raises(BadAnswer):
            upstream.permission_record(known, "rt")

"""Rows C18 to C23 of the security matrix, on plain values."""

import dataclasses
import hashlib
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from consent_server.signing import jws
from consent_server.tokens import access_token, keys
from consent_server.tokens.access_token import (
    CLAIMS,
    MAX_LENGTH,
    AccessToken,
    InvalidToken,
    PermissionClaim,
    TokenExpired,
    TokenForAnotherServer,
    mint,
    read,
)
from consent_server.tokens.data_sources import DataSources
from consent_server.tokens.keys import PublicKeys, SigningKeys
from tests.jose import claims_of, header_of, segment, unsegment
from tests.work import calls

NOON = 1_773_316_800
ISSUER = "https://issuer.example"
AUDIENCE = "https://data.example"
GOOD = AccessToken(
    iss=ISSUER,
    aud=AUDIENCE,
    sub="PZ0vtWCv5lHhJ2dw2bM1jA",
    client_id="https://directory.example/a/cap",
    scope="https://registry.example/scheme/perseus/license/energy-consumption-edp-cap/2026-03-12",
    iat=NOON,
    exp=NOON + 600,
    jti="3n0yQnJ6hFz9",
    status_idx=42,
    status_uri="https://issuer.example/status",
    permission=PermissionClaim(granted=NOON - 60, expires=NOON + 31_536_000, text_sha256="ab" * 32),
    datasources=DataSources.of(("ds.0", "ds.1")),
    fuels=("electricity", "gas"),
)


def reading(token_text, source, *, at=NOON + 1, issuer=ISSUER, audience=AUDIENCE):
    return read(token_text, source, issuer=issuer, audience=audience, at=at)


def forge(signing, claims=None, header=None, *, payload=None, raw_header=None):
    """A token signed with the issuer's own key, whatever its content: only our reading can refuse it."""
    kid, key = signing.current()
    header = {"alg": "ES256", "typ": "at+jwt", "kid": kid} | (header or {})
    head = raw_header if raw_header is not None else json.dumps({k: v for k, v in header.items() if v is not None})
    body = payload if payload is not None else json.dumps(claims)
    signed = f"{segment(head.encode())}.{segment(body if isinstance(body, bytes) else body.encode())}"
    return f"{signed}.{segment(jws.raw_signature(key.sign(signed.encode())))}"


def changed(**changes):
    """Spoil the claims: a value, or ... for leaving the claim out."""
    return lambda claims: {name: value for name, value in (claims | changes).items() if value is not ...}


def test_what_was_minted_is_what_is_read(signing_keys):
    bound, none = {"cnf": "A" * 43}, {"datasources": DataSources(), "fuels": ()}
    least = {"status_idx": 0, "permission": PermissionClaim(NOON, NOON + 600, "ab" * 32)}
    most = {"permission": PermissionClaim(0, 253_402_300_799, "ab" * 32)}
    for changes in ({}, bound, none, least, most):
        token = dataclasses.replace(GOOD, **changes)
        text = mint(signing_keys, token)
        assert reading(text, signing_keys) == token
        assert reading(text, PublicKeys(signing_keys.jwks())) == token


def test_every_claim_of_a_token_is_in_the_table_and_every_row_in_a_token(signing_keys):
    text = mint(signing_keys, dataclasses.replace(GOOD, cnf="A" * 43))
    assert set(claims_of(text)) == set(CLAIMS)
    assert {name for name, row in CLAIMS.items() if not row.required} == {"cnf"}
    assert header_of(text) == {"alg": "ES256", "typ": "at+jwt", "kid": signing_keys.current()[0]}


def test_a_library_that_knows_nothing_of_us_verifies_the_token(signing_keys):
    jwks = jwt.PyJWKSet.from_dict(signing_keys.jwks())
    text = mint(signing_keys, GOOD)
    claims = jwt.decode(
        text,
        jwks.keys[0],
        algorithms=["ES256"],
        audience=AUDIENCE,
        issuer=ISSUER,
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims["status"] == {"status_list": {"idx": 42, "uri": "https://issuer.example/status"}}


@pytest.mark.parametrize(
    ("at", "refusal"),
    [
        (NOON - 11, InvalidToken),
        (NOON - 10, None),
        (NOON, None),
        (NOON + 599, None),
        (NOON + 600, TokenExpired),
        (NOON + 86400, TokenExpired),
    ],
    ids=["reader-11s-behind", "reader-10s-behind", "at-iat", "last-second", "at-exp", "a-day-later"],
)
def test_times_are_judged_on_every_use(signing_keys, at, refusal):
    text = mint(signing_keys, GOOD)
    for _ in range(2):  # fresh, then remembered
        if refusal is None:
            assert reading(text, signing_keys, at=at) == GOOD
        else:
            with pytest.raises(refusal):
                reading(text, signing_keys, at=at)


def test_issuer_and_audience_are_judged_on_every_use(signing_keys):
    text = mint(signing_keys, GOOD)
    assert reading(text, signing_keys)
    with pytest.raises(TokenForAnotherServer):
        reading(text, signing_keys, audience="https://data.example/")
    with pytest.raises(InvalidToken, match="another issuer"):
        reading(text, signing_keys, issuer="https://issuer.example.evil")
    for nothing in ({"issuer": ""}, {"audience": ""}):
        with pytest.raises(ValueError, match="would accept any token"):
            reading(text, signing_keys, **nothing)


CLAIM_FAULTS = {
    **{f"no-{name}": changed(**{name: ...}) for name, row in CLAIMS.items() if row.required},
    **{f"{name}-null": changed(**{name: None}) for name in CLAIMS},
    **{f"{name}-number": changed(**{name: 1.5}) for name in CLAIMS},
    **{f"{name}-nested": changed(**{name: {"a": [{}]}}) for name in CLAIMS},
    "unknown-claim": changed(nbf=NOON),
    "admin-claim": changed(admin=True),
    "aud-list": changed(aud=[AUDIENCE]),
    "aud-empty": changed(aud=""),
    "aud-two": changed(aud=[AUDIENCE, "https://other.example"]),
    "scope-two": changed(scope=GOOD.scope + " offline_access"),
    "scope-list": changed(scope=[GOOD.scope]),
    "client-http": changed(client_id="http://directory.example/a/cap"),
    "client-newline": changed(client_id=GOOD.client_id + "\n"),
    "exp-text": changed(exp=str(NOON + 600)),
    "exp-true": changed(exp=True),
    "exp-negative": changed(exp=-1),
    "exp-year-10000": changed(exp=253_402_300_800),
    "exp-before-iat": changed(exp=NOON - 1),
    "exp-at-iat": changed(exp=NOON),
    "lives-601s": changed(exp=NOON + 601),
    "outlives-permission": changed(permission={"granted": NOON - 60, "expires": NOON + 599, "text_sha256": "ab" * 32}),
    "before-permission": changed(
        permission={"granted": NOON + 1, "expires": NOON + 31_536_000, "text_sha256": "ab" * 32}
    ),
    "permission-extra": changed(
        permission={"granted": NOON, "expires": NOON + 900, "text_sha256": "ab" * 32, "gas": True}
    ),
    "digest-upper-case": changed(permission={"granted": NOON, "expires": NOON + 900, "text_sha256": "AB" * 32}),
    "status-flat": changed(status={"idx": 1, "uri": "https://issuer.example/status"}),
    "status-negative": changed(status={"status_list": {"idx": -1, "uri": "https://issuer.example/status"}}),
    "status-text": changed(status={"status_list": {"idx": "1", "uri": "https://issuer.example/status"}}),
    "datasources-text": changed(datasources="ds.0"),
    "datasources-list": changed(datasources=["ds.0"]),
    "datasources-no-members": changed(datasources={"series": "ds"}),
    "datasources-extra": changed(datasources={"series": "ds", "members": "Aw", "all": True}),
    "datasources-dot": changed(datasources={"series": "d.s", "members": "Aw"}),
    "datasources-number": changed(datasources={"series": "ds", "members": 3}),
    "datasources-padded": changed(datasources={"series": "ds", "members": "Aw=="}),
    "datasources-second-spelling": changed(datasources={"series": "ds", "members": "AwA"}),
    "datasources-loose-bits": changed(datasources={"series": "ds", "members": "Ax"}),
    "datasources-no-series": changed(datasources={"series": "", "members": "Aw"}),
    "datasources-empty": changed(datasources={"series": "ds", "members": ""}),
    "datasources-endless": changed(datasources={"series": "ds", "members": "_" * 1671}),
    "fuels-oil": changed(fuels=["oil"]),
    "fuels-doubled": changed(fuels=["gas", "gas"]),
    "cnf-jkt": changed(cnf={"jkt": "A" * 43}),
    "cnf-short": changed(cnf={"x5t#S256": "A" * 42}),
    "cnf-two": changed(cnf={"x5t#S256": "A" * 43, "jkt": "A" * 43}),
    "sub-surrogate": changed(sub="\ud800"),
}


@pytest.mark.parametrize("spoil", CLAIM_FAULTS.values(), ids=CLAIM_FAULTS.keys())
def test_C22_a_claim_that_is_not_in_its_form(signing_keys, spoil):
    honest = claims_of(mint(signing_keys, GOOD))
    assert reading(forge(signing_keys, honest), signing_keys) == GOOD
    with pytest.raises(InvalidToken):
        reading(forge(signing_keys, spoil(honest)), signing_keys)


def with_text(old, new):
    return lambda payload: payload.replace(old, new)


PAYLOAD_FAULTS = {
    "exp-NaN": with_text(f'"exp": {NOON + 600}', '"exp": NaN'),
    "exp-Infinity": with_text(f'"exp": {NOON + 600}', '"exp": Infinity'),
    "exp-1e308": with_text(f'"exp": {NOON + 600}', '"exp": 1e308'),
    "exp-point-zero": with_text(f'"exp": {NOON + 600}', f'"exp": {NOON + 600}.0'),
    "exp-5000-digits": with_text(f'"exp": {NOON + 600}', f'"exp": {"9" * 5000}'),
    "aud-twice": with_text('"aud"', '"aud": "https://other.example", "aud"'),
    "exp-twice": with_text('"exp"', '"exp": 1, "exp"'),
    "permission-member-twice": with_text('"granted"', '"granted": 1, "granted"'),
    "list": lambda payload: f"[{payload}]",
    "text": lambda payload: json.dumps(payload),
    "nothing": lambda _: "",
    "null": lambda _: "null",
    "deep": lambda _: "[" * 4000,
    "utf-16": lambda payload: payload.encode("utf-16"),
    "byte-order-mark": lambda payload: b"\xef\xbb\xbf" + payload.encode(),
    "latin-1": lambda payload: payload.replace("ds", "d\u00e9").encode("latin-1"),
    "trailing": lambda payload: payload + "x",
    "zip-bomb-like": lambda payload: b"\x78\x9c" + bytes(1000),
}


@pytest.mark.parametrize("spoil", PAYLOAD_FAULTS.values(), ids=PAYLOAD_FAULTS.keys())
def test_C22_a_payload_that_is_not_strict_json(signing_keys, spoil):
    honest = json.dumps(claims_of(mint(signing_keys, GOOD)))
    with pytest.raises(InvalidToken):
        reading(forge(signing_keys, payload=spoil(honest)), signing_keys)


HEADER_FAULTS = {
    "C19-alg-none": {"alg": "none"},
    "C19-alg-HS256": {"alg": "HS256"},
    "C19-alg-RS256": {"alg": "RS256"},
    "C19-alg-ES256K": {"alg": "ES256K"},
    "C19-alg-lower-case": {"alg": "es256"},
    "C19-alg-list": {"alg": ["ES256"]},
    "C19-alg-absent": {"alg": None},
    "C18-typ-absent": {"typ": None},
    "C18-typ-JWT": {"typ": "JWT"},
    "C18-typ-upper-case": {"typ": "AT+JWT"},
    "C18-typ-status-list": {"typ": "statuslist+jwt"},
    "C20-kid-absent": {"kid": None},
    "C20-kid-path": {"kid": "../../etc/passwd"},
    "C20-kid-sql": {"kid": "' OR 1=1 --"},
    "C20-kid-unknown": {"kid": "A" * 43},
    "C20-kid-list": {"kid": ["A" * 43]},
    "C20-kid-number": {"kid": 7},
    "C21-jwk": {"jwk": {"kty": "oct", "k": "AA"}},
    "C21-jku": {"jku": "https://evil.example/jwks"},
    "C21-x5u": {"x5u": "https://evil.example/cert"},
    "C21-x5c": {"x5c": ["AA"]},
    "C21-crit": {"crit": ["exp"]},
    "C21-b64-false": {"b64": False, "crit": ["b64"]},
    "C21-b64-true": {"b64": True},
    "C21-zip": {"zip": "DEF"},
    "C21-enc": {"enc": "A256GCM"},
    "C21-cty": {"cty": "JWT"},
}


@pytest.mark.parametrize("header", HEADER_FAULTS.values(), ids=HEADER_FAULTS.keys())
def test_a_header_that_is_not_exactly_ours(signing_keys, header):
    honest = claims_of(mint(signing_keys, GOOD))
    with pytest.raises(InvalidToken):
        reading(forge(signing_keys, honest, header), signing_keys)


def test_C20_a_kid_twice_is_refused(signing_keys):
    kid, _ = signing_keys.current()
    raw = f'{{"alg": "ES256", "typ": "at+jwt", "kid": "other", "kid": "{kid}"}}'
    with pytest.raises(InvalidToken, match="twice"):
        reading(forge(signing_keys, claims_of(mint(signing_keys, GOOD)), raw_header=raw), signing_keys)


def test_C20_a_storm_of_unknown_kids_asks_the_source_and_reads_no_file(signing_keys, monkeypatch):
    honest = claims_of(mint(signing_keys, GOOD))
    storm = [forge(signing_keys, honest, {"kid": f"kid-{number}"}) for number in range(50)]
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda _: pytest.fail("a file was read"))
    for text in storm:
        with pytest.raises(InvalidToken, match="no key of that kid"):
            reading(text, signing_keys)


def hmac_with(public_bytes):
    def spoil(text, signing):
        head, body, _ = text.split(".")
        header = unsegment(head) | {"alg": "HS256"}
        signed = f"{segment(header)}.{body}"
        return f"{signed}.{segment(hmac.digest(public_bytes(signing), signed.encode(), hashlib.sha256))}"

    return spoil


def public_pem(signing):
    kid, _ = signing.current()
    return signing.public(kid).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_jwk(signing):
    return json.dumps(signing.jwks()["keys"][0]).encode()


def resigned(make_key, algorithm):
    def spoil(text, _):
        signed, _, _ = text.rpartition(".")
        return f"{signed}.{segment(jwt.get_algorithm_by_name(algorithm).sign(signed.encode(), make_key()))}"

    return spoil


def flip(part, position=5):
    def spoil(text, _):
        parts = text.split(".")
        old = parts[part]
        parts[part] = old[:position] + ("A" if old[position] != "A" else "B") + old[position + 1 :]
        return ".".join(parts)

    return spoil


def der_signature(text, signing):
    signed, _, _ = text.rpartition(".")
    return f"{signed}.{segment(signing.current()[1].sign(signed.encode()))}"


def non_canonical(text, _):
    # The last character of a 64-byte signature carries four unused bits: set one of them.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) + 1]


TEXT_FAULTS = {
    "C19-empty-signature": lambda text, _: text.rpartition(".")[0] + ".",
    "C19-no-signature": lambda text, _: text.rpartition(".")[0],
    "C19-zero-signature": lambda text, _: text.rpartition(".")[0] + "." + "A" * 86,
    "C19-hmac-with-public-pem": hmac_with(public_pem),
    "C19-hmac-with-public-jwk": hmac_with(public_jwk),
    "C19-another-p256-key": resigned(lambda: generate_private_key(SECP256R1()), "ES256"),
    "C19-secp256k1-key": resigned(lambda: generate_private_key(SECP256K1()), "ES256K"),
    "C19-rsa-key": resigned(lambda: generate_rsa_key(65537, 2048), "RS256"),
    "C19-der-signature": der_signature,
    "header-changed": flip(0),
    "payload-changed": flip(1),
    "signature-changed": flip(2),
    "C21-jwe": lambda text, _: text + ".AAAA.AAAA",
    "non-canonical": non_canonical,
    "padded": lambda text, _: text + "==",
    "standard-base64": lambda text, _: text[:-2] + "+/",
    "space-before": lambda text, _: " " + text,
    "newline-after": lambda text, _: text + "\n",
    "non-ascii": lambda text, _: text[:-1] + "\u00e9",
    "surrogate": lambda text, _: text[:-1] + "\udc80",
    "empty": lambda *_: "",
    "dots": lambda *_: "..",
    "C22-1MB": lambda text, _: text.replace(".", "." + "A" * 1_000_000, 1),
    "just-too-long": lambda *_: "A" * (MAX_LENGTH + 1),
}


@pytest.mark.parametrize("spoil", TEXT_FAULTS.values(), ids=TEXT_FAULTS.keys())
def test_a_text_that_is_no_token_of_ours(signing_keys, spoil):
    text = spoil(mint(signing_keys, GOOD), signing_keys)
    with pytest.raises(InvalidToken) as refused:
        reading(text, signing_keys)
    assert (refused.value.status, refused.value.error) == (401, "invalid_token")
    assert refused.value.answer_headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert not text or text not in refused.value.private


def test_C18_other_things_we_sign_or_hand_out_are_no_access_tokens(signing_keys, tmp_path):
    from consent_server.tokens import refresh_token, status

    refresh_token.rotate(tmp_path / "refresh", NOON)
    refresh_keys = refresh_token.RefreshKeys(tmp_path / "refresh")
    refresh_id, version = refresh_token.make(refresh_keys)
    others = [
        refresh_token.text(refresh_keys, version, refresh_id),
        status.encode(signing_keys, "https://issuer.example/status", b"\0", NOON, 5, NOON + 60),
    ]
    for text in others:
        with pytest.raises(InvalidToken):
            reading(text, signing_keys)


def test_C23_rotation_makes_no_false_refusal_and_a_removed_key_is_dead_at_once(tmp_path, held_clock):
    directory = tmp_path / "k"
    old = keys.make(directory, NOON - 86400)
    issuer, resource_server = SigningKeys(directory), SigningKeys(directory)
    before = mint(issuer, GOOD)
    keys.rotate(directory, NOON)
    assert reading(before, resource_server) == GOOD
    held_clock.at = NOON + keys.PUBLISHED_BEFORE_USE
    after = mint(issuer, dataclasses.replace(GOOD, jti="later"))
    assert header_of(before)["kid"] != header_of(after)["kid"]
    assert reading(after, resource_server)
    assert reading(before, resource_server) == GOOD
    keys.retire(directory, old)
    with pytest.raises(InvalidToken, match="no key of that kid"):
        reading(before, resource_server)  # although its signature had been remembered
    assert reading(after, resource_server)


def test_a_remembered_token_is_not_believed_under_another_issuers_keys(signing_keys, tmp_path):
    keys.make(tmp_path / "other", NOON)
    text = mint(signing_keys, GOOD)
    assert reading(text, signing_keys)
    with pytest.raises(InvalidToken, match="no key of that kid"):
        reading(text, SigningKeys(tmp_path / "other"))


def test_what_is_remembered_is_bounded_and_the_oldest_gives_way(signing_keys, monkeypatch):
    monkeypatch.setattr(access_token, "_remembered", {})
    monkeypatch.setattr(access_token, "_REMEMBERED", 3)
    for number in range(10):
        assert reading(mint(signing_keys, dataclasses.replace(GOOD, jti=str(number))), signing_keys)
    assert [token.jti for _, _, token in access_token._remembered.values()] == ["7", "8", "9"]


@pytest.mark.parametrize(
    "change",
    [
        {"exp": NOON + 601},
        {"exp": NOON},
        {"client_id": "not-a-url"},
        {"fuels": ("oil",)},
        {"permission": PermissionClaim(NOON, NOON + 10, "ab" * 32)},
        {"datasources": DataSources("d s", b"\x01")},
    ],
    ids=["too-long-a-life", "no-life", "client", "fuel", "outlives-permission", "data-sources"],
)
def test_nothing_unreadable_is_ever_issued(signing_keys, change):
    with pytest.raises(ValueError, match=r"\w"):
        mint(signing_keys, dataclasses.replace(GOOD, **change))


def test_a_token_seen_before_costs_a_quarter(signing_keys):
    text = mint(signing_keys, GOOD)
    first = calls(lambda: reading(text, signing_keys))
    assert 4 * calls(lambda: reading(text, signing_keys)) < first

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt import PyJWK

from consent_server.tokens import keys
from consent_server.tokens.keys import PUBLISHED_BEFORE_USE, KeysMissing, KeysUnusable, PublicKeys, SigningKeys
from tests.jose import encoded

NOON = 1_773_316_800


def test_no_key_is_made_on_the_servers_own_account(tmp_path):
    with pytest.raises(KeysMissing, match="make the keys first"):
        SigningKeys(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(KeysMissing, match="no keys"):
        SigningKeys(tmp_path / "empty")
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"]


def test_a_key_file_is_its_owners_alone(tmp_path):
    kid = keys.make(tmp_path / "k", NOON)
    (file,) = (tmp_path / "k").iterdir()
    assert file.name == f"{NOON}.{kid}.pem"
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o700
    with pytest.raises(KeysUnusable, match="rotate them instead"):
        keys.make(tmp_path / "k", NOON)


def test_the_kid_is_the_rfc_7638_thumbprint_and_the_jwks_is_readable_elsewhere(signing_keys):
    kid, _ = signing_keys.current()
    (jwk,) = signing_keys.jwks()["keys"]
    assert jwk["kid"] == kid
    assert set(jwk) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert PyJWK(jwk).key.public_numbers() == signing_keys.public(kid).public_numbers()
    assert PublicKeys(signing_keys.jwks()).public(kid).public_numbers() == signing_keys.public(kid).public_numbers()


def test_a_new_key_is_published_at_once_used_later_and_the_old_one_verifies_until_retired(tmp_path, held_clock):
    directory = tmp_path / "k"
    old = keys.make(directory, NOON - 86400)
    signing = SigningKeys(directory)
    new = keys.rotate(directory, NOON)
    assert {jwk["kid"] for jwk in signing.jwks()["keys"]} == {old, new}
    for at, used in [(NOON, old), (NOON + PUBLISHED_BEFORE_USE - 1, old), (NOON + PUBLISHED_BEFORE_USE, new)]:
        held_clock.at = at
        assert signing.current()[0] == used
    assert signing.public(old) is not None
    keys.retire(directory, old)
    assert signing.public(old) is None
    assert [jwk["kid"] for jwk in signing.jwks()["keys"]] == [new]


def test_emergency_removal_brings_the_waiting_key_into_use_early(tmp_path, held_clock):
    directory = tmp_path / "k"
    stolen = keys.make(directory, NOON - 86400)
    signing = SigningKeys(directory)
    waiting = keys.rotate(directory, NOON)
    keys.retire(directory, stolen)
    assert signing.current()[0] == waiting


def test_what_retire_refuses(tmp_path):
    directory = tmp_path / "k"
    kid = keys.make(directory, NOON)
    with pytest.raises(KeysUnusable, match="the only key"):
        keys.retire(directory, kid)
    with pytest.raises(KeysUnusable, match="no key of that kid"):
        keys.retire(directory, "../../etc/passwd")


def p384(name):
    pem = generate_private_key(SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return name, pem


@pytest.mark.parametrize(
    ("name", "content"),
    [("1.x.pem", b"not a key"), ("1.pem", b""), ("when.who.pem", b""), p384("1.x.pem")],
    ids=["not-pem", "no-kid", "no-instant", "p384"],
)
def test_a_file_that_is_no_key_of_ours_stops_the_start(tmp_path, name, content):
    keys.make(tmp_path, NOON)
    (tmp_path / name).write_bytes(content)
    (tmp_path / name).chmod(0o600)
    with pytest.raises(KeysUnusable, match=r"not a key of ours|cannot be used: must be an unencrypted PEM"):
        SigningKeys(tmp_path)


def test_a_key_under_another_ones_name_stops_the_start(tmp_path):
    kid = keys.make(tmp_path, NOON)
    (tmp_path / f"{NOON}.{kid}.pem").rename(tmp_path / f"{NOON}.{'A' * 43}.pem")
    with pytest.raises(KeysUnusable, match="not a key of ours"):
        SigningKeys(tmp_path)


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o602], ids=["others-read", "group-writes", "others-write"])
def test_a_key_open_to_others_stops_the_start(tmp_path, mode):
    keys.make(tmp_path, NOON)
    next(tmp_path.glob("*.pem")).chmod(mode)
    with pytest.raises(KeysUnusable, match="chmod 600"):
        SigningKeys(tmp_path)


def a_jwk(**change):
    coordinate = encoded(bytes(32))
    return {"kty": "EC", "crv": "P-256", "kid": "k", "x": coordinate, "y": coordinate} | change


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"keys": {}},
        {"keys": ["k"]},
        {"keys": [a_jwk()]},
        {"keys": [a_jwk(x="AA")]},
        {"keys": [a_jwk(x=5)]},
        {"keys": [a_jwk(d="AA")]},
    ],
    ids=["a-list", "empty", "keys-no-list", "text", "off-the-curve", "short", "number", "private"],
)
def test_a_jwks_that_is_refused(document):
    with pytest.raises(ValueError, match=r"\w"):
        PublicKeys(document)


def test_two_keys_of_one_kid_are_refused_and_kinds_that_we_do_not_use_are_passed_over(signing_keys):
    (jwk,) = signing_keys.jwks()["keys"]
    with pytest.raises(ValueError, match="two keys of one kid"):
        PublicKeys({"keys": [jwk, jwk]})
    others = [
        {"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"},
        {"kty": "oct", "kid": "o", "k": "AA"},
        a_jwk(kid="e", use="enc"),
        a_jwk(kid="a", alg="ES256K"),
        a_jwk(kid=7),
    ]
    public = PublicKeys({"keys": [*others, jwk]})
    assert public.public(jwk["kid"]) is not None
    assert [public.public(kid) for kid in ("r", "o", "e", "a")] == [None] * 4


def test_jwks_holds_no_private_member(signing_keys):
    assert '"d"' not in json.dumps(signing_keys.jwks())

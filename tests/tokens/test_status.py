import zlib

import pytest

from consent_server.tokens import compact, keys
from consent_server.tokens.access_token import AccessToken, PermissionClaim, mint
from consent_server.tokens.data_sources import DataSources
from consent_server.tokens.keys import PublicKeys, SigningKeys
from consent_server.tokens.status import MAX_PERMISSIONS, StatusListInvalid, decode, encode, with_ended
from tests.jose import decoded, encoded, unsegment

NOON = 1_773_316_800
URI = "https://issuer.example/status"


def a_list(signing, withdrawn=(3, 8), size=1000):
    return encode(signing, URI, with_ended(b"", size, withdrawn), NOON, 5, NOON + 60)


def test_what_is_withdrawn_is_read_elsewhere(signing_keys):
    text = a_list(signing_keys)
    found = decode(text, PublicKeys(signing_keys.jwks()), URI, NOON)
    assert [idx for idx in range(1000) if found.withdrawn(idx)] == [3, 8]
    assert found.exp == NOON + 60
    _, _, claims = compact.verify(text, signing_keys, typ="statuslist+jwt", limit=10_000)
    assert (claims["iat"], claims["exp"], claims["ttl"]) == (NOON, NOON + 60, 5)


def test_the_bits_are_those_of_the_specification(signing_keys):
    """The example of the Token Status List's section on bits = 1: bytes B9 A3, least significant bit first."""
    statuses = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]
    text = a_list(signing_keys, [idx for idx, bit in enumerate(statuses) if bit], 16)
    header, body, _ = text.split(".")
    claims = unsegment(body)
    assert unsegment(header)["typ"] == "statuslist+jwt"
    assert claims["sub"] == URI
    packed = claims["status_list"]["lst"]
    assert zlib.decompress(decoded(packed)) == b"\xb9\xa3"


def test_a_place_beyond_the_list_is_not_taken_for_live(signing_keys):
    found = decode(a_list(signing_keys, [], 8), signing_keys, URI, NOON)
    assert found.withdrawn(7) is False
    for idx in (8, -1):
        with pytest.raises(StatusListInvalid, match="too short"):
            found.withdrawn(idx)


def test_an_empty_list_and_a_big_one(signing_keys):
    assert decode(a_list(signing_keys, [], 0), signing_keys, URI, NOON).withdrawn(0) is False
    size = 1_000_000
    text = a_list(signing_keys, range(0, size, 97), size)
    assert decode(text, signing_keys, URI, NOON).withdrawn(97 * 5000) is True


@pytest.mark.parametrize(
    ("at", "believed"),
    [(NOON - 11, False), (NOON - 10, True), (NOON + 59, True), (NOON + 60, False)],
    ids=["future", "10s-ahead", "last-second", "D04-too-old"],
)
def test_the_times_of_a_list(signing_keys, at, believed):
    text = a_list(signing_keys)
    if believed:
        assert decode(text, signing_keys, URI, at)
    else:
        with pytest.raises(StatusListInvalid):
            decode(text, signing_keys, URI, at)


FAULTS = {
    "another-list": {"sub": "https://issuer.example/status/2"},
    "no-ttl": {"ttl": ...},
    "extra-claim": {"iss": "https://issuer.example"},
    "exp-text": {"exp": str(NOON + 60)},
    "exp-true": {"exp": True},
    "negative-ttl": {"ttl": -1},
    "two-bits": {"status_list": {"bits": 2, "lst": encoded(zlib.compress(b"\0"))}},
    "bits-true": {"status_list": {"bits": 1, "lst": encoded(zlib.compress(b"\0")), "aggregation_uri": URI}},
    "list-of-lists": {"status_list": []},
    "not-packed": {"status_list": {"bits": 1, "lst": encoded(b"\0\0\0\0")}},
    "cut-short": {"status_list": {"bits": 1, "lst": encoded(zlib.compress(bytes(1000))[:-3])}},
    "something-after": {"status_list": {"bits": 1, "lst": encoded(zlib.compress(b"\0") + b"x")}},
    "bomb": {"status_list": {"bits": 1, "lst": encoded(zlib.compress(bytes(MAX_PERMISSIONS)))}},
    "padded": {"status_list": {"bits": 1, "lst": encoded(zlib.compress(b"\0")) + "="}},
    "second-spelling": {"status_list": {"bits": 1, "lst": encoded(zlib.compress(b"\0\0")).removesuffix("Q") + "R"}},
    "nothing": {"status_list": {"bits": 1, "lst": ""}},
    "no-bits": {"status_list": {"bits": 1, "lst": encoded(zlib.compress(b""))}},
}


@pytest.mark.parametrize("change", FAULTS.values(), ids=FAULTS.keys())
def test_a_list_that_is_signed_and_not_believed(signing_keys, change):
    honest = {
        "sub": URI,
        "iat": NOON,
        "exp": NOON + 60,
        "ttl": 5,
        "status_list": {"bits": 1, "lst": encoded(zlib.compress(b"\0"))},
    }
    claims = {name: value for name, value in (honest | change).items() if value is not ...}
    assert decode(compact.sign(signing_keys, "statuslist+jwt", honest), signing_keys, URI, NOON)
    with pytest.raises(StatusListInvalid):
        decode(compact.sign(signing_keys, "statuslist+jwt", claims), signing_keys, URI, NOON)


def test_an_access_token_or_a_strangers_list_is_no_list(signing_keys, tmp_path):
    keys.make(tmp_path / "stranger", NOON)
    token = AccessToken(
        iss="https://issuer.example",
        aud="https://data.example",
        sub="account",
        client_id="https://directory.example/a/cap",
        scope="https://registry.example/license",
        iat=NOON,
        exp=NOON + 600,
        jti="jti",
        status_idx=1,
        status_uri=URI,
        permission=PermissionClaim(NOON, NOON + 31_536_000, "ab" * 32),
        datasources=DataSources.of(["d.0"]),
        fuels=("gas",),
    )
    for text in (mint(signing_keys, token), a_list(SigningKeys(tmp_path / "stranger")), "", "x"):
        with pytest.raises(StatusListInvalid):
            decode(text, signing_keys, URI, NOON)


def test_what_encode_refuses(signing_keys):
    with pytest.raises(ValueError, match="outside"):
        a_list(signing_keys, [8], 8)
    with pytest.raises(ValueError, match="at most"):
        a_list(signing_keys, [], MAX_PERMISSIONS + 1)

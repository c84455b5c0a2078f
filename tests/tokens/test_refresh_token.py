import base64

import pytest

from consent_server.tokens import refresh_token
from consent_server.tokens.keys import PUBLISHED_BEFORE_USE, KeysUnusable
from consent_server.tokens.refresh_token import KEPT_FOR, RefreshKeys, make, recognise, rotate, text

NOON = 1_773_316_800


@pytest.fixture
def refresh_keys(tmp_path, held_clock):
    assert rotate(tmp_path / "refresh", NOON - 3600) == 1
    return RefreshKeys(tmp_path / "refresh")


def test_a_token_is_made_from_its_parts_and_recognised(refresh_keys):
    refresh_id, version = make(refresh_keys)
    token = text(refresh_keys, version, refresh_id)
    assert token == text(refresh_keys, version, refresh_id)
    assert token.split(".")[:2] == ["1", refresh_id]
    assert recognise(refresh_keys, token) == refresh_id
    assert len({make(refresh_keys)[0] for _ in range(1000)}) == 1000


FAULTS = {
    "empty": lambda _: "",
    "cut-short": lambda token: token[:-1],
    "longer": lambda token: token + "A",
    "newline": lambda token: token + "\n",
    "other-id": lambda token: token[:2] + ("A" if token[2] != "A" else "B") + token[3:],
    "other-mac": lambda token: token[:-5] + ("A" if token[-5] != "A" else "B") + token[-4:],
    "unknown-version": lambda token: "2" + token[1:],
    "version-zero": lambda token: "0" + token[1:],
    "version-leading-zero": lambda token: "0" + token,
    "version-arabic-digit": lambda token: "\u0661" + token[1:],
    "no-mac": lambda token: token.rpartition(".")[0],
    "non-ascii": lambda token: token[:-1] + "\u00e9",
    "1MB": lambda token: token * 10_000,
}


@pytest.mark.parametrize("spoil", FAULTS.values(), ids=FAULTS.keys())
def test_what_we_did_not_make_is_not_recognised(refresh_keys, spoil):
    refresh_id, version = make(refresh_keys)
    assert recognise(refresh_keys, spoil(text(refresh_keys, version, refresh_id))) is None


def test_another_deployments_token_is_not_recognised(refresh_keys, tmp_path):
    rotate(tmp_path / "other", NOON)
    refresh_id, version = make(refresh_keys)
    assert recognise(RefreshKeys(tmp_path / "other"), text(refresh_keys, version, refresh_id)) is None


def test_the_key_is_rotated_with_notice_and_old_tokens_live_on(tmp_path, held_clock):
    directory = tmp_path / "refresh"
    rotate(directory, NOON - 3600)
    refresh_keys = RefreshKeys(directory)
    refresh_id, version = make(refresh_keys)
    old = text(refresh_keys, version, refresh_id)
    assert rotate(directory, NOON) == 2
    assert make(refresh_keys)[1] == 1
    held_clock.at = NOON + PUBLISHED_BEFORE_USE
    assert make(refresh_keys)[1] == 2
    assert recognise(refresh_keys, old) == refresh_id
    new = text(refresh_keys, 2, refresh_id)
    assert new.rpartition(".")[2] != old.rpartition(".")[2]


def test_a_version_is_kept_25_months_after_the_next_came_into_use(tmp_path, held_clock):
    directory = tmp_path / "refresh"
    rotate(directory, NOON)
    rotate(directory, NOON)
    rotate(directory, NOON + PUBLISHED_BEFORE_USE + KEPT_FOR - 1)
    refresh_keys = RefreshKeys(directory)
    assert text(refresh_keys, 1, "A" * 32)
    rotate(directory, NOON + PUBLISHED_BEFORE_USE + KEPT_FOR)
    with pytest.raises(KeyError):
        text(refresh_keys, 1, "A" * 32)
    assert recognise(refresh_keys, f"1.{'A' * 32}.{'A' * 43}") is None
    assert text(refresh_keys, 2, "A" * 32)


def test_no_key_is_made_on_the_servers_own_account(tmp_path):
    with pytest.raises(KeysUnusable):
        RefreshKeys(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", base64.b64encode(b"short"), b"not base64!", base64.b64encode(bytes(64))],
    ids=["empty", "short", "not-base64", "long"],
)
def test_a_weak_key_stops_the_start(tmp_path, content):
    rotate(tmp_path, NOON)
    next(tmp_path.glob("*.key")).write_bytes(content)
    with pytest.raises(KeysUnusable, match="not a key of ours"):
        RefreshKeys(tmp_path)


def test_key_files_are_their_owners_alone(tmp_path):
    rotate(tmp_path / "refresh", NOON)
    (file,) = (tmp_path / "refresh").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_id_that_is_not_ours_makes_no_token(refresh_keys):
    with pytest.raises(ValueError, match="not a refresh id"):
        refresh_token.text(refresh_keys, 1, "a.b")

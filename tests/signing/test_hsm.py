"""Signing keys in an HSM, which SoftHSM is: what they sign verifies, and what is said without them."""

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1
from cryptography.hazmat.primitives.hashes import SHA256

from consent_server.refusal import Unavailable
from consent_server.scheme.provenance.container import Signer
from consent_server.scheme.provenance.step import ProvenanceError
from consent_server.signing import hsm as module
from consent_server.signing import key as signing_key
from consent_server.signing.hsm import generate
from consent_server.signing.key import KeyUnusable
from consent_server.tokens import compact, keys
from consent_server.tokens.keys import PUBLISHED_BEFORE_USE, KeysUnusable, SigningKeys
from tests.scheme.signing import EDP_ROLE, SigningAuthority
from tests.soft_hsm import PIN

NOON = 1_773_316_800


def test_a_key_of_an_hsm_signs_as_one_of_a_file_does(hsm):
    uri, public = generate(hsm.uri())
    key = signing_key.load(f"{uri}\n".encode())
    assert key.public_key() == public
    assert isinstance(public.curve, SECP256R1)
    public.verify(key.sign(b"data"), b"data", ECDSA(SHA256()))


def test_tokens_are_signed_with_it_and_rotation_stays_there(hsm, tmp_path):
    directory = tmp_path / "tokens"
    first = keys.make(directory, NOON, hsm.uri())
    second = keys.rotate(directory, NOON)
    assert {path.suffix for path in directory.iterdir()} == {".pkcs11"}
    assert all(path.stat().st_mode & 0o777 == 0o600 and PIN not in path.read_text() for path in directory.iterdir())
    signing = SigningKeys(directory)
    assert signing.in_order() == [(NOON, first), (NOON + PUBLISHED_BEFORE_USE, second)]
    text = compact.sign(signing, "at+jwt", {"sub": "p"})
    assert compact.verify(text, signing, typ="at+jwt", limit=2000)[2] == {"sub": "p"}
    stays = keys.retire(directory, first)
    assert signing.public(first) is None
    assert keys.thumbprint(signing_key.load(stays.encode()).public_key()) == first, (
        "an operator is told what to destroy"
    )
    with pytest.raises(KeysUnusable, match="there are keys already"):
        keys.make(directory, NOON)


def test_keys_move_from_files_to_an_hsm_by_a_rotation(hsm, tmp_path):
    keys.make(tmp_path / "tokens", NOON)
    kid = keys.rotate(tmp_path / "tokens", NOON, hsm.uri())
    assert [path.suffix for path in sorted((tmp_path / "tokens").iterdir())] == [".pem", ".pkcs11"]
    assert SigningKeys(tmp_path / "tokens").public(kid) is not None


@dataclasses.dataclass
class Certified:
    """What an authority certifies: the public half of a key of an HSM, whose key file has its URI."""

    uri: str

    def public_key(self):
        return signing_key.load(self.uri.encode()).public_key()

    def private_bytes(self, *_):
        return self.uri.encode()


def test_a_record_is_signed_with_it(hsm, hsm_key):
    key = Certified(hsm_key)
    chain, key_file = SigningAuthority().member("edp", EDP_ROLE, key=key)
    signer = Signer(chain, key_file)
    key.public_key().verify(signer.sign(b"a record"), b"a record", ECDSA(SHA256()))
    with pytest.raises(ProvenanceError, match="the key of the first certificate"):
        Signer(SigningAuthority().member("edp", EDP_ROLE)[0], key_file)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda uri: uri.replace("token=consent", "token=other"), "no token other"),
        (lambda uri: uri.replace("id=%", "id=%00%"), "not one EC key of that name"),
        (lambda uri: uri.partition("?")[0], "module-path and pin-source"),
        (lambda uri: uri.replace("?", "?pin-value=1234&"), "may have module-path, pin-source"),
        (lambda uri: uri.replace("file:/", "|/"), "absolute path"),
        (lambda uri: uri.replace("token=", "slot-id=1;token="), "may have token, serial, object, id"),
        (lambda uri: uri.replace("token=", "token=consent;token="), "each of them once"),
        (lambda uri: uri.partition(";id")[0] + "?" + uri.partition("?")[2], "must name a key"),
        (lambda uri: uri.replace("libsofthsm2", "absent"), "fails"),
        (lambda uri: uri + "é", "ASCII"),
    ],
)
def test_what_names_no_key_of_ours_is_said_at_the_start(hsm, hsm_key, spoil, said):
    with pytest.raises(KeyUnusable, match=said):
        signing_key.load(spoil(hsm_key).encode())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda pin: pin.write_text("0000"), "refuses the PIN in"),
        (lambda pin: pin.write_text(""), "refuses the PIN in"),
        (lambda pin: pin.chmod(0o644), "others can read or change"),
        (lambda pin: pin.unlink(), "No such file"),
        (lambda pin: pin.write_bytes(b"\xff"), "put the PIN there"),
    ],
)
def test_a_pin_that_does_not_open_the_token(hsm, hsm_key, spoil, said):
    spoil(hsm.pin)
    with pytest.raises(KeyUnusable, match=said) as refused:
        signing_key.load(hsm_key.encode())
    assert "0000" not in str(refused.value)


def test_a_wrong_pin_is_not_tried_twice(hsm, hsm_key):
    """A token locks itself after a few."""
    hsm.pin.write_text("0000")
    with pytest.raises(KeyUnusable, match="refuses the PIN"):
        signing_key.load(hsm_key.encode())
    for _ in range(20):
        with pytest.raises(KeyUnusable, match="has refused the PIN"):
            signing_key.load(hsm_key.encode())
    hsm.pin.write_text(PIN)
    signing_key.load(hsm_key.encode())


def test_an_hsm_that_goes_away_and_comes_back(hsm, hsm_key):
    key = signing_key.load(hsm_key.encode())
    hsm.go()
    try:
        for use in (key.require, lambda: key.sign(b"data")):
            with pytest.raises(Unavailable) as refused:
                use()
            assert (refused.value.status, refused.value.answer_headers) == (503, {"Retry-After": "5"})
            assert "no token consent of" in refused.value.private
            assert PIN not in refused.value.private
    finally:
        hsm.come_back()
    key.public_key().verify(key.sign(b"data"), b"data", ECDSA(SHA256()))


def test_an_hsm_that_does_not_answer(hsm, hsm_key, monkeypatch):
    key = signing_key.load(hsm_key.encode())
    monkeypatch.setattr(module, "LONGEST_S", 0.05)
    with module._turn, pytest.raises(Unavailable) as refused:
        key.sign(b"data")
    assert "does not answer" in refused.value.private

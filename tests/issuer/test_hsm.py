"""An issuer whose token keys are in an HSM: it issues, and without the HSM it refuses and spends nothing."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from consent_server import clock
from consent_server.issuer import metadata
from consent_server.parties.operator.doctor import house
from consent_server.signing import key as signing_key
from consent_server.store.tables.permissions import Permission
from consent_server.tokens import compact, keys, status
from tests.issuer.conftest import ELECTRICITY
from tests.soft_hsm import PIN


def test_tokens_of_an_hsm_and_none_without_it(hsm, issuer, changed, tmp_path: Path, held_clock, caplog) -> None:
    keys.make(tmp_path / "tokens", held_clock.instant, hsm.uri())
    of_hsm = changed(keys__tokens=tmp_path / "tokens")
    signing = of_hsm.deployment.signing_keys
    tokens = of_hsm.tokens()
    compact.verify(tokens["access_token"], signing, typ="at+jwt", limit=10_000)
    granted = of_hsm.grant()
    hsm.go()
    caplog.set_level(logging.INFO)
    try:
        for refused in (of_hsm.refresh(tokens["refresh_token"]), of_hsm.redeem(granted)):
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
            assert refused.get_json()["error"] == "temporarily_unavailable"
            assert "hsm" not in refused.text.lower(), "where the keys are concerns nobody else"
        held_clock.step(1)
        ready = of_hsm.get("/ready")
        assert ready.status_code == 503
        assert "keys" in ready.get_json()["failing"]
    finally:
        hsm.come_back()
    assert "no token consent of" in caplog.text
    assert PIN not in caplog.text
    held_clock.step(1)
    assert "keys" not in of_hsm.get("/ready").get_json()["failing"]
    redeemed = of_hsm.redeem(granted)
    assert redeemed.status_code == 200, "the code was not spent"
    compact.verify(redeemed.get_json()["access_token"], signing, typ="at+jwt", limit=10_000)


def test_a_key_directory_that_changes_without_the_hsm(hsm, issuer, changed, tmp_path: Path, held_clock) -> None:
    directory = tmp_path / "tokens"
    keys.make(directory, held_clock.instant, hsm.uri())
    of_hsm = changed(keys__tokens=directory)
    tokens = of_hsm.tokens()
    second = keys.rotate(directory, held_clock.instant, hsm.uri())
    hsm.go()
    try:
        for refused in (of_hsm.refresh(tokens["refresh_token"]), of_hsm.get("/jwks")):
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
            assert str(directory) not in refused.text
        fault = next(house.keys(of_hsm.deployment.settings, held_clock.instant))
        assert ("token consent of" in fault.what, fault.todo) == (True, house._CORRECT), fault
    finally:
        hsm.come_back()
    assert second in of_hsm.get("/jwks").text
    assert of_hsm.refresh(tokens["refresh_token"]).status_code == 200


SIGNED = {
    "a redemption": lambda issuer, granted: issuer.redeem(granted),
    "the status list": lambda issuer, _: issuer.get("/status-list"),
}


@pytest.mark.parametrize("is_withdrawn", [False, True], ids=["another client's act", "a withdrawal of the same"])
@pytest.mark.parametrize("act", SIGNED)
def test_G04_while_an_hsm_hangs_others_act(
    issuer: Any, monkeypatch: pytest.MonkeyPatch, act: str, is_withdrawn: bool
) -> None:
    """What was signed for a code that was then lost is sent to nobody; the list is as good as when it was asked for."""
    issuer.tokens(license_=ELECTRICITY)  # the older permission makes the redemption a transaction on PostgreSQL, too
    granted, other = issuer.grant(), issuer.clients["cap2"]
    permission = issuer.code(granted).permission
    sign, asked, answers = signing_key._FileKey.sign, threading.Event(), threading.Event()
    answered: list[Any] = []

    def hanging(key: Any, data: bytes) -> bytes:
        asked.set()
        assert answers.wait(30)
        return sign(key, data)

    monkeypatch.setattr(signing_key._FileKey, "sign", hanging)
    signing = threading.Thread(target=lambda: answered.append(SIGNED[act](issuer, granted)))
    signing.start()
    try:
        assert asked.wait(30)
        if is_withdrawn:
            issuer.end(permission, issuer.row(Permission, id=permission).granted)
        else:
            assert issuer.post("/par", issuer.good_push(other), other).status_code == 201
    finally:
        answers.set()
        signing.join()
    is_lost = is_withdrawn and act == "a redemption"
    assert answered[0].status_code == (400 if is_lost else 200)
    assert not is_lost or answered[0].get_json()["error_uri"].endswith("/code_refused")
    assert issuer.row(Permission, id=permission).redeemed is None or not is_lost
    text, uri = issuer.get("/status-list").text, metadata.status_list_uri(issuer.deployment.settings)
    listed = status.decode(text, issuer.deployment.signing_keys, uri, clock.now())
    assert listed.withdrawn(issuer.row(Permission, id=permission).status_index) == is_withdrawn

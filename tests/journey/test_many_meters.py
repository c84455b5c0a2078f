"""H09: a business with a thousand meters, from its bill to its readings, on both databases."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from flask import Flask

from consent_server import clock, store
from consent_server.issuer import decision
from consent_server.pki import member_certificate
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.scheme.readings import day_block
from consent_server.store import codes, readings
from consent_server.store.tables.metering import Meter
from consent_server.store.tables.permissions import AuthorizationCode
from consent_server.tokens import access_token
from tests.deployments import layout, opened
from tests.jose import s256
from tests.journey.conftest import ASKER, CALLBACK, CLIENT, World

COUNT = 1000
VERIFIER = "v" * 43
CHALLENGE = s256(VERIFIER)
BILL = {"postcode": "SW8 1AA", "mpan": "1212345678902"}
TODAY = 1773307800 // DAY * DAY


class Business(World):
    """An EDP with one business in its register, and its client at the mutual-TLS door."""

    mutual_tls: Flask

    def call(self, method: str, path: str, **sent: Any) -> Any:
        certificate = layout().certificate("cap", "certificate").read_bytes()
        caller = member_certificate.parse(member_certificate.one_pem(certificate))
        caller = dataclasses.replace(caller, application=CLIENT, member=ASKER)
        client = self.mutual_tls.test_client()
        return client.open(path, method=method, environ_overrides={"test.client": caller}, **sent)

    def redeem_over_the_door(self, code: str) -> Any:
        form = {"code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER, "client_id": CLIENT}
        return self.call("POST", "/token", data={"grant_type": "authorization_code", **form})

    def chosen(self) -> Any:
        """A browser before the decision, with every site ticked."""
        browser = self.begun(code_challenge=CHALLENGE).click("continue", **BILL)
        assert browser.path == "/journey/sites"
        assert browser.page.ids().count("all") == 1
        return browser.click("continue", all="yes")


def row(number: int) -> Meter:
    place = ("SW8 1AA", "SW8") if number == 0 else (f"YO{number % 90 + 1} 7HH", f"YO{number % 90 + 1}")
    mpan = BILL["mpan"] if number == 0 else f"23{number:011}"
    names = (f"m-{number}", "chain", "Chain Stores Ltd", "electricity", mpan)
    return Meter(*names, *place, measures=["import"], site=f"Shop {number}")


@pytest.fixture
def business(database_url: str, held_clock: Any) -> Iterator[Business]:
    world = Business("edp", database_url, "https://edp.example", "sandbox", {})
    world.mutual_tls = opened(world.deployment, "mutual_tls")
    world.keep(*(row(number) for number in range(COUNT)))
    with world.app.app_context(), store.writing() as c:
        block = {TODAY - DAY: day_block("electricity", TODAY - DAY, [7] * 48, 0)}
        readings.put_days(c, readings.EDP, f"m-{COUNT - 1}", "import", block)
    yield world
    world.close()
    with world.mutual_tls.app_context():
        store.database.db.engine.dispose()


def test_H09_a_thousand_meters_from_the_bill_to_the_readings(business: Business, held_clock: Any) -> None:
    browser = business.chosen()
    assert f"{COUNT} meters" in browser.html
    code = browser.click("allow", agree="yes").landed["code"]
    answer = business.redeem_over_the_door(code)
    assert answer.status_code == 200, answer.text
    token = answer.json["access_token"]
    assert len(token) < 2000
    bearer = {"Authorization": f"Bearer {token}"}
    listed = business.call("GET", "/datasources", headers=bearer).json["data"]
    assert len({each["id"] for each in listed}) == COUNT
    window = f"from={instant.text(TODAY - DAY)}&to={instant.text(TODAY)}"
    found = [business.call("GET", f"/datasources/{listed[n]['id']}/import?{window}", headers=bearer) for n in (0, -1)]
    assert [answer.status_code for answer in found] == [200, 200]
    assert sum(len(orjson.loads(answer.data)["data"]) for answer in found) == 48, "the readings of one of them"
    record = business.call("POST", "/permission", data={"token": answer.json["refresh_token"]}).json["permission"]
    assert record["dataAvailableFrom"] == instant.text(TODAY - DAY)
    form = {"grant_type": "refresh_token", "refresh_token": answer.json["refresh_token"], "client_id": CLIENT}
    assert business.call("POST", "/token", data=form).status_code == 200
    evidence = business.browser().open(f"/evidence/{business.grant().evidence.id}")
    assert (evidence.status, evidence.html.count("Shop ")) == (200, 2 * COUNT)
    managed = business.browser().open("/manage").click("continue", **BILL)
    assert (managed.path, "withdraw" in managed.page.ids()) == ("/manage/permissions", True)


def test_H09_some_of_a_thousand(business: Business) -> None:
    browser = business.begun(code_challenge=CHALLENGE).click("continue", **BILL)
    browser.click("continue", **{f"site-{number}": "yes" for number in range(1, COUNT, 2)})
    code = browser.click("allow", agree="yes").landed["code"]
    token = business.redeem_over_the_door(code).json["access_token"]
    listed = business.call("GET", "/datasources", headers={"Authorization": f"Bearer {token}"}).json["data"]
    assert len(listed) == COUNT // 2 + 1


def test_H09_more_than_a_token_can_name_is_met_before_there_is_a_code(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision, "MOST_DATA_SOURCES", COUNT - 1)
    browser = business.chosen().click("allow", agree="yes")
    assert (browser.status, "more meters than one permission can cover" in browser.html) == (409, True)
    assert not business.grants()


def test_H09_a_token_that_cannot_be_made_leaves_the_code_as_it_was(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = business.chosen().click("allow", agree="yes").landed["code"]
    with monkeypatch.context() as patched:
        patched.setattr(access_token, "MAX_LENGTH", 100)
        business.mutual_tls.config["PROPAGATE_EXCEPTIONS"] = False
        assert business.redeem_over_the_door(code).status_code == 500
    with business.app.app_context(), store.reading() as c:
        kept = codes.find(c, code)
    assert isinstance(kept, AuthorizationCode)
    assert kept.redeemed is None
    assert business.redeem_over_the_door(code).status_code == 200
    assert clock.now() < kept.expires

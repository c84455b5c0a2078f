"""D5: an API of the provider's own learns which of its meters a token's data sources are; nobody else does."""

import dataclasses
import json
import logging
from typing import Any

import pytest
from werkzeug.test import TestResponse

from consent_server import clock
from consent_server.metering import sources
from consent_server.resource import meters
from consent_server.resource.guard import FuelNotCovered, NoSuchDataSource
from consent_server.resource.views import guard_of
from consent_server.scheme import instant
from consent_server.tokens.data_sources import DataSources
from tests.resource.conftest import ResourceServer
from tests.resource.test_tenancy import MOVED, register_says


def ask(
    edp: ResourceServer, caller: str = "edp_service", form: dict[str, str] | None = None, **token: Any
) -> TestResponse:
    asking = dataclasses.replace(edp.caller, application=edp.layout.application(caller))
    data = {"token": edp.token(**token)} if form is None else form
    return edp.client.post("/meters", data=data, environ_overrides={"test.client": asking})


def test_D5_our_own_applications_learn_the_meters_and_their_dates(edp: ResourceServer) -> None:
    register_says(since=60, until=MOVED)
    answer = ask(edp)
    assert answer.status_code == 200
    assert answer.json == {
        "active": True,
        "account": "account-1",
        "meters": [
            {
                "datasource": "acme.0",
                "meter": "m-1",
                "fuel": "electricity",
                "measures": ["import", "export"],
                "since": "1970-01-01T00:01:00Z",
                "until": instant.text(MOVED),
            },
            {
                "datasource": "acme.1",
                "meter": "m-2",
                "fuel": "gas",
                "measures": ["import"],
                "since": None,
                "until": None,
            },
        ],
    }
    assert answer.headers["Cache-Control"] == "no-store"
    (only,) = ask(edp, fuels=("gas",), datasources=DataSources.of(["acme.0", "acme.1", "acme.7"])).json["meters"]
    assert only["meter"] == "m-2"


def test_D5_an_api_that_shares_the_store_asks_for_the_meter_of_a_release(edp: ResourceServer) -> None:
    register = sources.register_of(edp.settings.metering)
    header = f"Bearer {edp.token(fuels=('gas',))}"
    release = guard_of(edp.deployment).release(edp.caller, header, (), clock.now())
    assert [(each.id, each.tenancy.meter) for each in meters.behind(release, register)] == [("acme.1", "m-2")]
    assert meters.covered(release, "acme.1", register).tenancy.meter == "m-2"
    for datasource, refusal in (("acme.0", FuelNotCovered), ("another.0", NoSuchDataSource)):
        with pytest.raises(refusal):
            meters.covered(release, datasource, register)


@pytest.mark.parametrize("caller", ["cap", "cap2", "fsp", "edp2", "cap_fsp"])
def test_D5_nobody_else_is_told_anything(edp: ResourceServer, caller: str) -> None:
    answer = ask(edp, caller)
    assert (answer.status_code, answer.json["error"]) == (403, "unauthorized_client")
    assert "m-1" not in answer.get_data(as_text=True)


def test_D5_a_token_that_is_not_active_has_no_meters(edp: ResourceServer, held_clock: Any) -> None:
    token = edp.token()
    assert ask(edp, form={"token": "x"}).json == {"active": False}
    assert ask(edp, form={"x": "y"}).status_code == 400
    edp.withdraw()
    assert ask(edp, form={"token": token}).json == {"active": False}
    held_clock.step(600)
    assert ask(edp, form={"token": token}).json == {"active": False}


def test_D5_each_answer_is_audited_without_a_meter(edp: ResourceServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "consent_server.audit"):
        ask(edp)
    (line,) = [json.loads(record.message) for record in caplog.records if "meters_looked_up" in record.message]
    assert (line["meters"], line["permission"], line["client_id"]) == (2, "account-1", edp.caller.application)
    assert "m-1" not in caplog.text

"""docs/metering-service.json: a contract that is valid, and that both the fake service and our requests keep."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from consent_server.metering import service
from consent_server.metering.readings import ReadingsRequest
from consent_server.outbound.metering_service import MeteringService
from consent_server.scheme.instant import DAY
from consent_server.settings.metering import MeteringServiceSettings
from tests.metering import foreign
from tests.metering.foreign import CUSTOMER, FIRST, NOW, OVEN, SHOP

CONTRACT = json.loads((Path(__file__).resolve().parents[2] / "docs/metering-service.json").read_text(encoding="utf-8"))


def is_as_said(document: Any, where: dict[str, Any]) -> None:
    schema = where["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": CONTRACT["components"]}).validate(document)


def test_the_contract_is_valid() -> None:
    OpenAPIV31SpecValidator(CONTRACT).validate()


def test_what_we_ask_and_what_the_fake_returns_are_as_it_says(held_clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()

    def ask(_: object, path: str, question: dict[str, Any]) -> dict[str, Any]:
        operation = CONTRACT["paths"][path]["post"]
        is_as_said(question, operation["requestBody"])
        told: dict[str, Any] = json.loads(json.dumps(foreign.service(question, f"/v1{path}")))
        is_as_said(told, operation["responses"]["200"])
        asked.add(path)
        return told

    monkeypatch.setattr(MeteringService, "ask", ask)
    settings = MeteringServiceSettings(url="https://meters.example")
    register, readings = service.ServiceRegister(settings, vouches=True), service.ServiceReadings(settings)
    assert register.find("SW8 1AA", "1212345678902", "3938424403", NOW)
    assert len(register.sites("customer-1", NOW)) == 3
    assert register.of_customer(CUSTOMER, NOW)
    for meter, fuel in ((SHOP, "electricity"), (OVEN, "gas")):
        assert readings.half_hours(ReadingsRequest(meter, fuel, "import", FIRST, FIRST + DAY, "a", NOW)).count == 47
    assert readings.begin([SHOP, OVEN]) == {SHOP: FIRST, OVEN: FIRST}
    assert asked == set(CONTRACT["paths"])

"""The OpenAPI documents: valid, complete in themselves, true to the registered standards, and of every machine interface."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import OpenAPIV31SpecValidator

from consent_server import create_app, settings
from consent_server.issuer import par
from consent_server.refusal import Refusal
from consent_server.sandbox import parties
from consent_server.sandbox.layout import Layout
from consent_server.scheme.messages import WITHDRAWAL_SUBJECT
from consent_server.web import parameters
from consent_server.web.openapi import FOLDER, document

NAMES = sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != "shared")
DOORS = {
    ("edp", "public"): {"issuer-public", "service"},
    ("edp", "mutual_tls"): {"issuer", "consumption-data", "meters", "service"},
    ("cap", "public"): {"issuer-public", "service"},
    ("cap", "mutual_tls"): {"issuer", "emissions-data", "messages", "service"},
}
# What is there for people: pages, their pictures and their forms.
PAGES = re.compile(
    r"/\.well-known/security\.txt$|/(static|logos|language|errors|journey|evidence|receipt|manage)(/|$)|/report(\.(pdf|csv|json))?$"
    r"|/(start|begin|passkeys|sign-in|sign-out|account|connect|connected|callback|share|result|permissions|forecast)?(/|$)"
)


def read(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def operations(found: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def references(node: Any) -> set[str]:
    return set(re.findall(r'"\$ref": "([^"]*)"', json.dumps(node)))


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Flask]:
    layout = Layout(tmp_path_factory.mktemp("openapi"), 8440)
    parties.prepare(layout)
    return {(party, door): create_app(settings.load(layout.settings(party)), door) for party, door in DOORS}


@pytest.mark.parametrize("name", NAMES)
def test_a_document_is_valid(name: str) -> None:
    OpenAPIV31SpecValidator(document(name)).validate()


def test_what_they_share_is_valid_and_all_used() -> None:
    shared = read("shared")
    OpenAPIV31SpecValidator(shared).validate()
    there = {f"#/components/{kind}/{name}" for kind, each in shared["components"].items() for name in each}
    used = references(shared) | {each.removeprefix("shared.json") for name in NAMES for each in references(read(name))}
    security = {f"#/components/securitySchemes/{name}" for name in shared["components"]["securitySchemes"]}
    assert there <= used | security


@pytest.mark.parametrize("name", NAMES)
def test_a_served_document_is_complete_and_holds_nothing_idle(name: str) -> None:
    found = document(name)
    there = {f"#/components/{kind}/{each}" for kind, names in found["components"].items() for each in names}
    schemes = {f"#/components/securitySchemes/{each}" for requirement in found["security"] for each in requirement}
    mapped = {
        target
        for each in re.findall(r'"mapping": (\{[^}]*\})', json.dumps(found))
        for target in json.loads(each).values()
    }
    assert references(found) | schemes == there
    assert mapped <= there
    own, shared = read(name).get("components", {}), read("shared")["components"]
    assert not [each for kind in own for each in own[kind].keys() & shared.get(kind, {}).keys()], "one name, two things"


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_says_what_it_is_and_how_it_fails(name: str) -> None:
    names = set()
    for _method, path, operation in operations(document(name)):
        names.add(operation["operationId"])
        assert operation["summary"], path
        assert "500" in operation["responses"], path
    assert len(names) == len(list(operations(document(name))))


@pytest.mark.parametrize(("party", "door"), DOORS, ids=[" ".join(each) for each in DOORS])
def test_a_door_serves_the_documents_of_its_interfaces_and_no_others(
    apps: dict[tuple[str, str], Flask], party: str, door: str
) -> None:
    browser = apps[party, door].test_client()
    for name in NAMES:
        answer = browser.get(f"/openapi/{name}.json")
        if name in DOORS[party, door]:
            assert (answer.status_code, answer.mimetype) == (200, "application/json"), name
            assert answer.json == document(name)
        else:
            assert (answer.status_code, answer.json["error"]) == (404, "not_found"), name
            # RFC 9110 15.5.6: 405 would say that there is such a resource
            for method in ("POST", "OPTIONS"):
                assert browser.open(f"/openapi/{name}.json", method=method).status_code == 404, name
    assert browser.get("/openapi/shared.json").status_code == 404


@pytest.mark.parametrize(("party", "door"), DOORS, ids=[" ".join(each) for each in DOORS])
def test_every_route_is_described_and_every_description_is_routed(
    apps: dict[tuple[str, str], Flask], party: str, door: str
) -> None:
    # werkzeug adds HEAD to GET
    routes = {
        (method, re.sub(r"<[^>]*>", "{}", rule.rule))
        for rule in apps[party, door].url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
    }
    pages = {(method, path) for method, path in routes if door == "public" and PAGES.match(path)}
    described = {
        (method, re.sub(r"\{[^}]*\}", "{}", path))
        for name in DOORS[party, door]
        for method, path, _ in operations(document(name))
    }
    # The one document of an issuer whose identifier has a path lies at that path: its description says so (RFC 8414 3.1).
    # And what clients of the scheme send besides the registered API (`/datasources/`) is accepted, not offered.
    assert (
        routes - pages - {("GET", "/.well-known/oauth-authorization-server/{}"), ("GET", "/datasources/")} == described
    )
    assert not pages & described


def test_the_error_codes_are_those_of_our_refusals(apps: dict[tuple[str, str], Flask]) -> None:
    ours = {
        refusal.error
        for refusal in Refusal.family.values()
        if refusal.__module__.startswith("consent_server.") and "sandbox" not in refusal.__module__
    }
    assert set(read("shared")["components"]["schemas"]["ErrorCode"]["enum"]) == ours


def test_limits_are_those_of_the_code() -> None:
    schemas = document("issuer")["components"]["schemas"]
    forms = ("PushedRequest", "CodeGrant", "RefreshGrant", "TokenForm")
    assert {schemas[form]["maxProperties"] for form in forms} == {parameters.MOST_FIELDS}
    assert document("meters")["components"]["schemas"]["AccessTokenForm"]["maxProperties"] == parameters.MOST_FIELDS
    assert schemas["Text"]["maxLength"] == schemas["Token"]["maxLength"] == parameters.FIELD_LIMIT
    assert schemas["PushedRequest"]["properties"]["state"]["maxLength"] == par.MOST_STATE
    assert f"{parameters.BODY_LIMIT:,} bytes" in read("shared")["components"]["responses"]["TooLarge"]["description"]
    withdrawal = document("messages")["components"]["schemas"]["WithdrawalOfPermission"]["properties"]
    assert withdrawal["subject"]["enum"] == [WITHDRAWAL_SUBJECT]


# The registered standards' facts: consumption-data@2026-03-12 and emissions-data@2026-03-12

REGISTERED_STATUSES = {"200", "202", "401", "403", "404", "422", "500"}
OUTCODE = "^[A-Z]{1,2}[0-9][0-9A-Z]?$"


def parameters_of(operation: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Name -> where it stands, and whether it must; without our own header."""
    named = [each for each in operation["parameters"] if "name" in each]
    return {each["name"]: (each["in"], each.get("required", False)) for each in named}


def test_consumption_data_holds_the_registered_facts() -> None:
    found = document("consumption-data")
    schemas = found["components"]["schemas"]
    by_path = {(method, path): operation for method, path, operation in operations(found)}
    assert set(by_path) == {("GET", path) for path in ("/heartbeat", "/datasources", "/datasources/{id}/{measure}")}

    readings = by_path["GET", "/datasources/{id}/{measure}"]
    # 503: FAPI 2.0 5.3.4-3 wants the token's status known, and sometimes it is not
    assert readings["responses"].keys() - {"503"} == REGISTERED_STATUSES
    assert parameters_of(readings) == {
        "id": ("path", True),
        "measure": ("path", True),
        "from": ("query", True),
        "to": ("query", False),
    }
    window = [each["schema"] for each in readings["parameters"] if each.get("in") == "query"]
    assert window == [{"type": "string", "format": "date-time"}] * 2
    body = readings["responses"]["200"]["content"]["application/json"]["schema"]
    assert body["required"] == ["data", "location", "provenance"]

    assert schemas["DataSource"]["required"] == ["id", "type", "location", "availableMeasures"]
    assert schemas["Measure"]["enum"] == ["import", "export"]
    assert schemas["Fuel"]["enum"] == ["electricity", "gas"]  # gas: brief 6.1, as the standard's remark allows
    assert schemas["Location"]["properties"]["ukPostcodeOutcode"]["pattern"] == OUTCODE
    for kind, fuel, quantity in (
        ("ElectricityReading", "electricity", "Energy"),
        ("GasReading", "gas", "Volume"),
    ):
        assert schemas[kind]["required"] == ["type", "from", "to", "takenAt", "energy", "cumulative"]
        assert schemas[kind]["properties"]["type"] == {"const": fuel}
        for name in ("energy", "cumulative"):
            assert schemas[kind]["properties"][name] == {"$ref": f"#/components/schemas/{quantity}"}
        assert schemas[quantity]["properties"]["value"] == {"type": "number", "minimum": 0}
    assert schemas["Energy"]["properties"]["unitCode"]["enum"] == ["KWH", "WHR"]
    assert schemas["Volume"]["properties"]["unitCode"]["enum"] == ["MTQ"]


def test_emissions_data_holds_the_registered_facts() -> None:
    found = document("emissions-data")
    (_, (method, path, months)) = operations(found)
    assert (method, path) == ("GET", "/emissions")
    assert months["responses"].keys() - {"503"} == REGISTERED_STATUSES
    assert parameters_of(months) == {"from": ("query", True), "to": ("query", False)}
    month = found["components"]["schemas"]["Month"]
    assert month["required"] == ["type", "from", "to", "takenAt", "emissions"]
    assert month["properties"]["type"]["enum"] == ["electricity", "gas"]
    assert month["properties"]["emissions"]["properties"]["value"] == {"type": "number", "minimum": 0}
    assert month["properties"]["emissions"]["properties"]["unitCode"]["enum"] == ["KGM"]


@pytest.mark.parametrize("name", ["consumption-data", "emissions-data"])
def test_each_data_service_has_the_registered_heartbeat(name: str) -> None:
    heartbeat = document(name)["paths"]["/heartbeat"]["get"]
    assert heartbeat["security"] == [{"memberCertificate": []}]
    body = document(name)["components"]["responses"]["Heartbeat"]["content"]["application/json"]["schema"]
    assert (body["required"], body["properties"]["status"]) == (["status", "timestamp"], {"const": "ok"})


@pytest.mark.parametrize("name", ["consumption-data", "emissions-data"])
def test_data_standards_share_the_registered_form_of_errors(name: str) -> None:
    components = document(name)["components"]
    detail = components["schemas"]["ErrorWithDetail"]["properties"]["detail"]["items"]
    assert detail["required"] == ["loc", "msg", "type"]
    assert set(components["responses"]["NotYet"]["headers"]) >= {"Retry-After"}
    assert components["schemas"]["NotYet"]["required"] == ["message"]
    assert document(name)["info"]["version"] == "2026-03-12"
    assert document(name)["security"] == [{"memberCertificate": [], "accessToken": []}]


def test_the_documents_name_no_place_of_ours() -> None:
    for path in FOLDER.glob("*.json"):
        assert "localhost" not in Path(path).read_text(encoding="utf-8"), path.name

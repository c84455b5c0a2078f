"""What a client meets on purpose: each scenario of the table, switched on, is met as the table says; and what is seen of it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from werkzeug.test import TestResponse

from consent_server import store
from consent_server.issuer.metadata import AUTHORIZE, PAR, TOKEN
from consent_server.refusal import Refusal
from consent_server.sandbox.client_scenarios import door, report
from consent_server.sandbox.client_scenarios.report import (
    AS_EXPECTED,
    NOT_AS_EXPECTED,
    NOT_KNOWN_YET,
    NOT_VISIBLE,
    Seen,
)
from consent_server.sandbox.client_scenarios.table import (
    DATA,
    DATASOURCES,
    EMISSIONS,
    HEADER,
    MESSAGES,
    READINGS,
    SCENARIOS,
)
from consent_server.sandbox.layout import Layout
from consent_server.scheme.provenance.container import verify
from consent_server.scheme.provenance.step import ProvenanceError
from consent_server.settings import BadSettings
from consent_server.store import meters, permissions, readings, rows
from consent_server.store.tables.metering import Meter
from consent_server.store.tables.permissions import MeterAlias
from tests.deployments import START, in_new_database, layout, opened, settings_of
from tests.issuer.conftest import pkce
from tests.resource.conftest import METERS, ResourceServer, day_blocks

pytestmark = pytest.mark.xdist_group("client scenarios")
WINDOW = "?from=2026-03-01&to=2026-03-10"
REDIRECT = "https://client.example/callback"
PATHS = {READINGS: f"/datasources/acme.0/import{WINDOW}", EMISSIONS: "/emissions?from=2025-06-01&to=2026-01-01"}


@dataclass
class Provider:
    """An EDP's two doors in the sandbox, with one permission of client `cap`, and what is kept of its clients."""

    server: ResourceServer
    public: Any
    layout: Layout

    def call(self, endpoint: str, scenario: str | None = None, **more: Any) -> TestResponse:
        """A good request to an endpoint of the mutual-TLS door, in all but its parameters where it is a form."""
        headers = {} if scenario is None else {HEADER: scenario}
        if endpoint in DATA:
            headers["Authorization"] = f"Bearer {more.pop('token', None) or self.server.token()}"
        method = "GET" if endpoint in DATA else "POST"
        if endpoint == PAR and not more:
            more = {"data": self.good_push()}
        return self.server.client.open(
            PATHS.get(endpoint, endpoint),
            method=method,
            headers=headers,
            environ_overrides={"test.client": self.server.caller},
            **more,
        )

    def good_push(self) -> dict[str, str]:
        return {
            "response_type": "code",
            "client_id": self.server.caller.application,
            "redirect_uri": REDIRECT,
            "scope": self.server.license.url,
            "state": "the state",
            "code_challenge": pkce().challenge,
            "code_challenge_method": "S256",
        }

    def authorize(self, scenario: str) -> dict[str, list[str]]:
        """Push with the header, open the authorization endpoint, and return what the client is sent back."""
        pushed = self.call(PAR, scenario)
        assert pushed.status_code == 201
        query = {"client_id": self.server.caller.application, "request_uri": pushed.get_json()["request_uri"]}
        answer = self.public.test_client().get(AUTHORIZE, query_string=query)
        assert answer.status_code == 303
        location = answer.headers["Location"]
        return parse_qs(urlsplit(location).query) if location.startswith(REDIRECT) else {}

    def report(self) -> dict[str, tuple[int, str]]:
        assert {each.client for each in report.report(self.layout)} <= {"cap"}
        return {each.scenario: (each.met, each.verdict) for each in report.report(self.layout)}


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ResourceServer, Any]]:
    folder = tmp_path_factory.mktemp("doors")
    changes = {"metering.readings_source": "consent_server.sandbox.readings:troubled"}
    server = ResourceServer(
        settings_of("edp", f"sqlite:///{folder / 'store.db'}", changes), "electricity_and_gas", "cap"
    )
    public = opened(server.deployment, "public")
    for app in (server.app, public):
        door.install(app, Layout(folder, layout().base_port))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("consent_server.clock.now", lambda: START)
        with in_new_database(server.app):
            keep_meters(server)
            yield server, public


def keep_meters(server: ResourceServer) -> None:
    granted = server.granted()
    meter, fuel, measures = METERS["acme.0"]
    with store.writing() as c:
        meters.add(c, Meter(meter, "acme", "Acme", fuel, "1", "SW8 1AA", "SW8", measures))
        rows.add(c, MeterAlias("acme.0", granted.client_id, "acme", meter))
        readings.put_days(c, readings.EDP, meter, "import", day_blocks(fuel))


@pytest.fixture
def edp(doors: tuple[ResourceServer, Any], tmp_path: Path, held_clock: Any) -> Provider:
    server, public = doors
    kept = Layout(tmp_path, layout().base_port)
    for app in (server.app, public):
        app.extensions["client_scenarios"] = kept
    return Provider(server, public, kept)


AT_EDP = [(name, at) for name, row in SCENARIOS.items() for at in row.at if at not in {AUTHORIZE, EMISSIONS, MESSAGES}]
REFUSED = [(name, at) for name, at in AT_EDP if at in SCENARIOS[name].refusals]


@pytest.mark.parametrize(("name", "at"), REFUSED)
def test_a_refusal_is_met_by_header_and_is_the_servers_own(edp: Provider, name: str, at: str) -> None:
    kind = Refusal.family[SCENARIOS[name].refusals[at]]
    answer = edp.call(at, name)
    assert (answer.status_code, answer.get_json()["error"]) == (kind.status, kind.error)
    assert answer.get_json()["error_uri"].endswith(f"/errors/{kind.code}")
    assert dict(answer.headers).items() >= kind.headers.items()
    assert ("detail" in answer.get_json()) == (kind.status == 422)
    assert edp.report().keys() == {name}
    assert edp.call(DATASOURCES).status_code == 200  # and nothing is left of it


@pytest.mark.parametrize("name", [name for name, row in SCENARIOS.items() if AUTHORIZE in row.at])
def test_what_comes_back_through_the_browser(edp: Provider, name: str) -> None:
    edp.call(PAR)
    found = edp.authorize(name)
    wanted = {
        "request_expired": {"error": "invalid_request_uri"},
        "request_used": {"error": "invalid_request_uri"},
        "expired_everything": {"error": "invalid_request_uri"},
        "access_denied": {"error": "access_denied"},
        "authorize_server_error": {"error": "server_error"},
        "authorize_unavailable": {"error": "temporarily_unavailable"},
        "wrong_state": {"state": "another-state"},
        "wrong_issuer": {"iss": "https://another-issuer.example"},
    }[name]
    expected = {"state": "the state", "iss": edp.server.settings.issuer, **wanted}
    assert {key: found[key] for key in expected} == {key: [value] for key, value in expected.items()}
    assert ("code" in found) == ("error" not in expected)
    assert edp.report().keys() == {name}
    edp.call(PAR)
    assert edp.public.test_client().get(AUTHORIZE).status_code == 400
    assert report.all_chosen(edp.layout) == {}  # once


# what is not one of the server's own refusals


def met(edp: Provider, name: str, at: str) -> TestResponse:
    answer = edp.call(at, name)
    assert edp.report().keys() == {name}
    return answer


def test_data_that_are_still_collected(edp: Provider) -> None:
    answer = met(edp, "not_ready", READINGS)
    assert (answer.status_code, answer.headers["Retry-After"], list(answer.json)) == (202, "5", ["message"])


def test_readings_that_are_missing(edp: Provider) -> None:
    whole = len(edp.call(READINGS).json["data"])
    assert met(edp, "no_readings", READINGS).json["data"] == []
    edp.call(READINGS, "no_readings")
    some = edp.call(READINGS, "gaps").json
    assert 0 < len(some["data"]) < whole
    assert whole == 9 * 48


@pytest.mark.parametrize("at", [PAR, DATASOURCES, READINGS])
def test_a_proxy_in_front(edp: Provider, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[int] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    for name, status in {"rate_limited": 429, "bad_gateway": 502, "gateway_timeout": 504}.items():
        answer = edp.call(at, name)
        assert (answer.status_code, answer.mimetype) == (status, "text/html")
        assert ("Retry-After" in answer.headers) == (status == 429)
    assert edp.call(at, "slow").status_code in (200, 201)
    assert slept == [20]
    garbled = edp.call(at, "not_json")
    assert garbled.mimetype == "application/json"
    with pytest.raises(ValueError, match="Expecting"):
        _ = garbled.json
    with pytest.raises(ConnectionResetError):
        edp.call(at, "cut_off").get_data()
    assert edp.report().keys() == {"rate_limited", "bad_gateway", "gateway_timeout", "slow", "not_json", "cut_off"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("provenance_missing", "object"),
        ("provenance_signature_broken", "signature"),
        ("provenance_step_altered", "signature"),
        ("provenance_certificate_missing", "certificate"),
    ],
)
def test_provenance_that_does_not_hold(edp: Provider, name: str, says: str) -> None:
    root = edp.server.deployment.signing_root
    record = edp.call(READINGS).json["provenance"]
    assert verify(record, layout().trust_framework, root)
    spoiled = met(edp, name, READINGS).json.get("provenance")
    with pytest.raises(ProvenanceError, match=says):
        verify(spoiled, layout().trust_framework, root)


@pytest.mark.parametrize("at", [EMISSIONS, MESSAGES])
def test_every_refusal_at_a_cap(at_cap: Any, at: str) -> None:
    names = [name for name, row in SCENARIOS.items() if at in row.refusals]
    assert len(names) > 20
    for name in names:
        answer = at_cap(at, name)
        kind = Refusal.family[SCENARIOS[name].refusals[at]]
        assert (answer.status_code, answer.get_json()["error_uri"].rpartition("/")[2]) == (kind.status, kind.code)


@pytest.fixture
def at_cap(tmp_path: Path, held_clock: Any) -> Any:
    server = ResourceServer(settings_of("cap", f"sqlite:///{tmp_path / 'store.db'}"), "emissions", "fsp")
    door.install(server.app, Layout(tmp_path, layout().base_port))
    client = {"test.client": server.caller}
    return lambda at, name: server.client.open(
        at, method="POST" if at == MESSAGES else "GET", headers={HEADER: name}, environ_overrides=client
    )


def test_a_withdrawal_in_the_middle_ends_the_permission(edp: Provider) -> None:
    assert met(edp, "withdrawn_midway", DATASOURCES).status_code == 200
    refused = edp.call(DATASOURCES)
    assert (refused.status_code, refused.json["error"]) == (401, "invalid_token")
    assert edp.report() == {"withdrawn_midway": (1, NOT_KNOWN_YET)}
    with store.writing() as c:
        ended = permissions.find(c, "permission-1")
        assert ended is not None
        assert ended.ended is not None
        c.execute(rows.table_of(type(ended)).delete())
        permissions.add(c, ended._replace(ended=None, ended_by=None, ended_where=None, ended_why=None))


def test_each_row_of_the_table_is_made_in_one_way() -> None:
    ways = [{name for name, row in SCENARIOS.items() if row.refusals}, set(door.INSTEAD), set(door.SPOILED)]
    read_by_the_readings = {"gaps", "no_readings"}
    assert sorted(SCENARIOS) == sorted(name for way in [*ways, read_by_the_readings] for name in way)
    for row in SCENARIOS.values():
        assert not row.refusals or row.refusals.keys() == set(row.at), row.name
        assert row.about.endswith("."), row.name
        assert row.todo.endswith("."), row.name


def test_every_refusal_of_a_machines_endpoint_has_a_row() -> None:
    """Left out are those of a page, and those that a data API elsewhere makes."""
    rooms = ("issuer.", "caller.", "resource.", "tokens.", "web.parameters", "store.faults", "metering.", "deployment")
    machines = {
        code
        for code, kind in Refusal.family.items()
        if kind.__module__.removeprefix("consent_server.").startswith(rooms) and code not in PAGES
    }
    assert machines - {code for row in SCENARIOS.values() for code in row.refusals.values()} == set()


#: Shown to a person in the journey or at /authorize, or made where a data API of one's own is guarded.
PAGES = {
    *("fuel_not_in_license", "not_agreed", "text_is_not_the_license", "too_many_meters"),
    *("request_not_pushed", "request_unknown", "route_not_guarded"),
}


# switched on for a client


def test_a_client_goes_on_meeting_what_was_chosen_until_it_is_stopped(edp: Provider) -> None:
    report.choose(edp.layout, "cap2", "server_error")
    assert edp.call(DATASOURCES).status_code == 200
    report.choose(edp.layout, "cap", "temporarily_unavailable")
    assert [edp.call(at).status_code for at in (DATASOURCES, READINGS, PAR, TOKEN)] == [503] * 4
    report.stop(edp.layout, "cap")
    assert [edp.call(at).status_code for at in (DATASOURCES, READINGS, PAR)] == [200, 200, 201]
    assert report.all_chosen(edp.layout) == {"cap2": "server_error"}


@pytest.mark.parametrize(
    ("header", "says"),
    [("nothing", "names no scenario"), ("bad_window", "is met at /datasources/<id>/<measure> /emissions.")],
)
def test_a_header_that_names_nothing_to_meet_here(edp: Provider, header: str, says: str) -> None:
    refused = edp.call(DATASOURCES, header)
    assert refused.status_code == 400
    assert says in refused.json["error_description"]
    assert edp.report() == {}
    assert edp.call(DATASOURCES, "normal").status_code == 200


def test_what_needs_a_good_response_does_not_happen_to_a_refused_one(edp: Provider) -> None:
    assert edp.call(READINGS, "provenance_missing", token="none").status_code == 401
    assert edp.report() == {}


def test_a_journal_has_no_token_and_an_end(edp: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    token = edp.server.token()
    edp.call(DATASOURCES, "token_expired", token=token)
    kept = edp.layout.client_scenarios / "cap.jsonl"
    assert token not in kept.read_text()
    monkeypatch.setattr(report, "_LARGEST_JOURNAL", kept.stat().st_size)
    edp.call(DATASOURCES, "token_expired")
    assert len(kept.read_text().splitlines()) == 1
    report.choose(edp.layout, "cap", "token_expired")
    assert kept.read_text().count("chosen") == len(kept.read_text().splitlines()) == 1


def test_what_another_version_had_is_left_out(tmp_path: Path, held_clock: Any) -> None:
    kept = Layout(tmp_path, 8440)
    report.choose(kept, "fsp", "of-another-version")
    report.keep(kept, "fsp", seen(0, scenario="of-another-version"))
    assert (report.all_chosen(kept), report.report(kept)) == ({}, [])


# outside of a sandbox


def test_the_door_of_production_takes_no_notice_of_the_header_and_cannot_be_opened_with_scenarios(
    doors: tuple[ResourceServer, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, held_clock: Any
) -> None:
    server, _ = doors
    app = opened(server.deployment, "mutual_tls")
    call = {"headers": {HEADER: "server_error"}, "environ_overrides": {"test.client": server.caller}}
    assert app.test_client().get("/heartbeat", **call).status_code == 200
    call["headers"]["Authorization"] = f"Bearer {server.token()}"  # type: ignore[index]
    assert app.test_client().get(DATASOURCES, **call).status_code == 200
    production = server.settings.model_copy(update={"environment": "production"})
    monkeypatch.setattr(server.deployment, "settings", production)
    with pytest.raises(BadSettings, match="sandbox alone"):
        door.install(app, Layout(tmp_path, 8440))


# how a client behaved afterwards

M = "met"


def seen(at: int, endpoint: str = READINGS, scenario: str = "", **more: Any) -> Seen:
    values = {"status": 503 if scenario else 200, "request": "r1", "credential": "c1", **more}
    return Seen(START + at, endpoint, scenario=scenario, **values)


BEHAVIOUR = {
    "waited": ("not_ready", [seen(0, scenario=M, retry_after=5), seen(5)], AS_EXPECTED),
    "did not wait": ("not_ready", [seen(0, scenario=M, retry_after=5), seen(4)], NOT_AS_EXPECTED),
    "did not wait the second time": (
        "not_ready",
        [seen(0, scenario=M, retry_after=5), seen(5, scenario=M, retry_after=5), seen(6), seen(20)],
        NOT_AS_EXPECTED,
    ),
    "asked elsewhere": ("not_ready", [seen(0, scenario=M, retry_after=5), seen(1, DATASOURCES)], NOT_KNOWN_YET),
    "backed off": ("server_error", [seen(0, scenario=M), *(seen(at) for at in (1, 3, 7, 15, 31, 70))], AS_EXPECTED),
    "hammered": ("server_error", [seen(0, scenario=M), *(seen(at) for at in range(6))], NOT_AS_EXPECTED),
    "the same again": ("bad_window", [seen(0, scenario=M), seen(50)], NOT_AS_EXPECTED),
    "another": ("bad_window", [seen(0, scenario=M), seen(5, request="r2")], AS_EXPECTED),
    "refreshed": ("token_expired", [seen(0, scenario=M), seen(1, TOKEN, credential="c2")], AS_EXPECTED),
    "the old token": ("token_expired", [seen(0, scenario=M), seen(1, DATASOURCES)], NOT_AS_EXPECTED),
    "nothing yet": ("token_expired", [seen(0, scenario=M)], NOT_KNOWN_YET),
    "pushed": ("refresh_token_refused", [seen(0, TOKEN, M), seen(1, PAR, credential="")], AS_EXPECTED),
    "spent": ("refresh_token_refused", [seen(0, TOKEN, M), seen(1, TOKEN), seen(2, PAR)], NOT_AS_EXPECTED),
    "stopped": ("certificate_revoked", [seen(0, scenario=M), seen(1), seen(2)], AS_EXPECTED),
    "went on": ("certificate_revoked", [seen(0, scenario=M), *(seen(at) for at in range(4))], NOT_AS_EXPECTED),
    "redeemed": ("wrong_issuer", [seen(0, AUTHORIZE, M), seen(1, TOKEN)], NOT_AS_EXPECTED),
    "refused": ("wrong_issuer", [seen(0, AUTHORIZE, M), seen(1, PAR)], AS_EXPECTED),
    "ended": ("withdrawn_midway", [seen(0, scenario=M, status=200), seen(1, status=401)], AS_EXPECTED),
    "asks on": (
        "withdrawn_midway",
        [seen(0, scenario=M, status=200), *(seen(at, status=401) for at in (1, 2, 3))],
        NOT_AS_EXPECTED,
    ),
    "unseen": ("provenance_missing", [seen(0, scenario=M, status=200)], NOT_VISIBLE),
}


@pytest.mark.parametrize("case", BEHAVIOUR)
def test_what_a_client_did_next_is_judged(case: str, tmp_path: Path, held_clock: Any) -> None:
    name, requests, verdict = BEHAVIOUR[case]
    kept = Layout(tmp_path, 8440)
    for each in requests:
        held_clock.instant = each.at
        report.keep(kept, "fsp", Seen(**{**vars(each), "scenario": name if each.scenario else ""}))
    held_clock.instant = START + (0 if verdict == NOT_KNOWN_YET else 90)
    (found,) = report.report(kept)
    assert (found.client, found.scenario, found.verdict) == ("fsp", name, verdict), found.why


def test_a_code_and_a_token_are_known_again_where_they_are_spent(edp: Provider) -> None:
    code = edp.authorize("wrong_issuer")["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "client_id": edp.server.caller.application}
    assert edp.call(TOKEN, data=form).status_code == 400
    assert edp.report() == {"wrong_issuer": (1, NOT_AS_EXPECTED)}
    token = edp.server.token()
    edp.call(DATASOURCES, "token_expired", token=token)
    edp.call(READINGS, token=token)
    assert edp.report()["token_expired"] == (1, NOT_AS_EXPECTED)


def test_a_scenario_that_is_chosen_again_is_judged_by_itself(tmp_path: Path, held_clock: Any) -> None:
    kept = Layout(tmp_path, 8440)
    for at in range(8):
        report.keep(kept, "fsp", seen(at, scenario="server_error"))
    held_clock.instant = START + 10
    assert report.report(kept)[0].verdict == NOT_AS_EXPECTED
    report.choose(kept, "fsp", "server_error")
    report.keep(kept, "fsp", seen(10, scenario="server_error"))
    assert (report.report(kept)[0].met, report.report(kept)[0].verdict) == (1, NOT_KNOWN_YET)

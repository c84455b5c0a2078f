"""What is counted of requests and of audit events, and that no label says whom it was about."""

from collections.abc import Iterable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from prometheus_client import CollectorRegistry, Histogram
from werkzeug.test import Client

from consent_server import audit
from consent_server.caller.identify import identified
from consent_server.metrics import counts
from consent_server.metrics.counts import DETAILS, MOST_CLIENTS, Counts
from consent_server.web.tally import TIMES, RequestTally, ResponseTimes, install, tally_of
from tests.deployments import deploy, in_new_database, opened, settings_of

CAP = "https://localhost:8440/directory/a/cap"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def found(registry: CollectorRegistry, family: str) -> dict[tuple[str, ...], float]:
    """The values of a counter by its labels' values, those in the order of their names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == f"{family}_total" and sample.value
    }


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    app = opened(deploy(settings_of("edp", f"sqlite:///{tmp_path_factory.mktemp('edp') / 'store.db'}")), "public")
    with in_new_database(app):
        yield app


@pytest.mark.parametrize(
    ("path", "endpoint", "outcome"),
    [
        ("/health?token=secret", "/health", "2xx"),
        ("/errors/not_found", "/errors/<code>", "2xx"),
        ("/evidence/0123456789abcdef0123456789abcdef", "/evidence/<evidence_id>", "4xx"),
        ("/nothing/secret", "-", "4xx"),
        ("/secret\0", "-", "4xx"),
    ],
)
def test_a_request_is_counted_by_its_rule_and_never_by_its_path(
    app: Flask, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, path: str, endpoint: str, outcome: str
) -> None:
    takers = tally_of(app).takers
    tally_of(app).settle()
    monkeypatch.setattr(tally_of(app), "takers", [*takers, partial(Counts(registry).requests, "public")])
    app.test_client().get(path)
    assert found(registry, "consent_requests") == {}, "a request itself writes nothing"
    tally_of(app).settle()
    # client, door, endpoint, outcome
    assert found(registry, "consent_requests") == {("-", "public", endpoint, outcome): 1}
    seconds = {"door": "public", "endpoint": endpoint}
    assert registry.get_sample_value("consent_request_seconds_count", seconds) == 1


def test_a_request_on_the_connection_of_another_is_not_counted_as_its(registry: CollectorRegistry) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/known":
            identified.set(CAP)
        if environ["PATH_INFO"] == "/fault":
            raise OSError("of the application")
        start_response("200 OK", [])
        return [b""]

    app = SimpleNamespace(wsgi_app=application, extensions={})
    install(app)
    tally_of(app).takers.append(partial(Counts(registry).requests, "mutual_tls"))
    client = Client(app.wsgi_app)
    client.get("/known")
    client.get("/unknown")
    with pytest.raises(OSError, match="of the application"):
        client.get("/fault")
    tally_of(app).settle()
    tally_of(app).settle()
    assert found(registry, "consent_requests") == {
        (CAP, "mutual_tls", "-", "2xx"): 1,
        ("-", "mutual_tls", "-", "2xx"): 1,
        ("-", "mutual_tls", "-", "5xx"): 1,
    }


def answers(*seconds: float) -> ResponseTimes:
    tally = RequestTally()
    found: list[ResponseTimes] = []
    tally.takers.append(lambda counted: found.extend(counted.values()))
    for each in seconds:
        tally.count((0, "GET", "/health", "-", 2), each)
    tally.settle()
    return found[0]


def test_the_histogram_is_what_one_that_observes_each_answer_would_be(registry: CollectorRegistry) -> None:
    seconds = [*TIMES, *(1.01 * each for each in TIMES), 0.0]
    beside = Histogram("beside", "The same.", buckets=TIMES, registry=registry)
    for each in seconds:
        beside.observe(each)
    Counts(registry).requests("public", {(0, "GET", "/health", "-", 2): answers(*seconds)})
    families = {family.name: family.samples for family in registry.collect()}
    ours, theirs = (
        {(each.name.removeprefix(name), each.labels.get("le")): round(each.value, 9) for each in families[name]}
        for name in ("consent_request_seconds", "beside")
    )
    assert ours == theirs


def test_clients_beyond_a_number_are_counted_together(registry: CollectorRegistry) -> None:
    of_process = Counts(registry)
    for number in [*range(MOST_CLIENTS + 5), 0]:
        of_process.requests("mutual_tls", {(0, "POST", "/token", f"{CAP}{number}", 2): answers(0.01)})
    clients = {client: value for (client, *_), value in found(registry, "consent_requests").items()}
    assert (len(clients), clients[counts.OTHERS], clients[f"{CAP}0"]) == (MOST_CLIENTS + 1, 5, 2)


@pytest.mark.parametrize("name", sorted(audit.EVENTS))
def test_of_an_audit_event_its_name_is_counted_and_one_field_of_a_closed_list(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lines: list[Any] = []
    monkeypatch.setattr(audit, "listeners", [lines.append])
    audit.event(name, **{field: f"the {field}" for field in audit.EVENTS[name]})
    Counts(registry).events(lines)
    # detail, event
    assert found(registry, "consent_events") == {(f"the {DETAILS[name]}" if name in DETAILS else "-", name): 1}


def test_what_is_counted_apart_is_a_field_of_its_event() -> None:
    assert all(field in audit.EVENTS[event] for event, field in DETAILS.items())
    named = {"client_id", "permission", "subject", "account", "meter", "private", "connection", "recipient", "by"}
    assert not set(DETAILS.values()) & named

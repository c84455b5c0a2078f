"""Traces, as a collector gets them: one request from door to store and calls out, and nothing of whom it was about."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from werkzeug.test import Client

from consent_server import traces
from consent_server.deployment import current
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.poller import Poller
from consent_server.serving.traced import traced
from consent_server.settings import BadSettings
from consent_server.settings.operation import TracesSettings
from tests.deployments import deploy, in_new_database, opened, settings_of

CALLERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector(HTTPServer):
    """Takes spans until as many are there as a test waits for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Took)
        self.spans: list[Span] = []
        self.came = threading.Condition()

    def wait_for(self, name: str, trace: int | None = None) -> Span:
        """Return the span of that name; of that trace, where threads of the server may make one of the same name."""

        def found() -> list[Span]:
            return [span for span in self.spans if span.name == name and trace in (None, trace_of(span))]

        with self.came:
            assert self.came.wait_for(found, 20), [span.name for span in self.spans]
            return found()[0]


def trace_of(span: Span) -> int:
    return int.from_bytes(span.trace_id, "big")


class Took(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        sent = ExportTraceServiceRequest()
        sent.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.came:
            self.server.spans += [s for r in sent.resource_spans for scope in r.scope_spans for s in scope.spans]
            self.server.came.notify_all()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setattr(traces._OfProcess, "tracing", None)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with Collector() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}/v1/traces"
        traces.start(TracesSettings(endpoint=endpoint, percent=100), "mutual_tls")
        yield server
        assert traces._OfProcess.tracing is not None
        traces._OfProcess.tracing._tracer.span_processor.shutdown()  # type: ignore[attr-defined]
        server.shutdown()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with in_new_database(opened(deploy(settings_of("edp", f"sqlite:///{tmp_path / 'store.db'}")), "mutual_tls")) as app:
        yield app


def attributes(span: Span) -> dict[str, str | int]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


@pytest.mark.parametrize("door", ["mutual_tls", "public"])
def test_a_request_and_its_transactions_are_one_trace(collector: Collector, app: Flask, door: str) -> None:
    answer = Client(traced(app.wsgi_app, door)).get("/ready?secret=1", headers={"traceparent": CALLERS})
    request = collector.wait_for("GET /ready")
    # anybody asks at the public door
    assert (request.trace_id.hex() == CALLERS.split("-")[1]) == (door == "mutual_tls")
    assert request.parent_span_id.hex() == (CALLERS.split("-")[2] if door == "mutual_tls" else "")
    stores = [s for s in collector.spans if s.name.startswith("store ") and trace_of(s) == trace_of(request)]
    assert {span.name for span in stores} == {"store read"}
    assert {span.parent_span_id for span in stores} == {request.span_id}
    assert attributes(request) == {
        "http.request.method": "GET",
        "http.route": "/ready",
        "http.response.status_code": answer.status_code,
        "consent.door": door,
        "consent.correlation_id": answer.headers["X-Request-Id"],
    }


def test_nothing_of_a_request_is_told_but_its_rule(collector: Collector, app: Flask) -> None:
    client = Client(traced(app.wsgi_app, "mutual_tls"))
    client.open(
        "/nothing/secret?secret=1", method="SECRET", headers={"traceparent": "secret", "tracestate": "a=secret"}
    )
    client.get("/health/secret", headers={"baggage": "a=secret"})
    collector.wait_for("_OTHER")
    collector.wait_for("GET")
    assert "secret" not in str(collector.spans)


def test_a_call_out_is_part_of_the_trace_and_tells_the_host_alone(collector: Collector, app: Flask) -> None:
    with traces.span("the request", "SERVER") as outer:
        assert outer is not None
        with pytest.raises(Unreachable):
            current().session.get("https://localhost:1/secret?secret=1", configured=True)
        trace, own = outer.get_span_context().trace_id, outer.get_span_context().span_id
        assert traces.headers()["traceparent"].rpartition("-")[0] == f"00-{trace:032x}-{own:016x}"
    call = collector.wait_for("GET", trace)
    assert int.from_bytes(call.parent_span_id, "big") == own
    assert attributes(call) == {"server.address": "localhost", "error.type": "Unreachable"}
    assert (call.kind, call.status.message, list(call.events)) == (Span.SPAN_KIND_CLIENT, "", [])


@pytest.mark.parametrize(
    ("percent", "parent", "sent"),
    [
        *((0, "", False), (100, "", True), (0, CALLERS, False), (100, CALLERS, True)),
        # of the id 0x8448eb211c80319c / 2**64 = 0.517
        *((51, CALLERS, False), (52, CALLERS, True), (0, f"{CALLERS}-1", False), (100, "no traceparent", True)),
    ],
)
def test_a_trace_is_sent_or_left_out_as_a_whole(
    monkeypatch: pytest.MonkeyPatch, percent: int, parent: str, sent: bool
) -> None:
    monkeypatch.setattr(traces._OfProcess, "tracing", None)
    monkeypatch.setattr(TracerProvider, "add_span_processor", lambda *_: None)
    traces.start(TracesSettings(endpoint="http://127.0.0.1:1/v1/traces", percent=percent), "public")
    with traces.span("GET", "SERVER", parent) as request, traces.span("store read") as part:
        assert (request is not None, part is not None, bool(traces.headers())) == (sent, sent, sent)


def test_no_trace_begins_with_a_call_or_a_transaction(collector: Collector, app: Flask) -> None:
    """Else all of them were sent where a thread of its own makes them, whatever the percentage."""
    with traces.span("the request", "SERVER"):
        pass
    with traces.span("store read") as transaction, traces.span("GET", "CLIENT") as call:
        assert (transaction, call, traces.headers()) == (None, None, {})


def test_a_list_that_is_loaded_is_a_trace(collector: Collector, app: Flask) -> None:
    session = current().session
    loads = Poller("list", lambda: session.get("https://localhost:1/", configured=True).body, 3600)
    loads.latest()
    loaded = collector.wait_for("load list")
    loads.stop()
    assert collector.wait_for("GET", trace_of(loaded)).parent_span_id == loaded.span_id


def test_without_the_setting_there_is_no_span_and_no_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces._OfProcess, "tracing", None)
    traces.start(TracesSettings(), "work")
    with traces.span("none") as span:
        assert (span, traces.headers()) == (None, {})


def test_without_the_extra_the_setting_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    traces.require_extra(TracesSettings())
    with pytest.raises(BadSettings, match=r"consent-server\[traces\]"):
        traces.require_extra(TracesSettings(endpoint="http://127.0.0.1:4318/v1/traces"))

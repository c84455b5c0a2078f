"""OpenTelemetry spans of requests, jobs and lists that are loaded, with their transactions and calls out.

They are made if `traces.endpoint` is set.

A span has the kind of operation, how long it took and how it ended. It holds no address, no query, no body and no message of an
error, and nothing that names a business, a permission or a meter.
"""

import importlib.util
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from consent_server.settings import BadSettings
from consent_server.settings.operation import TracesSettings

if TYPE_CHECKING:
    from opentelemetry.trace import Span

#: The header of W3C Trace Context.
TRACEPARENT: Final = "traceparent"
#: Seconds that the collector may take; what it does not take is dropped, and what does not fit into the queue as well.
_PATIENCE_S: Final = 5
#: What `span` returns where no span is made.
NOTHING: Final = nullcontext()
#: Kinds of spans with which something begins here: what is in them is sent with them, or left out with them.
_BEGINS: Final = frozenset({"SERVER", "CONSUMER"})
_in_trace: Final[ContextVar[bool]] = ContextVar("in_trace", default=False)
_LAST_OF_ID: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{16}([0-9a-f]{16})-[0-9a-f]{16}-[0-9a-f]{2}")


class _Tracing:
    """What a process makes its spans with. The packages of the extra are imported here, and by nothing else."""

    def __init__(self, settings: TracesSettings, process: str) -> None:
        from opentelemetry import context, trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create({"service.name": "consent-server", "consent.process": process})
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource)
        exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=_PATIENCE_S)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        self._share = settings.percent / 100
        self._api, self._context = trace, context
        self._tracer = provider.get_tracer("consent_server")
        self._propagator = TraceContextTextMapPropagator()

    def leaves_out(self, parent: str) -> bool:
        """Whether a trace that begins here is left out. That is decided before a span is made, which takes longer.

        It follows from the trace's id, as elsewhere in OpenTelemetry: what a caller asks for decides nothing.
        """
        named = _LAST_OF_ID.fullmatch(parent)
        drawn = int(named[1], 16) / 2**64 if named else random.random()  # noqa: S311 - no secret
        return drawn >= self._share

    @contextmanager
    def running(self, name: str, kind: str, parent: str, attributes: Mapping[str, str]) -> "Iterator[Span]":
        context = self._propagator.extract({TRACEPARENT: parent}) if parent else None
        made = self._tracer.start_span(name, context, self._api.SpanKind[kind], attributes)
        token = self._context.attach(self._api.set_span_in_context(made))
        outside = _in_trace.set(True)
        try:
            yield made
        except Exception as error:
            # Its name alone: its message may quote what a client sent.
            made.set_attribute("error.type", type(error).__name__)
            made.set_status(self._api.Status(self._api.StatusCode.ERROR))
            raise
        finally:
            _in_trace.reset(outside)
            self._context.detach(token)
            made.end()

    def headers(self) -> Mapping[str, str]:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return {name: value for name, value in carrier.items() if name == TRACEPARENT}


class _OfProcess:
    tracing: _Tracing | None = None


def require_extra(settings: TracesSettings) -> None:
    """Raise BadSettings where traces are wanted and the extra is not installed."""
    if settings.endpoint and importlib.util.find_spec("opentelemetry") is None:
        raise BadSettings("traces.endpoint needs more packages: pip install 'consent-server[traces]'")


def start(settings: TracesSettings, process: str) -> None:
    """Make spans in this process from now on, where they are wanted, and send them to the collector. Raise BadSettings."""
    require_extra(settings)
    if settings.endpoint:
        _OfProcess.tracing = _Tracing(settings, process)


def span(
    name: str, kind: str = "INTERNAL", parent: str = "", **attributes: str
) -> AbstractContextManager["Span | None"]:
    """Return a context in which a span runs. `kind` is one of OpenTelemetry's; `parent` a traceparent, if it is another's.

    It is the span, for what is known in its end, or None where no span is made: a trace begins with a request, a job or the
    loading of a list, and `traces.percent` decides then.
    """
    tracing = _OfProcess.tracing
    if tracing is None:
        return NOTHING
    made = not tracing.leaves_out(parent) if kind in _BEGINS else _in_trace.get()
    return tracing.running(name, kind, parent, attributes) if made else NOTHING


def headers() -> Mapping[str, str]:
    """Return the header that makes what a server does a part of the trace in hand; none where there is no trace."""
    return _OfProcess.tracing.headers() if _OfProcess.tracing is not None and _in_trace.get() else {}

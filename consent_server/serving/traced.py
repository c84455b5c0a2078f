"""A span for each request at a door."""

from typing import Any, Final

from consent_server import audit, traces
from consent_server.web.tally import Application, rule_of

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def traced(application: Application, door: str) -> Application:
    """Return a WSGI application that makes a span of each request to another.

    At the mutual-TLS door a request may be part of its caller's trace; at the public door, where anybody asks, each begins one.
    """

    def tracing(environ: dict[str, Any], start_response: Any) -> Any:
        method = environ["REQUEST_METHOD"] if environ["REQUEST_METHOD"] in _METHODS else "_OTHER"
        parent = environ.get("HTTP_TRACEPARENT", "") if door == "mutual_tls" else ""
        running = traces.span(method, "SERVER", parent)
        if running is traces.NOTHING:
            return application(environ, start_response)
        with running as span:
            assert span is not None
            span.set_attribute("http.request.method", method)
            span.set_attribute("consent.door", door)

            def noting(status: str, *more: Any) -> Any:
                rule = rule_of(environ)
                if rule is not None:
                    span.update_name(f"{method} {rule.rule}")
                    span.set_attribute("http.route", rule.rule)
                span.set_attribute("http.response.status_code", int(status[:3]))
                span.set_attribute("consent.correlation_id", audit.correlation_id.get())
                return start_response(status, *more)

            return application(environ, noting)

    return tracing

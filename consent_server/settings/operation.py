"""How the processes run: jobs, metrics, traces, and what only the sandbox may have."""

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from consent_server.settings.section import Section


class JobsSettings(Section):
    """How often `consent-server work` runs each job, in seconds from the end of one run to the next."""

    outbox_s: int = Field(2, ge=1, description="Look for messages that are due.")
    collect_s: int = Field(2, ge=1, description="Look for collections that are due.")
    retention_s: int = Field(3600, ge=1, description="Apply retention and clean up.")
    give_up_after_s: int = Field(
        604800,
        ge=1,
        description="How long delivery of a message is tried before it goes to the give-up list.",
    )


#: A process of a party, as its metrics have ports: the first at the port itself, each other at the one after.
_PROCESSES: Final = ("public", "mutual_tls", "work")


def _metrics_bind(value: str) -> str:
    host, _, port = value.rpartition(":")
    if value and not (host and port.isascii() and port.isdigit() and 0 < int(port) <= 65536 - len(_PROCESSES)):
        raise ValueError("must be host:port, with two more ports after it")
    return value


class MetricsSettings(Section):
    """Metrics for Prometheus (docs/operator.md)."""

    bind: Annotated[str, AfterValidator(_metrics_bind)] = Field(
        default="",
        description=(
            "host:port of the public door's metrics, such as 127.0.0.1:9464; those of the mutual-TLS door are on the next "
            "port, those of the jobs on the one after. There is no authentication: use loopback or your own "
            "network. Empty: nothing is measured. Read only at the start."
        ),
    )

    def address(self, process: str) -> tuple[str, int] | None:
        """Return host and port of the metrics of a process (public, mutual_tls or work), None where nothing is measured."""
        host, _, port = self.bind.rpartition(":")
        return (host.strip("[]"), int(port) + _PROCESSES.index(process)) if self.bind else None


def _collector(value: str) -> str:
    parts = urlsplit(value)
    if value and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query):
        raise ValueError("must be an http or https URL without user name or query")
    return value


class TracesSettings(Section):
    """OpenTelemetry traces (docs/operator.md)."""

    endpoint: Annotated[str, AfterValidator(_collector)] = Field(
        default="",
        description=(
            "URL of your collector for OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces. Needs the extra "
            "consent-server[traces]. Empty: nothing is traced."
        ),
    )
    percent: int = Field(default=2, ge=0, le=100, description="The percentage of traces whose spans are sent.")


class SandboxSettings(Section):
    """What only the sandbox may have; production refuses each of these."""

    clock: Path | None = Field(None, description="File with the clock's offset, shared by every process.")
    fixed_codes: Path | None = Field(None, description="JSON file that maps e-mail addresses to fixed sign-in codes.")

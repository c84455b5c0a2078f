"""What a party is made of: routes for each door, checks for /ready, and jobs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from consent_server.jobs.work import Job


@dataclass(frozen=True)
class Party:
    """`public` and `mutual_tls` are Flask blueprints; `ready` maps a name to a check that answers what it found, or raises
    a Refusal when the party cannot serve; `brand` is what its pages are headed with."""

    brand: Callable[[], str]
    public: tuple[Any, ...]
    mutual_tls: tuple[Any, ...]
    ready: dict[str, Callable[[], Any]]
    jobs: tuple[Job, ...]

"""What `release` is handed by a party: it sees no store, so that a data API can run on other machines than its issuer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from consent_server.pki.member_certificate import MemberCertificate
from consent_server.resource.guard import Guard, Release
from consent_server.scheme.provenance.container import SignedRecord, Signer

#: The WSGI environ of a request -> the certificate of its caller, found good. Raises a Refusal.
Caller = Callable[[Mapping[str, Any]], MemberCertificate]


class Source(Protocol):
    """A meter as its data source: what may be told of it. Whatever else it carries is for `readings` to know."""

    @property
    def id(self) -> str: ...
    @property
    def fuel(self) -> str: ...
    @property
    def measures(self) -> Sequence[str]: ...
    @property
    def outcode(self) -> str: ...


@dataclass(frozen=True)
class Ask:
    """The half-hours of `source` with start <= from < end, under the permission of this account, which ends at `expires`."""

    source: Any
    measure: str
    start: int
    end: int
    account: str
    expires: int


class Readings(Protocol):
    """Day blocks (see scheme.readings) in order, `count` half-hours in all; or `retry_after` seconds and nothing yet.

    `metered` is the part of the window that the meter was read for, None where it does not reach into it; `complete` says
    whether no half-hour is missing in it.
    """

    @property
    def blocks(self) -> Sequence[bytes]: ...
    @property
    def count(self) -> int: ...
    @property
    def metered(self) -> tuple[int, int] | None: ...
    @property
    def complete(self) -> bool: ...
    @property
    def retry_after(self) -> int | None: ...


@dataclass(frozen=True)
class EnergyParts:
    """For an EDP. `source` finds the meter behind a data source id; `registry` is the Registry's base URL and `service` the
    id of this API's entry in the Directory's catalogue, both written into provenance."""

    guard: Guard
    caller: Caller
    source: Callable[[str], Source | None]
    readings: Callable[[Ask], Readings]
    signer: Signer
    registry: str
    service: str


class Month(Protocol):
    """One whole month of one fuel: instants `start`, `end` and `taken_at` (when it was worked out), and kilograms."""

    @property
    def fuel(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def taken_at(self) -> int: ...
    @property
    def kilograms(self) -> float: ...


@dataclass(frozen=True)
class Report:
    """Whole months in order with their signed provenance; or `retry_after` seconds and nothing yet."""

    months: Sequence[Month] = ()
    provenance: SignedRecord | None = None
    retry_after: int | None = None


@dataclass(frozen=True)
class EmissionsParts:
    """For a CAP. `months` is asked for the months with start <= month < end that this release covers, at an instant."""

    guard: Guard
    caller: Caller
    months: Callable[[Release, int, int, int], Report]

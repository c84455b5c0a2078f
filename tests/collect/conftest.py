"""A CAP's store, and providers that answer over no network: their readings are made by rule, their records really signed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from consent_server import store
from consent_server.collect import gather
from consent_server.collect.gather import CollectParts
from consent_server.outbound.data import DataSource, Window
from consent_server.outbound.directory import DataService
from consent_server.scheme import instant
from consent_server.scheme.instant import HALF_HOUR
from consent_server.scheme.provenance.steps import (
    COMPLETE,
    Grant,
    MeterRelease,
    consumption_standard,
    edp_record,
    trust_framework_url,
)
from consent_server.scheme.readings import UNIT
from consent_server.store import accounts, connections, readings
from consent_server.store.database import db
from tests.scheme.signing import CAP_ROLE, DIRECTORY, EDP_ROLE, REGISTRY, member_signer, signing_authority

LICENSE = f"{REGISTRY}/scheme/perseus/license/energy-consumption-edp-cap/2026-03-12"
FEBRUARY, MARCH = instant.parse("2026-02-01T00:00:00Z"), instant.parse("2026-03-01T00:00:00Z")
TODAY = instant.parse("2026-03-12T00:00:00Z")
RETRY_S = 60


@dataclass
class Meter:
    """`amount(start)` is a half-hour's reading, None for a gap."""

    id: str
    fuel: str = "electricity"
    outcode: str | None = "SW8"
    measures: tuple[str, ...] = ("import",)
    amount: Callable[[int], float | None] = lambda start: 1000.0

    def readings(self, start: int, end: int) -> list[dict[str, Any]]:
        amounts = ((at, self.amount(at)) for at in range(start, end, HALF_HOUR))
        return [reading(at, amount, self.fuel) for at, amount in amounts if amount is not None]


def reading(start: int, amount: float, fuel: str = "electricity") -> dict[str, Any]:
    return {
        "type": fuel,
        "from": instant.text(start),
        "to": instant.text(start + HALF_HOUR),
        "takenAt": instant.text(start + 2 * HALF_HOUR),
        "energy": {"value": amount, "unitCode": UNIT[fuel]},
    }


@dataclass
class Provider:
    """One EDP's consumption API. A test replaces what it wants to go wrong."""

    name: str
    meters: list[Meter] = field(default_factory=list)
    cut: int | None = None  # where a window ends and the next begins
    signs: Any = None  # another signer than the provider's own
    releases: dict[str, Any] = field(default_factory=dict)  # other values in the transfer that is recorded
    grants: dict[str, Any] = field(default_factory=dict)  # other values in its permission
    answers: Callable[[dict[str, Any]], Any] = lambda body: None  # changes a body in place
    asked: Callable[[], Any] = lambda: None  # called when the data sources are asked for
    fetched: int = 0
    measures: set[str] = field(default_factory=set)

    @property
    def member(self) -> str:
        return f"{DIRECTORY}/m/{self.name}"

    @property
    def application(self) -> str:
        return f"{DIRECTORY}/a/{self.name}"

    @property
    def service(self) -> DataService:
        service = f"{DIRECTORY}/s/{self.name}"
        return DataService(
            service, self.application, self.member, self.name, f"https://{self.name}.example", self.issuer
        )

    @property
    def issuer(self) -> str:
        return f"https://{self.name}.example"

    def datasources(self, access_token: str) -> list[DataSource]:
        assert access_token == f"access-{self.name}"
        self.fetched += 1
        self.asked()
        return [DataSource(meter.id, meter.fuel, meter.outcode, meter.measures) for meter in self.meters]

    def readings(self, access_token: str, source: str, measure: str, start: int, end: int) -> Iterator[Window]:
        assert access_token == f"access-{self.name}"
        self.measures.add(measure)
        meter = next(meter for meter in self.meters if meter.id == source)
        edges = [start, *([self.cut] if self.cut else []), end]
        for since, until in pairwise(edges):
            body = {"data": meter.readings(since, until), "provenance": self.record(meter, measure, since, until)}
            self.answers(body)
            yield Window(since, until, body)

    def record(self, meter: Meter, measure: str, start: int, end: int) -> dict[str, Any]:
        now = gather.clock.now()
        grant = {
            "account": f"account at {self.name}",
            "license": LICENSE,
            "granted": now - 60,
            "expires": now + 86400,
            "fuels": ("electricity", "gas"),
        }
        values = {
            "to": f"{DIRECTORY}/m/cap",
            "service": self.service.id,
            "measure": measure,
            "start": start,
            "end": end,
            "outcode": meter.outcode or "",
            "missing_data": COMPLETE,
            "at": now,
        }
        release = MeterRelease(registry=REGISTRY, grant=Grant(**grant | self.grants), **values | self.releases)
        return edp_record(release, self.signs or member_signer(self.name, EDP_ROLE))


class Cap:
    """The CAP under test: its store, its connections, and what collecting is handed."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.providers: dict[str, Provider] = {}
        self.refusals: list[Exception] = []  # raised, one at each refresh
        self.ended: list[str] = []
        self.intensity: Callable[[int, str | None], float | None] = lambda start, outcode: 100.0
        self.parts = CollectParts(
            access_token=self._access_token,
            service_of=lambda row: self._provider(row).service,
            api=lambda endpoint: next(each for each in self.providers.values() if each.service.endpoint == endpoint),
            intensity=self._series,
            ended=lambda row: self.ended.append(row.id),
            signer=member_signer("cap", CAP_ROLE),
            signing_root=signing_authority().root,
            registry=REGISTRY,
            trust_framework=trust_framework_url(REGISTRY),
            edp_roles=(EDP_ROLE,),
            standard=consumption_standard(REGISTRY),
            months=1,
            retry_s=RETRY_S,
        )

    def provider(self, name: str = "edp", *meters: Meter) -> Provider:
        self.providers[name] = Provider(name, list(meters) or [Meter("meter-1")])
        return self.providers[name]

    def _provider(self, row: Any) -> Provider:
        return next(each for each in self.providers.values() if each.issuer == row.issuer)

    def _access_token(self, row: Any) -> str:
        if self.refusals:
            raise self.refusals.pop(0)
        return f"access-{self._provider(row).name}"

    def _series(self, start: int, end: int, outcode: str | None) -> dict[int, float]:
        known = {at: self.intensity(at, outcode) for at in range(start, end, HALF_HOUR)}
        return {at: value for at, value in known.items() if value is not None}

    def connect(self, provider: Provider, name: str = "c", **changes: Any) -> str:
        at = self.clock.instant
        values = {
            "account": "acme",
            "issuer": provider.issuer,
            "resource": provider.service.id,
            "member": provider.member,
            "application": provider.application,
            "license": LICENSE,
            "refresh_sealed": b"sealed",
            "refresh_mac": f"mac-{name}",
            "granted": at,
            "expires": at + 365 * 86400,
            "collect_due": at,
        }
        with store.writing() as c:
            connections.add(c, id=name, **values | changes)
        return name

    def collect(self) -> int:
        return gather.collect_due(self.parts)

    def collected(self, provider: Provider, name: str = "c") -> str:
        """A new connection to a provider, collected."""
        self.connect(provider, name)
        assert self.collect() == 1, self.row(name).trouble
        return name

    def row(self, name: str = "c") -> Any:
        with store.reading() as c:
            return connections.find(c, name)

    def kept(self, name: str = "c") -> SimpleNamespace:
        """What the store holds of a connection: records, months, and the first and last day of each meter."""
        with store.reading() as c:
            windows = connections.collected(c, name)
            meters = {meter.id for provider in self.providers.values() for meter in provider.meters}
            days = {meter: readings.extent(c, name, meter, "import") for meter in meters}
            return SimpleNamespace(
                windows=windows,
                months=connections.months(c, name, 0, TODAY),
                days={meter: extent for meter, extent in days.items() if extent is not None},
            )


@pytest.fixture
def app(database_url: str, held_clock: Any) -> Iterator[Flask]:
    app = Flask("collect-test")
    store.init(app, database_url)
    with app.app_context():
        db.create_all()
        with store.writing() as c:
            accounts.add(c, id="acme", email="owner@acme.example", business="Acme", created=0)
        yield app
        db.engine.dispose()


@pytest.fixture
def cap(app: Flask, held_clock: Any) -> Cap:
    return Cap(held_clock)

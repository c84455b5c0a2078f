"""A CAP on a real store, and providers without a network: readings are made by rule, records are really signed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from consent_server import clock, store
from consent_server.collect import figures, gather, provider, report, weigh
from consent_server.deployment import Deployment
from consent_server.outbound.data import DataSource, FetchedWindow
from consent_server.outbound.directory import Agreement, DataService, Member
from consent_server.outbound.upstream import Tokens
from consent_server.scheme import emissions, instant
from consent_server.scheme.emissions import MonthEmissions
from consent_server.scheme.instant import HALF_HOUR
from consent_server.scheme.provenance.steps import (
    COMPLETE,
    GrantedPermission,
    MeterRelease,
    consumption_standard,
    edp_record,
    trust_framework_url,
)
from consent_server.scheme.readings import UNIT
from consent_server.scheme.report import Report
from consent_server.store import accounts, collecting, connections
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.collecting import CollectedMeter, MeterMonth, ProviderConnection
from tests.deployments import deploy, in_new_database, opened, settings_of
from tests.scheme.signing import CAP_ROLE, DIRECTORY, EDP_ROLE, REGISTRY, SMART_METERS, member_signer, signing_authority

LICENSE = f"{REGISTRY}/scheme/perseus/license/energy-consumption-edp-cap/2026-03-12"
FEBRUARY, MARCH = instant.parse("2026-02-01T00:00:00Z"), instant.parse("2026-03-01T00:00:00Z")
TODAY = instant.parse("2026-03-12T00:00:00Z")
RETRY_S = 60
#: The region of the first outcode that is asked for.
FIRST_REGION = 3
SERVICE = f"{DIRECTORY}/s/cap"
#: The CAP's settings, in the scheme of `tests.scheme.signing`.
SETTINGS = {
    "member.url": f"{DIRECTORY}/m/cap",
    "member.application": f"{DIRECTORY}/a/cap",
    "member.data_service": SERVICE,
    "scheme.registry": REGISTRY,
    "scheme.directory": DIRECTORY,
    "scheme.trust_framework": trust_framework_url(REGISTRY),
    "scheme.consumption_standard": consumption_standard(REGISTRY),
    "scheme.edp_roles": [EDP_ROLE],
    "scheme.licenses": [
        {
            "url": f"{REGISTRY}/scheme/perseus/license/emissions-cap-fsp/2026-03-12",
            "label": "emissions-cap-fsp",
            "text_sha256": "0" * 64,
            "fuels": ["electricity", "gas"],
        }
    ],
    "collection.combined_license": None,
    "collection.months": 1,
    "collection.retry_s": RETRY_S,
}


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
    windows: list[tuple[str, int, int]] = field(default_factory=list)  # what was asked for of which meter
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

    def readings(self, access_token: str, source: str, measure: str, start: int, end: int) -> Iterator[FetchedWindow]:
        assert access_token == f"access-{self.name}"
        self.measures.add(measure)
        self.windows.append((source, start, end))
        meter = next(meter for meter in self.meters if meter.id == source)
        edges = [start, *([self.cut] if self.cut else []), end]
        for since, until in pairwise(edges):
            body = {"data": meter.readings(since, until), "provenance": self.record(meter, measure, since, until)}
            self.answers(body)
            yield FetchedWindow(since, until, orjson.dumps(body))

    def record(self, meter: Meter, measure: str, start: int, end: int) -> dict[str, Any]:
        now = clock.now()
        grant: dict[str, Any] = {
            "account": f"account at {self.name}",
            "license": LICENSE,
            "granted": now - 60,
            "expires": now + 86400,
            "fuels": ("electricity", "gas"),
        }
        values: dict[str, Any] = {
            "origin": SMART_METERS,
            "to": f"{DIRECTORY}/m/cap",
            "service": self.service.id,
            "measure": measure,
            "start": start,
            "end": end,
            "outcode": meter.outcode or "",
            "missing_data": COMPLETE,
            "at": now,
        }
        release = MeterRelease(
            registry=REGISTRY, grant=GrantedPermission(**grant | self.grants), **values | self.releases
        )
        return edp_record(release, self.signs or member_signer(self.name, EDP_ROLE))


class Cap:
    """The CAP under test: its store, its connections, and everybody whom it calls."""

    def __init__(self, deployment: Deployment, clock: Any) -> None:
        self.deployment = deployment
        self.clock = clock
        self.providers: dict[str, Provider] = {}
        self.refusals: list[Exception] = []  # raised, one at each refresh
        self.rotated: str | None = None  # the refresh token that issuers give back
        self.presented: list[str] = []  # the refresh tokens that issuers were shown
        self.revoked: bool | Exception = False  # what permission records say, or what comes instead of one
        self.records: list[str] = []  # the refresh tokens whose permission record was asked for
        self.intensity: Callable[[int, str | None], float | None] = lambda start, outcode: 100.0
        played: Any = deployment
        played.signer, played.signing_root = member_signer("cap", CAP_ROLE), signing_authority().root
        self.late: Exception | None = None  # raised when the grid is asked
        self.unknown: set[str] = set()  # outcodes that the grid does not know
        self.looked_up: list[str] = []  # outcodes that the grid was asked for
        self.asked: list[tuple[int, int, int]] = []  # what the grid was asked for
        self._outcodes: list[str] = []  # by region, from FIRST_REGION on
        played.intensity = SimpleNamespace(
            has_looked_up=self.looked_up.__contains__,
            region_of=self._region_of,
            fetch=self._fetch,
            kept=self._kept,
        )
        self.membership_ok = True  # of every provider
        self.agreements: tuple[Agreement, ...] = ()  # of every provider
        played.directory = SimpleNamespace(data_services=self._data_services, member=self._member)
        played.upstream = SimpleNamespace(
            metadata=lambda issuer: next(each for each in self.providers.values() if each.issuer == issuer),
            refresh=self._refresh,
            permission_record=self._permission_record,
        )

    def configure(self, **collection: int) -> None:
        """Change settings of the section `collection`."""
        settings = self.deployment.settings
        changed = settings.collection.model_copy(update=collection)
        self.deployment.settings = settings.model_copy(update={"collection": changed})

    def provider(self, name: str = "edp", *meters: Meter) -> Provider:
        self.providers[name] = Provider(name, list(meters) or [Meter("meter-1")])
        return self.providers[name]

    def api(self, service: DataService) -> Provider:
        return next(each for each in self.providers.values() if each.service == service)

    def _member(self, url: str) -> Member:
        return Member(url, "Meter Data Corp Ltd", None, (EDP_ROLE,), None, self.membership_ok, self.agreements)

    def _data_services(self, standard: str) -> list[DataService]:
        assert standard == consumption_standard(REGISTRY)
        return [each.service for each in self.providers.values()]

    def _refresh(self, provider: Provider, license_url: str, held: str) -> Tokens:
        assert license_url == LICENSE
        self.presented.append(held)
        if self.refusals:
            raise self.refusals.pop(0)
        return Tokens(f"access-{provider.name}", self.rotated, 600)

    def _permission_record(self, provider: Provider, held: str) -> Any:
        self.records.append(held)
        if isinstance(self.revoked, Exception):
            raise self.revoked
        return SimpleNamespace(revoked=self.revoked)

    def _region_of(self, outcode: str) -> int | None:
        if self.late:
            raise self.late
        if outcode not in self.looked_up:
            self.looked_up.append(outcode)
        if outcode in self.unknown:
            return None
        if outcode not in self._outcodes:
            self._outcodes.append(outcode)
        return FIRST_REGION + self._outcodes.index(outcode)

    def _fetch(self, region: int, start: int, end: int) -> None:
        if self.late:
            raise self.late
        self.asked.append((region, start, end))

    def _kept(self, region: int, start: int, end: int) -> dict[int, float]:
        outcode = dict(enumerate(self._outcodes, FIRST_REGION)).get(region)
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
            "refresh_sealed": self.deployment.sealer.seal(f"refresh-{name}"),
            "refresh_mac": self.deployment.sealer.mac(f"refresh-{name}"),
            "granted": at,
            "expires": at + 365 * 86400,
            "collect_due": at,
        }
        with store.writing() as c:
            connections.add(c, ProviderConnection(id=name, **values | changes))
        return name

    def collect(self) -> int:
        """Collect what is due, and work it out; return through how many connections nothing failed."""
        done = gather.collect_due().done
        weigh.weigh_due()
        return done

    def collected(self, provider: Provider, name: str = "c") -> str:
        """A new connection to a provider, collected."""
        self.connect(provider, name)
        assert self.collect() == 1, self.row(name).trouble
        return name

    def row(self, name: str = "c") -> Any:
        with store.reading() as c:
            return connections.find(c, name)

    def kept(self, name: str = "c") -> SimpleNamespace:
        """What the store holds of a connection: records, months, its meters, and each one's months by first instant."""
        with store.reading() as c:
            meters = collecting.meters(c, name)
            return SimpleNamespace(
                windows=connections.collected(c, name),
                months=added_up(meters, collecting.figures(c, name, 0, TODAY)),
                meters=meters,
                of={meter.datasource: collecting.months_of(c, name, meter.datasource) for meter in meters},
                troubles=collecting.troubles(c, name),
            )


def report_on_acme(*window_and_fuels: Any, **more: Any) -> Report:
    with store.reading() as c:
        return report.report(c, "acme", *window_and_fuels, **more)


def added_up(meters: list[CollectedMeter], months: list[MeterMonth]) -> list[MonthEmissions]:
    """The months of a connection: the sums over its meters, electricity first."""
    of: dict[str, tuple[str, dict[int, MonthEmissions]]] = {meter.datasource: (meter.fuel, {}) for meter in meters}
    for month in months:
        # A month whose meter is gone is there as well: a race that is lost leaves one.
        of.setdefault(month.datasource, (month.fuel, {}))[1][month.start] = figures.kept(month)
    return [
        month
        for fuel in ("electricity", "gas")
        for month in emissions.add(fuel, [found for of_fuel, found in of.values() if of_fuel == fuel]).values()
    ]


@pytest.fixture
def cap(database_url: str, held_clock: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cap]:
    deployment = deploy(settings_of("cap", database_url, SETTINGS))
    cap = Cap(deployment, held_clock)
    monkeypatch.setattr(gather, "back_off", lambda failures, first_s, longest_s: min(longest_s, first_s << failures))
    # Made anew for each collection, so there is no place in the deployment to play it.
    monkeypatch.setattr(provider, "consumption_data", cap.api)
    with in_new_database(opened(deployment, "mutual_tls")):
        with store.writing() as c:
            accounts.add(c, SmeAccount("acme", "owner@acme.example", "Acme", created=0))
        yield cap

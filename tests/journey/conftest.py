"""One party's pages on its real store, register and issuer; Directory, mail and the Registry's text are played."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa

from consent_server import clock, store
from consent_server.metering.register import METHOD, STRENGTH
from consent_server.outbound.directory import Application, Member
from consent_server.outbound.errors import BadAnswer, Unreachable
from consent_server.parties.cap import Cap
from consent_server.parties.edp import Edp
from consent_server.scheme import permission_text, roles
from consent_server.scheme.meters import MaskedMeter
from consent_server.scheme.permission import Act
from consent_server.scheme.permission_text import Named, ShownText
from consent_server.store import audit_events, codes, connections, evidence, permissions, requests, rows
from consent_server.store.database import db
from consent_server.store.digests import digest, new_secret
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.audit import KeptEvent
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.journeys import Journey, PushedRequest
from consent_server.store.tables.limits import FailureCount
from consent_server.store.tables.metering import Meter
from consent_server.store.tables.permissions import Evidence, Permission
from tests.browser import Browser
from tests.database import make_tables
from tests.deployments import PlayedMail, deploy, layout, opened, settings_of

DIRECTORY = "https://directory.example"
CALLBACK = "https://cap.example:8443/callback?a=1"
CLIENT, ASKER = f"{DIRECTORY}/a/cap", f"{DIRECTORY}/m/cap"
LICENSES = {"edp": "electricity_and_gas", "cap": "emissions"}
TEXT = "Carbon Accounting R Us may fetch from Meter Data Corp:\n\n* your electricity\n* your gas\n\n_For one year._\n"
EMAIL = "owner@acme.example"
#: What a bill says of the two meters of one business, as people type it; and a number whose last digit does not fit.
GOOD = {"postcode": "sw8 1aa", "mpan": "12 1234 5678 902", "mprn": "3938424403"}
WRONG_CHECK_DIGIT = "1212345678903"
ELECTRICITY: MaskedMeter = {
    "id": "m-el",
    "fuel": "electricity",
    "measures": ["import"],
    "outcode": "SW8",
    "masked": "••••••••• 8902",
}
GAS: MaskedMeter = {"id": "m-gas", "fuel": "gas", "measures": ["import"], "outcode": "SW8", "masked": "•••••• 4403"}
LIMITS = {
    "tries_per_meter_per_day": 10,
    "tries_per_postcode_per_day": 30,
    "tries_per_known_browser_per_day": 10,
    "tries_per_account_per_day": 5,
    "mails_per_mailbox": 5,
    "unknown_links_per_network": 5,
}


class PlayedDirectory:
    """The client's member, and ourselves."""

    def __init__(self, ours: str) -> None:
        self.members: dict[str, Member] = {}
        self.name(ASKER, "Carbon Accounting R Us", "Carbon Accounting R Us Limited")
        self.name(ours, "Meter Data Corp", "Meter Data Corp Limited")

    def name(self, url: str, brand: str, legal: str) -> None:
        self.members[url] = Member(url, legal, brand, (), None, True)

    def member(self, url: str) -> Member:
        if url not in self.members:
            raise BadAnswer("status 404", "directory.example", 404)
        return self.members[url]

    def has_member(self, url: str) -> bool:
        return url in self.members

    def application(self, url: str) -> Application:
        if url != CLIENT:
            raise Unreachable("connect", "directory.example")
        return Application(url, ASKER, "An app", (), None)


class PlayedText:
    """A party whose permission text a test writes, whatever the Registry has."""

    world: "World"

    def text(self, asked: Journey, connected: Sequence[str]) -> ShownText:
        world = self.world
        html, raw_sha256 = permission_text.render(world.text), world.deployment.licenses[asked.license].text_sha256
        facts = (world.names, world.fuels, "Energy License", "1 year")
        asking = {roles.CAP: "CAP", roles.FSP: "FSP"}[world.deployment.licenses[asked.license].asked_by]
        legal = {asking: world.directory.member(ASKER).legal_name}
        label = world.deployment.licenses[asked.license].label
        return ShownText(
            html, world.text, digest(world.text), raw_sha256, *facts, label=label, legal_names=legal, named=world.named
        )


class PlayedEdp(PlayedText, Edp):
    pass


class PlayedCap(PlayedText, Cap):
    pass


@dataclass(frozen=True)
class Start:
    """What /authorize sends: where to, and the cookie that makes the journey this browser's."""

    path: str
    cookie: str
    value: str


@dataclass(frozen=True)
class Kept:
    """A grant as the store holds it."""

    permission: Permission
    evidence: Evidence


class World:
    """One party's public door, and what its store holds."""

    text = TEXT
    fuels = frozenset({"electricity", "gas"})
    named = Named(half_hourly=True)

    def __init__(
        self, party: str, database_url: str, origin: str, environment: str, changes: Mapping[str, str]
    ) -> None:
        limits = {f"limits.{name}": str(most) for name, most in LIMITS.items()}
        settings = settings_of(party, database_url, {"public.origin": origin, "issuer": origin, **limits, **changes})
        # Not by `load`: in production it refuses the addresses that these tests have.
        settings = settings.model_copy(update={"environment": environment})
        self.origin = origin
        self.license = layout().license(LICENSES[party])
        self.names = {"CAP": "Carbon Accounting R Us", "EDP": "Meter Data Corp"}
        played = PlayedEdp(settings) if party == "edp" else PlayedCap(settings)
        played.world = self
        self.directory = PlayedDirectory(settings.member.url)
        self.mail = PlayedMail()
        self.deployment = deploy(settings, played)
        self.deployment.directory = self.directory  # type: ignore[assignment]
        self.deployment.mail = self.mail  # type: ignore[assignment]
        self.app = opened(self.deployment, "public")
        with self.app.app_context():
            make_tables()

    def close(self) -> None:
        with self.app.app_context():
            db.engine.dispose()

    def keep(self, *rows_: Any) -> None:
        """Keep rows of one type."""
        with self.app.app_context(), store.writing() as c:
            rows.add(c, *rows_)

    # what clients and browsers do

    def pushed(self, **changes: Any) -> str:
        """Push a request; return the link that its client sends the browser to."""
        request_uri = f"urn:ietf:params:oauth:request_uri:{new_secret()}"
        request = PushedRequest(
            digest=digest(request_uri),
            client_id=CLIENT,
            member=ASKER,
            certificate="0" * 64,
            redirect_uri=CALLBACK,
            state="s-1",
            license=self.license,
            code_challenge=new_secret(),
            created=clock.now(),
            expires=clock.now() + 90,
        )
        with self.app.app_context(), store.writing() as c:
            requests.push(c, request._replace(**changes))
        return f"/authorize?{urlencode({'client_id': CLIENT, 'request_uri': request_uri})}"

    def journey(self, **pushed: Any) -> Start:
        """Begin a journey, and keep its cookie out of every browser."""
        response = self.app.test_client().get(self.pushed(**pushed), base_url="https://localhost")
        cookie, _, rest = response.headers["Set-Cookie"].partition("=")
        return Start(response.headers["Location"], cookie, rest.partition(";")[0])

    def browser(self, start: Start | None = None) -> Browser:
        """A browser, with a journey's cookie if `start` is given."""
        browser = Browser(self.app)
        if start is not None:
            browser.cookie = start.cookie
            browser.client.set_cookie(start.cookie, start.value, domain="localhost", secure=True)
        return browser

    def begun(self, **pushed: Any) -> Browser:
        """A browser that /authorize has just sent into a new journey."""
        start = self.journey(**pushed)
        return self.browser(start).open(start.path)

    def disconnect(self) -> None:
        """End the account's connection."""
        with self.app.app_context(), store.writing() as c:
            row = connections.find(c, "connection-1")
            assert row is not None
            assert connections.end(c, row, Act.WITHDRAW, at=clock.now(), by="sme", why="a test")

    # what the store holds

    def grants(self) -> list[Kept]:
        """Every grant, oldest first."""
        query = sa.select(rows.table_of(Permission)).order_by("status_index")
        with self.app.app_context(), store.reading() as c:
            granted = [(row, evidence.of_subject(c, row.id)) for row in rows.every(c, Permission, query)]
        return [Kept(row, seen) for row, seen in granted if seen is not None]

    def grant(self) -> Kept:
        """The only grant."""
        (only,) = self.grants()
        return only

    def permission_of(self, code: str) -> str:
        """The id of the permission that a code was issued for."""
        with self.app.app_context(), store.reading() as c:
            row = codes.find(c, code)
        assert row is not None
        return row.permission

    def redeem(self, code: str) -> None:
        with self.app.app_context(), store.writing() as c:
            assert codes.redeem(c, code, clock.now())

    def declined(self) -> int:
        """How many journeys ended without a grant because the SME said so."""
        return len(self.audited("permission_declined"))

    def audited(self, event: str) -> list[str]:
        """The correlation ids of the audit events of one kind that are kept, newest first."""
        return [row.correlation_id for row in self.events(event)]

    def events(self, event: str | None = None, subject: str | None = None) -> list[KeptEvent]:
        with self.app.app_context(), store.reading() as c:
            return audit_events.newest(c, event=event, subject=subject)

    def failures(self) -> dict[str, int]:
        """What each limit has counted, by its name; for tests with one subject of each."""
        with self.app.app_context(), store.reading() as c:
            counted = rows.every(c, FailureCount, sa.select(rows.table_of(FailureCount)))
        return {row.key.partition("/")[0]: row.count for row in counted}

    def keep_grant(self, number: int = 1, **permission: Any) -> None:
        """Keep a grant of `number` days ago, as "p-<number>"; `permission` changes its row."""
        row = Permission(
            id=f"p-{number}",
            account=f"account-{number}",
            client_id=CLIENT,
            member=ASKER,
            license=self.license,
            fuels=["electricity", "gas"],
            text_sha256="a" * 64,
            sme="sme-1",
            meters=[ELECTRICITY, GAS],
            datasources=[],
            granted=clock.now() - 86_400 * number,
            expires=clock.now() + 86_400 * 300,
            refresh_id=f"refresh-{number}",
            refresh_version=1,
            redeemed=clock.now() - 86_400 * number,
        )._replace(**permission)
        seen = Evidence(
            id=f"evidence-{number}-{'x' * 12}",
            subject=row.id,
            at=row.granted,
            license=row.license,
            text_shown=self.text,
            shown_sha256=digest(self.text),
            raw_sha256="a" * 64,
            client_id=row.client_id,
            names={"client": "Carbon Accounting R Us Limited", "host": "cap.example:8443", "license": "Energy License"},
            who={
                "business": "Acme Widgets Ltd",
                "name": "Ada <b>Smith</b>",
                "capacity": "Director",
                "method": METHOD,
                "strength": STRENGTH,
            },
            meters=row.meters,
            address="192.0.2.7",
            user_agent="A browser",
            correlation_id="c0ffee",
        )
        with self.app.app_context(), store.writing() as c:
            permissions.add(c, row)
            evidence.add(c, seen)

    def withdrawn(self) -> list[str]:
        """Ids of the permissions that SMEs withdrew where they look after them."""
        found = (kept.permission for kept in self.grants())
        withdrawal = ("withdrawn", "sme", "manage")
        return [row.id for row in found if (row.ended_as, row.ended_by, row.ended_where) == withdrawal]


def meter(meter: MaskedMeter, number: str, sme: str = "sme-1", business: str = "Acme Widgets Ltd") -> Meter:
    """A row of the register."""
    place = {"postcode": "SW8 1AA", "outcode": meter["outcode"]}
    return Meter(meter["id"], sme, business, meter["fuel"], number, **place, measures=meter["measures"])


def with_meters(world: World) -> World:
    """Give the register two meters of one business, and one of another."""
    other: MaskedMeter = {**ELECTRICITY, "id": "m-other"}
    world.keep(
        meter(ELECTRICITY, "1212345678902"),
        meter(GAS, "3938424403"),
        meter(other, WRONG_CHECK_DIGIT, "sme-2", "Bakers Ltd"),
    )
    return world


@pytest.fixture
def build_party(tmp_path: Path, held_clock: Any) -> Iterator[Any]:
    """Make a party of a test's own: `build_party("edp", origin=…)`.

    On SQLite alone: what differs between the databases is met by the tests of the store and of the issuer.
    """
    made: list[World] = []

    def build(
        party: str, origin: str = "", environment: str = "sandbox", changes: Mapping[str, str] | None = None
    ) -> World:
        url = f"sqlite:///{tmp_path / f'party-{len(made)}.db'}"
        made.append(World(party, url, origin or f"https://{party}.example", environment, changes or {}))
        return made[-1]

    yield build
    for world in made:
        world.close()


@pytest.fixture
def edp(build_party: Any) -> World:
    """An energy data provider with meters in its register."""
    return with_meters(build_party("edp"))


@pytest.fixture
def cap(build_party: Any, tmp_path: Path) -> World:
    """A carbon accounting provider with one account, which has one connection and a fixed sign-in code."""
    codes_ = tmp_path / "sign_in_codes.json"
    codes_.write_text(json.dumps({EMAIL: "123456"}), encoding="utf-8")
    world = build_party("cap", changes={"sandbox.fixed_codes": str(codes_)})
    world.keep(SmeAccount("account-1", EMAIL, "Acme Widgets Ltd", created=0))
    world.keep(
        ProviderConnection(
            id="connection-1",
            account="account-1",
            issuer="https://edp.example",
            resource="https://edp.example",
            member=f"{DIRECTORY}/m/edp",
            application=f"{DIRECTORY}/a/edp",
            license=f"{DIRECTORY}/license",
            refresh_sealed=b"",
            refresh_mac="0" * 64,
            granted=clock.now(),
            expires=clock.now() + 86_400 * 300,
        )
    )
    return world

"""A CAP's portal on a real store and real session, CSRF and limit code; Directory, providers and mail are played."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask, g

from consent_server import clock, store
from consent_server.outbound.directory import DataService, Member
from consent_server.outbound.errors import OAuthRefused, Unreachable
from consent_server.outbound.upstream import Metadata, Pushed, Tokens, Upstream
from consent_server.portal.accounts import Accounts
from consent_server.portal.parts import PortalParts
from consent_server.portal.views import blueprint
from consent_server.scheme import instant, licenses
from consent_server.store import accounts, connections, evidence, links, permissions, readings
from consent_server.store.database import db, migrate
from consent_server.store.sealing import Sealer
from consent_server.web import correlation, headers, pages, refusals
from consent_server.web.limits import Limit
from consent_server.web.sessions import Sessions
from tests.journey.conftest import Browser

ORIGIN = "https://tallyleaf.example"
DIRECTORY = "https://directory.example"
LICENSE = "https://registry.example/scheme/perseus/license/energy-consumption-edp-cap/2026-03-12"
EDP_ROLE, CAP_ROLE, FSP_ROLE = (f"https://registry.example/role/{name}" for name in ("edp", "cap", "fsp"))
BANK = f"{DIRECTORY}/m/bank"
TEXT = "Tallyleaf may fetch from {edp}:\n\n* your electricity consumption\n* your gas consumption\n"
COOKIE = "__Host-cap-portal"


@dataclass(frozen=True)
class Text:
    text: str
    names: dict[str, str]
    fuels: frozenset[str] = frozenset({"electricity", "gas"})
    title: str = "Energy Consumption Data License"
    duration: str = "1 year"
    raw_sha256: str = "a" * 64

    @property
    def html(self) -> str:
        return licenses.render(self.text)

    @property
    def shown_sha256(self) -> str:
        return licenses.digest(self.text)


class PlayedDirectory:
    """Two providers, a bank, and one that only says that it is a provider."""

    def __init__(self) -> None:
        self.down = False
        self.members = {
            url: Member(url, f"{name} Limited", name, (role,), None, True)
            for url, name, role in (
                (f"{DIRECTORY}/m/hartlebury", "Hartlebury Meters", EDP_ROLE),
                (f"{DIRECTORY}/m/northmoor", "Northmoor Data", EDP_ROLE),
                (f"{DIRECTORY}/m/impostor", "Impostor", CAP_ROLE),
                (BANK, "Wharfside Bank", FSP_ROLE),
            )
        }

    def member(self, url: str) -> Member:
        if self.down or url not in self.members:
            raise Unreachable("connection", "directory.example")
        return self.members[url]

    def data_services(self, _standard: str) -> list[DataService]:
        if self.down:
            raise Unreachable("connection", "directory.example")
        return [
            DataService(
                id=f"{DIRECTORY}/catalogue/{name}",
                application=f"{DIRECTORY}/a/{name}",
                member=f"{DIRECTORY}/m/{name}",
                title="Readings",
                endpoint=f"https://data.{name}.example",
                issuer=f"https://{name}.example",
            )
            for name in ("northmoor", "hartlebury", "impostor")
        ]


class PlayedUpstream(Upstream):
    """The providers' issuers; the check on what comes back to us is the real one."""

    def __init__(self) -> None:
        self.pushed: list[Pushed] = []
        self.redeemed: list[tuple[str, str]] = []
        self.fault: Exception | None = None

    def metadata(self, issuer: str) -> Metadata:
        if isinstance(self.fault, Unreachable) and not isinstance(self.fault, OAuthRefused):
            raise self.fault
        at = f"https://login.{issuer.removeprefix('https://')}"
        return Metadata(issuer, f"{at}/authorize", *[f"{at}/{number}" for number in range(4)], None)

    def push(self, metadata: Metadata, license: str, redirect_uri: str) -> Pushed:
        if self.fault:
            raise self.fault
        url = f"{metadata.authorization_endpoint}?{urlencode({'client_id': 'us', 'request_uri': 'urn:x'})}"
        self.pushed.append(Pushed(url, 90, license, redirect_uri, secrets.token_urlsafe(8), secrets.token_urlsafe(8)))
        return self.pushed[-1]

    def redeem(self, metadata: Metadata, pushed_redirect_uri: str, license: str, code: str, verifier: str) -> Tokens:
        if self.fault:
            raise self.fault
        self.redeemed.append((code, verifier))
        return Tokens("access", f"refresh-{secrets.token_hex(4)}", 600)


@dataclass
class PlayedMail:
    sent: list[tuple[str, str, str]] = field(default_factory=list)
    down: bool = False

    def send(self, to: str, subject: str, text: str) -> None:
        if self.down:
            raise Unreachable("connection", "mail.example")
        self.sent.append((to, subject, text))

    @property
    def code(self) -> str:
        return self.sent[-1][1].split()[0]


@dataclass
class Portal:
    app: Flask
    directory: PlayedDirectory = field(default_factory=PlayedDirectory)
    upstream: PlayedUpstream = field(default_factory=PlayedUpstream)
    mail: PlayedMail = field(default_factory=PlayedMail)
    parts: Any = None

    def browser(self) -> Browser:
        browser = Browser(self.app)
        browser.cookie = COOKIE
        return browser

    def signed_in(self, email: str = "office@kelham.example", browser: Browser | None = None) -> Browser:
        browser = (browser or self.browser()).open("/sign-in").click("continue", email=email)
        return browser.click("continue", code=self.mail.code)

    def at_permission(self, name: str = "hartlebury", **signed_in: Any) -> Browser:
        browser = self.signed_in(**signed_in).open("/connect")
        return browser.click("continue", provider=f"{DIRECTORY}/catalogue/{name}")

    def sent_off(self, name: str = "hartlebury", **signed_in: Any) -> Browser:
        """A browser that has agreed here and stands at the provider."""
        return self.at_permission(name, **signed_in).click("continue", agree="yes")

    def back(self, browser: Browser, **changes: str) -> Browser:
        """Come back from the provider that was pushed to last."""
        pushed = self.upstream.pushed[-1]
        issuer = pushed.authorization_url.split("/authorize")[0].replace("login.", "")
        query = {"code": "the-code", "state": pushed.state, "iss": issuer, **changes}
        return browser.open(f"/callback?{urlencode({name: value for name, value in query.items() if value})}")

    def connected(self, name: str = "hartlebury", **signed_in: Any) -> Browser:
        return self.back(self.sent_off(name, **signed_in))

    def connections(self, account: str = "kelham") -> list[Any]:
        with store.reading() as c:
            return connections.of_account(c, account)

    def collected(self, connection: str, *, lacking: dict[tuple[str, int], str] | None = None) -> None:
        """Put thirteen months of both fuels behind a connection; `lacking` months are "partial" or "empty"."""
        end = instant.month_start(clock.now())
        start = instant.months_later(end, -13)
        lacking = lacking or {}
        months = [
            {
                "fuel": fuel,
                "start": month,
                "kilograms": 1000.1234 if fuel == "electricity" else 500.0006,
                "complete": (fuel, month) not in lacking,
                "at": clock.now(),
            }
            for fuel in ("electricity", "gas")
            for month in (instant.months_later(start, number) for number in range(13))
            if lacking.get((fuel, month)) != "empty"
        ]
        with store.writing() as c:
            for fuel in ("electricity", "gas"):
                connections.put_collected(
                    c,
                    connection=connection,
                    datasource=f"source-{fuel}",
                    measure="import",
                    window_start=start,
                    window_end=end,
                    fuel=fuel,
                    outcode="S3",
                    at=clock.now(),
                    complete=True,
                    record=b"{}",
                )
            readings.put_days(c, connection, "source-electricity", "import", {start: b"{}"})
            connections.put_months(c, connection, months)
            connections.settle(c, connection, due=clock.now() + 86400, collected=clock.now(), trouble=None)

    def released(
        self, name: str, account: str = "kelham", *, redeemed: bool = True, on: list[str] | None = None
    ) -> str:
        """A bank's permission at our own issuer."""
        with store.writing() as c:
            permissions.add(
                c,
                id=name,
                account=f"account-{name}",
                client_id=f"{DIRECTORY}/a/bank",
                member=BANK,
                license="https://registry.example/license/emissions",
                fuels=["electricity", "gas"],
                text_sha256="0" * 64,
                sme=account,
                meters=[],
                datasources=[],
                granted=clock.now(),
                expires=clock.now() + 86400 * 365,
                refresh_id=f"refresh-{name}",
                refresh_version=1,
                redeemed=clock.now() if redeemed else None,
            )
            for support in on or []:
                links.add(c, support, name)
            evidence.add(
                c,
                id=f"evidence-of-{name}",
                subject=name,
                at=clock.now(),
                license="https://registry.example/license/emissions",
                text_shown="Wharfside Bank may see your emissions.",
                shown_sha256="b" * 64,
                raw_sha256="c" * 64,
                client_id=f"{DIRECTORY}/a/bank",
                names={"client": "Wharfside Bank Limited"},
                who={"business": "Kelham Crumb Bakery Ltd"},
                meters=[],
                address="192.0.2.1",
                user_agent="A browser",
                correlation_id="c0ffee",
            )
        return name


@pytest.fixture
def portal(database_url: str, held_clock: Any, tmp_path: Path) -> Iterator[Portal]:
    app = Flask("portal-test", static_folder=None)
    store.init(app, database_url)

    @app.before_request
    def forget() -> None:
        """Tests hold an application context, and with it `g`, open around their requests; a server does not."""
        for name in list(g):
            g.pop(name)

    correlation.install(app)
    headers.install(app)
    refusals.install(app, door="public", origin=ORIGIN)
    pages.install(app, brand=lambda: "Tallyleaf", sandbox=True)
    played = Portal(app)
    Sealer.make(tmp_path / "sealing")
    sealer = Sealer.from_file(tmp_path / "sealing")

    def limit(name: str, most: int) -> Limit:
        return Limit(name, most, 600, store.reading, store.writing)

    directory: Any = played.directory
    mail: Any = played.mail
    played.parts = PortalParts(
        origin=ORIGIN,
        license=LICENSE,
        expires=lambda granted: licenses.expiry("1 year", granted),
        standard="https://registry.example/standard",
        edp_roles=(EDP_ROLE,),
        fsp_roles=(FSP_ROLE,),
        text_for=lambda member: Text(
            TEXT.format(edp=directory.members[member].name), {"EDP": directory.members[member].name, "CAP": "Tallyleaf"}
        ),
        accounts=Accounts(sealer=sealer, mail=mail, life_s=600, brand=lambda: "Tallyleaf", fixed={}),
        sessions=Sessions("portal", COOKIE, 1800, 43200, store.reading, store.writing),
        mails=limit("mail", 5),
        codes=limit("code", 5),
        addresses=limit("address", 30),
        directory=directory,
        upstream=played.upstream,
        sealer=sealer,
    )
    app.register_blueprint(blueprint(played.parts))
    with app.app_context():
        migrate()
        with store.writing() as c:
            for name, email, business in (
                ("kelham", "office@kelham.example", "Kelham Crumb Bakery Ltd"),
                ("wensum", "hello@wensum.example", "Wensum Letterpress Ltd"),
            ):
                accounts.add(c, id=name, email=email, business=business, created=0)
        yield played
        db.engine.dispose()

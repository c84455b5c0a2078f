"""A CAP's portal on a real store and real session, CSRF and limit code; Directory, providers and mail are played."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from consent_server import clock, store
from consent_server.accounts.sign_in import METHOD, STRENGTH
from consent_server.deployment import Deployment
from consent_server.outbound.directory import Application, DataService, Member
from consent_server.outbound.errors import OAuthRefused, Unreachable
from consent_server.outbound.registry import PermissionText
from consent_server.outbound.upstream import Metadata, PermissionRecord, Pushed, Tokens, Upstream
from consent_server.scheme import instant
from consent_server.scheme.licenses import PublishedLicense
from consent_server.settings.scheme import LicenseSettings
from consent_server.store import accounts, connections, evidence, links, permissions, rows
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.collecting import CollectedMeter, CollectedWindow
from consent_server.store.tables.permissions import Evidence, Permission
from tests import records
from tests.browser import Browser
from tests.deployments import PlayedMail, deploy, in_new_database, opened, settings_of

DIRECTORY = "https://directory.example"
LICENSE = "https://registry.example/scheme/perseus/license/energy-consumption-edp-cap/2026-03-12"
EDP_ROLE, CAP_ROLE, FSP_ROLE = (f"https://registry.example/role/{name}" for name in ("edp", "cap", "fsp"))
BANK = f"{DIRECTORY}/m/bank"
TEXT = "[CAP] may fetch from [EDP]:\n\n* your electricity consumption\n* your gas consumption\n"
COOKIE = "__Host-cap-portal"
SETTINGS = {
    "scheme.directory": DIRECTORY,
    "member.url": f"{DIRECTORY}/m/tallyleaf",
    "member.application": f"{DIRECTORY}/a/tallyleaf",
    "scheme.edp_roles": [EDP_ROLE],
    "scheme.fsp_roles": [FSP_ROLE],
    "collection.license": {
        "url": LICENSE,
        "label": "energy-consumption-edp-cap",
        "text_sha256": "a" * 64,
        "fuels": ["electricity", "gas"],
    },
    "limits.tries_per_network": 30,
    "limits.tries_per_account_per_day": 5,
    "limits.mails_per_mailbox": 5,
    "sandbox.fixed_codes": "",
}


class PlayedDirectory:
    """The CAP itself, two providers, a bank, and one that only says that it is a provider."""

    def __init__(self, us: str) -> None:
        self.down = False
        self.claims: list[DataService] = []  # entries that other members have written as well
        self.members = {
            url: Member(url, f"{name} Limited", name, (role,), None, True)
            for url, name, role in (
                (us, "Tallyleaf", CAP_ROLE),
                (f"{DIRECTORY}/m/hartlebury", "Hartlebury Meters", EDP_ROLE),
                (f"{DIRECTORY}/m/northmoor", "Northmoor Data", EDP_ROLE),
                (f"{DIRECTORY}/m/impostor", "Impostor", CAP_ROLE),
                (BANK, "Wharfside Bank", FSP_ROLE),
            )
        }

    def has_member(self, url: str) -> bool:
        return True

    def member(self, url: str) -> Member:
        if self.down or url not in self.members:
            raise Unreachable("connection", "directory.example")
        return self.members[url]

    def application(self, url: str) -> Application:
        if self.down:
            raise Unreachable("connection", "directory.example")
        name = url.rpartition("/")[2]
        member = f"{DIRECTORY}/m/{name}"
        return Application(url, member, name, self.members[member].roles, None, f"https://{name}.example/about")

    def data_services(self, _standard: str) -> list[DataService]:
        if self.down:
            raise Unreachable("connection", "directory.example")
        return [*self._honest(), *self.claims]

    def _honest(self) -> list[DataService]:
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
        self.beside: dict[str, str] = {}  # what was pushed beside what every request has
        self.redeemed: list[tuple[str, str]] = []
        self.fault: Exception | None = None
        self.recorded: dict[str, Any] = {}  # what the record of every permission says, other than that it is in force

    def metadata(self, issuer: str) -> Metadata:
        if isinstance(self.fault, Unreachable) and not isinstance(self.fault, OAuthRefused):
            raise self.fault
        issuer = issuer.removesuffix("/")  # as these issuers call themselves
        at = f"https://login.{issuer.removeprefix('https://')}"
        token, pushed, revocation, permission = (f"{at}/{number}" for number in range(4))
        return Metadata(issuer, f"{at}/authorize", token, pushed, revocation, permission, None)

    def push(
        self, metadata: Metadata, license: str, redirect_uri: str, beside: Mapping[str, str] | None = None
    ) -> Pushed:
        if self.fault:
            raise self.fault
        self.beside = dict(beside or {})
        url = f"{metadata.authorization_endpoint}?{urlencode({'client_id': 'us', 'request_uri': 'urn:x'})}"
        self.pushed.append(Pushed(url, 90, license, redirect_uri, secrets.token_urlsafe(8), secrets.token_urlsafe(8)))
        return self.pushed[-1]

    def redeem(self, metadata: Metadata, pushed_redirect_uri: str, license: str, code: str, verifier: str) -> Tokens:
        if self.fault:
            raise self.fault
        self.redeemed.append((code, verifier))
        return Tokens("access", f"refresh-{secrets.token_hex(4)}", 600)

    def permission_record(self, metadata: Metadata, refresh_token: str) -> PermissionRecord:
        if self.fault:
            raise self.fault
        at = clock.now()
        record = PermissionRecord(
            issuer=metadata.issuer,
            client=f"{DIRECTORY}/a/tallyleaf",
            license=LICENSE,
            account="opaque",
            last_granted=at,
            expires=at + 365 * 86400,
            evidence=f"{metadata.issuer}/evidence/unguessable",
            revoked=False,
            revoked_at=None,
            data_available_from=at - 400 * 86400,
            token_issued_at=at,
            token_expires=at + 365 * 86400,
        )
        return replace(record, **self.recorded)


class PlayedRegistry:
    """Publishes one license and its text, whatever is asked for."""

    def license(self, configured: LicenseSettings) -> PermissionText:
        title, url = "Energy Consumption Data License", f"{configured.url}/text"
        return PermissionText(PublishedLicense(configured.url, title, url, configured.text_sha256, "1 year"), TEXT)


class Portal:
    """A CAP's public door, with everybody outside played."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.directory = PlayedDirectory(deployment.settings.member.url)
        self.upstream = PlayedUpstream()
        self.mail = PlayedMail()
        played: Any = deployment
        played.directory, played.upstream, played.mail = self.directory, self.upstream, self.mail
        played.registry = PlayedRegistry()
        deployment.session.allow_hosts(lambda: {"hartlebury.example", "northmoor.example"})
        self.app = opened(deployment, "public")

    @contextmanager
    def started(self) -> Iterator[None]:
        """Have two accounts in a new database, and this CAP's application for a block."""
        with in_new_database(self.app):
            with store.writing() as c:
                for name, email, business in (
                    ("kelham", "office@kelham.example", "Kelham Crumb Bakery Ltd"),
                    ("wensum", "hello@wensum.example", "Wensum Letterpress Ltd"),
                ):
                    accounts.add(c, SmeAccount(id=name, email=email, business=business, created=0))
            yield

    def browser(self) -> Browser:
        browser = Browser(self.app)
        browser.cookie = COOKIE
        return browser

    def signed_in(self, email: str = "office@kelham.example", browser: Browser | None = None) -> Browser:
        browser = (browser or self.browser()).open("/sign-in").click("continue", email=email)
        return browser.click("continue", code=self.mail.code)

    def at_permission(self, name: str = "hartlebury", *, business: str = "", **signed_in: Any) -> Browser:
        browser = self.signed_in(**signed_in).open("/connect")
        named = {"business": business} if business else {}  # asked of an account that has no name yet
        return browser.click("continue", provider=f"{DIRECTORY}/catalogue/{name}", **named)

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

    @staticmethod
    def collected(connection: str, *, lacking: dict[tuple[str, int], str] | None = None) -> None:
        """Put thirteen months of both fuels behind a connection; `lacking` months are "partial" or "empty"."""
        end = instant.month_start(clock.now())
        start = instant.months_later(end, -13)
        lacking = lacking or {}
        months = [
            records.month(
                fuel,
                month,
                1000.1234 if fuel == "electricity" else 500.0006,
                clock.now(),
                missing=int((fuel, month) in lacking),
                connection=connection,
                datasource=f"source-{fuel}",
            )
            for fuel in ("electricity", "gas")
            for month in (instant.months_later(start, number) for number in range(13))
            if lacking.get((fuel, month)) != "empty"
        ]
        with store.writing() as c:
            for fuel in ("electricity", "gas"):
                rows.put(c, CollectedMeter(connection, f"source-{fuel}", fuel, "S3", 0))
                rows.put(
                    c,
                    CollectedWindow(
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
                    ),
                )
            rows.put(c, *months)
            connections.listed(c, connection, clock.now())
            row = connections.find(c, connection)
            assert row is not None
            connections.settle(c, row, due=clock.now() + 86400, collected=clock.now(), trouble=None, failures=0)

    def released(
        self, name: str, account: str = "kelham", *, redeemed: bool = True, on: list[str] | None = None
    ) -> str:
        """A bank's permission at our own issuer."""
        with store.writing() as c:
            permissions.add(
                c,
                Permission(
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
                ),
            )
            for support in on or []:
                links.add(c, support, name)
            evidence.add(
                c,
                Evidence(
                    id=f"evidence-of-{name}",
                    subject=name,
                    at=clock.now(),
                    license="https://registry.example/license/emissions",
                    text_shown="Wharfside Bank may see your emissions.",
                    shown_sha256="b" * 64,
                    raw_sha256="c" * 64,
                    client_id=f"{DIRECTORY}/a/bank",
                    names={"client": "Wharfside Bank Limited"},
                    who={"business": "Kelham Crumb Bakery Ltd", "method": METHOD, "strength": STRENGTH},
                    meters=[],
                    address="192.0.2.1",
                    user_agent="A browser",
                    correlation_id="c0ffee",
                ),
            )
        return name


@pytest.fixture
def portal(database_url: str, held_clock: Any) -> Iterator[Portal]:
    portal = Portal(deploy(settings_of("cap", database_url, SETTINGS)))
    with portal.started():
        yield portal

"""Our CAP against an unkind provider: its portal, store, OAuth client and collector are real, and so is the network between."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from consent_server import clock, store
from consent_server.collect import gather
from consent_server.deployment import Deployment
from consent_server.outbound.directory import DataService, Member
from consent_server.outbound.session import Limits, Session
from consent_server.outbound.upstream import Upstream
from consent_server.sandbox.authority import Authority
from consent_server.sandbox.layout import MEMBERS
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.store import accounts, connections
from consent_server.store.fetched import StoredCache
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.collecting import ProviderConnection
from tests.browser import Browser
from tests.deployments import PlayedMail, deploy, in_new_database, layout, opened, settings_of
from tests.interop.unkind_edp import UnkindEdp
from tests.portal.conftest import PlayedRegistry

RETRY_S = 60
#: For a provider that is waited for until the end.
IMPATIENT = Limits(total_s=0.3)


class Certificates:
    """Certificates for the wire, good today: the clock of a test is held, and TLS has its own."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder).create(int(time.time()))

    def server(self) -> tuple[Path, Path]:
        self.authority.server()
        return self._files("server", "localhost")

    def client(self) -> tuple[Path, Path]:
        here = layout()
        application, member = here.application("cap_portal"), here.member("cap")
        self.authority.client("cap", application, member, here.roles_of("cap_portal"))
        return self._files("client", "cap")

    def _files(self, kind: str, name: str) -> tuple[Path, Path]:
        folder = self.authority.directory / kind / name
        return next(folder.glob("chain*.pem")), next(folder.glob("*key*.pem"))


class _Directory:
    """Lists the one provider, and knows the layout's members by their URL."""

    def __init__(self, edp: UnkindEdp) -> None:
        self._edp = edp

    def member(self, url: str) -> Member:
        here = layout()
        entry = next(entry for name, entry in MEMBERS.items() if here.member(name) == url)
        held = tuple(here.role(role) for role in entry.roles)
        return Member(url, entry.legal_name, entry.brand_name, held, None, True)

    def data_services(self, _standard: str) -> list[DataService]:
        here, edp = layout(), self._edp
        return [
            DataService(
                id=here.data_service("edp"),
                application=here.application("edp_service"),
                member=here.member("edp"),
                title="Readings",
                endpoint=edp.url,
                issuer=edp.issuer,
            )
        ]


class OurCap:
    def __init__(self, deployment: Deployment, edp: UnkindEdp, held_clock: Any) -> None:
        self.deployment, self.edp, self.clock = deployment, edp, held_clock
        self.mail = PlayedMail()
        played: Any = deployment
        played.directory, played.registry, played.mail = _Directory(edp), PlayedRegistry(), self.mail
        played.intensity = SimpleNamespace(
            series=lambda start, end, outcode: dict.fromkeys(range(start, end, HALF_HOUR), 100.0)
        )
        self.call_as(None)
        self.app = opened(deployment, "public")

    def call_as(self, certificate: tuple[Path, Path] | None, limits: Limits | None = None) -> None:
        """Call out from now on with this client certificate, as a process does that has been started anew."""
        settings = self.deployment.settings
        if certificate is not None:
            chain, key = certificate
            keys = settings.keys.model_copy(update={"client_certificate": chain, "client_key": key})
            settings = settings.model_copy(update={"keys": keys})
        session = Session(settings, limits=limits)
        session.allow_hosts(lambda: {"localhost"})
        self.deployment.session = session
        self.deployment.upstream = Upstream(settings.member.application, session, StoredCache())

    def signed_in(self) -> Browser:
        browser = Browser(self.app)
        browser.cookie = "__Host-cap-portal"
        browser.open("/sign-in").click("continue", email="office@kelham.example")
        return browser.click("continue", code=self.mail.code)

    def sent_off(self, browser: Browser) -> Browser:
        """Choose the provider, which is the only one, agree, and stand at it; or at the page that says why not."""
        browser.open("/connect").click("continue")
        return browser.click("continue", agree="yes") if browser.status == 200 else browser

    def back(self, browser: Browser, **changes: str | None) -> Browser:
        return browser.open(f"/callback?{self.edp.authorize(browser.location, **changes)}")

    def connected(self, browser: Browser) -> Browser:
        return self.back(self.sent_off(browser))

    def rows(self) -> list[ProviderConnection]:
        """The connections that have not ended, newest first."""
        with store.reading() as c:
            return [row for row in connections.of_account(c, "kelham") if row.ended is None]

    def row(self) -> ProviderConnection:
        (row,) = self.rows()
        return row

    def held(self) -> str:
        """The refresh token of the connection."""
        return self.deployment.sealer.unseal(self.row().refresh_sealed)

    def hold(self, token: str = "held") -> None:
        """A connection as a portal makes one, without its pages."""
        here, at, seal = layout(), clock.now(), self.deployment.sealer
        self.edp.refresh_tokens = {token}
        row = ProviderConnection(
            id="c",
            account="kelham",
            issuer=self.edp.issuer,
            resource=here.data_service("edp"),
            member=here.member("edp"),
            application=here.application("edp_service"),
            license=here.license("electricity_and_gas"),
            refresh_sealed=seal.seal(token),
            refresh_mac=seal.mac(token),
            granted=at,
            expires=at + 365 * DAY,
            collect_due=at,
        )
        with store.writing() as c:
            connections.add(c, row)

    def collect(self) -> int:
        """Collect what is due; the number of connections for which it succeeded."""
        return gather.collect_due().done


@contextmanager
def our_cap(
    certificates: Certificates, database_url: str, held_clock: Any, kind: type[UnkindEdp] = UnkindEdp
) -> Iterator[OurCap]:
    """Our CAP with a new database, and one provider of this kind. Its pauses have no jitter."""
    chain, key = certificates.client()
    settings = settings_of(
        "cap",
        database_url,
        {
            "keys.client_certificate": str(chain),
            "keys.client_key": str(key),
            "keys.server_roots": str(certificates.authority.server_root),
            "calls.server_revocation": "off",
            "collection.months": 1,
            "collection.retry_s": RETRY_S,
            "sandbox.fixed_codes": "",
        },
    )
    edp = kind(*certificates.server(), certificates.authority.client_root)
    cap = OurCap(deploy(settings), edp, held_clock)

    def without_jitter(failures: int, first_s: int, longest_s: int) -> int:
        return min(longest_s, first_s << failures)

    try:
        with patch.object(gather, "back_off", without_jitter), in_new_database(cap.app):
            with store.writing() as c:
                accounts.add(c, SmeAccount("kelham", "office@kelham.example", "Kelham Crumb Bakery Ltd", created=0))
            yield cap
    finally:
        edp.stop()
    assert edp.complaints == []

"""The resource servers of an EDP and of a CAP: real rows, real signatures, and a caller whose certificate is taken as good."""

import dataclasses
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from consent_server import clock, store
from consent_server.issuer import metadata
from consent_server.pki import member_certificate
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.scheme.instant import DAY
from consent_server.scheme.permission import Act
from consent_server.scheme.readings import day_block
from consent_server.settings import Settings
from consent_server.store import meters, permissions, readings, rows
from consent_server.store.tables.metering import Meter
from consent_server.store.tables.permissions import MeterAlias, Permission
from consent_server.tokens import access_token
from consent_server.tokens.access_token import AccessToken, PermissionClaim
from consent_server.tokens.data_sources import DataSources
from tests.deployments import START, deploy, in_new_database, layout, opened, settings_of
from tests.resource import source

TODAY = START - START % DAY
#: The first day of the readings that the EDP has: 400 days before now.
FIRST = TODAY - 400 * DAY
#: Data source id -> its meter.
METERS = {
    "acme.0": ("m-1", "electricity", ("import", "export")),
    "acme.1": ("m-2", "gas", ("import",)),
    "another.0": ("m-3", "electricity", ("import",)),
}


class ResourceServer:
    """What tests call, and what they change. One permission is in its store."""

    def __init__(self, settings: Settings, license_: str, caller: str) -> None:
        self.layout = layout()
        self.settings = settings
        self.deployment = deploy(self.settings)
        self.license = self.deployment.licenses[self.layout.license(license_)]
        self.caller: MemberCertificate = member_certificate.parse(
            member_certificate.one_pem(self.layout.certificate(caller, "certificate").read_bytes())
        )
        self.app = opened(self.deployment, "mutual_tls")
        self.client = self.app.test_client()
        self.source = source.source

    def granted(self, sme: str = "acme") -> Permission:
        """Keep the permission that tokens of a test rest on."""
        now = clock.now()
        granted = Permission(
            id="permission-1",
            account="account-1",
            client_id=self.caller.application,
            member=self.caller.member,
            license=self.license.url,
            fuels=sorted(self.license.fuels),
            text_sha256=self.license.text_sha256,
            sme=sme,
            meters=[],
            datasources=[],
            granted=now - 60,
            expires=now + 365 * DAY,
            refresh_id="refresh-1",
            refresh_version=1,
        )
        with store.writing() as c:
            return permissions.add(c, granted)

    def withdraw(self) -> None:
        with store.writing() as c:
            granted = permissions.find(c, "permission-1")
            assert granted is not None
            permissions.end(c, granted, Act.WITHDRAW, at=clock.now(), by="sme", where="a page", why="a test")

    def token(self, **changes: Any) -> str:
        now = clock.now()
        token = AccessToken(
            iss=self.settings.issuer,
            aud=self.settings.mutual_tls.origin,
            sub="account-1",
            client_id=self.caller.application,
            scope=self.license.url,
            iat=now,
            exp=now + 600,
            jti="jti",
            status_idx=0,
            status_uri=metadata.status_list_uri(self.settings),
            permission=PermissionClaim(now - 60, now + 365 * DAY, self.license.text_sha256),
            datasources=DataSources.of(("acme.0", "acme.1")),
            fuels=("electricity", "gas"),
        )
        return access_token.mint(self.deployment.signing_keys, dataclasses.replace(token, **changes))

    def get(self, path: str, **changes: Any) -> TestResponse:
        return self.call(path, {"Authorization": f"Bearer {self.token(**changes)}"})

    def call(self, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> TestResponse:
        return self.client.open(path, method=method, headers=headers, environ_overrides={"test.client": self.caller})


@cache
def day_blocks(fuel: str) -> dict[int, bytes]:
    """One value in every half-hour of every day that the EDP has of what a meter of that fuel takes in; less of gas."""
    first = FIRST if fuel == "electricity" else TODAY - 60 * DAY
    return {day: day_block(fuel, day, [1] * 48, 0) for day in range(first, TODAY + DAY, DAY)}


@pytest.fixture
def edp(tmp_path: Path, held_clock: Any) -> Iterator[ResourceServer]:
    """An EDP with three meters; two of them are of the SME that gave permission."""
    changes = {"metering.readings_source": "tests.resource.source:source"}
    settings = settings_of("edp", f"sqlite:///{tmp_path / 'store.db'}", changes)
    server = ResourceServer(settings, "electricity_and_gas", "cap")
    server.source.asked.clear()
    server.source.held = None
    with in_new_database(server.app):
        granted = server.granted()
        with store.writing() as c:
            for alias, (meter, fuel, measures) in METERS.items():
                sme = "another" if alias == "another.0" else "acme"
                meters.add(c, Meter(meter, sme, "Acme", fuel, "1", "SW8 1AA", "SW8", measures))
                rows.add(c, MeterAlias(alias, granted.client_id, sme, meter))
                if sme == "acme":
                    readings.put_days(c, readings.EDP, meter, "import", day_blocks(fuel))
        yield server


@pytest.fixture
def cap(tmp_path: Path, held_clock: Any) -> Iterator[ResourceServer]:
    """A CAP that its SME allowed to give emissions to a bank."""
    server = ResourceServer(settings_of("cap", f"sqlite:///{tmp_path / 'store.db'}"), "emissions", "fsp")
    with in_new_database(server.app):
        server.granted()
        yield server

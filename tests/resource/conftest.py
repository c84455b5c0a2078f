"""A resource server with hand-made parts, its issuer's keys, and a caller whose certificate is taken for granted."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from consent_server import clock
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.resource import views
from consent_server.resource.guard import AcceptedLicense, Guard, Policy, Release
from consent_server.resource.parts import Ask, EmissionsParts, EnergyParts, Report
from consent_server.sandbox.authority import Authority
from consent_server.scheme.provenance.container import Signer
from consent_server.scheme.readings import day_block
from consent_server.tokens import access_token, keys
from consent_server.tokens.access_token import AccessToken, Permission
from consent_server.web import correlation, refusals

REGISTRY = "https://registry.example"
DIRECTORY = "https://directory.example"
EDP_ROLE = f"{REGISTRY}/scheme/perseus/role/energy-data-provider"
CAP_ROLE = f"{REGISTRY}/scheme/perseus/role/carbon-accounting-provider"
LICENSE = f"{REGISTRY}/scheme/perseus/license/energy-consumption-edp-cap/2026-03-12"
SERVICE = f"{DIRECTORY}/catalogue/consumption"
DAY = 86400


@dataclass(frozen=True)
class Meter:
    id: str
    fuel: str
    measures: tuple[str, ...] = ("import",)
    outcode: str = "SW8"


@dataclass(frozen=True)
class Readings:
    blocks: list[bytes] = field(default_factory=list)
    count: int = 0
    metered: tuple[int, int] | None = None
    complete: bool = True
    retry_after: int | None = None


METERS = {
    "elec:1": Meter("elec:1", "electricity", ("import", "export")),
    "gas-1": Meter("gas-1", "gas"),
    "of-another": Meter("of-another", "electricity"),
}


class ResourceServer:
    """What tests call, and what they change."""

    def __init__(self, folder: Path) -> None:
        keys.make(folder / "keys", 0)
        self.signing = keys.SigningKeys(folder / "keys")
        self.authority = Authority(folder / "ca").create(clock.now())
        issued = self.authority.signing("edp", f"{DIRECTORY}/a/edp", f"{DIRECTORY}/m/edp", [EDP_ROLE])
        self.signer = Signer(issued.chain.read_bytes(), issued.key.read_bytes())
        self.caller = MemberCertificate(
            application=f"{DIRECTORY}/a/cap",
            member=f"{DIRECTORY}/m/cap",
            roles=frozenset({CAP_ROLE}),
            serial=1,
            fingerprint="f" * 64,
            not_before=0,
            not_after=2**40,
            der=b"",
        )
        self.withdrawn: set[int] = set()
        self.readings: Callable[[Ask], Readings] = whole_days
        self.months: Callable[[Release, int, int, int], Report] = lambda release, start, end, at: Report()
        self.asked: list[Ask] = []
        policy = Policy(
            issuer="https://auth.edp.example",
            audience="https://data.edp.example",
            status_uri="https://auth.edp.example/status-list",
            roles=(CAP_ROLE,),
            licenses={LICENSE: AcceptedLicense("b" * 64, ("electricity", "gas"))},
        )
        guard = Guard(policy, self.signing, lambda index, issued: index in self.withdrawn)
        app = Flask("data-door")
        correlation.install(app)
        refusals.install(app, door="mutual_tls", origin="https://auth.edp.example")
        app.register_blueprint(
            views.energy(
                EnergyParts(
                    guard=guard,
                    caller=lambda environ: self.caller,
                    source=METERS.get,
                    readings=self._readings,
                    signer=self.signer,
                    registry=REGISTRY,
                    service=SERVICE,
                )
            )
        )
        app.register_blueprint(
            views.emissions(EmissionsParts(guard, lambda environ: self.caller, lambda *asked: self.months(*asked)))
        )
        self.client: FlaskClient = app.test_client()

    def _readings(self, ask: Ask) -> Readings:
        self.asked.append(ask)
        return self.readings(ask)

    def token(self, **changes: Any) -> str:
        now = clock.now()
        token = AccessToken(
            iss="https://auth.edp.example",
            aud="https://data.edp.example",
            sub="account-1",
            client_id=f"{DIRECTORY}/a/cap",
            scope=LICENSE,
            iat=now,
            exp=now + 600,
            jti="jti",
            status_idx=1,
            status_uri="https://auth.edp.example/status-list",
            permission=Permission(now - 60, now + 365 * DAY, "b" * 64),
            datasources=("elec:1", "gas-1"),
            fuels=("electricity", "gas"),
        )
        return access_token.mint(self.signing, dataclasses.replace(token, **changes))

    def get(self, path: str, **changes: Any) -> TestResponse:
        return self.client.get(path, headers={"Authorization": f"Bearer {self.token(**changes)}"})


def whole_days(ask: Ask) -> Readings:
    """One value in every half-hour of every day that the window touches."""
    days = range(ask.start - ask.start % DAY, ask.end, DAY)
    blocks = [day_block(ask.source.fuel, day, [1] * 48, 0) for day in days]
    return Readings(blocks, 48 * len(blocks), (ask.start, ask.end))


@pytest.fixture
def server(tmp_path: Path, held_clock: Any) -> ResourceServer:
    return ResourceServer(tmp_path)

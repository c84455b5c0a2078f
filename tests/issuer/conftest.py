"""One party's issuer on a real database: both doors, real certificates and keys, and an SME that always agrees."""

import hashlib
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
from werkzeug.test import TestResponse

from consent_server import store
from consent_server.issuer import decision
from consent_server.parties.edp import Edp
from consent_server.pki import member_certificate
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.sandbox.authority import Authority
from consent_server.scheme import instant
from consent_server.scheme.licenses import License
from consent_server.scheme.meters import MaskedMeter
from consent_server.scheme.permission import Act, Who
from consent_server.settings import Settings
from consent_server.store import codes, permissions, rows
from consent_server.store.database import db
from consent_server.store.rows import table_of
from consent_server.store.tables.journeys import Journey, PushedRequest
from consent_server.store.tables.owed import OwedCall
from consent_server.store.tables.permissions import AuthorizationCode, Evidence, Permission
from consent_server.tokens import refresh_token
from tests.database import make_tables
from tests.deployments import deploy, layout, opened, settings_of
from tests.jose import s256

DIRECTORY = "https://directory.example"
REGISTRY = "https://registry.example"
CAP_ROLE = f"{REGISTRY}/scheme/perseus/role/carbon-accounting-provider"
FSP_ROLE = f"{REGISTRY}/scheme/perseus/role/financial-service-provider"
PUBLIC = "https://edp.example"
MUTUAL_TLS = "https://mtls.edp.example"
REDIRECT = "https://client.example/callback"
START = 1773307800


def license_(label: str, *fuels: str) -> License:
    return License(
        url=f"{REGISTRY}/scheme/perseus/license/{label}/2026-03-12",
        label=label,
        text_sha256=hashlib.sha256(label.encode()).hexdigest(),
        fuels=frozenset(fuels),
        duration="1 year",
        asked_by="carbon-accounting-provider",
    )


ELECTRICITY = license_("energy-consumption-data", "electricity")
BOTH = license_("energy-consumption-edp-cap", "electricity", "gas")
COMBINED = license_("energy-consumption-emissions-edp-cap-fsp", "electricity", "gas")


def settings_for(url: str, **changes: Any) -> Settings:
    nowhere = Path("/nonexistent")
    door = {"bind": "127.0.0.1:0", "certificate": nowhere, "key": nowhere}
    values: dict[str, Any] = {
        "environment": "sandbox",
        "party": "edp",
        "issuer": PUBLIC,
        "member": {
            "url": f"{DIRECTORY}/m/edp",
            "application": f"{DIRECTORY}/a/edp",
            "introspectors": [f"{DIRECTORY}/a/edp-data"],
        },
        "public": {"origin": PUBLIC, **door},
        "mutual_tls": {"origin": MUTUAL_TLS, **door},
        "clients": {"root": layout().authority / "client_root.pem"},
        "revocation_list": {},
        "scheme": {
            "registry": REGISTRY,
            "directory": DIRECTORY,
            "trust_framework": f"{REGISTRY}/trust-framework",
            "edp_roles": [f"{REGISTRY}/scheme/perseus/role/energy-data-provider"],
            "cap_roles": [CAP_ROLE],
            "fsp_roles": [FSP_ROLE],
            "consumption_standard": f"{REGISTRY}/standard/consumption",
            "emissions_standard": f"{REGISTRY}/standard/emissions",
            "licenses": [
                {"url": one.url, "label": one.label, "text_sha256": one.text_sha256, "fuels": sorted(one.fuels)}
                for one in (ELECTRICITY, BOTH, COMBINED)
            ],
        },
        "database": {"url": url},
        "keys": settings_of("edp", url).keys.model_dump(),
        **{name: {} for name in ("lifetimes", "tokens", "metadata", "limits", "metering", "collection", "mail")},
        **{name: {} for name in ("jobs", "sandbox")},
    }
    for dotted, value in changes.items():
        section, _, key = dotted.partition("__")
        values[section] = {**values[section], key: value} if key else value
    return Settings(**values)


@dataclass(frozen=True)
class Decided(decision.Decision):
    """What the SME of these tests decides: to agree, for two meters, unless a test says otherwise."""

    agreed: bool = True
    sme: str = "acme"
    who: Who = field(
        default_factory=lambda: Who(business="A Baker", name="A. Baker", method="register", strength="low")
    )
    meters: Sequence[MaskedMeter] = field(
        default_factory=lambda: [
            {"id": "m-1", "fuel": "electricity", "measures": ["import"], "outcode": "SW8", "masked": "•••• 1234"},
            {"id": "m-2", "fuel": "gas", "measures": ["import"], "outcode": "SW8", "masked": "•••• 4403"},
        ]
    )
    fuels: tuple[str, ...] = ("electricity", "gas")
    text_shown: str = "<p>the text</p>"
    shown_sha256: str = "5" * 64
    raw_sha256: str = BOTH.text_sha256
    names: Mapping[str, str] = field(default_factory=lambda: {"[CAP]": "Carbon Accounting R Us"})
    address: str = "192.0.2.7"
    user_agent: str = "a browser"
    code: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)


@dataclass(frozen=True)
class Pkce:
    verifier: str
    challenge: str


def pkce(verifier: str = "") -> Pkce:
    verifier = verifier or secrets.token_urlsafe(48)
    return Pkce(verifier, s256(verifier))


@dataclass(frozen=True)
class Granted:
    """A permission on its way to its client: the code, and what it takes to redeem it."""

    code: str
    verifier: str
    location: str
    redirect_uri: str

    def form(self, client: MemberCertificate) -> dict[str, str]:
        return {
            "grant_type": "authorization_code",
            "code": self.code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
            "client_id": client.application,
        }


class PlayedParty(Edp):
    """An EDP whose grants rest on what a test says, and that holds thirteen months of data."""

    resting_on: tuple[str, ...] = ()

    def supports(self, c: store.Connection, sme: str, named_connections: Collection[str]) -> tuple[str, ...]:
        return tuple(support.format(sme=sme) for support in self.resting_on)

    def data_available_from(self, permission: Permission) -> int:
        return instant.months_later(permission.granted, -13)


class Issuer:
    """The issuer under test, as its clients, its SMEs and its database see it."""

    def __init__(
        self, settings: Settings, clients: Mapping[str, MemberCertificate], resting_on: tuple[str, ...] = ()
    ) -> None:
        party = PlayedParty(settings)
        party.resting_on = resting_on
        self.deployment = deploy(settings, party)
        self.clients = clients
        self.cap = clients["cap"]
        self.public = opened(self.deployment, "public")
        self.mutual_tls = opened(self.deployment, "mutual_tls")

    def close(self) -> None:
        for app in (self.public, self.mutual_tls):
            with app.app_context():
                db.engine.dispose()

    # what clients and browsers do

    def post(
        self, path: str, form: Mapping[str, str] | str, client: MemberCertificate | None = None, **more: Any
    ) -> TestResponse:
        body = form if isinstance(form, str) else urlencode(form)
        more = {"content_type": "application/x-www-form-urlencoded", **more}
        return self.call("POST", path, client, data=body, **more)

    def call(self, method: str, path: str, client: MemberCertificate | None = None, **more: Any) -> TestResponse:
        return self.mutual_tls.test_client().open(
            path,
            method=method,
            base_url=MUTUAL_TLS,
            environ_overrides={"test.client": client or self.cap},
            **more,
        )

    def get(self, path: str, **query: str) -> TestResponse:
        return self.public.test_client().get(path, base_url=PUBLIC, query_string=query)

    def good_push(self, client: MemberCertificate | None = None, **changes: str | None) -> dict[str, str]:
        form = {
            "response_type": "code",
            "client_id": (client or self.cap).application,
            "redirect_uri": REDIRECT,
            "scope": BOTH.url,
            "state": "the state",
            "code_challenge": pkce().challenge,
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in form.items() if value is not None}

    def push(self, client: MemberCertificate | None = None, **changes: str | None) -> str:
        answer = self.post("/par", self.good_push(client, **changes), client)
        assert answer.status_code == 201, answer.text
        return str(answer.get_json()["request_uri"])

    def visit(self, request_uri: str, client: MemberCertificate | None = None, **more: str) -> TestResponse:
        return self.get("/authorize", client_id=(client or self.cap).application, request_uri=request_uri, **more)

    def open(self, request_uri: str, client: MemberCertificate | None = None) -> Any:
        """The row of a new journey on the request."""
        answer = self.visit(request_uri, client)
        assert answer.status_code == 303, answer.text
        journey = dict(parse_qsl(urlsplit(answer.headers["Location"]).query))["journey"]
        return self.row(Journey, id=journey)

    def decide(self, journey: Any, decided: Decided | None = None) -> str | None:
        with self.public.app_context():
            return decision.conclude(journey, decided or Decided())

    def decline(self, journey: Any) -> str | None:
        with self.public.app_context():
            return decision.decline(journey)

    def grant(
        self,
        client: MemberCertificate | None = None,
        license_: License = BOTH,
        sme: str = "acme",
        redirect_uri: str = REDIRECT,
        verifier: str = "",
    ) -> Granted:
        proof = pkce(verifier)
        pushed = self.push(client, code_challenge=proof.challenge, scope=license_.url, redirect_uri=redirect_uri)
        decided = Decided(sme=sme, raw_sha256=license_.text_sha256, fuels=tuple(sorted(license_.fuels)))
        location = self.decide(self.open(pushed, client), decided)
        assert location
        return Granted(answer_in(location)["code"], proof.verifier, location, redirect_uri)

    def redeem(self, granted: Granted, client: MemberCertificate | None = None, **changes: str | None) -> TestResponse:
        form = granted.form(client or self.cap) | changes
        return self.post("/token", {name: value for name, value in form.items() if value is not None}, client)

    def tokens(self, client: MemberCertificate | None = None, **grant: Any) -> dict[str, Any]:
        answer = self.redeem(self.grant(client, **grant), client)
        assert answer.status_code == 200, answer.text
        return dict(answer.get_json())

    def refresh(self, token: str, client: MemberCertificate | None = None, **more: str) -> TestResponse:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": token,
            "client_id": (client or self.cap).application,
            **more,
        }
        return self.post("/token", form, client)

    # what the database holds

    def rows(self, kind: Any) -> list[Any]:
        """Every row, in the order of the primary key: without it a database returns them in any order."""
        table = table_of(kind)
        with self.public.app_context(), store.reading() as c:
            return rows.every(c, kind, db.select(table).order_by(*table.primary_key))

    def row(self, kind: Any, **where: Any) -> Any:
        return next(row for row in self.rows(kind) if all(getattr(row, name) == value for name, value in where.items()))

    def permission(self, token: str) -> Any:
        refresh_id = refresh_token.recognise(self.deployment.refresh_keys, token)
        return self.row(Permission, refresh_id=refresh_id)

    def code(self, granted: Granted) -> Any:
        with self.public.app_context(), store.reading() as c:
            return codes.find(c, granted.code)

    def end(self, permission: str, at: int) -> None:
        with self.public.app_context(), store.writing() as c:
            row = permissions.find(c, permission)
            assert row is not None
            permissions.end(c, row, Act.WITHDRAW, at=at, by="sme", where="a page", why="a test")

    def everything(self) -> dict[str, list[Any]]:
        """Every row that matters: what a refusal must leave as it was."""
        kept = (
            PushedRequest,
            Journey,
            Permission,
            Evidence,
            AuthorizationCode,
            OwedCall,
        )
        return {table_of(kind).name: self.rows(kind) for kind in kept}


def answer_in(location: str) -> dict[str, str]:
    """The parameters of a redirect, each of which must be there once."""
    found = parse_qs(urlsplit(location).query, keep_blank_values=True)
    assert all(len(values) == 1 for values in found.values()), found
    return {name: values[0] for name, values in found.items()}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MemberCertificate]:
    authority = Authority(tmp_path_factory.mktemp("authority")).create()
    wanted = {
        "cap": ("cap", {CAP_ROLE}),
        "cap_renewed": ("cap", {CAP_ROLE}),
        "cap2": ("cap2", {CAP_ROLE}),
        "fsp": ("fsp", {FSP_ROLE}),
        "no_role": ("cap", set()),
        "edp_data": ("edp-data", set()),
    }
    return {
        name: member_certificate.parse(
            authority.client(name, f"{DIRECTORY}/a/{application}", f"{DIRECTORY}/m/{application}", roles).der
        )
        for name, (application, roles) in wanted.items()
    }


@pytest.fixture
def issuer(database_url: str, certificates: dict[str, MemberCertificate], held_clock: Any) -> Iterator[Issuer]:
    running = Issuer(settings_for(database_url), certificates)
    with running.public.app_context():
        make_tables()
    yield running
    running.close()


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory, certificates: dict[str, MemberCertificate]) -> Iterator[Issuer]:
    """One issuer for a whole table of requests that it refuses: each row must leave it as it was."""
    url = f"sqlite:///{tmp_path_factory.mktemp('refusing') / 'store.db'}"
    running = Issuer(settings_for(url), certificates)
    with running.public.app_context():
        make_tables()
    yield running
    running.close()


@pytest.fixture
def changed(issuer: Issuer) -> Any:
    """The same issuer with other settings, on the same database: `changed(limits__window_s=60)`.

    `resting_on` names what each new grant rests on; `{sme}` in it is the SME.
    """
    made: list[Issuer] = []

    def change(*, resting_on: tuple[str, ...] = (), **settings: Any) -> Issuer:
        new = settings_for(issuer.deployment.settings.database.url, **settings)
        made.append(Issuer(new, issuer.clients, resting_on))
        return made[-1]

    yield change
    for running in made:
        running.close()


@pytest.fixture
def shared() -> Any:
    """The names of this file that tests need: with importlib mode a test module cannot import them."""
    return __import__("types").SimpleNamespace(**globals())

"""What one process holds: settings, keys, clients of outside services, and the party that it serves.

`create_app` makes one and keeps it in the application; code that runs in that application gets it from `current()`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, Final, Literal

from cryptography.x509 import Certificate
from flask import Blueprint, Flask, current_app

from consent_server import store
from consent_server.brand import logo
from consent_server.caller.identify import Callers
from consent_server.outbound.cache import Cache
from consent_server.outbound.directory import Directory, Member
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.intensity import Intensity
from consent_server.outbound.log_in import LogInProvider
from consent_server.outbound.logos import Logos
from consent_server.outbound.mail import Mail
from consent_server.outbound.registry import Registry
from consent_server.outbound.revocation_list import RevocationLists
from consent_server.outbound.session import Session
from consent_server.outbound.timestamps import TimestampAuthority
from consent_server.outbound.upstream import Upstream
from consent_server.pki.member_certificate import MalformedCertificate, load_certificates
from consent_server.readiness import NodeReport, Readiness, Watch, journal, worker
from consent_server.refusal import Unavailable
from consent_server.scheme import roles
from consent_server.scheme.licenses import GAS, License
from consent_server.scheme.permission_text import ShownText
from consent_server.scheme.provenance.container import Signer
from consent_server.scheme.provenance.step import ProvenanceError
from consent_server.settings import BadSettings, Settings
from consent_server.store.fetched import StoredCache
from consent_server.store.intensity import StoredGridDays
from consent_server.store.tables.journeys import Journey
from consent_server.store.tables.permissions import Permission
from consent_server.tokens.keys import SigningKeys
from consent_server.tokens.refresh_token import RefreshKeys
from consent_server.tokens.sealing import Sealer

Door = Literal["public", "mutual_tls"]
Routes = Sequence[Blueprint]

_EXTENSION: Final = "consent_server"


class Party(ABC):
    """What an energy data provider and a carbon accounting provider do differently (see `parties`)."""

    #: Names of the OpenAPI documents that each door serves.
    openapi: ClassVar[dict[Door, tuple[str, ...]]]

    @abstractmethod
    def asking_roles(self, settings: Settings) -> tuple[str, ...]:
        """Return the role URLs, one of which a client of our issuer and data API must hold."""

    @abstractmethod
    def blueprints(self, door: Door) -> Routes:
        """Return the routes of one door."""

    @abstractmethod
    def text(self, asked: Journey, connected: Sequence[str]) -> ShownText:
        """Return the permission text that an SME must read before the client of a journey gets data under its license.

        `connected` are the members whose readings a CAP fetches for this SME. Raise a Refusal if the text may not be shown.
        """

    @abstractmethod
    def supports(self, c: store.Connection, sme: str, named_connections: Collection[str]) -> Sequence[str]:
        """Return the ids of what supports a new permission of this SME: it ends when the last of them has ended.

        `named_connections` are the ids of the connections whose members the text named that it read: no other is a support.
        Raise a Refusal if the permission needs one and has none.
        """

    @abstractmethod
    def data_available_from(self, permission: Permission) -> int:
        """Return the first instant for which there are data under a permission."""


class MemberProcess:
    """What any process of a member holds: its settings and its clients of outside services.

    `cache` keeps fetched copies. With `polls` this process fetches the revocation list itself, otherwise a worker does.
    """

    def __init__(self, settings: Settings, cache: Cache, *, polls: bool = False) -> None:
        """Raise BadSettings for a logo that may not be shown."""
        self.settings = settings
        self.logo = _own_logo(settings)
        self.session = Session(settings)
        self.directory = Directory(settings, self.session, cache)
        self.logos = Logos(settings, self.session, cache)
        self.upstream = Upstream(settings.member.application, self.session, cache)
        self.signing_root = load_certificates(settings.keys.signing_root.read_bytes())[0]
        self.revocations = RevocationLists(settings, self.session, cache, polls=polls)
        self.callers = Callers(settings, self.revocations, self.directory)
        self._watch = Watch()

    def member_of(self, client_id: str) -> Member:
        """Return the member whose application a client is. Raise Unavailable if the Directory was never reached."""
        try:
            return self.directory.member(self.directory.application(client_id).member)
        except Unreachable as error:
            raise Unavailable(str(error)) from None

    def logo_of(self, member: str) -> str | None:
        """Return the name of a member's logo, if we have one to show and know the member's entry. Nothing is fetched."""
        return self.logos.name_of(self.directory.member(member)) if self.directory.has_member(member) else None

    def readiness(self) -> Readiness:
        """Return whether this process can serve, part by part."""
        return self._watch.readiness(self.checks())

    def checks(self) -> dict[str, Callable[[], object]]:
        """Return the parts that a door needs, each with a function that returns its details, if any, or raises a Refusal."""
        return {"revocation_list": self.revocations.ready}


class SigningCertificateNotValid(Unavailable):
    code = "signing_certificate_not_valid"
    public = "Data cannot be given out with valid provenance just now; try again after the time in Retry-After."
    help = "The server's provenance signing certificate, or an issuer of it, is not valid today. Its operator must renew it."
    clause = "Provenance Records 1.0, Signatures"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "3600"}


class Deployment(MemberProcess):
    """One process of a party. It reads every key at once, so that it does not start without one."""

    def __init__(self, settings: Settings, party: Party) -> None:
        cache = StoredCache()
        super().__init__(settings, cache)
        self.party = party
        self.signing_keys = SigningKeys(settings.keys.tokens)
        self.refresh_keys = RefreshKeys(settings.keys.refresh)
        self.signer = _signer(settings)
        self._require_keys()
        self.sealer = Sealer.from_file(settings.keys.sealing)
        self.node_report = NodeReport(settings, self.signing_keys, self.refresh_keys, self.sealer)
        self.registry = Registry(settings, self.session, cache)
        pause_s = 0 if settings.is_sandbox else 0.2
        self.intensity = Intensity(settings, self.session, cache, StoredGridDays(), pause_s=pause_s)
        self.mail = Mail(settings, self.session)
        self.timestamps = TimestampAuthority(settings, self.session)
        self.log_in = LogInProvider(settings.login, self.session, cache) if settings.has_log_in else None

    def valid_signer(self, at: int) -> Signer:
        """Return who signs provenance. Raise SigningCertificateNotValid."""
        # Provenance Records 1.0, Signatures: the chain is valid at the time of signing
        if not self.signer.is_valid(at):
            raise SigningCertificateNotValid(
                "renew keys.signing_certificate: it, or an issuer of it, is not valid today"
            )
        return self.signer

    @cached_property
    def timestamp_roots(self) -> tuple[Certificate, ...]:
        """Return the roots for timestamps; none where no authority is asked."""
        path = self.settings.collection.timestamp_roots
        return () if path is None else tuple(load_certificates(path.read_bytes()))

    @property
    def asking_roles(self) -> tuple[str, ...]:
        """Return the role URLs, one of which a client of our issuer and data API must hold."""
        return self.party.asking_roles(self.settings)

    @cached_property
    def licenses(self) -> dict[str, License]:
        """Return license URL -> license, for each that our issuer accepts."""
        return {
            each.url: License(
                url=each.url,
                label=each.label,
                text_sha256=each.text_sha256,
                fuels=frozenset(each.fuels),
                duration=each.duration,
                asked_by=roles.asks_for[each.label],
            )
            for each in self.settings.scheme.licenses
        }

    def is_combined(self, license_url: str) -> bool:
        """Return whether our issuer accepts this license, and its text names the bank as well."""
        return license_url in self.licenses and self.licenses[license_url].is_combined

    @cached_property
    def released_licenses(self) -> dict[str, License]:
        """Return the same for our resource server: without gas where `metering.gas` switches it off."""
        if self.settings.metering.gas:
            return self.licenses
        return {url: replace(each, fuels=each.fuels - {GAS}) for url, each in self.licenses.items()}

    def checks(self) -> dict[str, Callable[[], object]]:
        # The database first: most of the others read it.
        return {
            "database": self.node_report.database,
            "keys": self._agreed_keys,
            "clock": self.node_report.clock,
            "journal": journal,
            "worker": worker,
            **super().checks(),
        }

    def _agreed_keys(self) -> None:
        self._require_keys()
        self.node_report.agree()

    def _require_keys(self) -> None:
        self.signing_keys.require()
        self.signer.key.require()
        self.refresh_keys.current()


def _signer(settings: Settings) -> Signer:
    try:
        return Signer(settings.keys.signing_certificate.read_bytes(), settings.keys.signing_key.read_bytes())
    except (ProvenanceError, MalformedCertificate) as error:
        raise BadSettings(f"keys.signing_certificate, keys.signing_key: {error}") from None


def _own_logo(settings: Settings) -> logo.Logo | None:
    path = settings.public.brand.logo
    if path is None:
        return None
    try:
        return logo.checked(path.read_bytes())
    except (OSError, logo.NoLogo) as error:
        raise BadSettings(f"public.brand.logo: {error}") from None


def install(app: Flask, process: MemberProcess) -> None:
    """Give an application what `current()` returns to its views."""
    app.extensions[_EXTENSION] = process


def current() -> Deployment:
    """Return the deployment of the application that is being served."""
    # Each look at an attribute of Flask's `current_app` searches for it.
    found: Deployment = current_app._get_current_object().extensions[_EXTENSION]  # type: ignore[attr-defined]
    return found

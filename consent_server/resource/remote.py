"""The guard of a data API that is not ours, on whatever machine: Flask (protect.py), ASGI (asgi.py), any other (gate.py).

All it needs of the issuer is its public URLs: keys come from its JWKS, withdrawals from its signed status list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import orjson

from consent_server import audit, clock
from consent_server.caller.identify import Callers
from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.directory import Directory
from consent_server.outbound.jwks import RemoteKeys
from consent_server.outbound.meters_door import MetersDoor
from consent_server.outbound.revocation_list import RevocationLists
from consent_server.outbound.session import Session
from consent_server.outbound.status_list import StatusListPoller
from consent_server.refusal import MethodNotAllowed, Refusal
from consent_server.resource.guard import AcceptedLicense, Guard, NoSuchDataSource, Policy, Release, bearer
from consent_server.resource.remote_meters import RemoteMeters
from consent_server.resource.routes import READING, GuardedRoute, find
from consent_server.scheme.instant import DAY
from consent_server.settings.calls import CallsSettings
from consent_server.settings.clients import CertificateArrival, ClientsSettings, RevocationListSettings
from consent_server.tokens import status
from consent_server.tokens.keys import PublicKeySource

__all__ = ["License", "MetersQuestion", "RemoteGuard"]

License = AcceptedLicense

#: Past this many seconds without a good status list nothing is released (FAPI 2.0 5.3.4-3).
STATUS_MAX_AGE_S: Final = 30


class MetersQuestion(NamedTuple):
    """The URL of /meters at the issuer's mutual-TLS door, and PEM files of an application that member.introspectors names."""

    url: str
    certificate: Path
    key: Path


class GuardAnswer(NamedTuple):
    """What the guard itself answers: a refusal, as JSON that no cache may store; or a proxy's question."""

    status: int
    headers: dict[str, str]
    body: bytes


class RemoteGuard:
    """One resource server's guard, with all that it rests on. Nothing is fetched before the first call."""

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        directory: str,
        client_root: str | Path,
        roles: tuple[str, ...],
        licenses: Mapping[str, License],
        revocation_list: str | tuple[str, ...] = "",
        client_issuers: str | Path | None = None,
        server_roots: str | Path | None = None,
        jwks: str | None = None,
        status_list: str | None = None,
        arrival: CertificateArrival = "tls",
        proxies: tuple[str, ...] = (),
        header: str = "X-SSL-Client-Cert",
        bind_to_certificate: bool = False,
        look_up_members: bool = False,
        environment: Literal["sandbox", "production"] = "production",
        meters: MetersQuestion | None = None,
    ) -> None:
        """`issuer` and `audience` are compared whole with the token's; `directory` is the base URL of callers' identities.

        `roles` are role URLs, one of which the caller must hold; `licenses` maps each license URL that releases this data
        to its pinned text and fuels. Files are PEM: `client_root` the one root of client certificates, `client_issuers`
        the issuers below it (whose revocation lists are accepted), `server_roots` the roots for calls out (the system's when
        absent). `revocation_list` is an https URL or a file, or several, and required in production. `jwks` and `status_list`
        are where this package's issuer has them, unless given. `arrival`, `proxies` and `header` say how certificates arrive,
        as in ClientsSettings. With `look_up_members` the Directory is asked about callers, as at the issuer's doors: one whose
        membership is not active, whose application is not listed, or (in production) whose agreement with the scheme has
        ended, is refused; so is one of whom it never returned anything. With `meters` the issuer is asked which meters each
        token covers; nothing is released while it does not say. Raise ValueError for what cannot be used.
        """
        if environment == "production" and not revocation_list:
            raise ValueError("revocation_list is required in production (Member Identity Digital Certificates)")
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(issuer))
        status_uri = status_list or f"{origin}/status-list"
        self._errors = f"{origin}/errors/"
        clients = ClientsSettings(
            root=Path(client_root),
            issuers=Path(client_issuers) if client_issuers else None,
            arrival=arrival,
            proxies=proxies,
            header=header,
        )
        roots = Path(server_roots) if server_roots else None
        lists = RevocationListSettings(source=revocation_list, refresh_s=300, max_age_s=DAY)
        sandbox = environment == "sandbox"
        settings = _GuardSettings(sandbox, clients, lists, _OfDirectory(directory), _Keys(roots))
        session = Session(settings)
        keys: PublicKeySource = RemoteKeys(session, jwks or f"{origin}/jwks")
        revocations = RevocationLists(settings, session, MemoryCache(), polls=True)
        looked_up = Directory(settings, session, MemoryCache()) if look_up_members else None
        self._roles = roles
        self._callers = Callers(settings, revocations, looked_up)
        policy = Policy(issuer, audience, status_uri, licenses, bind_to_certificate)
        self._guard = Guard(policy, keys, Withdrawals(session, status_uri, keys))
        self._meters = RemoteMeters(MetersDoor(*meters, roots)) if meters else None

    def admit(
        self,
        environ: Mapping[str, Any],
        *,
        fuel: str | None = None,
        datasource: str | None = None,
        methods: tuple[str, ...] = READING,
    ) -> Release:
        """Return what the caller of a request may have; `environ` is its WSGI environment.

        `fuel` is what is about to be given out, `datasource` the id of the data source that is asked for, `methods` are all
        that its route takes. Raise a Refusal.
        """
        if environ.get("REQUEST_METHOD") not in methods:
            raise MethodNotAllowed("not a method of this route", headers={"Allow": ", ".join(methods)})
        at = clock.now()
        caller = self._callers.identify(environ, self._roles, at)
        query = {name for name, _ in parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)}
        release = self._guard.release(caller, environ.get("HTTP_AUTHORIZATION"), query, at)
        if self._meters is not None:
            token = bearer(environ.get("HTTP_AUTHORIZATION"), query)
            release = replace(release, meters=self._meters.of(token, release, at))
        if datasource is not None:
            release.require_datasource(datasource)
            if fuel is not None and release.meters is not None and release.meters[datasource].fuel != fuel:
                raise NoSuchDataSource("the meter counts another fuel")
        if fuel is not None:
            release.require_fuel(fuel)
        return release

    def admit_path(
        self, routes: Sequence[GuardedRoute], path: str, environ: Mapping[str, Any]
    ) -> tuple[Release, str | None]:
        """Return what the caller of a request may have by the route that has its path, and the data source that the path names.

        `path` is as it was sent. The audit line of the release is written. Raise a Refusal.
        """
        wanted = find(routes, path)
        route = wanted.route
        release = self.admit(environ, fuel=route.fuel, datasource=wanted.datasource, methods=route.methods)
        self.released(release, route.path)
        return release, wanted.datasource

    def refused(self, refusal: Refusal) -> GuardAnswer:
        """Write the audit line of a refusal, and return what the client gets."""
        audit.event("refused", refusal=refusal.code, status=refusal.status, private=refusal.private)
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store", **refusal.answer_headers}
        body = orjson.dumps(refusal.document(self._errors, audit.correlation_id.get()))
        return GuardAnswer(refusal.status, headers, body)

    def released(self, release: Release, resource: str) -> None:
        """Write the audit line of data that has been given out."""
        audit.event(
            "data_released",
            client_id=release.token.client_id,
            permission=release.account,
            resource=resource,
            fuels=sorted(release.fuels),
            window=None,  # the API knows both; its response is not examined
            readings=None,
        )


class Withdrawals:
    """Which permissions have ended, from the issuer's signed status list: the guard's `withdrawn`."""

    def __init__(self, session: Session, uri: str, keys: PublicKeySource) -> None:
        self._poller = StatusListPoller(session, uri, keys, max_age_s=STATUS_MAX_AGE_S)

    def __call__(self, index: int, issued: int) -> bool:
        """Return whether the permission of a token has ended. Raise StatusListTooOld."""
        try:
            return self._poller.withdrawn(index)
        except status.StatusListInvalid:
            # An index beyond the list. A token younger than any list that we still accept may be of a permission granted
            # after the list was made, which the issuer checked when it issued the token; an older token may not.
            return issued < clock.now() - STATUS_MAX_AGE_S


@dataclass(frozen=True)
class _Keys:
    """What a guard has of KeysForCalls: it calls public addresses alone, and shows no certificate."""

    server_roots: Path | None
    client_certificate: Path | None = None
    client_key: Path | None = None


@dataclass(frozen=True)
class _OfDirectory:
    """What a guard has of DirectorySettings: it asks about callers, and reads neither catalogue nor allowlist."""

    directory: str
    directory_aliases: tuple[str, ...] = ()
    data_services_path: str = ""
    allowlist_url: str = ""
    trust_framework: str = ""
    url: str = ""


@dataclass(frozen=True)
class _GuardSettings:
    """The MembersSettings of a guard, which has no file of them."""

    is_sandbox: bool
    clients: ClientsSettings
    revocation_list: RevocationListSettings
    scheme: _OfDirectory
    keys: _Keys
    calls: CallsSettings = field(default_factory=CallsSettings)

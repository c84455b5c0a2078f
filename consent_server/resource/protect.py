"""The guard as a decorator, for an EDP whose data API is a Flask application of its own, on whatever machine.

It needs the issuer's public URLs and nothing else of it: keys come from its JWKS, withdrawals from its signed status list.

    from flask import Flask
    from consent_server.resource.protect import License, Protect

    app = Flask(__name__)
    guard = Protect(
        issuer="https://auth.edp.example",
        audience="https://data.edp.example",
        directory="https://directory.core.trust.ib1.org",
        client_root="client_root.pem",
        revocation_list="https://directory.core.trust.ib1.org/client.crl",
        roles=("https://registry.core.trust.ib1.org/scheme/perseus/role/carbon-accounting-provider",),
        licenses={LICENSE_URL: License(text_sha256=DIGEST, fuels=("electricity", "gas"))},
    )

    @app.get("/my/data/<meter>")
    @guard.protect(fuel="electricity", datasource="meter")
    def data(meter):
        permission = guard.permission  # .account, .fuels, .token, .caller
        ...
"""

import functools
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Final, Literal, ParamSpec, cast
from urllib.parse import urlsplit

from flask import Response, g, json, make_response, request
from flask.typing import ResponseReturnValue

from consent_server import audit, clock
from consent_server.caller.identify import Callers
from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.directory import Directory
from consent_server.outbound.jwks import RemoteKeys
from consent_server.outbound.revocation_list import RevocationList
from consent_server.outbound.session import Session
from consent_server.outbound.status_list import StatusListPoller
from consent_server.refusal import Refusal
from consent_server.resource.guard import AcceptedLicense, Guard, Policy, Release
from consent_server.settings import CallsSettings, ClientsSettings, RevocationListSettings, Settings
from consent_server.tokens import status
from consent_server.tokens.keys import PublicKeySource

__all__ = ["License", "Protect"]

License = AcceptedLicense
Arrival = Literal["tls", "client-cert", "escaped-pem"]

#: Past this many seconds without a good status list nothing is released (FAPI 2.0 5.3.4-3).
STATUS_MAX_AGE_S: Final = 30

P = ParamSpec("P")


class Protect:
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
        revocation_list: str = "",
        client_issuers: str | Path | None = None,
        server_roots: str | Path | None = None,
        jwks: str | None = None,
        status_list: str | None = None,
        arrival: Arrival = "tls",
        proxies: tuple[str, ...] = (),
        header: str = "X-SSL-Client-Cert",
        bind_to_certificate: bool = False,
        look_up_members: bool = False,
        environment: Literal["sandbox", "production"] = "production",
    ) -> None:
        """`issuer` and `audience` are compared whole with the token's; `directory` is the base URL of callers' identities.

        `roles` are role URLs, one of which the caller must hold; `licenses` maps each license URL that releases this data
        to its pinned text and fuels. Files are PEM: `client_root` the one root of client certificates, `client_issuers`
        the issuers below it (which may sign the revocation list), `server_roots` the roots for calls out (the system's when
        absent). `revocation_list` is an https URL or a file, and required in production. `jwks` and `status_list` are where
        this package's issuer has them, unless given. `arrival`, `proxies` and `header` say how certificates arrive, as in
        ClientsSettings. With `look_up_members` the Directory is asked about callers, as at the issuer's doors: one whose
        membership is not active, or whose application is not listed, is refused; so is one of whom it never
        returned anything. Raise ValueError for what cannot be used.
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
        settings = _as_settings(clients, directory, revocation_list, server_roots, environment)
        session = Session(settings)
        keys: PublicKeySource = RemoteKeys(session, jwks or f"{origin}/jwks")
        revocations = RevocationList(settings, session, MemoryCache(), polls=True)
        looked_up = Directory(settings, session, MemoryCache()) if look_up_members else None
        self._roles = roles
        self._callers = Callers(settings, revocations, looked_up)
        policy = Policy(issuer, audience, status_uri, licenses, bind_to_certificate)
        self._guard = Guard(policy, keys, Withdrawals(session, status_uri, keys))

    @property
    def permission(self) -> Release:
        """Return what the caller of this request may have, for use inside a protected view."""
        return cast(Release, g.consent_release)

    def protect(
        self, *, fuel: str | None = None, datasource: str | None = None
    ) -> Callable[[Callable[P, ResponseReturnValue]], Callable[P, ResponseReturnValue]]:
        """Return a decorator: the view runs for a good caller and token alone; any other gets the refusal as JSON.

        `fuel` is what the view gives out; `datasource` names the view's argument that holds a data source id of the token.
        A view that serves several fuels leaves `fuel` out and calls `permission.require_fuel` itself.
        """

        def decorate(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
            @functools.wraps(view)
            def protected(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
                correlation_id = secrets.token_urlsafe(12)
                before = audit.correlation_id.set(correlation_id)
                try:
                    self._admit(fuel, cast(str, kwargs[datasource]) if datasource else None)
                    response = make_response(view(*args, **kwargs))
                    self._note(response)
                except Refusal as refusal:
                    return self._refused(refusal, correlation_id)
                finally:
                    audit.correlation_id.reset(before)
                # RFC 9111 5.2.2.5: no cache between us may keep for another member what one may read.
                response.headers.setdefault("Cache-Control", "no-store")
                return response

            return protected

        return decorate

    def _admit(self, fuel: str | None, datasource: str | None) -> None:
        at = clock.now()
        caller = self._callers.identify(request.environ, self._roles, at)
        release = self._guard.release(caller, request.headers.get("Authorization"), request.args.keys(), at)
        if datasource is not None:
            release.require_datasource(datasource)
        if fuel is not None:
            release.require_fuel(fuel)
        g.consent_release = release

    def _note(self, response: Response) -> None:
        if response.status_code < 300:
            audit.event(
                "data_released",
                client_id=self.permission.token.client_id,
                permission=self.permission.account,
                resource=str(request.url_rule),
                readings=None,  # the view knows; its response is not examined
            )

    def _refused(self, refusal: Refusal, correlation_id: str) -> Response:
        audit.event("refused", refusal=refusal.code, status=refusal.status, private=refusal.private)
        body = json.dumps(refusal.document(self._errors, correlation_id))
        response = Response(body, refusal.status, refusal.answer_headers, mimetype="application/json")
        response.headers["Cache-Control"] = "no-store"
        return response


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


def _as_settings(
    clients: ClientsSettings, directory: str, revocation_list: str, server_roots: str | Path | None, environment: str
) -> Settings:
    """Return as much of our Settings as the objects made above read: an EDP's own API has no file of them."""
    enough = SimpleNamespace(
        is_sandbox=environment == "sandbox",
        clients=clients,
        scheme=SimpleNamespace(directory=directory, data_services_path=""),  # the catalogue is not read
        revocation_list=RevocationListSettings(source=revocation_list, refresh_s=300, max_age_s=86400),
        calls=CallsSettings(),
        keys=SimpleNamespace(
            server_roots=Path(server_roots) if server_roots else None,
            client_certificate=None,  # only public addresses are called
            client_key=None,
        ),
    )
    return cast(Settings, enough)

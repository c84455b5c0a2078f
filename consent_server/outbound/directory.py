"""The client of the Directory: members, applications and their message addresses, data services, hosts we may call."""

import logging
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from consent_server import clock
from consent_server.outbound import fields
from consent_server.outbound.cache import FOR_EVER, Cache, Fetcher
from consent_server.outbound.errors import NotAllowed
from consent_server.outbound.session import Session
from consent_server.scheme import instant
from consent_server.settings import Settings

log = logging.getLogger("consent_server.outbound")

ALLOWLIST_PATH = "/server-allowlist"
# An outage of the Directory must not stop the scheme, and a member that left is noticed within a week.
_KEEP_S = 7 * 86400


@dataclass(frozen=True)
class Member:
    url: str
    legal_name: str
    brand_name: str | None
    roles: tuple[str, ...]
    privacy_policy: str | None
    membership_ok: bool

    @property
    def name(self) -> str:
        """Return the name for permission texts: the brand name if there is one, otherwise the legal name."""
        return self.brand_name or self.legal_name


@dataclass(frozen=True)
class Application:
    url: str
    member: str
    title: str
    roles: tuple[str, ...]
    message_delivery: str | None
    home_page: str | None = None


@dataclass(frozen=True)
class DataService:
    id: str
    application: str | None
    member: str
    title: str
    endpoint: str
    issuer: str | None


class Directory:
    """The Directory's public JSON. Making one gives `session` its allowlist of member servers."""

    def __init__(self, settings: Settings, session: Session, cache: Cache) -> None:
        self._base = settings.scheme.directory
        self._services_path = settings.scheme.data_services_path
        self._fetcher = Fetcher(session, cache)
        session.allow_hosts(self.server_allowlist)

    def member(self, url: str) -> Member:
        """Return the member at its Directory URL. Raise NotAllowed for a URL of another Directory, Unreachable."""
        self._require_ours(url)
        return self._fetcher.get(f"{url}?include=memberships", lambda body: _member(url, body), keep_s=_KEEP_S)

    def application(self, url: str, *, fresh: bool = False) -> Application:
        """Return the application at its Directory URL; `fresh` ignores a kept copy. Raise as `member`."""
        self._require_ours(url)
        return self._fetcher.get(url, lambda body: _application(url, body), fresh=fresh, keep_s=_KEEP_S)

    def data_services(self, standard_url: str) -> list[DataService]:
        """Return the catalogue's services of one standard. An entry that lacks a field we need is logged and left out."""
        query = urlencode({"conformsTo": standard_url})
        return self._fetcher.get(f"{self._base}{self._services_path}?{query}", _services, keep_s=_KEEP_S)

    def server_allowlist(self) -> frozenset[str]:
        """Return the host names (lower case) of members' servers. Raise Unreachable if the list was never fetched.

        Public CA server certificates, "Error handling on fetch failure": the last good list holds, however old.
        """
        return self._fetcher.get(f"{self._base}{ALLOWLIST_PATH}", _allowlist, keep_s=FOR_EVER)

    def _require_ours(self, url: str) -> None:
        # One deployment belongs to one Directory: an identifier of another environment is never looked up. Nor may an
        # identifier contain a query or leave its path.
        tail = url.removeprefix(self._base + "/")
        if tail == url or any(mark in tail for mark in "?#\\%") or ".." in tail.split("/"):
            raise NotAllowed("url", "directory")


def _same(source: dict[str, Any], url: str) -> None:
    if source.get("id") != url:
        raise ValueError("id is not the URL that was requested")


def _member(url: str, body: bytes) -> Member:
    source = fields.document(body)
    _same(source, url)
    brand = source.get("brand")
    return Member(
        url=url,
        legal_name=fields.text(source, "legalName"),
        brand_name=fields.text(brand, "name") if isinstance(brand, dict) and brand.get("name") else None,
        roles=fields.texts(source, "roles"),
        privacy_policy=fields.optional_url(source, "privacyPolicy"),
        membership_ok=any(_is_current(each) for each in fields.objects(source, "trustFrameworkMemberships")),
    )


def _is_current(membership: dict[str, Any]) -> bool:
    expiry = membership.get("membershipExpiry")
    if isinstance(expiry, str) and len(expiry) == 10:
        expiry += "T00:00:00Z"
    status = membership.get("membershipStatus")
    return (
        isinstance(status, str)
        and status.lower() == "active"
        and (expiry is None or clock.now() < instant.parse(expiry))
    )


def _application(url: str, body: bytes) -> Application:
    source = fields.document(body)
    _same(source, url)
    return Application(
        url=url,
        member=fields.url(source, "publisher"),
        title=fields.text(source, "title"),
        roles=fields.texts(source, "role"),
        message_delivery=fields.optional_url(source, "messageDelivery"),
        home_page=_home_page(source),
    )


def _home_page(source: dict[str, Any]) -> str | None:
    # For people to read: one that is no https URL costs the application nothing else.
    try:
        return fields.optional_url(source, "homePageURL")
    except ValueError:
        return None


def _services(body: bytes) -> list[DataService]:
    services = []
    for each in fields.objects(fields.document(body), "apis"):
        try:
            services.append(_service(each))
        except ValueError as fault:
            log.warning("an entry of the Directory's catalogue is left out: %s", fault)
    return services


def _service(source: dict[str, Any]) -> DataService:
    return DataService(
        id=fields.url(source, "id"),
        application=fields.optional_url(source, "application_id"),
        member=fields.url(source, "publisher"),
        title=fields.text(source, "title"),
        endpoint=fields.url(source, "endpointURL"),
        issuer=fields.optional_url(source, "oauthIssuer"),
    )


def _allowlist(body: bytes) -> frozenset[str]:
    source = fields.document(body)
    if source.get("ib1:allowlist") != "1.0":
        raise ValueError("ib1:allowlist is not 1.0")
    if not isinstance(source.get("allowed"), list):
        raise ValueError("allowed is not a list")
    # Hosts are compared as whole strings, so a wildcard matches none, as it should.
    return frozenset(host.lower() for host in fields.texts(source, "allowed"))

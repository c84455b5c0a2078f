"""The Directory: who a member is, where an application takes messages, which services there are, which hosts we call."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from consent_server import clock
from consent_server.outbound import fields
from consent_server.outbound.cache import FOR_EVER, Cache, Fetcher
from consent_server.outbound.errors import NotAllowed
from consent_server.outbound.session import Session
from consent_server.scheme import instant
from consent_server.settings import Settings

log = logging.getLogger("consent_server.outbound")

T = TypeVar("T")

ALLOWLIST_PATH = "/server-allowlist"
# An outage of the Directory must not stop the scheme; a member that left is noticed within a week at the latest.
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
        """What the permission text calls the member: its brand name, else its legal name."""
        return self.brand_name or self.legal_name


@dataclass(frozen=True)
class Application:
    url: str
    member: str
    title: str
    roles: tuple[str, ...]
    home_page: str | None
    message_delivery: str | None


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
        """The member at its Directory URL. Raises NotAllowed for a URL of another Directory, Unreachable."""
        self._require_ours(url)
        return self._fetcher.get(f"{url}?include=memberships", lambda body: _member(url, body), keep_s=_KEEP_S)

    def application(self, url: str, *, fresh: bool = False) -> Application:
        """The application at its Directory URL; `fresh` asks the Directory whatever is kept. Raises as `member`."""
        self._require_ours(url)
        return self._fetcher.get(url, lambda body: _application(url, body), fresh=fresh, keep_s=_KEEP_S)

    def data_services(self, standard_url: str) -> list[DataService]:
        """The catalogue's services of one standard. An entry that lacks what is needed is left out, and logged."""
        query = urlencode({"conformsTo": standard_url})
        return self._fetcher.get(f"{self._base}{self._services_path}?{query}", _services, keep_s=_KEEP_S)

    def server_allowlist(self) -> frozenset[str]:
        """Host names (lower case) of members' servers. Raises Unreachable if the list was never fetched.

        Public CA server certificates, "Error handling on fetch failure": the last good list holds, however old.
        """
        return self._fetcher.get(f"{self._base}{ALLOWLIST_PATH}", _allowlist, keep_s=FOR_EVER)

    def _require_ours(self, url: str) -> None:
        # One deployment belongs to one Directory: an identifier of another environment is never looked up. Nor may an
        # identifier carry a query or climb out of its path.
        tail = url.removeprefix(self._base + "/")
        if tail == url or any(mark in tail for mark in "?#\\%") or ".." in tail.split("/"):
            raise NotAllowed("url", "directory")


def _same(source: dict[str, Any], url: str) -> None:
    if source.get("id") != url:
        raise ValueError("id is not the URL that was asked for")


def _member(url: str, body: bytes) -> Member:
    source = fields.document(body)
    _same(source, url)
    brand = source.get("brand")
    return Member(
        url=url,
        legal_name=fields.text(source, "legalName"),
        brand_name=fields.optional_text(brand, "name") if isinstance(brand, dict) else None,
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
        home_page=fields.optional_url(source, "homePageURL"),
        message_delivery=fields.optional_url(source, "messageDelivery"),
    )


def _services(body: bytes) -> list[DataService]:
    listed = (_or_none(_service, each) for each in fields.objects(fields.document(body), "apis"))
    return [service for service in listed if service is not None]


def _service(source: dict[str, Any]) -> DataService:
    return DataService(
        id=fields.url(source, "id"),
        application=fields.optional_url(source, "application_id"),
        member=fields.url(source, "publisher"),
        title=fields.text(source, "title"),
        endpoint=fields.url(source, "endpointURL"),
        issuer=fields.optional_url(source, "oauthIssuer"),
    )


def _or_none(read: Callable[[dict[str, Any]], T], source: dict[str, Any]) -> T | None:
    try:
        return read(source)
    except ValueError as fault:
        log.warning("an entry of the Directory's catalogue is left out: %s", fault)
        return None


def _allowlist(body: bytes) -> frozenset[str]:
    source = fields.document(body)
    if source.get("ib1:allowlist") != "1.0":
        raise ValueError("ib1:allowlist is not 1.0")
    if not isinstance(source.get("allowed"), list):
        raise ValueError("allowed is not a list")
    # A wildcard would match no host as a whole string, which is what it should match.
    return frozenset(host.lower() for host in fields.texts(source, "allowed"))

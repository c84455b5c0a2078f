"""The client of the Directory: members, applications and their message addresses, data services, hosts we may call."""

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from consent_server import clock
from consent_server.outbound import fields
from consent_server.outbound.cache import FOR_EVER, Cache, Fetcher
from consent_server.outbound.errors import NotAllowed
from consent_server.outbound.session import Session
from consent_server.outbound.settings import MembersSettings
from consent_server.scheme.instant import DAY

log = logging.getLogger("consent_server.outbound")

# An outage of the Directory must not stop the scheme, and a member that left is noticed within a week.
_KEEP_S: Final = 7 * DAY
_ACCEPT: Final = "application/json, application/ld+json;q=0.9, text/turtle;q=0.8"


#: The path of a member below the Directory's base URL.
_MEMBER: Final = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9_.-]{0,63}){1,4}")


def is_member_url(url: str, settings: MembersSettings) -> bool:
    """Return whether a URL has the form of a member's in this environment's Directory."""
    base = settings.scheme.directory
    return url.startswith(base) and _MEMBER.fullmatch(url.removeprefix(base)) is not None


@dataclass(frozen=True)
class Agreement:
    """An agreement with a scheme that a member has executed: the roles that it may have there, and from when until when.

    `until` is FOR_EVER where the agreement has no end.
    """

    roles: tuple[str, ...]
    executed: int
    until: int

    def covers(self, roles: Collection[str], at: int) -> bool:
        """Return whether it permits one of the roles at the instant `at`."""
        return self.executed <= at < self.until and not set(self.roles).isdisjoint(roles)


@dataclass(frozen=True)
class Member:
    """A member as the Directory describes it. `logo` is the address of its brand's logo, else of its own."""

    url: str
    legal_name: str
    brand_name: str | None
    roles: tuple[str, ...]
    privacy_policy: str | None
    membership_ok: bool
    agreements: tuple[Agreement, ...] = ()
    logo: str | None = None

    def has_agreement(self, roles: Collection[str], at: int) -> bool:
        """Return whether an agreement with the scheme permits one of the roles at the instant `at`."""
        return any(each.covers(roles, at) for each in self.agreements)

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
class Allowlist:
    """The Directory's server allowlist: host names in lower case, what it is for, and when it was last changed, if known."""

    hosts: frozenset[str]
    subject: str
    updated: int | None


@dataclass(frozen=True)
class DataService:
    """One entry of the data catalogue. `id` is its endpoint where the catalogue states none, as the specified JSON does."""

    id: str
    application: str | None
    member: str
    title: str
    endpoint: str
    issuer: str | None


class Directory:
    """The Directory's public documents. Making one gives `session` its allowlist of member servers."""

    def __init__(self, settings: MembersSettings, session: Session, cache: Cache) -> None:
        self._scheme = settings.scheme
        self._base = settings.scheme.directory
        self._fetcher = Fetcher(session, cache)
        session.allow_hosts(self.server_allowlist)

    def has_member(self, url: str) -> bool:
        """Return whether `member` would return without a call."""
        return self._fetcher.has_fresh(_with_memberships(url))

    def member(self, url: str) -> Member:
        """Return the member at its Directory URL. Raise NotAllowed for a URL of another Directory, Unreachable."""
        self._require_ours(url)
        return self._fetcher.get(
            _with_memberships(url), lambda body: _member(url, body), accept=_ACCEPT, keep_s=_KEEP_S
        )

    def application(self, url: str, *, fresh: bool = False) -> Application:
        """Return the application at its Directory URL; `fresh` ignores a kept copy. Raise as `member`."""
        self._require_ours(url)
        return self._fetcher.get(url, lambda body: _application(url, body), accept=_ACCEPT, fresh=fresh, keep_s=_KEEP_S)

    def data_services(self, standard_url: str) -> list[DataService]:
        """Return the catalogue's services of one standard. An entry that lacks a field we need is logged and left out."""
        url = f"{self._base}{self._scheme.data_services_path}?{urlencode({'conformsTo': standard_url})}"
        return self._fetcher.get(url, lambda body: self._services(url, body), accept=_ACCEPT, keep_s=_KEEP_S)

    def server_allowlist(self) -> frozenset[str]:
        """Return the host names (lower case) of members' servers. Raise as `allowlist`."""
        return self.allowlist().hosts

    def allowlist(self) -> Allowlist:
        """Return the allowlist of members' servers. Raise Unreachable if it was never fetched.

        Public CA server certificates, "Error handling on fetch failure": the last good list holds, however old.
        """
        return self._fetcher.get(self._scheme.allowlist_url, self._allowlist, keep_s=FOR_EVER, keep_what_is_gone=True)

    def _allowlist(self, body: bytes) -> Allowlist:
        found = _allowlist(body)
        if found.subject not in {self._scheme.trust_framework, self._scheme.url}:
            log.warning("the allowlist at scheme.server_allowlist is for another framework or scheme: allowlistFor")
            raise ValueError("allowlistFor is another trust framework or scheme")
        return found

    def _services(self, url: str, body: bytes) -> list[DataService]:
        services = []
        for each in _catalogue(url, body):
            try:
                services.append(_service(each, self._scheme.directory_aliases, self._base))
            except ValueError as fault:
                log.warning("an entry of the Directory's catalogue is left out: %s", fault)
        return services

    def _require_ours(self, url: str) -> None:
        # One deployment belongs to one Directory: an identifier of another environment is never looked up. Nor may an
        # identifier contain a query or leave its path.
        tail = url.removeprefix(self._base + "/")
        if tail == url or any(mark in tail for mark in "?#\\%") or ".." in tail.split("/"):
            raise NotAllowed("url", "directory")


def _entry(url: str, body: bytes) -> dict[str, Any]:
    """Return the entry of `url`, from JSON, JSON-LD or Turtle, with the JSON's names. Raise ValueError."""
    source = fields.json_or_none(body)
    if not _is_plain(source):
        source = _rdf().entry(body, url)
    if source.get("id") != url:
        raise ValueError("id is not the URL that was requested")
    found: dict[str, Any] = source
    return found


def _is_plain(source: Any) -> bool:
    """Return whether this is an object of the Directory's JSON, and not JSON-LD, nor what is no JSON (None)."""
    return isinstance(source, dict) and not any(name.startswith("@") for name in source)


def _rdf() -> Any:
    # The guard of a data API is installed without a reader of RDF; a Directory that has no JSON for it is unreadable.
    try:
        from consent_server.outbound import directory_rdf
    except ImportError:
        raise ValueError("RDF is read by a server alone") from None
    return directory_rdf


def _with_memberships(member: str) -> str:
    return f"{member}?include=memberships"


def _member(url: str, body: bytes) -> Member:
    source = _entry(url, body)
    entry = fields.Entry(url, source)
    legal_name = entry.get(fields.text, "legalName", url.removeprefix("https://"))
    return Member(
        url=url,
        legal_name=legal_name,
        brand_name=entry.get(_brand_name, "brand", None),
        roles=fields.texts(source, "roles"),
        privacy_policy=entry.get(fields.optional_url, "privacyPolicy", None),
        membership_ok=any(_is_current(url, each) for each in entry.objects("trustFrameworkMemberships")),
        agreements=tuple(
            agreement for membership in entry.objects("schemeMemberships") for agreement in _agreements(url, membership)
        ),
        logo=entry.get(_logo, "brand", None) or entry.get(fields.optional_url, "logo", None),
    )


def _brand_name(source: dict[str, Any], name: str) -> str | None:
    brand = source.get(name)
    if isinstance(brand, str):
        return fields.text(source, name) if brand else None
    if brand and not isinstance(brand, dict):
        raise ValueError(f"{name} is no object")
    return fields.text(brand, "name") if brand and brand.get("name") else None


def _logo(source: dict[str, Any], name: str) -> str | None:
    brand = source.get(name)
    return fields.optional_url(brand, "logo") if isinstance(brand, dict) else None


def _is_current(url: str, membership: dict[str, Any]) -> bool:
    """Return whether a membership of the trust framework is active now. An expiry that cannot be read leaves its status."""
    status = membership.get("membershipStatus")
    expiry = fields.Entry(url, membership).get(_instant, "membershipExpiry", None)
    return isinstance(status, str) and status.lower() == "active" and (expiry is None or clock.now() < expiry)


def _agreements(url: str, membership: dict[str, Any]) -> list[Agreement]:
    """Return the executed agreements of one scheme membership. One whose expiry cannot be read has ended."""
    entry = fields.Entry(url, membership)
    scheme = entry.get(fields.url, "scheme", "").rstrip("/")
    none: tuple[str, ...] = ()
    roles = tuple(
        each for each in entry.get(fields.texts, "orgRoles", none) if scheme and each.startswith(f"{scheme}/")
    )
    executions = (fields.Entry(url, each) for each in entry.objects("executions"))
    return [
        Agreement(roles, each.get(_instant, "executed", None) or 0, each.get(_end, "expiry", 0)) for each in executions
    ]


def _end(source: dict[str, Any], name: str) -> int:
    found = _instant(source, name)
    return FOR_EVER if found is None else found


def _instant(source: dict[str, Any], name: str) -> int | None:
    """Return a date-time or a date (its first instant, UTC) in the forms of ISO 8601; None for an absent field."""
    value = source.get(name)
    if value is None:
        return None
    try:
        read = datetime.fromisoformat(value)
        return int((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp())
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} is no date that can be read") from None


def _application(url: str, body: bytes) -> Application:
    source = _entry(url, body)
    entry = fields.Entry(url, source)
    return Application(
        url=url,
        member=fields.url(source, "publisher"),
        title=entry.get(fields.text, "title", url.removeprefix("https://")),
        roles=fields.texts(source, "role"),
        message_delivery=entry.get(fields.optional_url, "messageDelivery", None),
        home_page=entry.get(fields.optional_url, "homePageURL", None),
    )


def _catalogue(url: str, body: bytes) -> list[dict[str, Any]]:
    """Return the entries of the catalogue: its member `apis`, its only list, or the list that it is. Raise ValueError."""
    source = fields.json_or_none(body)
    if isinstance(source, list) and any(_is_plain(each) for each in source):
        listed: Any = source
    elif not _is_plain(source):
        listed = _rdf().services(body, url)
    elif "apis" in source:
        listed = source["apis"]
    else:
        lists = [each for each in source.values() if isinstance(each, list)]
        listed = lists[0] if len(lists) == 1 else None
    if not isinstance(listed, list):
        raise ValueError("the catalogue has no list of entries")
    return [each if isinstance(each, dict) else {} for each in listed]


def _service(source: dict[str, Any], aliases: Collection[str], directory: str) -> DataService:
    endpoint = fields.url(source, "endpointURL")
    entry = fields.Entry(endpoint, source)
    publisher = fields.url(source, "publisher")
    for alias in aliases:
        if publisher.startswith(f"{alias}/"):
            publisher = directory + publisher.removeprefix(alias)
    return DataService(
        id=entry.get(fields.optional_url, "id", None) or endpoint,
        application=entry.get(fields.optional_url, "application_id", None),
        member=publisher,
        title=entry.get(fields.text, "title", urlsplit(endpoint).netloc),
        endpoint=endpoint,
        issuer=entry.get(fields.optional_url, "oauthIssuer", None),
    )


def _allowlist(body: bytes) -> Allowlist:
    source = fields.document(body)
    if source.get("ib1:allowlist") != "1.0":
        raise ValueError("ib1:allowlist is not 1.0")
    if not isinstance(source.get("allowed"), list):
        raise ValueError("allowed is not a list")
    # Hosts are compared as whole strings, so a wildcard matches none, as it should.
    hosts = frozenset(host.lower() for host in fields.texts(source, "allowed"))
    updated = fields.Entry("server allowlist", source).get(_instant, "lastUpdated", None)
    return Allowlist(hosts, fields.url(source, "allowlistFor"), updated)

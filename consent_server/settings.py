"""Typed settings: one TOML file, overridden by the environment. The server refuses to start on a bad value.

Every field has a description, which is the operator's guide to that key: docs/settings.md is generated from here.
An environment variable is `CONSENT_` and the path of the key in capitals, joined by two underscores:
`CONSENT_DATABASE__URL`. `DATABASE_URL` by itself works as well.
"""

import importlib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from email.policy import SMTP
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from consent_server.brand import colour


def _plain_https(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.fragment or parts.query:
        raise ValueError("must be an https URL without user name, query or fragment")
    if value.endswith("/"):
        raise ValueError("must not end with a slash")
    return value


HttpsUrl = Annotated[str, AfterValidator(_plain_https)]


def _https_with_query(value: str) -> str:
    return value and _plain_https(value.partition("?")[0].removesuffix("/")) and value


def _network(value: str) -> str:
    if ipaddress.ip_network(value).prefixlen == 0:
        raise ValueError("must not cover every address: anybody could then set the certificate header")
    return value


Network = Annotated[str, AfterValidator(_network)]

# Spellings of an IPv4 address that resolvers accept and no DNS name has: 2130706433, 0x7f.1, 127.1
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def _is_loopback(origin: str) -> bool:
    host = (urlsplit(origin).hostname or "").rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.rsplit(".", 1)[-1] == "localhost" or bool(_NUMBER.fullmatch(host.rsplit(".", 1)[-1]))
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


# Group members may read (a mounted secret belongs to a group); nobody else may, and nobody may write but the owner.
_TOO_OPEN: Final = 0o027


def is_too_open(path: Path) -> bool:
    """Return whether others can read or change a file that holds a secret. Raise OSError for one that is not there."""
    return bool(path.stat().st_mode & _TOO_OPEN)


def _private(path: Path | None) -> Path | None:
    try:
        if path is not None and is_too_open(path):
            raise ValueError(f"{path}: others can read or change this secret; chmod 600")
    except OSError:
        pass  # that it is missing is reported where it is read
    return path


#: A file that holds a secret. One that is open to others stops the start, and every command.
SecretFile = Annotated[Path, AfterValidator(_private)]
OptionalSecretFile = Annotated[Path | None, AfterValidator(_private)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MemberSettings(Section):
    """Who we are in the Directory."""

    url: HttpsUrl = Field(description="Our member URL in the Directory.")
    name: str = Field(
        "", description="Our name at the top of each page and in our mails; the public door's host if it is empty."
    )
    application: HttpsUrl = Field(description="Our application URL: the one SAN URI of our certificates.")
    data_service: str = Field(
        "", description="The id of our API's entry in the Directory's catalogue; goes into provenance."
    )
    introspectors: tuple[HttpsUrl, ...] = Field(
        (), description="Our own applications that may introspect tokens, and ask which meters a token covers."
    )
    withdrawal_process: str = Field(
        "", description="How an SME withdraws, in one plain sentence; fills [CAP process] when we are the CAP."
    )


class ListenerSettings(Section):
    """One door: its origin, the address it binds to, and its server certificate."""

    origin: HttpsUrl = Field(description="The origin that others use, without a path.")
    bind: str = Field(description="host:port that gunicorn binds to.")
    certificate: Path = Field(description="PEM chain of the server certificate (ECDSA P-256 or P-384).")
    key: SecretFile = Field(description="PEM key of the server certificate.")
    workers: int = Field(2, ge=1, description="gunicorn worker processes.")
    connections: int = Field(
        2000,
        ge=10,
        description=(
            "Connections that a worker holds at once, at most half of its open files. The one that is idle longest, or else "
            "the one whose client takes longest, is closed for the next."
        ),
    )
    keep_alive_s: int = Field(
        75, ge=1, description="Seconds without a request after which a connection is closed; longer than a balancer's."
    )
    request_s: int = Field(
        10, ge=1, description="Seconds that a client may take over the handshake, and over each request with its body."
    )
    answer_s: int = Field(60, ge=1, description="Seconds that a client may take to read one response.")


def _https_or_none(value: str) -> str:
    return value and _plain_https(value)


PageUrl = Annotated[str, AfterValidator(_https_or_none)]


class ContactSettings(Section):
    """Whom a person can ask: on every error page, and at the foot of every page. What is empty is not shown. Production needs
    an e-mail address or a telephone number."""

    email: str = Field(
        default="", pattern=r"^([^\s@<>\"?&]+@[^\s@<>\"?&]+)?$", description="E-mail address for questions."
    )
    telephone: str = Field(default="", pattern=r"^[+0-9 ()-]*$", description="Telephone number for questions.")
    privacy: PageUrl = Field(default="", description="https URL of the privacy notice.")
    complaints: PageUrl = Field(default="", description="https URL of how to complain.")
    accessibility: PageUrl = Field(default="", description="https URL of the accessibility statement.")
    security: str = Field(
        default="",
        pattern=r"^(mailto:[^\s@?]+@[^\s@?]+|https://\S+)?$",
        description=(
            "mailto: or https URL where a weakness is reported, for `/.well-known/security.txt` (RFC 9116); there is no such "
            "file if it is empty."
        ),
    )


_HEX: Final = r"^#[0-9a-f]{6}$"


class BrandSettings(Section):
    """How our pages look. Our name at the top is `member.name`."""

    logo: Path | None = Field(
        default=None,
        description=(
            "SVG or PNG file of at most 64 KiB, shown beside our name and as the pages' icon. A PNG has at most 1024 pixels "
            "each way and is not interlaced; an SVG has only shapes, text and gradients."
        ),
    )
    colour: str = Field(
        default="#0b5d4a",
        pattern=_HEX,
        description=(
            "Colour of links and buttons on light pages, such as #0b5d4a. A colour whose contrast with what is beside it is "
            "below WCAG 2.2 AA is refused."
        ),
    )
    dark_colour: str = Field(
        default="#5fd0ae",
        pattern=_HEX,
        description="The same on dark pages, which browsers show where the reader prefers them; set it together with colour.",
    )

    @model_validator(mode="after")
    def _readable(self) -> "BrandSettings":
        if len({"colour", "dark_colour"} & self.model_fields_set) == 1:
            raise ValueError("colour and dark_colour go together")
        colour.shades(self.colour, colour.LIGHT)
        colour.shades(self.dark_colour, colour.DARK)
        return self


class PublicSettings(ListenerSettings):
    """The door for browsers: its origin, the address it binds to, and its server certificate."""

    brand: BrandSettings = BrandSettings()
    contact: ContactSettings = ContactSettings()


#: The form in which a proxy passes on a client's certificate; with "tls" there is no proxy.
CertificateHeader = Literal["client-cert", "escaped-pem", "xfcc"]
CertificateArrival = Literal["tls", CertificateHeader]


class ClientsSettings(Section):
    """How client certificates arrive, and which are trusted."""

    root: Path = Field(description="PEM of the Directory's client root, and nothing else.")
    issuers: Path | None = Field(
        None,
        description=(
            "PEM of the issuers below the root: those whose revocation lists are accepted; needed as well behind proxies "
            "that pass the leaf alone."
        ),
    )
    arrival: CertificateArrival = Field(
        "tls",
        description=(
            "tls: the socket. client-cert: RFC 9440 header. escaped-pem: nginx $ssl_client_escaped_cert. "
            "xfcc: Cert in Envoy's X-Forwarded-Client-Cert."
        ),
    )
    proxies: tuple[Network, ...] = Field(
        (), description="Addresses of the proxies whose certificate header and X-Forwarded-For are trusted."
    )
    header: str = Field(
        # gunicorn drops a header whose name has an underscore
        "X-SSL-Client-Cert",
        pattern="^[A-Za-z0-9-]+$",
        description="The header that carries the escaped PEM.",
    )
    membership_s: int = Field(
        default=60,
        ge=1,
        le=3600,
        description="Seconds for which a process remembers what the Directory says about a caller.",
    )
    unknown_membership: Literal["refuse", "allow"] = Field(
        default="refuse",
        description=(
            "What happens to a caller for which the Directory has never returned an entry, while the Directory "
            "cannot be reached. "
            "Production requires refuse."
        ),
    )
    lapsed_agreements: Literal["", "refuse", "warn"] = Field(
        default="",
        description=(
            "What happens to a member that has no agreement with the scheme in force for its role: as a caller, and as a "
            "provider or bank that a business could choose. Empty: refuse in production, warn in the sandbox."
        ),
    )


class RevocationListSettings(Section):
    """The Directory's certificate revocation list (RFC 5280 section 5)."""

    source: str | tuple[str, ...] = Field(
        "",
        description=(
            "https URL or file path of the list, or a list of several: each covers only the CA that signed it. "
            "Required in production."
        ),
    )
    of_issuers: Literal["require", "when-published"] = Field(
        default="when-published",
        description=(
            "Whether a caller is refused if there is no list of the root, which says whether the caller's issuer was revoked. "
            "when-published: only once there has been such a list."
        ),
    )
    refresh_s: int = Field(300, ge=1, description="Seconds between two fetches.")
    max_age_s: int = Field(
        86400, ge=60, description="Production refuses callers when the last good list is older than this."
    )

    @property
    def sources(self) -> tuple[str, ...]:
        """Return every URL and path."""
        return ((self.source,) if self.source else ()) if isinstance(self.source, str) else self.source


def _proxy(value: str) -> str:
    parts = urlsplit(value)
    if value and (parts.scheme != "http" or not parts.hostname or not parts.port or value != f"http://{parts.netloc}"):
        raise ValueError("must be http://host:port")
    if parts.username is not None:
        raise ValueError("must have no user name or password: the proxy must know this machine by its address")
    return value


class CallsSettings(Section):
    """Our calls out: to other members' servers, the Directory, the Registry, revocation lists and whoever else has a URL."""

    server_revocation: Literal["require", "when-published", "off"] = Field(
        default="when-published",
        description=(
            "How members' server certificates are checked for revocation, by the CRL and the OCSP responder that each names. "
            "require: a certificate that names neither is refused. when-published: it is accepted. off: no certificate is "
            "checked; production refuses this."
        ),
    )
    proxy: Annotated[str, AfterValidator(_proxy)] = Field(
        default="",
        description=(
            "http://host:port of a proxy that opens every connection out (CONNECT); empty: there is none. It is given the "
            "address that we looked up and checked, never a name."
        ),
    )


class LicenseSettings(Section):
    """One license that clients may request, pinned to the digest of its permission text."""

    url: HttpsUrl = Field(description="The license's Registry URL: the OAuth scope.")
    label: str = Field(description="The license's label in the Registry.")
    text_sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the raw permission text, in hex.")
    fuels: tuple[Literal["electricity", "gas"], ...] = Field(
        description="The fuels that this text covers; the server refuses a text that does not name each of them."
    )
    duration: str = Field(
        "1 year",
        pattern=r"^[0-9]{1,3} (day|month|year)s?$",
        description="How long a permission under this license lasts.",
    )


class SchemeSettings(Section):
    """The trust framework that this deployment belongs to."""

    registry: HttpsUrl = Field(description="Base URL of the Registry.")
    directory: HttpsUrl = Field(description="Base URL of the Directory.")
    trust_framework: HttpsUrl = Field(description="Trust framework URL, signed into provenance and messages.")
    withdrawal_subjects: tuple[HttpsUrl, ...] = Field(
        ("https://registry.trust.ib1.org/message/withdrawal-of-permission/2025-03-16",),
        min_length=1,
        description="Subjects of the withdrawal message: the first is sent, all are accepted.",
    )
    edp_roles: tuple[HttpsUrl, ...] = Field(min_length=1, description="Role URLs that mark an energy data provider.")
    cap_roles: tuple[HttpsUrl, ...] = Field(
        min_length=1, description="Role URLs that mark a carbon accounting provider."
    )
    fsp_roles: tuple[HttpsUrl, ...] = Field(
        min_length=1, description="Role URLs that mark a financial service provider."
    )
    consumption_standard: HttpsUrl = Field(description="Registry URL of the consumption data standard.")
    emissions_standard: HttpsUrl = Field(description="Registry URL of the emissions report standard.")
    licenses: tuple[LicenseSettings, ...] = Field(min_length=1, description="The licenses that this issuer accepts.")
    data_services_path: str = Field("/query/data-services", description="Directory query for the data catalogue.")
    server_allowlist: Annotated[str, AfterValidator(_https_with_query)] = Field(
        default="",
        description=(
            "URL of the allowlist of members' servers, of the trust framework or of the scheme: the Directory's user "
            "interface gives it. Empty: /server-allowlist of the Directory."
        ),
    )
    directory_aliases: tuple[HttpsUrl, ...] = Field(
        default=(),
        description="Other base URLs under which entries of the data catalogue name the Directory's members.",
    )

    @property
    def allowlist_url(self) -> str:
        """Return where the allowlist of members' servers is."""
        return self.server_allowlist or f"{self.directory}/server-allowlist"

    @property
    def url(self) -> str:
        """Return the scheme's URL, which its standards' URLs begin with."""
        return self.consumption_standard.partition("/standard/")[0]


class CatalogueSettings(Section):
    """What else `consent-server catalogue entry` says about our data service (IB1 Data Catalog Records)."""

    title: str = Field(default="", description="Short title of the data service.")
    endpoint_description: str = Field(default="", description="Registry URL of the standard's OpenAPI document.")
    heartbeat_description: str = Field(default="", description="Registry URL of the heartbeat's OpenAPI document.")
    assurance_level: int = Field(
        default=2, ge=1, le=4, description="Assurance level of the data set; Perseus asks for 2 or more."
    )
    sensitivity_class: HttpsUrl = Field(
        default="https://registry.trust.ib1.org/sensitivity-class/IB1-SP",
        description="Sensitivity class of the data; Perseus asks for IB1-SP.",
    )


def _database_url(value: str) -> str:
    if not value.startswith(("sqlite://", "postgresql+psycopg://")):
        raise ValueError("must be sqlite:///path or postgresql+psycopg://…")
    return value


class DatabaseSettings(Section):
    url: Annotated[str, AfterValidator(_database_url)] = Field(
        description="SQLAlchemy URL: sqlite:///path or postgresql+psycopg://…"
    )
    withdrawal_journal: Path | None = Field(
        None,
        description=(
            "File on this machine, on another disk than the database, to which each withdrawal is appended; replayed after a "
            "back-up was restored. Required in production."
        ),
    )


class KeysSettings(Section):
    """Where secrets are kept. Each must exist before the server starts: see `consent-server keys`."""

    tokens: Path = Field(description="Directory of the access-token signing keys (ES256), in files or an HSM.")
    refresh: Path = Field(description="Directory of the refresh-token key versions.")
    sealing: SecretFile = Field(description="File with the 32-byte key that encrypts the tokens we hold as a client.")
    client_certificate: Path = Field(description="PEM chain, leaf first, of our client certificate for calls out.")
    client_key: SecretFile = Field(description="PEM key of our client certificate.")
    signing_certificate: Path = Field(description="PEM chain, leaf first, of our provenance signing certificate.")
    signing_key: SecretFile = Field(description="Key of our signing certificate: PEM, or its PKCS#11 URI.")
    signing_root: Path = Field(description="PEM of the Directory's signing root, for provenance that we receive.")
    server_roots: Path | None = Field(None, description="PEM of the roots for calls out; the system's when absent.")


class LifetimesSettings(Section):
    """Lifetimes in seconds. The number advertised is the number enforced, without leeway."""

    pushed_request: int = Field(90, ge=5, le=599, description="A request_uri (FAPI 2.0: under 600).")
    code: int = Field(60, ge=5, le=60, description="An authorization code (FAPI 2.0: at most 60).")
    access_token: int = Field(600, ge=30, le=600, description="An access token.")
    journey_idle: int = Field(900, ge=60, description="A journey without a request from its browser.")
    journey: int = Field(3600, ge=60, description="A journey from start to decision.")
    portal_idle: int = Field(1800, ge=60, description="A signed-in portal session without a request from its browser.")
    sign_in_code: int = Field(600, ge=60, description="A sign-in code sent by e-mail.")


class TokensSettings(Section):
    bind_to_certificate: bool = Field(
        False,
        description=(
            "Add cnf.x5t#S256 to access tokens and enforce it (RFC 8705); otherwise tokens are bound to the "
            "application's URL only."
        ),
    )


class MetadataSettings(Section):
    authorization_alias: bool = Field(
        True,
        description="Repeat authorization_endpoint in mtls_endpoint_aliases, as IB1 does and RFC 8705 section 5 does not.",
    )


class LimitsSettings(Section):
    """Budgets of failures, each counted over `window_s` seconds, or over a day (UTC) where its name says so.

    A budget that is used up slows further tries and ends none; docs/guessing.md has the arithmetic. The budgets by network and
    in all are counted for each kind of guess by itself: meters, sign-in codes, passwords, mails asked for, invitations.
    """

    window_s: int = Field(600, ge=10, description="The window in which failures are counted.")
    pause_s: int = Field(60, ge=1, le=60, description="Seconds between two tries beyond a budget.")
    pause_in_all_s: int = Field(1, ge=1, le=60, description="The same beyond a budget in all.")
    own_tries_per_day: int = Field(
        3, ge=1, description="Failures of one network (IPv6: /48) in a day that make it wait for no budget."
    )
    tries_per_known_browser_per_day: int = Field(
        10, ge=1, description="Failures of a browser in which this owner has proved itself before."
    )
    tries_per_network: int = Field(30, ge=1, description="Failures of one network (IPv4 address, IPv6 /64).")
    tries_per_network_per_day: int = Field(200, ge=1, description="The same in a day.")
    tries_in_all: int = Field(
        300, ge=1, description="Failures of all clients together: ten times those of a usual day, say."
    )
    tries_in_all_per_day: int = Field(3000, ge=1, description="The same in a day.")
    tries_per_meter_per_day: int = Field(10, ge=1, description="Failed identifications by one meter's number.")
    tries_per_postcode_per_day: int = Field(30, ge=1, description="Failed identifications with one postcode.")
    tries_per_account_per_day: int = Field(10, ge=1, description="Wrong sign-in codes or passwords for one account.")
    mails_per_mailbox: int = Field(5, ge=1, description="Sign-in codes sent to one mailbox and not used.")
    mails_per_mailbox_per_day: int = Field(20, ge=1, description="The same in a day.")
    mail_pause_s: int = Field(
        3600, ge=600, description="Seconds between two mails beyond a mailbox's budget; their codes last as long."
    )
    unknown_links_per_network: int = Field(
        200, ge=1, description="Unknown request_uris from one network, and unknown pages of evidence or receipts."
    )
    pushed_requests_per_client: int = Field(3000, ge=1, description="Pushed requests of one client, good ones as well.")
    reports_per_account: int = Field(60, ge=1, description="Reports to a bank made for one account, in any format.")


class JourneySettings(Section):
    """How a business shows an EDP which meters are its own."""

    steps: tuple[str, ...] = Field(
        default=("bill",),
        min_length=1,
        description=(
            "Ways to do so; the first is shown, the others are offered beside it. bill: postcode and numbers. login: section "
            "login. Or a step of your own, as module:name."
        ),
    )


def _issuer(value: str) -> str:
    return value and _plain_https(value.removesuffix("/")) and value


class LoginSettings(Section):
    """Customer log-in at an EDP's own OpenID provider (code flow with PKCE); docs/operator.md says how."""

    issuer: Annotated[str, AfterValidator(_issuer)] = Field(
        default="", description="The provider's issuer identifier, byte for byte; off when empty."
    )
    name: str = Field(default="", description="What pages and evidence call the provider; its host when empty.")
    client_id: str = Field(default="", description="Our client id at the provider.")
    key: OptionalSecretFile = Field(
        default=None,
        description="PEM key (P-256 or RSA) with which we authenticate there: private_key_jwt. This or `secret`.",
    )
    secret: OptionalSecretFile = Field(default=None, description="File with our client secret there.")
    scopes: tuple[str, ...] = Field(
        default=("openid",), description="Scopes that are requested; openid must be among them."
    )
    customer_claim: str = Field(
        default="sub", description="The ID token's claim that names the customer to the meter register."
    )
    mail_claim: str = Field(
        default="email",
        description="The ID token's claim with the e-mail address to which receipts go, which counts where the claim of that "
        "name with _verified behind it is true. Empty: no address is read.",
    )
    acr_values: tuple[str, ...] = Field(
        default=(),
        description="Authentication contexts that are requested; any other is refused. Empty: any.",
    )
    strengths: dict[str, str] = Field(
        default={},
        description='What the evidence says of an authentication context, such as {"urn:example:2fa" = "two factors"}.',
    )
    max_age_s: int = Field(
        default=3600,
        ge=0,
        description="Seconds since the customer last typed its password there, at most. 0: any time.",
    )
    button: str = Field(default="Log in", min_length=1, max_length=60, description="The words on the button.")
    through: tuple[HttpsUrl, ...] = Field(
        default=(), description="Further origins through which the provider redirects a browser before it shows a page."
    )

    @property
    def provider(self) -> str:
        """Return what pages and evidence call the provider."""
        return self.name or urlsplit(self.issuer).netloc


_LONGEST_S = "Seconds after which a call to it is abandoned."


class SqlRegisterSettings(Section):
    """Source `sql` of the register: any database that SQLAlchemy supports. docs/metering.md has the columns."""

    url: str = Field(default="", repr=False, description="SQLAlchemy URL, with an account that can only read.")
    by_number: str = Field(default="", description="Query: every tenancy of the meter with a :number and :fuel.")
    of_meters: str = Field(default="", description="Query: every tenancy of each of :meters.")
    of_business: str = Field(default="", description="Query: every tenancy of the business :sme.")
    of_customer: str = Field(
        default="", description="Query: every tenancy of the business that the customer log-in calls :customer."
    )
    longest_s: int = Field(default=2, ge=1, le=30, description=_LONGEST_S)


class SqlReadingsSettings(Section):
    """Source `sql` of the readings: any database that SQLAlchemy supports. docs/metering.md has the columns."""

    url: str = Field(default="", repr=False, description="SQLAlchemy URL, with an account that can only read.")
    half_hours: str = Field(
        default="",
        description="Query: half-hours of a :meter and :measure from :start to before :end (seconds since 1970).",
    )
    extents: str = Field(
        default="", description="Query: for each of :meters its first half-hour, and the end of its last."
    )
    longest_s: int = Field(default=10, ge=1, le=30, description=_LONGEST_S)


class ParquetSettings(Section):
    """Source `parquet`: files in folders, here or in an object store. docs/metering.md has folders and columns."""

    register_folder: str = Field(
        default="", description="Folder of the register; s3://bucket/folder in an object store."
    )
    readings_folder: str = Field(default="", description="Folder of the readings, likewise.")
    endpoint: str = Field(default="", description="https URL of the object store; Amazon's own when empty.")
    region: str = Field(default="", description="The object store's region.")
    roots: Path | None = Field(
        default=None, description="PEM of the roots of the object store's certificate; the system's when absent."
    )
    prefix: int = Field(
        default=2, ge=1, le=8, description="How many characters of a meter's id name the folder of its readings."
    )
    longest_s: int = Field(default=10, ge=1, le=30, description=_LONGEST_S)


class MeteringServiceSettings(Section):
    """Source `http`: the EDP's own service, at any address, that implements docs/metering-service.json."""

    url: str = Field(default="", description="https URL of the service, without a final slash.")
    roots: Path | None = Field(
        default=None, description="PEM of the roots of its certificate; the system's when absent."
    )
    certificate: Path | None = Field(default=None, description="PEM chain of our client certificate there, leaf first.")
    key: OptionalSecretFile = Field(default=None, description="PEM key of that certificate.")
    token: OptionalSecretFile = Field(
        default=None, description="File with the bearer token that is sent; read at each call."
    )
    longest_s: int = Field(default=10, ge=1, le=30, description=_LONGEST_S)

    @model_validator(mode="after")
    def _whole(self) -> "MeteringServiceSettings":
        if self.url:
            _plain_https(self.url)
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


class MeteringSettings(Section):
    """What an EDP holds: its meter register and its readings. docs/metering.md says how to write a plug-in."""

    register_source: str = Field(
        "table", description="The meter register: table, sql, parquet, http, or a plug-in as module:name."
    )
    readings_source: str = Field(
        "day-blocks", description="The readings: day-blocks, sql, parquet, http, or a plug-in as module:name."
    )
    vouches_for_sites: bool = Field(
        False,
        description=(
            "Meters under one business id in the register (not a plug-in's) certainly belong to one business: "
            "whoever proves one of them is shown the others (site, outcode, last four digits) and may tick them."
        ),
    )
    gas: bool = Field(True, description="Release gas (MTQ) under licenses that cover it.")
    source_type: Literal["Meter", "SubMeter", "VirtualMeter"] = Field(
        "Meter", description="The kind of meter, where the source of the readings does not say."
    )
    origin: str = Field(
        "",
        description="URL of the service that read the meters, where the source does not say; member.url when empty. "
        "Name the DCC (https://www.smartdcc.co.uk/) only for readings that came through it.",
    )
    origin_license: str = Field(
        "",
        description="URL of the license under which that service gave them; the permission's own license when empty.",
    )
    origin_method: Literal["", "SmartDCCOtherUser", "Exact", "Derived"] = Field(
        "", description="How the readings came to be, where the source does not say; left out when empty."
    )
    sql_register: SqlRegisterSettings = SqlRegisterSettings()
    sql_readings: SqlReadingsSettings = SqlReadingsSettings()
    parquet: ParquetSettings = ParquetSettings()
    http: MeteringServiceSettings = MeteringServiceSettings()


class CollectionSettings(Section):
    """What a CAP fetches and calculates."""

    license: LicenseSettings | None = Field(
        None, description="The license that the portal requests from EDPs; a table like scheme.licenses."
    )
    combined_license: LicenseSettings | None = Field(
        None,
        description=(
            "The license that it asks for instead where a bank sent the business: its text names that bank too, so nothing is "
            "read a second time. Put it into scheme.licenses as well. Without it a bank asks under a license of its own."
        ),
    )
    intensity: str = Field("", description="Base URL of the grid intensity API (Carbon Intensity API).")
    months: int = Field(13, ge=1, le=24, description="Months of readings fetched on the first collection.")
    retry_s: int = Field(
        60, ge=1, description="Seconds before a failed collection is tried again, doubled with each failure in a row."
    )
    revision_days: int = Field(
        40,
        ge=7,
        le=400,
        description="Days after its end for which a month may be revised; its readings are kept as long, and then deleted.",
    )
    gas_factors: Literal["latest-published", "calendar-year"] = Field(
        "latest-published",
        description=(
            "Which of the government's sets of conversion factors a half-hour of gas takes. latest-published: the one most "
            "recently published at that time, as the Registry words it. calendar-year: the one of that year, as the "
            "publication advises."
        ),
    )
    fill_gaps: bool = Field(
        False,
        description=(
            "Fill up to 48 missing half-hours in a month of a meter with the mean of the same half-hour a week before and a "
            "week after, as far as they lie in that month; the report and its provenance say Substituted. Otherwise such a "
            "month is left out. It applies to months that are calculated from then on."
        ),
    )
    timestamp_authority: PageUrl = Field(
        "",
        description="https URL of the authority (RFC 3161) that stamps the signature of a report's PDF; empty for none.",
    )
    timestamp_roots: Path | None = Field(
        None, description="PEM of the roots for its timestamps. A timestamp that does not chain to them is not used."
    )

    @model_validator(mode="after")
    def _has_roots(self) -> "CollectionSettings":
        if bool(self.timestamp_authority) != (self.timestamp_roots is not None):
            raise ValueError("timestamp_authority and timestamp_roots belong together")
        return self


def _sender(value: str) -> str:
    parsed = SMTP.header_factory("from", value) if value else None
    if parsed is not None and (len(parsed.addresses) != 1 or parsed.defects or not parsed.addresses[0].domain):
        raise ValueError("must be one address, such as Example <post@example.org>")
    return value


def _relay(value: str) -> str:
    parts = urlsplit(value)
    if value and (
        parts.scheme not in {"smtp", "smtps", "https"} or not parts.hostname or parts.username or parts.port == 0
    ):
        raise ValueError("must be smtp://host:port, smtps://host:port or an https URL, without a user name")
    return value


class OfferedBankSettings(Section):
    """A bank that a CAP works with."""

    member: HttpsUrl = Field(description="The bank's member URL in the Directory.")
    start: HttpsUrl = Field(
        description=(
            "The bank's page where its request to us begins. A browser sent there carries iss (our "
            "issuer), scope (the license to ask for) and, after “Share” was clicked here, login_hint, which the bank pushes."
        )
    )


class PortalSettings(Section):
    """What a CAP's portal offers."""

    banks: tuple[OfferedBankSettings, ...] = Field(
        default=(), description="The banks to which the portal links; tables with member and start."
    )


class MailSettings(Section):
    """Sign-in codes and receipts."""

    source: Annotated[str, AfterValidator(_relay)] = Field(
        "",
        description="The relay. smtp://host:port with STARTTLS, which is required (port 25 when absent); smtps://host:port "
        "with TLS from the first byte (465); or an https URL that accepts JSON (sandbox). Empty: no mail is sent.",
    )
    sender: Annotated[str, AfterValidator(_sender)] = Field("", description="The From address.")
    user: str = Field("", description="Our user name at the relay; without it there is no authentication (RFC 4954).")
    password_file: OptionalSecretFile = Field(
        None, description="File with our password there, read for each connection."
    )
    password: SecretStr = Field(
        SecretStr(""),
        description="The password itself, instead of its file: from the environment, as CONSENT_MAIL__PASSWORD.",
    )
    roots: Path | None = Field(
        None, description="PEM of the roots of the relay's certificate; the system's when absent."
    )
    unencrypted: bool = Field(
        False,
        description="Speak to an smtp:// relay without TLS and without a password: one on this machine. The doctor names it.",
    )

    @property
    def by_smtp(self) -> bool:
        """Return whether the relay is one of SMTP."""
        return self.source.startswith("smtp")

    @model_validator(mode="after")
    def _safe(self) -> "MailSettings":
        passwords = (self.password_file is not None) + bool(self.password.get_secret_value())
        if passwords != bool(self.user):
            raise ValueError("user goes with password_file or password, one of them, and they with user")
        if not (self.user + self.password.get_secret_value()).isascii():
            raise ValueError("user and password must be ASCII")
        if self.unencrypted and (self.user or not self.source.startswith("smtp://")):
            raise ValueError("unencrypted is for an smtp:// relay alone, and never with a password")
        if self.source and not self.sender:
            raise ValueError("sender is required where source names a relay")
        return self


class JobsSettings(Section):
    """How often `consent-server work` runs each job, in seconds from the end of one run to the next."""

    outbox_s: int = Field(2, ge=1, description="Look for messages that are due.")
    collect_s: int = Field(2, ge=1, description="Look for collections that are due.")
    retention_s: int = Field(3600, ge=1, description="Apply retention and clean up.")
    give_up_after_s: int = Field(
        604800,
        ge=1,
        description="How long delivery of a message is tried before it goes to the give-up list.",
    )


class RetentionSettings(Section):
    """How long data about businesses are kept; `consent-server work` then deletes them. A month is a calendar month."""

    requests_days: int = Field(
        default=1,
        ge=1,
        description="Pushed requests, journeys, codes, used challenges: this long after they were made.",
    )
    sessions_days: int = Field(default=1, ge=1, description="Sessions: this long after their browser was last seen.")
    counts_days: int = Field(
        default=2, ge=2, description="Counts of failures: this long after the window in which they count."
    )
    passkeys_days: int = Field(
        default=30, ge=1, description="Passkeys: this long after their removal, for the mail about it."
    )
    addresses_days: int = Field(
        default=7,
        ge=7,
        description="Addresses for receipts of a business without an account: this long after the permission's end.",
    )
    collected_months: int = Field(
        default=6,
        ge=1,
        le=6,
        description="What was collected: this long after its collection (Perseus policy data-retention).",
    )
    records_months: int = Field(
        default=13,
        ge=13,
        description="A permission or connection with its evidence, links and messages: this long after its end. A client may "
        "read its Permission Record until then.",
    )
    accounts_months: int = Field(
        default=13,
        ge=1,
        description="An account that has no permission or connection any more: this long after its last use.",
    )
    status_months: int = Field(
        default=13,
        ge=13,
        description="The figures behind service levels, and announcements.",
    )
    audit_days: int = Field(
        default=1178, ge=1178, description="Audit events: 38 months of 31 days, before which the database deletes none."
    )


#: A process of a party, as its metrics have ports: the first at the port itself, each other at the one after.
PROCESSES: Final = ("public", "mutual_tls", "work")


def _metrics_bind(value: str) -> str:
    host, _, port = value.rpartition(":")
    if value and not (host and port.isascii() and port.isdigit() and 0 < int(port) <= 65536 - len(PROCESSES)):
        raise ValueError("must be host:port, with two more ports after it")
    return value


class MetricsSettings(Section):
    """Metrics for Prometheus (docs/operator.md)."""

    bind: Annotated[str, AfterValidator(_metrics_bind)] = Field(
        default="",
        description=(
            "host:port of the public door's metrics, such as 127.0.0.1:9464; those of the mutual-TLS door are on the next "
            "port, those of the jobs on the one after. There is no authentication: use loopback or your own "
            "network. Empty: nothing is measured. Read only at the start."
        ),
    )

    def address(self, process: str) -> tuple[str, int] | None:
        """Return host and port of the metrics of one of PROCESSES, None where nothing is measured."""
        host, _, port = self.bind.rpartition(":")
        return (host.strip("[]"), int(port) + PROCESSES.index(process)) if self.bind else None


def _collector(value: str) -> str:
    parts = urlsplit(value)
    if value and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query):
        raise ValueError("must be an http or https URL without user name or query")
    return value


class TracesSettings(Section):
    """OpenTelemetry traces (docs/operator.md)."""

    endpoint: Annotated[str, AfterValidator(_collector)] = Field(
        default="",
        description=(
            "URL of your collector for OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces. Needs the extra "
            "consent-server[traces]. Empty: nothing is traced."
        ),
    )
    percent: int = Field(default=2, ge=0, le=100, description="The percentage of traces whose spans are sent.")


class SandboxSettings(Section):
    """What only the sandbox may have; production refuses each of these."""

    clock: Path | None = Field(None, description="File with the clock's offset, shared by every process.")
    fixed_codes: Path | None = Field(None, description="JSON file that maps e-mail addresses to fixed sign-in codes.")


class Settings(BaseSettings):
    """Everything that a deployment decides. `environment` is one setting and is never inferred."""

    model_config = SettingsConfigDict(
        env_prefix="CONSENT_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    environment: Literal["sandbox", "production"] = Field(description="Production refuses what the sandbox relaxes.")
    party: Literal["edp", "cap"] = Field(description="The role of this deployment in the scheme.")
    issuer: HttpsUrl = Field(description="The OAuth issuer identifier, byte-equal to the Directory's oauthIssuer.")
    member: MemberSettings
    public: PublicSettings
    mutual_tls: ListenerSettings
    clients: ClientsSettings
    revocation_list: RevocationListSettings
    calls: CallsSettings = CallsSettings()
    scheme: SchemeSettings
    catalogue: CatalogueSettings = CatalogueSettings()
    database: DatabaseSettings
    keys: KeysSettings
    lifetimes: LifetimesSettings
    tokens: TokensSettings
    metadata: MetadataSettings
    limits: LimitsSettings
    journey: JourneySettings = JourneySettings()
    login: LoginSettings = LoginSettings()
    metering: MeteringSettings
    collection: CollectionSettings
    portal: PortalSettings = PortalSettings()
    mail: MailSettings
    jobs: JobsSettings
    retention: RetentionSettings = RetentionSettings()
    metrics: MetricsSettings = MetricsSettings()
    traces: TracesSettings = TracesSettings()
    sandbox: SandboxSettings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @property
    def is_sandbox(self) -> bool:
        return self.environment == "sandbox"

    @property
    def refuses_lapsed_agreements(self) -> bool:
        """Return whether a member that has no agreement with the scheme in force for its role is refused."""
        return (self.clients.lapsed_agreements or ("warn" if self.is_sandbox else "refuse")) == "refuse"

    @property
    def has_log_in(self) -> bool:
        """Return whether businesses may log in at an OpenID provider."""
        return self.party == "edp" and "login" in self.journey.steps

    @property
    def brand(self) -> str:
        """Return what pages and mails call us."""
        return self.member.name or urlsplit(self.public.origin).netloc

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if self.issuer != self.public.origin and not self.issuer.startswith(self.public.origin + "/"):
            raise ValueError("issuer must be on public.origin: its metadata is served from there")
        if self.public.origin == self.mutual_tls.origin:
            raise ValueError(
                "public.origin and mutual_tls.origin must differ: a browser must not be prompted for a certificate"
            )
        for name in (self.member.url, self.member.application):
            if not name.startswith(self.scheme.directory + "/"):
                raise ValueError(f"{name} is not in the Directory of this deployment ({self.scheme.directory})")
        for license_ in self.scheme.licenses:
            if not license_.url.startswith(self.scheme.registry + "/"):
                raise ValueError(f"{license_.url} is not in the Registry of this deployment ({self.scheme.registry})")
        if self.clients.arrival != "tls" and not self.clients.proxies:
            raise ValueError("clients.proxies must name the proxies whose certificate header is trusted")
        if self.has_log_in:
            self._can_log_in()
        if self.environment == "production":
            self._production()
        return self

    def _can_log_in(self) -> None:
        if not self.login.issuer or not self.login.client_id:
            raise ValueError("login.issuer and login.client_id are required where journey.steps has login")
        if (self.login.key is None) == (self.login.secret is None):
            raise ValueError("login.key or login.secret must be there where journey.steps has login, and not both")
        if "openid" not in self.login.scopes:
            raise ValueError("login.scopes must have openid (OpenID Connect Core 3.1.2.1)")
        if self.metering.register_source == "sql" and not self.metering.sql_register.of_customer:
            raise ValueError(
                "metering.sql_register.of_customer must be a query with the parameter :customer where journey.steps has login"
            )

    def _production(self) -> None:
        if self.sandbox.clock or self.sandbox.fixed_codes:
            raise ValueError("sandbox.* must be absent in production")
        for source in (self.metering.register_source, self.metering.readings_source):
            if source.startswith("consent_server.sandbox."):
                raise ValueError(f"metering: {source} exists for the sandbox alone")
        if self.clients.unknown_membership != "refuse":
            raise ValueError("clients.unknown_membership must be refuse in production")
        if self.calls.server_revocation == "off":
            raise ValueError("calls.server_revocation must not be off in production (Public CA server certificates)")
        contact = self.public.contact
        for given, said in (
            (
                self.database.withdrawal_journal,
                "database.withdrawal_journal is required in production: a back-up would revive what was withdrawn",
            ),
            (
                contact.email or contact.telephone,
                "public.contact needs an email or a telephone in production: each error page names a person to ask",
            ),
            (
                self.revocation_list.sources,
                "revocation_list.source is required in production (Member Identity Digital Certificates)",
            ),
        ):
            if not given:
                raise ValueError(said)
        own = (self.public.origin, self.mutual_tls.origin, self.scheme.registry, self.scheme.directory)
        for origin in (*own, *filter(None, (self.login.issuer,))):
            if _is_loopback(origin):
                raise ValueError(f"{origin} is a loopback address, which only the sandbox may use")


class BadSettings(Exception):
    """The settings cannot be used; the message has one line for each key, saying what to change."""


def load(path: Path, overrides: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of the TOML file at `path`; relative file names in it are relative to the file.

    `overrides` maps dotted keys to text (`{"metadata.authorization_alias": "false"}`). Raise BadSettings.
    """
    values = _toml(path)
    for dotted, text in (overrides or {}).items():
        *sections, last = dotted.split(".")
        target: Any = values
        for section in sections:
            target = target.setdefault(section, {}) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            raise BadSettings(f"{dotted}: there is no such setting: docs/settings.md has them")
        target[last] = text
    if url := os.environ.get("DATABASE_URL"):
        values.setdefault("database", {})["url"] = url
    try:
        return Settings(**_with_absolute_paths(values, path.parent.resolve()))
    except ValidationError as error:
        raise BadSettings(f"{path}:\n  " + "\n  ".join(faults(error))) from None
    except SettingsError as error:  # an environment variable that should hold JSON does not
        raise BadSettings(f"environment: {error}") from None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        todo = "name yours with --config (a party's also with CONSENT_CONFIG); config/ has examples to copy"
        raise BadSettings(f"{path}: there is no such settings file: {todo}") from None
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadSettings(f"{path}: not TOML: it must be UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"{path}: not TOML: {error}") from None


def plug_in(setting: str, name: str, known: str) -> object:
    """Return the object that `module:name` names; `known` says what else the setting may be. Raise BadSettings."""
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise BadSettings(f"{setting}: {name} must be {known} or module:name, such as ours.plug_in:it")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module may fail in any way while it is imported
        raise BadSettings(f"{setting}: {name} cannot be loaded: {type(error).__name__}: {error}") from error


_S = TypeVar("_S", bound=Section)


def load_section(path: Path, kind: type[_S]) -> _S:
    """Return what a TOML file of its own holds, such as config/guard.toml; relative file names in it are relative to the file.

    Raise BadSettings.
    """
    try:
        return kind(**_with_absolute_paths(_toml(path), path.parent, kind))
    except ValidationError as error:
        raise BadSettings(f"{path}:\n  " + "\n  ".join(faults(error))) from None
    except TypeError as error:  # a number for the name of a file
        raise BadSettings(f"{path}: {error}") from None


def faults(error: ValidationError, whole: str = "settings") -> list[str]:
    """Return a line for each fault: the key, or `whole`, and what to change, but never the value."""
    return [
        f"{'.'.join(str(part) for part in fault['loc']) or whole}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors()
    ]


def path_keys(section: type[BaseModel] | None = None) -> set[tuple[str, ...]]:
    """Return the key of every setting that is a file path, such as ("metering", "http", "roots")."""
    return _keys_of((Path, Path | None), section or Settings)


def _keys_of(kinds: tuple[Any, ...], section: type[BaseModel]) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for key, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found |= {(key, *deeper) for deeper in _keys_of(kinds, field.annotation)}
        elif field.annotation in kinds:
            found.add((key,))
    return found


#: A password in a URL, before its host (RFC 3986 3.2.1; SQLAlchemy takes a slash in it) or as a parameter (libpq's).
_URL_WITH_PASSWORD: Final = re.compile(r"://[^:@/]*:[^@]+@|[?&]\w*password=[^&]", re.IGNORECASE)


def has_secret(key: str, value: str) -> bool:
    """Return whether the value of a dotted key is a password, or a URL with one. The key may have a party before it."""
    return _URL_WITH_PASSWORD.search(value) is not None or any(
        tuple(key.split("."))[-len(secret) :] == secret for secret in _keys_of((SecretStr,), Settings)
    )


def _with_absolute_paths(values: dict[str, Any], base: Path, kind: type[BaseModel] | None = None) -> dict[str, Any]:
    for *sections, key in path_keys(kind):
        table: Any = values
        for section in sections:
            table = table.get(section, {}) if isinstance(table, dict) else {}
        if not isinstance(table, dict):
            continue  # which validation will refuse
        if text := table.get(key):
            table[key] = str(base / text)
        elif text == "":
            table[key] = None
    return values

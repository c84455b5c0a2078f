"""Certificates of callers: how they arrive, which are trusted, and the lists of those that were revoked."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from consent_server.settings.calls import CallsSettings
from consent_server.settings.section import Section
from consent_server.settings.values import Network

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

    @model_validator(mode="after")
    def _names_its_proxies(self) -> "ClientsSettings":
        if self.arrival != "tls" and not self.proxies:
            raise ValueError("proxies must name the proxies whose certificate header is trusted")
        return self

    def refuses_lapsed(self, *, sandbox: bool) -> bool:
        """Return whether a member that has no agreement with the scheme in force for its role is refused."""
        return (self.lapsed_agreements or ("warn" if sandbox else "refuse")) == "refuse"


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


def require_production(clients: ClientsSettings, lists: RevocationListSettings, calls: CallsSettings) -> None:
    """Raise ValueError for what the sandbox relaxes about other members, as callers and as those who are called."""
    if clients.unknown_membership != "refuse":
        raise ValueError("clients.unknown_membership must be refuse in production")
    if calls.server_revocation == "off":
        raise ValueError("calls.server_revocation must not be off in production (Public CA server certificates)")
    if not lists.sources:
        raise ValueError("revocation_list.source is required in production (Member Identity Digital Certificates)")

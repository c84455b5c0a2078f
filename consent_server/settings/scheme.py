"""Who we are, the trust framework that we belong to, and its licenses."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from consent_server.settings.section import Section
from consent_server.settings.values import HttpsUrl, plain_https


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


def _https_with_query(value: str) -> str:
    return value and plain_https(value.partition("?")[0].removesuffix("/")) and value


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

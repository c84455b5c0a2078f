"""The settings of `consent-server guard serve`: one TOML file, such as config/guard.toml."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from consent_server.resource.remote import License, MetersQuestion, RemoteGuard
from consent_server.resource.routes import READING, GuardedRoute
from consent_server.settings import BadSettings
from consent_server.settings.clients import CertificateHeader
from consent_server.settings.section import Section, load_section, unreadable
from consent_server.settings.values import HttpsUrl, Network, SecretFile

#: Settings that have another form than an argument of RemoteGuard, or are none.
_OWN_FORM: Final = ("licenses", "meters", "routes")


class PinnedLicense(Section):
    url: HttpsUrl = Field(description="The license's Registry URL.")
    text_sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the raw permission text, in hex.")
    fuels: tuple[Literal["electricity", "gas"], ...] = Field(
        min_length=1, description="The fuels that the text covers."
    )


class RouteSettings(Section):
    path: str = Field(pattern="^/", description="A path of the API; {datasource} stands for a data source id.")
    fuel: Literal["electricity", "gas"] | None = Field(default=None, description="What the route gives out.")
    methods: tuple[Annotated[str, Field(pattern="^[A-Z]+$")], ...] = Field(
        default=READING, min_length=1, description="All methods that the route takes."
    )


class MetersSettings(Section):
    url: HttpsUrl = Field(description="/meters at the issuer's mutual-TLS door.")
    certificate: Path = Field(description="PEM chain of an application that the issuer's member.introspectors names.")
    key: SecretFile = Field(description="PEM key of that certificate.")


class GateSettings(Section):
    """As the arguments of RemoteGuard, whose docstring says what each one means."""

    issuer: HttpsUrl
    audience: HttpsUrl
    directory: HttpsUrl
    client_root: Path
    client_issuers: Path | None = None
    server_roots: Path | None = None
    revocation_list: str | tuple[str, ...] = ""
    roles: tuple[HttpsUrl, ...] = Field(min_length=1)
    licenses: tuple[PinnedLicense, ...] = Field(min_length=1)
    routes: tuple[RouteSettings, ...] = Field(min_length=1)
    arrival: CertificateHeader = "escaped-pem"
    proxies: tuple[Network, ...] = ("127.0.0.1",)
    header: str = "X-SSL-Client-Cert"
    bind_to_certificate: bool = False
    look_up_members: bool = False
    environment: Literal["sandbox", "production"] = "production"
    meters: MetersSettings | None = None

    def guard(self) -> RemoteGuard:
        """Return the guard. Raise ValueError for what cannot be used."""
        alike = {name: getattr(self, name) for name in GateSettings.model_fields if name not in _OWN_FORM}
        licenses = {each.url: License(each.text_sha256, each.fuels) for each in self.licenses}
        meters = MetersQuestion(self.meters.url, self.meters.certificate, self.meters.key) if self.meters else None
        return RemoteGuard(licenses=licenses, meters=meters, **alike)

    def guarded_routes(self) -> tuple[GuardedRoute, ...]:
        return tuple(GuardedRoute(each.path, each.fuel, each.methods) for each in self.routes)


def load(path: Path) -> GateSettings:
    """Return the settings in a file; relative file names in it are relative to the file. Raise BadSettings."""
    settings = load_section(path, GateSettings)
    try:
        settings.guard()
    except OSError as error:
        raise unreadable(error, settings) from None
    except ValueError as error:
        raise BadSettings(f"{path}: {error}") from None
    return settings

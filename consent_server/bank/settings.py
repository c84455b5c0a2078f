"""A bank's settings: one TOML file, as in docs/bank.md; and what they connect to."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from consent_server.caller.identify import Callers
from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.directory import Directory
from consent_server.outbound.revocation_list import RevocationLists
from consent_server.outbound.session import Session
from consent_server.outbound.upstream import Upstream
from consent_server.pki.member_certificate import load_certificates
from consent_server.settings.calls import CallsSettings
from consent_server.settings.clients import ClientsSettings, RevocationListSettings, require_production
from consent_server.settings.scheme import LicenseSettings, SchemeSettings
from consent_server.settings.section import Section, load_section
from consent_server.settings.storage import ClientKeysSettings
from consent_server.settings.values import HttpsUrl


class BankMember(Section):
    url: HttpsUrl = Field(description="The bank's member URL in the Directory.")
    application: HttpsUrl = Field(description="Its application URL: the one SAN URI of its certificates.")


class BankScheme(SchemeSettings):
    """As of any member, without what an issuer alone has."""

    fsp_roles: tuple[HttpsUrl, ...] = ()
    licenses: tuple[LicenseSettings, ...] = ()


class BankSettings(Section):
    """The sections have the keys of docs/settings.md."""

    environment: Literal["sandbox", "production"]
    license: HttpsUrl = Field(description="The license that the bank asks for: the OAuth scope.")
    callback: HttpsUrl = Field(description="The bank's redirect URI.")
    member: BankMember
    clients: ClientsSettings
    revocation_list: RevocationListSettings
    calls: CallsSettings = CallsSettings()
    scheme: BankScheme
    keys: ClientKeysSettings

    @property
    def is_sandbox(self) -> bool:
        return self.environment == "sandbox"

    @model_validator(mode="after")
    def _production(self) -> "BankSettings":
        if not self.is_sandbox:
            require_production(self.clients, self.revocation_list, self.calls)
        return self


def load(path: Path) -> BankSettings:
    """Return the settings in a file; relative file names in it are relative to the file. Raise BadSettings."""
    return load_section(path, BankSettings)


class BankConnections:
    """What a bank's process calls through and judges by. Nothing is fetched before the first call."""

    def __init__(self, settings: BankSettings) -> None:
        self.settings = settings
        cache = MemoryCache()
        self.session = Session(settings)
        self.directory = Directory(settings, self.session, cache)
        self.upstream = Upstream(settings.member.application, self.session, cache)
        self.signing_root = load_certificates(settings.keys.signing_root.read_bytes())[0]
        revocations = RevocationLists(settings, self.session, cache, polls=True)
        self.callers = Callers(settings, revocations, self.directory)

"""The settings of one party: every section, what must agree between sections, and how they are loaded."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from consent_server.settings.calls import CallsSettings, MailSettings
from consent_server.settings.clients import ClientsSettings, RevocationListSettings, require_production
from consent_server.settings.collection import CollectionSettings, PortalSettings
from consent_server.settings.doors import ListenerSettings, PublicSettings
from consent_server.settings.issuer import LifetimesSettings, LimitsSettings, MetadataSettings, TokensSettings
from consent_server.settings.journey import JourneySettings, LoginSettings
from consent_server.settings.metering import MeteringSettings
from consent_server.settings.operation import JobsSettings, MetricsSettings, SandboxSettings, TracesSettings
from consent_server.settings.scheme import CatalogueSettings, MemberSettings, SchemeSettings
from consent_server.settings.section import BadSettings, faults, keys_of, read_toml, with_absolute_paths
from consent_server.settings.storage import DatabaseSettings, KeysSettings, RetentionSettings
from consent_server.settings.values import HttpsUrl, is_loopback


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
        require_production(self.clients, self.revocation_list, self.calls)
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
        ):
            if not given:
                raise ValueError(said)
        own = (self.public.origin, self.mutual_tls.origin, self.scheme.registry, self.scheme.directory)
        for origin in (*own, *filter(None, (self.login.issuer,))):
            if is_loopback(origin):
                raise ValueError(f"{origin} is a loopback address, which only the sandbox may use")


def load(path: Path, overrides: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of the TOML file at `path`; relative file names in it are relative to the file.

    `overrides` maps dotted keys to text (`{"metadata.authorization_alias": "false"}`), lists as JSON. Raise BadSettings.
    """
    values = read_toml(path)
    for dotted, text in (overrides or {}).items():
        *sections, last = dotted.split(".")
        target: Any = values
        for section in sections:
            target = target.setdefault(section, {}) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            raise BadSettings(f"{dotted}: there is no such setting: docs/settings.md has them")
        target[last] = _list_or_text(text)
    if url := os.environ.get("DATABASE_URL"):
        values.setdefault("database", {})["url"] = url
    try:
        return Settings(**with_absolute_paths(values, path.parent.resolve(), Settings))
    except ValidationError as error:
        raise BadSettings(f"{path}:\n  " + "\n  ".join(faults(error))) from None
    except SettingsError as error:  # an environment variable that should hold JSON does not
        raise BadSettings(f"environment: {error}") from None


#: A password in a URL, before its host (RFC 3986 3.2.1; SQLAlchemy takes a slash in it) or as a parameter (libpq's).
_URL_WITH_PASSWORD: Final = re.compile(r"://[^:@/]*:[^@]+@|[?&]\w*password=[^&]", re.IGNORECASE)


def has_secret(key: str, value: str) -> bool:
    """Return whether the value of a dotted key is a password, or a URL with one. The key may have a party before it."""
    return _URL_WITH_PASSWORD.search(value) is not None or any(
        tuple(key.split("."))[-len(secret) :] == secret for secret in keys_of((SecretStr,), Settings)
    )


def _list_or_text(given: object) -> object:
    """Return the list that a text is in JSON, or what was given: `[::]:8443` is none."""
    if not isinstance(given, str) or not given.startswith("["):
        return given
    try:
        return json.loads(given)
    except ValueError:
        return given

"""Our calls out, and the relay of our mails."""

from email.policy import SMTP
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from consent_server.settings.section import Section
from consent_server.settings.values import OptionalSecretFile


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

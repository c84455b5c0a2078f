"""Where data and keys are kept, and for how long."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from consent_server.settings.section import Section
from consent_server.settings.values import SecretFile


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


class ClientKeysSettings(Section):
    """What a client of other members keeps: a party, or a bank."""

    sealing: SecretFile = Field(description="File with the 32-byte key that encrypts the tokens we hold as a client.")
    client_certificate: Path = Field(description="PEM chain, leaf first, of our client certificate for calls out.")
    client_key: SecretFile = Field(description="PEM key of our client certificate.")
    signing_root: Path = Field(description="PEM of the Directory's signing root, for provenance that we receive.")
    server_roots: Path | None = Field(None, description="PEM of the roots for calls out; the system's when absent.")


class KeysSettings(ClientKeysSettings):
    """Where secrets are kept. Each must exist before the server starts: see `consent-server keys`."""

    tokens: Path = Field(description="Directory of the access-token signing keys (ES256), in files or an HSM.")
    refresh: Path = Field(description="Directory of the refresh-token key versions.")
    signing_certificate: Path = Field(description="PEM chain, leaf first, of our provenance signing certificate.")
    signing_key: SecretFile = Field(description="Key of our signing certificate: PEM, or its PKCS#11 URI.")


class RetentionSettings(Section):
    """How long data about businesses are kept; `consent-server work` then deletes them. A month is a calendar month."""

    requests_days: int = Field(
        default=1,
        ge=1,
        description="Pushed requests, journeys, codes, used challenges, evidence of connections that were never made: this "
        "long after they were made.",
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

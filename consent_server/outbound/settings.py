"""What calls out, and the judgement of callers, read of the settings: a party's, a bank's, or a guard's on another machine."""

from pathlib import Path
from typing import Protocol

from consent_server.settings.calls import CallsSettings
from consent_server.settings.clients import ClientsSettings, RevocationListSettings


class KeysForCalls(Protocol):
    """The files of calls out. A guard elsewhere has no client certificate."""

    @property
    def client_certificate(self) -> Path | None: ...

    @property
    def client_key(self) -> Path | None: ...

    @property
    def server_roots(self) -> Path | None: ...


class DirectorySettings(Protocol):
    """Where the Directory's documents are, and what they must be about."""

    @property
    def directory(self) -> str: ...

    @property
    def directory_aliases(self) -> tuple[str, ...]: ...

    @property
    def data_services_path(self) -> str: ...

    @property
    def allowlist_url(self) -> str: ...

    @property
    def trust_framework(self) -> str: ...

    @property
    def url(self) -> str: ...


class MembersSettings(Protocol):
    """The settings of any member's process."""

    @property
    def is_sandbox(self) -> bool: ...

    @property
    def clients(self) -> ClientsSettings: ...

    @property
    def revocation_list(self) -> RevocationListSettings: ...

    @property
    def calls(self) -> CallsSettings: ...

    @property
    def scheme(self) -> DirectorySettings: ...

    @property
    def keys(self) -> KeysForCalls: ...

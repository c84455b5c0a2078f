"""What a CAP hands to its portal."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from consent_server.outbound.directory import Directory
from consent_server.outbound.upstream import Upstream
from consent_server.portal.accounts import Accounts
from consent_server.store.sealing import Sealer


class ShownText(Protocol):
    """A license's permission text, filled: see `journey.parts.ShownText`."""

    @property
    def html(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def shown_sha256(self) -> str: ...
    @property
    def raw_sha256(self) -> str: ...
    @property
    def names(self) -> Mapping[str, str]: ...
    @property
    def fuels(self) -> frozenset[str]: ...
    @property
    def title(self) -> str: ...
    @property
    def duration(self) -> str: ...


class Limit(Protocol):
    """A limit on attempts of one subject; `check` and `take` raise a Refusal with status 429 when they are used up."""

    def check(self, subject: str) -> None: ...
    def take(self, subject: str) -> None: ...
    def failed(self, subject: str) -> None: ...
    def give_back(self, subject: str) -> None: ...
    def clear(self, subject: str) -> None: ...


@dataclass(frozen=True)
class PortalParts:
    """Everything that one CAP's portal needs. `origin` is the public door's.

    `license` is the license that we ask EDPs for, `expires(granted)` when a permission under it ends, and
    `text_for(member URL of the EDP)` its text, filled. `standard` is the consumption data standard by which EDPs are found
    in the Directory. `sessions` is a web.sessions.Sessions. `mails` limits the mails to one address, `codes` the wrong codes
    for one, and `addresses` both for one network address.
    """

    origin: str
    license: str
    expires: Callable[[int], int]
    standard: str
    edp_roles: Collection[str]
    fsp_roles: Collection[str]
    text_for: Callable[[str], ShownText]
    accounts: Accounts
    sessions: Any
    mails: Limit
    codes: Limit
    addresses: Limit
    directory: Directory
    upstream: Upstream
    sealer: Sealer

    @property
    def redirect_uri(self) -> str:
        return f"{self.origin}/callback"

"""What a bank holds of a permission, and the interface of the bank's own store for it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

from pydantic import ConfigDict, TypeAdapter

from consent_server.bank.verified import VerifiedEmissions

PermissionState = Literal["live", "expired", "withdrawn"]


@dataclass(frozen=True)
class Deletion:
    """Proof that what a permission gave was deleted: on whose word, when, and the SHA-256 of the answer that was held.

    `said_by` is "message", or "permission record" where the issuer's record said so first; `sender` is the member, and
    `application` its application, or the issuer whose record it was. `what` names what was deleted; `sha256` is empty and
    `size` (bytes) 0 where no answer was held. No figure is in it.
    """

    permission: str
    reference: str
    at: int
    said_by: Literal["message", "permission record"]
    sender: str
    application: str
    what: tuple[str, ...]
    sha256: str
    size: int


@dataclass(frozen=True)
class HeldPermission:
    """One permission. `reference` is the bank's own name for its customer; instants are seconds.

    `sealed_token` is the refresh token, sealed, and `macs` the keyed digests by which it and the ones before it are found:
    a message quotes any of them. `account` and `expires` are those of the permission record, empty until it was read.
    `emissions` is what the last answer verified as; while there is a `fault` instead, there are no figures. `answer` is the
    last answer that verified, as it came, with a line feed between its parts where it came in several. Of a withdrawn one
    `deletion` is left, and neither token nor answer.
    """

    id: str
    issuer: str
    member: str
    license: str
    reference: str
    granted: int
    sealed_token: bytes = field(repr=False)
    macs: tuple[str, ...] = field(repr=False)
    account: str = ""
    expires: int | None = None
    answer: bytes = field(default=b"", repr=False)
    emissions: VerifiedEmissions | None = None
    fault: str = ""
    deletion: Deletion | None = None

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    def state(self, at: int) -> PermissionState:
        """Return what has become of it at an instant."""
        if self.deletion is not None:
            return "withdrawn"
        return "expired" if self.expires is not None and self.expires <= at else "live"


class PermissionStore(Protocol):
    """Where a bank keeps its permissions. All its processes share one store."""

    def put(self, held: HeldPermission) -> None:
        """Keep a new permission."""

    def get(self, permission: str) -> HeldPermission | None:
        """Return a permission by its id."""

    def by_mac(self, mac: str) -> HeldPermission | None:
        """Return the permission in whose `macs` this is."""

    def all(self) -> list[HeldPermission]:
        """Return every permission, the newest first."""

    def change(self, permission: str, edit: Callable[[HeldPermission], HeldPermission]) -> HeldPermission:
        """Replace a permission by what `edit` returns for it, one change at a time over all processes; return the result."""


class MemoryStore:
    """A PermissionStore that ends with its process: to try the library with."""

    def __init__(self) -> None:
        self._held: dict[str, HeldPermission] = {}
        self._lock = threading.Lock()

    def put(self, held: HeldPermission) -> None:
        self._held[held.id] = held

    def get(self, permission: str) -> HeldPermission | None:
        return self._held.get(permission)

    def by_mac(self, mac: str) -> HeldPermission | None:
        return next((held for held in self._held.values() if mac in held.macs), None)

    def all(self) -> list[HeldPermission]:
        return sorted(self._held.values(), key=lambda held: held.granted, reverse=True)

    def change(self, permission: str, edit: Callable[[HeldPermission], HeldPermission]) -> HeldPermission:
        with self._lock:
            self._held[permission] = edit(self._held[permission])
            return self._held[permission]


_AS_JSON = TypeAdapter(HeldPermission)


def as_json(held: HeldPermission) -> bytes:
    """Return a permission as one JSON object, for a store that keeps text."""
    return _AS_JSON.dump_json(held)


def from_json(text: bytes) -> HeldPermission:
    """Return the permission of `as_json`. Raise ValueError."""
    return _AS_JSON.validate_json(text)

"""The Directory's revocation list as bytes, from an https URL or a file, and as a last good copy in each process."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from consent_server.outbound.errors import Unreachable
from consent_server.outbound.poller import Poller
from consent_server.outbound.session import MIB, Session
from consent_server.settings import Settings

T = TypeVar("T")

_LARGEST = 16 * MIB  # about 400,000 revoked certificates; more is not a list of this scheme


def fetch(settings: Settings, session: Session) -> bytes:
    """The list as published (DER or PEM), unverified. Raises Unreachable."""
    source = settings.revocation_list.source
    if source.lower().startswith("https://"):
        accept = "application/pkix-crl, application/x-pem-file"
        return session.get(source, accept=accept, limit=_LARGEST, configured=True).must_be(200).body
    try:
        with Path(source).open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError:
        raise Unreachable("file", "revocation list") from None
    if len(content) > _LARGEST:
        raise Unreachable("too_large", "revocation list")
    return content


class RevocationListPoller(Generic[T]):
    """The last good list, or None if there never was one; whether it is still young enough is `caller`'s to judge.

    `read` verifies the bytes and returns what they say; it raises ValueError or a Refusal for a list not to be believed.
    """

    def __init__(self, settings: Settings, session: Session, read: Callable[[bytes], T]) -> None:
        self._poller = Poller(
            "revocation list",
            lambda: read(fetch(settings, session)),
            float(settings.revocation_list.refresh_s),
        )

    def __call__(self) -> T | None:
        loaded = self._poller.latest()
        return loaded.value if loaded else None

    def stop(self) -> None:
        self._poller.stop()

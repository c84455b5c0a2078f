"""The Directory's revocation lists of client certificates: fetched from https URLs or files, verified, and kept.

Beside an issuer the worker fetches them into the store, and each process reads them from there at most once a second. A
resource server elsewhere polls them into its memory. The last good list of each CA is kept, whichever source it came from.
"""

import logging
from pathlib import Path
from typing import Final

from cryptography import x509

from consent_server import audit, clock
from consent_server.outbound.cache import Cache, Copy
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.poller import Poller, report_failure
from consent_server.outbound.session import MIB, Session
from consent_server.outbound.settings import MembersSettings
from consent_server.pki.crl import NotTrusted, RevokedSerials, authority_of, read_revocation_list
from consent_server.pki.member_certificate import load_certificates
from consent_server.refusal import Unavailable
from consent_server.settings.clients import ClientsSettings

log = logging.getLogger(__name__)

NAME: Final = "revocation-list"
_LARGEST: Final = 16 * MIB  # about 400,000 revoked certificates; more is not a list of this scheme


def client_authority(clients: ClientsSettings) -> tuple[x509.Certificate, list[x509.Certificate]]:
    """Return the Directory's client root, and the issuers below it that the settings name.

    Raise ValueError when the root's file is not exactly one readable certificate, or the issuers' file holds none.
    """
    found = load_certificates(clients.root.read_bytes())
    if len(found) != 1:
        raise ValueError("clients.root must hold the client root and nothing else")
    return found[0], load_certificates(clients.issuers.read_bytes()) if clients.issuers else []


def fetch(source: str, session: Session) -> bytes:
    """Return the list of one source as published (DER or PEM), unverified. Raise Unreachable."""
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


class RevocationLists:
    """The last good list of each CA, in a cache. `caller.trust` judges their age.

    With `polls` a thread of this process refreshes them from the first use on; otherwise a worker calls `refresh`.
    """

    def __init__(self, settings: MembersSettings, session: Session, cache: Cache, *, polls: bool = False) -> None:
        self._sources = settings.revocation_list.sources
        self._refresh_s = settings.revocation_list.refresh_s
        self._session = session
        self._cache = cache
        self._root, self._issuers = client_authority(settings.clients)
        self._names = [_name(authority_of(ca)) for ca in (self._root, *self._issuers)]
        self._poller: Poller[int] | None = None
        if polls and self._sources:
            self._poller = Poller(NAME, self._poll, float(self._refresh_s))
        self._looked = -1
        self._seen: dict[str, int] = {}
        self._kept: dict[str, RevokedSerials] = {}

    def lists(self) -> tuple[RevokedSerials, ...]:
        """Return the last good lists, one of each CA that has any."""
        if self._poller is not None:
            self._poller.latest()
        return self._found()

    def refresh(self) -> None:
        """Fetch every list, and keep those that are valid. Raise Unreachable or NotTrusted for the first that is not."""
        failed = self._fetch_all()
        for error in failed:
            report_failure(NAME, error)
        if failed:
            raise failed[0]

    def ready(self) -> dict[str, int | None]:
        """Return for /ready the list that was fetched longest ago. Raise Unavailable while there should be one and is none."""
        lists = self.lists()
        if self._sources and not lists:
            raise Unavailable(
                "no revocation list yet", public="There is no revocation list yet: is consent-server work running?"
            )
        oldest = min(lists, key=lambda each: each.fetched, default=None)
        return {"number": oldest.number if oldest else None, "fetched": oldest.fetched if oldest else None}

    def stop(self) -> None:
        """End the thread; the next use starts another."""
        if self._poller is not None:
            self._poller.stop()

    def _found(self) -> tuple[RevokedSerials, ...]:
        at = clock.now()
        if at != self._looked:
            for name in self._names:
                copy = self._cache.get(name)
                if copy is not None and copy.fetched != self._seen.get(name):
                    self._read(name, copy)
            self._looked = at
        return tuple(self._kept.values())

    def _read(self, name: str, copy: Copy) -> None:
        """Take the list in a copy. There is none when the store holds something else."""
        self._seen[name] = copy.fetched
        try:
            self._kept[name] = read_revocation_list(copy.body, self._issuers, self._root, copy.fetched)
        except NotTrusted as error:
            log.warning("the kept revocation list is no longer valid: %s", error)
            self._kept.pop(name, None)

    def _poll(self) -> int:
        failed = self._fetch_all()  # the poller reports the first
        if failed:
            raise failed[0]
        return len(self._sources)

    def _fetch_all(self) -> list[Unreachable | NotTrusted]:
        """Fetch every list; return what was wrong with those that failed, which leave the others as they are."""
        failed: list[Unreachable | NotTrusted] = []
        for source in self._sources:
            try:
                self._fetch(source)
            except (Unreachable, NotTrusted) as error:
                failed.append(error)
        return failed

    def _fetch(self, source: str) -> None:
        at = clock.now()
        body = fetch(source, self._session)
        found = read_revocation_list(body, self._issuers, self._root, at)
        name = _name(found.authority)
        self._found()
        before = self._kept.get(name)
        # An older list is genuine as well, but lacks what was revoked since.
        if before is not None and found.issued < before.issued:
            raise NotTrusted("older than the list in force")
        self._cache.put(name, Copy(body, {}, at, at + self._refresh_s))
        self._kept[name], self._seen[name] = found, at
        if before is None or before.serials != found.serials:
            audit.event("list_refreshed", list=NAME, entries=len(found.serials))


def _name(authority: bytes) -> str:
    return f"{NAME} {authority.hex()}"

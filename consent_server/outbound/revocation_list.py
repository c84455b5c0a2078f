"""The Directory's revocation list of client certificates: fetched from an https URL or a file, verified, and kept.

Beside an issuer the worker fetches it into the store, and each process reads it from there at most once a second. A resource
server elsewhere polls it into its memory.
"""

import logging
from pathlib import Path
from typing import Final

from consent_server import audit, clock
from consent_server.outbound.cache import Cache, Copy
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.poller import Poller
from consent_server.outbound.session import MIB, Session
from consent_server.pki.crl import NotTrusted, RevokedSerials, read_revocation_list
from consent_server.pki.member_certificate import load_certificates
from consent_server.refusal import Unavailable
from consent_server.settings import Settings

log = logging.getLogger(__name__)

NAME: Final = "revocation-list"
_LARGEST: Final = 16 * MIB  # about 400,000 revoked certificates; more is not a list of this scheme


def fetch(settings: Settings, session: Session) -> bytes:
    """Return the list as published (DER or PEM), unverified. Raise Unreachable."""
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


class RevocationList:
    """The last good list, in a cache. `caller.trust` judges its age.

    With `polls` a thread of this process refreshes it from the first use on; otherwise a worker calls `refresh`.
    """

    def __init__(self, settings: Settings, session: Session, cache: Cache, *, polls: bool = False) -> None:
        self._settings = settings
        self._session = session
        self._cache = cache
        self._root = load_certificates(settings.clients.root.read_bytes())[0]
        self._issuers = load_certificates(settings.clients.issuers.read_bytes()) if settings.clients.issuers else []
        self._poller: Poller[RevokedSerials] | None = None
        if polls and settings.revocation_list.source:
            self._poller = Poller(NAME, self._fetch, float(settings.revocation_list.refresh_s))
        self._looked = -1
        self._fetched = -1
        self._latest: RevokedSerials | None = None

    def in_force(self) -> RevokedSerials | None:
        """Return the last good list, or None when there never was one."""
        if self._poller is not None:
            self._poller.latest()
        return self._kept()

    def refresh(self) -> None:
        """Fetch the list, and keep it if it is valid. Raise Unreachable, NotTrusted."""
        if not self._settings.revocation_list.source:
            return
        before = self._kept()
        try:
            found = self._fetch()
        except (Unreachable, NotTrusted) as error:
            kind = error.kind if isinstance(error, Unreachable) else str(error)
            audit.event("list_refresh_failed", list=NAME, error=kind)
            raise
        if before is None or before.serials != found.serials:
            audit.event("list_refreshed", list=NAME, entries=len(found.serials))

    def ready(self) -> dict[str, int | None]:
        """Return for /ready which list is in force. Raise Unavailable while a configured list was never fetched."""
        found = self.in_force()
        if found is None and self._settings.revocation_list.source:
            raise Unavailable(
                "no revocation list yet", public="There is no revocation list yet: is consent-server work running?"
            )
        return {"number": found.number if found else None, "fetched": found.fetched if found else None}

    def stop(self) -> None:
        """End the thread; the next use starts another."""
        if self._poller is not None:
            self._poller.stop()

    def _kept(self) -> RevokedSerials | None:
        at = clock.now()
        if at != self._looked:
            kept = self._cache.get(NAME)
            if kept is not None and kept.fetched != self._fetched:
                self._latest = self._read(kept)
                self._fetched = kept.fetched
            self._looked = at
        return self._latest

    def _read(self, kept: Copy) -> RevokedSerials | None:
        """Return the list in a copy; None when the configured root or issuers, changed since, do not verify it."""
        try:
            return read_revocation_list(kept.body, self._issuers, self._root, kept.fetched)
        except NotTrusted as error:
            log.warning("the kept revocation list is no longer valid: %s", error)
            return None

    def _fetch(self) -> RevokedSerials:
        at = clock.now()
        body = fetch(self._settings, self._session)
        found = read_revocation_list(body, self._issuers, self._root, at)
        # An older list is genuine as well, but lacks what was revoked since.
        before = self._kept()
        if before is not None and found.issued < before.issued:
            raise NotTrusted("older than the list in force")
        self._cache.put(NAME, Copy(body, {}, at, at + self._settings.revocation_list.refresh_s))
        self._latest, self._fetched = found, at
        return found

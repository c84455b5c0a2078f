"""The Directory's revocation list: fetched by the worker, kept in the store, read by each door at most once a second."""

import logging

from consent_server import audit, clock
from consent_server.caller.trust import BadRevocationList, RevokedSerials, read_revocation_list
from consent_server.outbound import revocation_list
from consent_server.outbound.cache import Kept
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.session import Session
from consent_server.pki.member_certificate import load_certificates
from consent_server.refusal import Unavailable
from consent_server.settings import Settings
from consent_server.store.fetched import StoredCache, StoredCopy

log = logging.getLogger(__name__)

NAME = "revocation-list"


class RevocationList:
    """The last good list, shared by every process through the store.

    Calling it answers what the list says, or None when none was ever fetched.
    """

    def __init__(self, settings: Settings, cache: StoredCache) -> None:
        self._settings = settings
        self._cache = cache
        self._root = load_certificates(settings.clients.root.read_bytes())[0]
        self._issuers = load_certificates(settings.clients.issuers.read_bytes()) if settings.clients.issuers else []
        self._looked = -1
        self._fetched = -1
        self._latest: RevokedSerials | None = None

    def __call__(self) -> RevokedSerials | None:
        at = clock.now()
        if at != self._looked:
            kept = self._cache.get(NAME)
            if kept is not None and kept.fetched != self._fetched:
                self._latest = self._read(kept)
                self._fetched = kept.fetched
            self._looked = at
        return self._latest

    def _read(self, kept: StoredCopy) -> RevokedSerials | None:
        """The kept copy, unless the root or the issuers were changed since: then it is as if there were none."""
        try:
            return read_revocation_list(kept.body, self._issuers, self._root, kept.fetched)
        except BadRevocationList as error:
            log.warning("the kept revocation list is not believed any more: %s", error)
            return None

    def refresh(self, session: Session) -> None:
        """Fetch and keep the list, if it is to be believed. Raises Unreachable, BadRevocationList."""
        if not self._settings.revocation_list.source:
            return
        before = self()
        try:
            said = self._fetch(session, before)
        except (Unreachable, BadRevocationList) as error:
            kind = error.kind if isinstance(error, Unreachable) else str(error)
            audit.event("list_refresh_failed", list=NAME, error=kind)
            raise
        if before is None or before.serials != said.serials:
            audit.event("list_refreshed", list=NAME, entries=len(said.serials))

    def _fetch(self, session: Session, before: RevokedSerials | None) -> RevokedSerials:
        at = clock.now()
        body = revocation_list.fetch(self._settings, session)
        said = read_revocation_list(body, self._issuers, self._root, at)
        # An older list is genuine too, and would let back in whom the newer one shut out.
        if before is not None and said.issued < before.issued:
            raise BadRevocationList("older than the list in force")
        self._cache.put(NAME, Kept(body, {}, at, at + self._settings.revocation_list.refresh_s))
        return said

    def ready(self) -> dict[str, int | None]:
        """For /ready: which list we go by. Raises Unavailable while a configured list was never fetched."""
        found = self()
        if found is None and self._settings.revocation_list.source:
            raise Unavailable("no revocation list yet: is `consent-server work` running?")
        return {"number": found.number if found else None, "fetched": found.fetched if found else None}

"""The status list that our issuer serves: read from the store, and signed again after a change or when it is too old."""

import threading
import zlib
from functools import lru_cache

from consent_server import clock, store
from consent_server.deployment import current
from consent_server.issuer import metadata
from consent_server.store import status_list
from consent_server.store.tables import KeptStatusList
from consent_server.store.waiting import LOCK_WAIT_S, STUCK_S, LockWait
from consent_server.tokens import status

# Of each process one at a time signs; the others then read what it kept.
_signing = threading.Lock()


def text() -> str:
    """Return the signed list, which has every end that was committed before this call."""
    found = _served()
    if found is not None:
        return found
    if not _signing.acquire(timeout=LOCK_WAIT_S):
        raise store.StoreUnavailable("the status list is being signed")
    try:
        return _served() or _signed_anew()
    finally:
        _signing.release()


@lru_cache(maxsize=1)
def gzipped(signed: bytes) -> bytes:
    """Return a signed list as Token Status List section 8.2 would have it sent. Made once for each list.

    Letters for six random bits have no repeats to find: to look for some takes four times as long and saves nothing.
    """
    letters = zlib.compressobj(1, wbits=16 + zlib.MAX_WBITS, strategy=zlib.Z_HUFFMAN_ONLY)
    return letters.compress(signed) + letters.flush()


def _served() -> str | None:
    with store.reading() as c:
        found = status_list.served(c)
    if found is None or not found.is_complete or found.signed_by != current().signing_keys.current()[0]:
        return None
    return found.text if 0 <= clock.now() - found.issued < status.SIGNED_EVERY else None


def _signed_anew() -> str:
    current().signing_keys.require()  # before the transaction: an HSM that does not answer must hold up nobody who writes
    try:
        with store.writing() as c:
            before = status_list.kept(c)
            at = clock.now()  # before the rows: the list may contain later withdrawals than `iat` promises, never fewer
            ended = status_list.take_up(c, at, everything=before is None)
            size = status_list.size(c)
            bits = status.with_ended(b"" if before is None else before.bits, size, ended)
            kid = current().signing_keys.current()[0]
            kept = KeptStatusList(status_list.ONLY, size, bits, kid, at, _sign(bits, at))
            status_list.keep(c, kept)
            return kept.text
    except store.StoreUnavailable:
        # Nothing can be written now. Resource servers elsewhere go on while we can read.
        with store.reading(LockWait(STUCK_S, STUCK_S)) as c:
            at = clock.now()
            return _sign(status.with_ended(b"", status_list.size(c), status_list.ended(c)), at)


def _sign(bits: bytes, at: int) -> str:
    here = current()
    uri = metadata.status_list_uri(here.settings)
    return status.encode(here.signing_keys, uri, bits, at, status.TTL, at + status.LIFETIME)

"""The status list that our issuer serves: read from the store, and signed again after a change or when it is too old."""

import threading
import zlib
from contextlib import suppress
from functools import lru_cache

from consent_server import clock, store
from consent_server.deployment import current
from consent_server.issuer import metadata
from consent_server.store import status_list
from consent_server.store.tables.permissions import KeptStatusList
from consent_server.store.waiting import LOCK_WAIT_S
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
    """Sign what has ended, and keep it for others if it can be kept. No transaction waits for the signature (an HSM's)."""
    here = current()
    with store.reading() as c:
        at = clock.now()  # before the rows: the list has every withdrawal before its `iat`, and may have later ones
        ended = status_list.not_listed(c)  # before the list that is kept: what is listed meanwhile is in one of the two
        before = status_list.kept(c)
        if before is None:
            ended = status_list.ended(c)
        size = status_list.size(c)
    bits = status.with_ended(b"" if before is None else before.bits, size, ended)
    uri = metadata.status_list_uri(here.settings)
    signed = status.encode(here.signing_keys, uri, bits, at, status.TTL, at + status.LIFETIME)
    kid = here.signing_keys.current()[0]
    # Where nothing can be written, resource servers elsewhere go on while we can read.
    with suppress(store.StoreUnavailable), store.writing() as c:
        status_list.keep(c, KeptStatusList(status_list.ONLY, size, bits, kid, at, signed), before, ended)
    return signed

"""Day blocks that release 0.1.0 kept as JSON are packed, or all are unpacked again for it; some at a time, resumably."""

from functools import partial

from consent_server import store
from consent_server.scheme.packed import HEADER
from consent_server.store import readings

#: Day blocks in one transaction, which SQLite's other writers wait for: a twentieth of a second.
AT_ONCE = 500


def repack(undo: bool) -> int:
    """Pack every day block that is not packed, or with `undo` the other way about; return how many were changed.

    Raise StoreUnavailable; what was done stays, and the rest is done by the next call.
    """
    begins = HEADER if undo else b"{"
    changed, after = 0, None
    while keys := store.write_with_retry(partial(readings.repack, begins=begins, after=after, most=AT_ONCE)):
        changed, after = changed + len(keys), keys[-1]
    return changed

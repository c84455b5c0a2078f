"""Seal the audit trail: places in the chain within seconds, and a checkpoint that our signing certificate signs each day."""

from typing import Final

from consent_server import audit, clock, store
from consent_server.deployment import current
from consent_server.scheme import audit_chain
from consent_server.scheme.instant import DAY
from consent_server.store import audit_events

#: Events in one transaction: on SQLite every other writer waits for it.
_MOST: Final = 500


def seal(*, at_once: bool = False) -> None:
    """Seal what waits. Sign a checkpoint if the last one is a day old, or else `at_once`, and something came since.

    Raise StoreUnavailable and SigningCertificateNotValid.
    """
    at = clock.now()
    while True:
        with store.writing() as c:
            if audit_events.seal(c, _MOST) < _MOST:
                break
    with store.reading() as c:
        last, end = audit_events.last_checkpoint(c), audit_events.end(c)
    if end is None or (last is not None and (end.position == last.position or (at < last.at + DAY and not at_once))):
        return
    point = end._replace(at=at)
    signed = audit_chain.checkpoint(point, current().valid_signer(at))
    with store.writing() as c:
        if audit_events.add_checkpoint(c, point, signed):
            audit.event("audit_checkpoint", position=point.position, digest=point.digest)

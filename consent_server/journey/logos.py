"""The logos of the parties that ask: the worker fetches each as soon as the party has pushed a request; no page does."""

from typing import Final

from consent_server import clock, store
from consent_server.deployment import current
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.fair_pool import FairPool
from consent_server.store import requests

RUN_S: Final = 30
#: How long ago a party's last request may have been pushed.
_RECENT_S: Final = 3600


def pool() -> FairPool:
    """Return a new pool for `fetch_due`."""
    return FairPool(most=4, most_unreliable=2, slow_s=2)


def fetch_due(shared: FairPool) -> None:
    """Fetch the logos that the kept copies lack or have too old, of all parties that have asked lately."""
    with store.reading() as c:
        left = requests.askers(c, clock.now() - _RECENT_S)

    def turn(member: str, _failures: int) -> int:
        left.discard(member)
        logos = current().logos
        try:
            asker = current().directory.member(member)
            if logos.is_due(asker):
                logos.fetch(asker)
        except Unreachable:
            pass  # logged where it was found; without a logo nothing is missing
        return 0

    shared.serve(lambda: tuple(left), turn, RUN_S)

"""Which permissions a newer one replaces: the same client's and business's, under the same license or one that it covers."""

from consent_server import store
from consent_server.deployment import current
from consent_server.scheme import licenses
from consent_server.store import permissions
from consent_server.store.tables import Permission


def replaced_by(c: store.Connection, new: Permission, at: int) -> list[Permission]:
    """Return the live permissions that `new` ends once its code is redeemed, the newest first."""
    live = permissions.live(c, client_id=new.client_id, sme=new.sme, at=at)
    return [old for old in live if old.status_index < new.status_index and _covers(new.license, old.license)]


def _covers(new: str, old: str) -> bool:
    if new == old:
        return True
    known = current().licenses
    return new in known and old in known and licenses.at_least_as_wide(known[new], known[old])

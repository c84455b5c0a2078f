"""Which permissions a newer one replaces: the same client's and business's, under the same license or one that it covers."""

from consent_server import store
from consent_server.deployment import current
from consent_server.scheme import licenses
from consent_server.store import permissions
from consent_server.store.tables.permissions import Permission


def replaced(c: store.Connection, client_id: str, sme: str, license_url: str, at: int) -> list[Permission]:
    """Return the live permissions that a grant under a license would replace, the newest first."""
    live = permissions.live(c, client_id=client_id, sme=sme, at=at)
    return [old for old in live if _covers(license_url, old.license)]


def replaced_by(c: store.Connection, new: Permission, at: int) -> list[Permission]:
    """Return the live permissions that `new` ends once its code is redeemed, the newest first."""
    older = replaced(c, new.client_id, new.sme, new.license, at)
    return [old for old in older if old.status_index < new.status_index]


def _covers(new: str, old: str) -> bool:
    if new == old:
        return True
    known = current().licenses
    return new in known and old in known and licenses.at_least_as_wide(known[new], known[old])

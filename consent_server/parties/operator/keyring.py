"""The keys of a party: made once by a command, before the first start, then rotated and retired by an operator.

Doors read the directories again when they change, so that nothing here needs a restart.
"""

import logging
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from consent_server import audit, store
from consent_server.scheme import instant
from consent_server.settings import Settings
from consent_server.store import StoreUnavailable, audit_events
from consent_server.store.database import DatabaseMissing
from consent_server.tokens import keys, refresh_token, status
from consent_server.tokens.access_token import MAX_LIFETIME
from consent_server.tokens.keys import KeysUnusable, SigningKeys
from consent_server.tokens.refresh_token import RefreshKeys
from consent_server.tokens.sealing import Sealer

__all__ = ["HeldKey", "KeysUnusable", "held", "make_missing", "retire", "rotate"]

log = logging.getLogger("consent_server.keys")

Kind = Literal["signing", "refresh"]

#: The longest life of anything that a signing key signs: an access token (FAPI 2.0 caps ours) or a status list.
LONGEST_SIGNED_S: Final = max(MAX_LIFETIME, status.LIFETIME)


@dataclass(frozen=True)
class HeldKey:
    """One key at one instant.

    `until` is when the last thing that it signed expires; None while no newer key has replaced it.
    """

    kind: Kind
    name: str
    state: Literal["next", "in use", "old"]
    used_from: int
    until: int | None

    def __str__(self) -> str:
        since = f"{'from' if self.state == 'next' else 'since'} {instant.text(self.used_from)}"
        kept = f", needed until {instant.text(self.until)}" if self.state == "old" and self.until else ""
        return f"{self.kind}\t{self.name}\t{self.state}\t{since}{kept}"


def held(settings: Settings, at: int) -> list[HeldKey]:
    """Return every key of both kinds, in the order of use. Raise KeysUnusable."""
    signing, refresh = SigningKeys(settings.keys.tokens), RefreshKeys(settings.keys.refresh)
    order = signing.in_order()
    expired = {kid: follows + LONGEST_SIGNED_S for (_, kid), (follows, _) in pairwise(order)}
    return [
        *_stated("signing", order, expired, at),
        *_stated("refresh", refresh.in_order(), refresh_token.kept_until(refresh), at),
    ]


def _stated(kind: Kind, order: list[tuple[int, str]], until: dict[str, int], at: int) -> list[HeldKey]:
    started = [name for used_from, name in order if used_from <= at]
    return [
        HeldKey(
            kind=kind,
            name=name,
            state="next" if used_from > at else "in use" if name == started[-1] else "old",
            used_from=used_from,
            until=until.get(name),
        )
        for used_from, name in order
    ]


def make_missing(settings: Settings, at: int, hsm: str | None = None) -> list[str]:
    """Make the keys that do not exist yet, and leave the others alone. Return one line for each key, made or found.

    `hsm` is the PKCS#11 URI of the token in which the token signing key is made. Raise KeysUnusable.
    """
    lines = []
    folder = settings.keys.tokens
    if keys.exist(folder):
        lines.append(f"token signing keys: already in {folder}")
    else:
        kid = keys.make(folder, at, hsm)
        audit.event("keys_changed", key=f"signing {kid}", change="made")
        lines.append(f"token signing keys: made {kid} in {folder}")
    folder = settings.keys.refresh
    if folder.is_dir() and any(folder.iterdir()):
        lines.append(f"refresh-token keys: already in {folder}")
    else:
        version = refresh_token.rotate(folder, at)
        audit.event("keys_changed", key=f"refresh {version}", change="made")
        lines.append(f"refresh-token keys: made version {version} in {folder}")
    existed = settings.keys.sealing.exists()
    Sealer.make(settings.keys.sealing)
    if not existed:
        audit.event("keys_changed", key="sealing", change="made")
    lines.append(f"sealing key: {'already there' if existed else 'made'}: {settings.keys.sealing}")
    return lines


def rotate(settings: Settings, kind: Kind, at: int, hsm: str | None = None) -> HeldKey:
    """Publish a new key, to be used once every cached JWKS has expired. Return it. Raise KeysUnusable.

    A signing key is made where the newest is, or in the token that the PKCS#11 URI `hsm` names.
    """
    if kind == "signing":
        name = keys.rotate(settings.keys.tokens, at, hsm)
    else:
        RefreshKeys(settings.keys.refresh)  # only `make_missing` makes the first version: this may be a wrong directory
        name = str(refresh_token.rotate(settings.keys.refresh, at))
    made = _found(settings, kind, name, at)
    _keep(f"{kind} {name}", f"published, used from {instant.text(made.used_from)}")
    return made


def require_retirable(settings: Settings, kind: Kind, name: str, at: int, *, at_once: bool) -> None:
    """Raise KeysUnusable, saying what to do, while something valid depends on a key; `at_once` as in `retire`."""
    if kind == "refresh":
        refresh_token.require_retirable(settings.keys.refresh, name, at)
        return
    found = _found(settings, kind, name, at)
    if not at_once and found.state == "in use":
        raise KeysUnusable(f"{name} is in use: rotate first, or retire it at once if it leaked")
    if not at_once and found.state == "old" and found.until is not None and at < found.until:
        raise KeysUnusable(f"{name} has signed tokens that are good until {instant.text(found.until)}: wait")
    keys.require_another(settings.keys.tokens)


def retire(settings: Settings, kind: Kind, name: str, at: int, *, at_once: bool = False) -> str | None:
    """Remove a key that nothing valid depends on any more. Raise KeysUnusable, saying what to do, while something does.

    Return the PKCS#11 URI of one in an HSM, which stays there; None for a file.

    `at_once` is for a signing key that leaked: every token that it signed stops verifying. It does not apply to a refresh
    version: permission records and withdrawal messages quote its tokens, and each permission can be withdrawn instead.
    """
    require_retirable(settings, kind, name, at, at_once=at_once)
    stays = None
    if kind == "refresh":
        refresh_token.retire(settings.keys.refresh, name, at)
    else:
        stays = keys.retire(settings.keys.tokens, name)
    _keep(f"{kind} {name}", "retired at once" if at_once else "retired")
    return stays


def _keep(key: str, change: str) -> None:
    """Record a change that was made. A key that leaked must be retired even while the database is down."""
    event = audit.event("keys_changed", key=key, change=change)
    try:
        with store.writing() as c:
            audit_events.keep(c, event)
    except (StoreUnavailable, DatabaseMissing) as error:
        log.warning("the change was made, but only this log records it: %s", error)


def _found(settings: Settings, kind: Kind, name: str, at: int) -> HeldKey:
    found = next((each for each in held(settings, at) if (each.kind, each.name) == (kind, name)), None)
    if found is None:
        raise KeysUnusable(f"no {kind} key {name}: see `consent-server keys list`")
    return found

"""What is our own: keys, database, mail."""

from collections.abc import Iterator
from pathlib import Path

from consent_server import store
from consent_server.outbound.errors import Unreachable
from consent_server.parties.operator import keyring
from consent_server.parties.operator.doctor.finding import Finding, either, failing, fine
from consent_server.parties.operator.doctor.outside import Outside
from consent_server.refusal import Refusal
from consent_server.settings import Settings
from consent_server.store.database import opened
from consent_server.store.schema import standing
from consent_server.store.sealing import BadSealingKey, Sealer
from consent_server.tokens.keys import KeysUnusable, SigningKeys
from consent_server.tokens.refresh_token import RefreshKeys

_MAKE = "run `consent-server keys make`, or restore the back-up"


def keys(settings: Settings, at: int) -> Iterator[Finding]:
    """Examine the secrets that `consent-server keys make` makes: usable, and readable by their owner alone."""
    usable = True
    for name, read, path in (
        ("token signing keys", SigningKeys, settings.keys.tokens),
        ("refresh-token keys", RefreshKeys, settings.keys.refresh),
    ):
        try:
            read(path)
        except KeysUnusable as error:
            usable = False
            yield failing(f"{name}: {error}", _MAKE)
    for key in keyring.held(settings, at) if usable else ():
        if key.state == "in use":
            yield fine(f"{key.kind} key {key.name} is in use")
    path = settings.keys.sealing
    try:
        Sealer.from_file(path)
        mode = path.stat().st_mode
    except (BadSealingKey, OSError) as error:
        yield failing(f"sealing key: {error}", _MAKE)
    else:
        yield either(not mode & 0o027, "sealing key", f"chmod 600 {path}", f"sealing key: {path} is open to others")


def database(settings: Settings) -> Iterator[Finding]:
    """Examine the database: reachable, and migrated to the newest schema."""
    file = Path(settings.database.url.partition("///")[2]) if settings.database.url.startswith("sqlite") else None
    if file is not None and not file.exists():  # opening it would create it, perhaps as the wrong user
        yield failing(f"database: {file} does not exist", "run `consent-server db upgrade` as the server's user")
        return
    with opened(settings.database.url):
        try:
            store.ping()
        except Refusal as refusal:
            yield failing(f"database: {refusal.private}", "start it, and look at database.url")
            return
        yield fine("database: answers")
        yield either(standing() != "behind", "database: newest schema", "run `consent-server db upgrade`")


def mail(settings: Settings, outside: Outside) -> Iterator[Finding]:
    """Examine the mail relay of a CAP, which sends sign-in codes."""
    if settings.party != "cap":
        return
    if not settings.mail.source or not settings.mail.sender:
        yield failing("mail: mail.source or mail.sender is empty", "name the relay: without it nobody can sign in")
        return
    try:
        outside.mail.reach()
    except Unreachable as error:
        yield failing(f"mail: {error}", "look at mail.source and the relay")
    else:
        yield fine("mail: the relay answers")

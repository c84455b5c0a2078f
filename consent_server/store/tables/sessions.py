"""Signed-in browsers, and what each is in the middle of."""

from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple, NotRequired

import sqlalchemy as sa
from typing_extensions import TypedDict  # pydantic cannot validate that of typing before Python 3.12

from consent_server.store.rows import INDEXED, KEY, table
from consent_server.store.tables.columns import Digest, Instant
from consent_server.store.tables.journeys import LogInState


class BackgroundTask(TypedDict):
    """A task at a provider that a browser waits for: its id, the provider's name, and since when.

    `to` is where the result leads, empty while it is under way; `fault` the code of the refusal in which it ended.
    """

    id: str
    name: str
    at: int
    to: str
    fault: str


class ChosenProvider(TypedDict):
    """The provider of a connection under way, as the Directory's catalogue had it."""

    service: str
    member: str
    application: str
    name: str
    legal_name: str
    issuer: str


class Pending(TypedDict):
    """A connection under way. `id` is its future id; `verifier` is PKCE's, sealed, in hex; `fsp` is the member URL of the
    bank that sent the SME here, if one did; `license` what was asked for (not there: the license of every connection)."""

    id: str
    account: str
    provider: ChosenProvider
    state: str
    verifier: str
    fsp: str | None
    license: NotRequired[str]


class PressedShare(TypedDict):
    """“Share” was pressed at the portal at `at`: for what (a digest), and the login_hint that the bank was given."""

    hint: str
    covers: str
    at: int


class SessionData(TypedDict, total=False):
    """The data of a session: `sme` and `business` where permissions are managed at an EDP, the rest at the portal.

    `pending` are connections under way by their state, `leaving` is the way to a provider that was begun last, `returning`
    the last return from one, whose id is its state; `withdrawn` what ended with the last withdrawal. A name that had another
    form in the version before (`returned`) is not used again: nodes of both serve the same sessions. `log_in` is a customer
    log-in under way, and `log_out` where its provider ends its own session. `signed_in` is when its browser signed in, and
    `by_passkey` whether with a passkey. `pressed` is taken out by the journey that it is for.
    """

    sme: str
    business: str
    log_in: LogInState
    log_out: str
    account: str
    signed_in: int
    by_passkey: bool
    fsp: str
    provider: str
    shown: str
    pending: dict[str, Pending]
    leaving: BackgroundTask
    returning: BackgroundTask
    withdrawn: Sequence[dict[str, object]]
    pressed: PressedShare


#: The account that a session is signed in to. SQLite uses an index on an expression only where a query has its very words,
#: and is of the type that it is compared with.
SESSION_ACCOUNT: Final = sa.literal_column("CAST(data ->> 'account' AS TEXT)", sa.String)


@table("session", sa.Index("ix_session_account", sa.text(f"({SESSION_ACCOUNT})")))
class SessionRow(NamedTuple):
    """A server-side session; the browser holds an opaque id of which we keep the digest."""

    digest: Annotated[Digest, KEY]
    kind: Annotated[str, sa.String(16)]
    data: SessionData
    created: Instant
    seen: Annotated[Instant, INDEXED]

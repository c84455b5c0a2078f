"""The tables, each declared as the type of its rows. Instants are whole seconds since 1970-01-01T00:00Z.

No column holds a usable token, code or key: handles are kept as SHA-256 digests, a refresh token is recomputed from its id and
key version, and the tokens that we hold as a client are encrypted with AES-GCM.
"""

from collections.abc import Mapping, Sequence
from typing import (
    Annotated,
    Final,
    Literal,
    NamedTuple,
    NotRequired,  # typing's own cannot be validated by pydantic before Python 3.12
)

import sqlalchemy as sa
from typing_extensions import TypedDict

from consent_server.scheme.meters import MaskedMeter
from consent_server.scheme.permission import GrantedSource, Who
from consent_server.store.rows import INDEXED, KEY, UNIQUE, References, table
from consent_server.tokens.keyset import KeySet

Instant = Annotated[int, sa.BigInteger()]
#: The id of a permission, a connection, a journey or an account.
Id = Annotated[str, sa.String(32)]
#: An id that a client sees: 48 characters are reserved.
PublicId = Annotated[str, sa.String(48)]
#: A SHA-256 in hex.
Digest = Annotated[str, sa.String(64)]
#: The id of a meter at another provider, which is opaque to us (outbound.fields.opaque).
SourceId = Annotated[str, sa.String(300)]
Email = Annotated[str, sa.String(254)]
Fuel = Annotated[str, sa.String(16)]
Measure = Annotated[str, sa.String(8)]
Outcode = Annotated[str, sa.String(4)]
Challenge = Annotated[str, sa.String(128)]
#: How a permission ended: a value of scheme.permission.State.
EndedAs = Annotated[str, sa.String(16)]
#: A number that the database gives on insert: 0 until then.
Serial = Annotated[int, sa.BigInteger().with_variant(sa.Integer(), "sqlite"), KEY]
Count = Annotated[int, {"server_default": "0"}]
ConnectionId = Annotated[Id, References("connection.id"), KEY]

#: The status index of a permission that is not in the store yet.
NO_INDEX: Final = -1


class Identity(TypedDict):
    """The SME that a journey has identified, and its meters; a CAP has none. `email` is where its log-in says that it can be
    reached, where it has no account with us."""

    sme: str
    meters: Sequence[MaskedMeter]
    who: Who
    email: NotRequired[str]


class FoundCustomer(TypedDict):
    """What a log-in has led to: the business and the ids of its meters; `sme` is empty where the register has none. `email` is
    the verified address of whoever logged in, where the provider names one."""

    sme: str
    business: str
    strength: str
    meters: Sequence[str]
    email: NotRequired[str]


class LogInState(TypedDict):
    """A customer log-in under way. `verifier` is PKCE's, sealed, in hex.

    `came_back` says that the browser is back with a code, which is then taken once; `fault` is the code of the refusal in which
    it ended, `found` what it led to.
    """

    state: str
    nonce: str
    verifier: str
    at: int
    came_back: bool
    fault: str
    found: FoundCustomer | None


class Progress(TypedDict, total=False):
    """The progress of a journey. `shown` is the digest of the question that was shown, `done` names the steps that are
    done, `nonce` and `proved` belong to the change of its secret.

    `no_mail` says that no sign-in code was sent for `email`, since an older one works, and `by_passkey` that none is needed.
    `offers` says whether the register
    vouches for other meters of the business, `offered` is the digest of those that were shown, and `chosen` are those that
    it ticked. `way` names the step by which it showed who it is, `log_in` is a customer log-in under way, and `vouched` are the
    ids of the meters that a log-in has proved to be its own, of which it ticks some. `by_session` says that it was signed in to
    its account in this browser already, and `pressed` is the digest of what it has pressed “Share” for there.
    """

    identified: Identity
    way: str
    log_in: LogInState | None
    vouched: Sequence[str]
    offers: bool
    offered: str
    chosen: Sequence[MaskedMeter]
    email: str
    no_mail: bool
    by_passkey: bool
    by_session: bool
    pressed: str
    shown: str
    done: Sequence[str]
    nonce: str
    proved: int


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


@table("pushed_request")
class PushedRequest(NamedTuple):
    """An authorization request as its client pushed it (RFC 9126).

    Kept a day, so that late use of it gets a specific error. `fsp` is the member URL of the bank for which a CAP asks,
    `text_read` the digest of the Registry's text that it has shown; `hint` is the login_hint that a bank was given by us.
    """

    digest: Annotated[Digest, KEY]
    client_id: str
    member: str
    certificate: Digest
    redirect_uri: str
    state: str | None
    license: str
    code_challenge: Challenge
    created: Annotated[Instant, INDEXED]
    expires: Instant
    concluded: Instant | None = None
    fsp: str | None = None
    text_read: Digest | None = None
    hint: PublicId | None = None


@table("journey")
class Journey(NamedTuple):
    """One browser's way from /authorize to a decision, with a copy of the pushed values.

    `secret` and `previous_secret` are digests.
    """

    id: Annotated[Id, KEY]
    secret: Digest
    request: Annotated[Digest, INDEXED]
    client_id: str
    member: str
    redirect_uri: str
    state: str | None
    license: str
    code_challenge: Challenge
    created: Annotated[Instant, INDEXED]
    seen: Instant
    progress: Progress
    previous_secret: Digest | None = None
    claimed: Instant | None = None
    concluded: Instant | None = None
    fsp: str | None = None
    text_read: Digest | None = None
    hint: PublicId | None = None


_NOT_LISTED: Final = sa.text("ended IS NOT NULL AND listed IS NULL")


@table(
    "permission",
    sa.Index("ix_permission_not_listed", "listed", sqlite_where=_NOT_LISTED, postgresql_where=_NOT_LISTED),
)
class Permission(NamedTuple):
    """One grant by an SME at our issuer. One row per grant; history is never overwritten.

    `status_index` is given on insert. `listed` is when the status list took up its end.
    """

    id: Annotated[Id, KEY]
    account: Annotated[PublicId, UNIQUE]
    client_id: Annotated[str, INDEXED]
    member: str
    license: str
    fuels: Sequence[str]
    text_sha256: Digest
    sme: Annotated[str, INDEXED]
    meters: Sequence[MaskedMeter]
    datasources: Sequence[GrantedSource]
    granted: Annotated[Instant, INDEXED]
    expires: Annotated[Instant, INDEXED]
    refresh_id: Annotated[PublicId, UNIQUE]
    refresh_version: int
    status_index: Annotated[int, UNIQUE] = NO_INDEX
    redeemed: Instant | None = None
    ended: Annotated[Instant | None, INDEXED] = None
    ended_as: EndedAs | None = None
    ended_by: str | None = None
    ended_where: str | None = None
    ended_why: str | None = None
    listed: Instant | None = None

    def is_live(self, at: int) -> bool:
        """Return whether it is in force at an instant: it has neither been ended nor expired."""
        return self.ended is None and self.expires > at


@table("status_list")
class KeptStatusList(NamedTuple):
    """The status list as it was last signed: one row, whose bits have the end of every permission that is `listed`."""

    id: Annotated[int, KEY]
    size: int
    bits: bytes
    signed_by: str
    issued: Instant
    text: str


@table("evidence")
class Evidence(NamedTuple):
    """What an SME saw and did.

    `subject` is the permission that it granted, or the connection that we made for it. `names` are the names that it read:
    those in the text, and "client", "host" and "license".
    """

    id: Annotated[PublicId, KEY]
    subject: Annotated[Id, UNIQUE]
    at: Instant
    license: str
    text_shown: str
    shown_sha256: Digest
    raw_sha256: Digest
    client_id: str
    names: Mapping[str, str]
    who: Who
    meters: Sequence[MaskedMeter]
    address: str
    user_agent: str
    correlation_id: PublicId


@table("code")
class AuthorizationCode(NamedTuple):
    """An authorization code, consumed by one conditional UPDATE.

    `unanswered` from its redemption until another conditional UPDATE, after which alone tokens are sent.
    """

    digest: Annotated[Digest, KEY]
    permission: Annotated[Id, References("permission.id")]
    client_id: str
    redirect_uri: str
    code_challenge: Annotated[Challenge, INDEXED]
    issued: Annotated[Instant, INDEXED]
    expires: Instant
    redeemed: Instant | None = None
    wrong_verifiers: Count = 0
    unanswered: bool | None = None


@table("datasource", sa.UniqueConstraint("client_id", "sme", "meter"))
class MeterAlias(NamedTuple):
    """The opaque id of one meter for one client and one SME (`<series>.<number>`): stable, and different for every client."""

    id: Annotated[PublicId, KEY]
    client_id: str
    sme: str
    meter: PublicId


@table("link")
class Link(NamedTuple):
    """`dependent` ends when `support` has ended and nothing else supports it.

    Both are ids of permissions or connections.
    """

    support: Annotated[Id, KEY]
    dependent: Annotated[Id, KEY, INDEXED]


#: Calls that are still to be made, by recipient (store.due).
_OPEN_CALLS: Final = sa.text("delivered IS NULL AND given_up IS NULL")


@table(
    "outbox",
    sa.Index(
        "ix_outbox_by_recipient", "recipient", "due", "id", sqlite_where=_OPEN_CALLS, postgresql_where=_OPEN_CALLS
    ),
)
class OwedCall(NamedTuple):
    """A call that we must make. Its secret is recomputed or unsealed at delivery from `subject`.

    A "message" notifies a client of a withdrawal, a "revocation" (RFC 7009) revokes a token at its issuer.
    """

    kind: Annotated[Literal["message", "revocation"], sa.String(16)]
    subject: Annotated[Id, INDEXED]
    recipient: str
    created: Instant
    due: Annotated[Instant, INDEXED]
    id: Serial = 0
    leased: Instant | None = None
    attempts: Count = 0
    delivered: Instant | None = None
    given_up: Instant | None = None
    last_error: str | None = None


@table("owed_mail", sa.Index("ix_owed_mail_due", "due", sqlite_where=_OPEN_CALLS, postgresql_where=_OPEN_CALLS))
class OwedMail(NamedTuple):
    """A mail that we owe a business about a permission or connection: one of each kind (receipts.mails.Kind).

    `language` is the one in which the business acted; None where it did not act itself.
    """

    subject: Annotated[Id, KEY]
    kind: Annotated[str, sa.String(16), KEY]
    created: Instant
    due: Instant
    leased: Instant | None = None
    attempts: Count = 0
    delivered: Instant | None = None
    given_up: Instant | None = None
    last_error: str | None = None
    language: Annotated[str | None, sa.String(8)] = None


@table("receipt_link")
class ReceiptLink(NamedTuple):
    """The link to the receipt of one permission or connection. Its handle can be made again from `subject` and a key that is
    not in the store."""

    digest: Annotated[Digest, KEY]
    subject: Annotated[Id, INDEXED]


@table("receipt_address")
class ReceiptAddress(NamedTuple):
    """Where the receipts of one permission go, of a business that has no account with us."""

    subject: Annotated[Id, KEY]
    email: Email


@table("released")
class ReleasedData(NamedTuple):
    """What has been given out under one permission: from the first to the last instant of all of it, and when last."""

    subject: Annotated[Id, KEY]
    first: Instant
    last: Instant
    at: Instant


@table("meter")
class Meter(NamedTuple):
    """One business's time at one meter of the EDP's own register: from `since` (0: from the first reading on) to before
    `until` (None: to this day). A meter that has passed from hand to hand has a row for each.

    Numbers and addresses are here and in no other table. `site` is the business's own words for the place.
    `capacity` is what the supply can carry, where that is known: kVA, or m3 of gas an hour.
    `customer` is what the EDP's own log-in calls the business.
    """

    id: Annotated[PublicId, KEY]
    sme: Annotated[str, INDEXED]
    business: str
    fuel: Fuel
    number: Annotated[str, sa.String(16), INDEXED]
    postcode: Annotated[str, sa.String(8)]
    outcode: Outcode
    measures: Sequence[str]
    since: Annotated[Instant, KEY, {"server_default": "0"}] = 0
    until: Instant | None = None
    site: Annotated[str, {"server_default": ""}] = ""
    capacity: float | None = None
    customer: Annotated[str | None, INDEXED] = None


@table("day_block")
class DayBlock(NamedTuple):
    """A day's half-hours of one meter, already in the API's JSON, which is packed (scheme.packed).

    `holder` is "edp", or the connection that fetched it. `marks` has a letter for each half-hour in `body`: what its JSON does
    not say (metering.importing.day). None: the source told each register, and nothing is an estimate.
    """

    holder: Annotated[Id, KEY]
    meter: Annotated[SourceId, KEY]
    measure: Annotated[Measure, KEY]
    day: Annotated[Instant, KEY]
    body: bytes
    marks: Annotated[str | None, sa.String(48)] = None


@table("set_aside")
class SetAside(NamedTuple):
    """A value of an EDP's own meter that was given for a half-hour and is not released, with the reason.

    `file` and `line` say where it was read; of a dispute, the line that was read last. Empty: before migration 0023.
    """

    meter: Annotated[PublicId, KEY]
    measure: Annotated[Measure, KEY]
    start: Annotated[Instant, KEY]
    reason: Annotated[str, sa.String(64), KEY]
    value: float
    taken_at: Instant
    estimate: bool
    file: Annotated[str, {"server_default": ""}] = ""
    line: Annotated[int | None, sa.BigInteger()] = None


@table("account")
class SmeAccount(NamedTuple):
    """An SME's account at a CAP. `business` is empty until it is known.

    `seen` is the last instant at which retention knows it to have been used, or to have had a permission or connection; 0 where
    it has not looked.
    """

    id: Annotated[Id, KEY]
    email: Annotated[Email, UNIQUE]
    business: str
    created: Instant
    seen: Annotated[Instant, INDEXED, {"server_default": "0"}] = 0


@table("passkey")
class Passkey(NamedTuple):
    """A passkey of an account: its credential id, its public key (COSE) and the newest signature counter that it has shown.

    A row is kept for a while after it was `removed`, for the mail about it.
    """

    id: Annotated[Id, KEY]
    account: Annotated[Id, References("account.id"), INDEXED]
    credential: Annotated[bytes, UNIQUE]
    public_key: bytes
    sign_count: Annotated[int, sa.BigInteger()]
    name: Annotated[str, sa.String(60)]
    added: Instant
    used: Instant | None = None
    removed: Annotated[Instant | None, INDEXED] = None


@table("used_challenge")
class UsedChallenge(NamedTuple):
    """A challenge that a passkey has answered, so that it is answered once."""

    digest: Annotated[Digest, KEY]
    at: Annotated[Instant, INDEXED]


@table("sign_in_code")
class SignInCode(NamedTuple):
    """The code that works for an e-mail address, as a keyed digest.

    The code can be made again from `seed` and a key that is not in the store. `used_by` is the digest of the browser's
    handle that used it.
    """

    email: Annotated[Email, KEY]
    digest: Digest
    expires: Annotated[Instant, INDEXED]
    used: Instant | None = None
    seed: Annotated[Digest, {"server_default": ""}] = ""
    used_by: Digest | None = None


#: Live connections, by issuer (store.due).
_LIVE: Final = sa.text("ended IS NULL")


@table(
    "connection",
    sa.Index("ix_connection_by_issuer", "issuer", "collect_due", sqlite_where=_LIVE, postgresql_where=_LIVE),
)
class ProviderConnection(NamedTuple):
    """A permission that we hold as a client: a CAP's connection to one EDP for one SME.

    `listed` is when its meters were listed last, `collected` when readings came last. `trouble` says what fails now, and
    `failures` counts how often in a row its provider as a whole did.
    """

    id: Annotated[Id, KEY]
    account: Annotated[Id, References("account.id"), INDEXED]
    issuer: str
    resource: str
    member: str
    application: str
    license: str
    refresh_sealed: bytes
    refresh_mac: Annotated[Digest, UNIQUE]
    granted: Annotated[Instant, INDEXED]
    expires: Annotated[Instant, INDEXED]
    fsp: str | None = None
    collect_due: Annotated[Instant | None, INDEXED] = None
    ended: Instant | None = None
    ended_as: EndedAs | None = None
    ended_by: str | None = None
    ended_why: str | None = None
    leased: Instant | None = None
    collected: Instant | None = None
    trouble: str | None = None
    listed: Instant | None = None
    failures: Count = 0

    def is_live(self, at: int) -> bool:
        """Return whether it is in force at an instant: it has neither been ended nor expired."""
        return self.ended is None and self.expires > at


@table("collected")
class CollectedWindow(NamedTuple):
    """One fetched window of one data source: the EDP's signed record with our receipt, the facts that our calculation uses,
    and the names of the deployed forms that were accepted in the record (None: kept before they were named)."""

    connection: ConnectionId
    datasource: Annotated[SourceId, KEY]
    measure: Annotated[Measure, KEY]
    window_start: Annotated[Instant, KEY]
    window_end: Instant
    fuel: Fuel
    outcode: Outcode
    at: Annotated[Instant, INDEXED]
    complete: bool
    record: bytes
    deployed_forms: Sequence[str] | None = None


@table("collected_meter")
class CollectedMeter(NamedTuple):
    """One meter of a connection, as its provider listed it. `trouble` says why its last collection failed, `failures` how
    often in a row it did."""

    connection: ConnectionId
    datasource: Annotated[SourceId, KEY]
    fuel: Fuel
    outcode: Outcode
    due: Instant
    failures: Count = 0
    trouble: str | None = None


_WEIGHING: Final = sa.text("weigh_due IS NOT NULL")


@table(
    "meter_month",
    sa.Index("ix_meter_month_of_fuel", "connection", "fuel", "start"),
    sa.Index("ix_meter_month_weigh", "weigh_due", sqlite_where=_WEIGHING, postgresql_where=_WEIGHING),
    sa.Index(
        *("ix_meter_month_weigh_of_connection", "connection", "weigh_due"),
        sqlite_where=_WEIGHING,
        postgresql_where=_WEIGHING,
    ),
    sa.Index("ix_meter_month_start", "start"),
)
class MeterMonth(NamedTuple):
    """One whole calendar month (UTC) of one meter, collected at `fetched` and for the first time at `first`.

    `readings` are its half-hours (scheme.month_readings.packed), None once nothing needs them any more; `digest` is theirs,
    and `half_hours` how many there are. `amount`, `kilograms`, `complete`, `unknown`, `filled`, `by_set` (a set's year as text)
    and `basis` are those of scheme.emissions.MonthEmissions as of `at` (collect.figures). `revised` is when other readings
    last replaced a complete figure. `region` of the grid was found by `region_by` (scheme.regions); while a grid figure is
    missing, `weigh_due` says when to ask for it again, and `trouble` why it could not be had.
    """

    connection: ConnectionId
    datasource: Annotated[SourceId, KEY]
    start: Annotated[Instant, KEY]
    fuel: Fuel
    outcode: Outcode
    readings: bytes | None
    digest: Digest
    half_hours: int
    amount: float
    kilograms: float
    complete: bool
    first: Instant
    fetched: Instant
    at: Instant
    revised: Instant | None = None
    region: int | None = None
    region_by: Annotated[str | None, sa.String(16)] = None
    weigh_due: Instant | None = None
    trouble: str | None = None
    unknown: Count = 0
    filled: Count = 0
    by_set: Mapping[str, float] | None = None
    basis: Annotated[str, {"server_default": ""}] = ""


@table("grid_day")
class GridDayRow(NamedTuple):
    """A day of grid intensity of one region: outbound.intensity.GridDay, its values as 48 doubles."""

    region: Annotated[int, KEY]
    day: Annotated[Instant, KEY]
    fetched: Instant
    body: bytes


@table("month")
class EmissionsMonth(NamedTuple):
    """What the version before kept of a month of one fuel from one connection. Figures rest on `meter_month` alone; rows are
    deleted with their connection's data."""

    connection: ConnectionId
    fuel: Annotated[Fuel, KEY]
    start: Annotated[Instant, KEY]
    kilograms: float
    complete: bool
    at: Instant


@table("factor_set")
class LoadedFactorSet(NamedTuple):
    """A year's conversion factors for gas, loaded by an operator: the fields of scheme.factors.FactorSet."""

    region: Annotated[str, sa.String(16), KEY]
    year: Annotated[int, KEY]
    published: Instant
    kg_per_m3: float
    kg_per_kwh: float
    mineral_kg_per_m3: float | None
    title: str
    source: str
    license: str
    file_sha256: Digest
    loaded: Instant


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


@table("attempt")
class FailureCount(NamedTuple):
    """Failures counted under one key in one window."""

    key: Annotated[str, sa.String(96), KEY]
    window: Annotated[Instant, KEY, INDEXED]
    count: int  # type: ignore[assignment]  # a tuple's method of that name is not used


@table("fetched")
class FetchedCopy(NamedTuple):
    """The last good copy of a fetched document: a list, a Directory entry, a permission text."""

    name: Annotated[str, KEY]
    body: bytes
    headers: Mapping[str, str]
    fetched: Instant
    fresh_until: Instant


_NOT_SEALED: Final = sa.text("position IS NULL")


@table(
    "audit_event",
    sa.Index("ix_audit_event_position", "position", unique=True),
    sa.Index("ix_audit_event_not_sealed", "id", sqlite_where=_NOT_SEALED, postgresql_where=_NOT_SEALED),
)
class KeptEvent(NamedTuple):
    """An event of the audit trail, written in the same transaction as the act.

    `position`, `contents` and `digest` are its place in the chain (scheme.audit_chain), from when it is sealed. Triggers of the
    database refuse to change or delete it.
    """

    at: Annotated[Instant, INDEXED]
    event: PublicId
    correlation_id: PublicId
    fields: Mapping[str, object]
    id: Serial = 0
    position: Annotated[int | None, sa.BigInteger()] = None
    contents: Digest | None = None
    digest: Digest | None = None


@table("audit_checkpoint")
class KeptCheckpoint(NamedTuple):
    """A digest of the chain as our signing certificate has signed it."""

    position: Annotated[int, sa.BigInteger(), KEY]
    digest: Digest
    at: Instant
    signed: Mapping[str, str]


@table("deletion_certificate")
class DeletionCertificate(NamedTuple):
    """The certificate of an erasure as it was signed: it names no business, no person and no meter (scheme.deletion)."""

    id: Annotated[Id, KEY]
    at: Instant
    signed: Mapping[str, str]


@table("job_run")
class JobRun(NamedTuple):
    """How the last run of a job of `consent-server work` ended, and when one last succeeded and failed."""

    job: Annotated[str, sa.String(48), KEY]
    at: Instant
    ok: bool
    error: str
    succeeded: Instant | None = None
    failed: Instant | None = None


@table("node")
class Node(NamedTuple):
    """One machine's set of keys, as its processes say it of themselves. `since` is when it was last another."""

    name: Annotated[str, sa.String(300), KEY]
    keys: KeySet
    since: Instant
    seen: Instant


@table("probe")
class Probe(NamedTuple):
    """One look at a part of the service from outside. `measured` is the milliseconds until the answer; of messages the seconds
    for which the oldest is owed. `why` is one word, empty where it was answered.
    """

    part: Annotated[str, sa.String(16), KEY]
    at: Annotated[Instant, KEY, INDEXED]
    answered: bool
    measured: int
    why: Annotated[str, sa.String(32)]


@table("probe_day")
class ProbeDay(NamedTuple):
    """The sums of a day's probes of one part (status.measured). `planned_s` is downtime that was announced in time."""

    part: Annotated[str, sa.String(16), KEY]
    day: Annotated[Instant, KEY]
    asked: int
    answered: int
    measured_s: int
    down_s: int
    planned_s: int


class NoticeText(TypedDict):
    """What an operator wrote about an incident, and when."""

    at: int
    text: str


@table("notice")
class StatusNotice(NamedTuple):
    """An incident, or downtime that is planned, as an operator announced it.

    `effect` is "down" or "degraded". An incident ends when it is closed; until then `ends` is None. `in_time` says whether
    downtime was announced as early as the scheme asks.
    """

    id: Annotated[str, sa.String(16), KEY]
    kind: Annotated[Literal["incident", "downtime"], sa.String(16)]
    parts: Sequence[str]
    effect: Annotated[Literal["down", "degraded"], sa.String(16)]
    title: str
    begins: Annotated[Instant, INDEXED]
    ends: Instant | None
    announced: Instant
    in_time: bool
    texts: Sequence[NoticeText]
    cancelled: Instant | None = None


@table("served_hour")
class ServedHour(NamedTuple):
    """How one endpoint answered one client in an hour. `client` is an application URL, empty where nobody was identified.

    `failed` were answered by a fault of ours or by 503. The others are counted by the milliseconds that their answer took, each
    in the first of these columns in which it goes; `slower` has the rest.
    """

    hour: Annotated[Instant, KEY]
    endpoint: Annotated[str, sa.String(120), KEY]
    client: Annotated[str, KEY]
    asked: int
    failed: int
    ms_100: int
    ms_250: int
    ms_500: int
    ms_1000: int
    ms_1500: int
    ms_4000: int
    ms_6000: int
    slower: int

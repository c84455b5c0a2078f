"""The tables. Instants are whole seconds since 1970-01-01T00:00Z; ids and digests are text.

No column holds a token, a code or a key that would open anything: handles are kept as SHA-256 digests, a refresh token
is recomputed from its id and key version, and the tokens that we hold as a client are sealed with AES-GCM.
"""

from typing import Any, Final

import sqlalchemy as sa

from consent_server.store.database import db

INSTANT: Final = sa.BigInteger()
#: Characters of a meter's id at another provider, which is opaque to us (client.fields.opaque).
LONGEST_SOURCE: Final = 300
BIG_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _column(*args: Any, **kwargs: Any) -> sa.Column[Any]:
    kwargs.setdefault("nullable", False)
    return sa.Column(*args, **kwargs)


class PushedRequest(db.Model):  # type: ignore[name-defined, misc]
    """An authorization request as its client pushed it (RFC 9126).

    Kept a day, so that a late visitor gets a true answer.
    """

    __tablename__ = "pushed_request"
    digest = _column(sa.String(64), primary_key=True)
    client_id = _column(sa.Text)
    member = _column(sa.Text)
    certificate = _column(sa.String(64))
    redirect_uri = _column(sa.Text)
    state = _column(sa.Text, nullable=True)
    license = _column(sa.Text)
    code_challenge = _column(sa.String(128))
    created = _column(INSTANT, index=True)
    expires = _column(INSTANT)
    concluded = _column(INSTANT, nullable=True)


class Journey(db.Model):  # type: ignore[name-defined, misc]
    """One browser's walk from /authorize to a decision, with its own copy of the pushed values."""

    __tablename__ = "journey"
    id = _column(sa.String(32), primary_key=True)
    secret = _column(sa.String(64))
    previous_secret = _column(sa.String(64), nullable=True)
    request = _column(sa.String(64))
    client_id = _column(sa.Text)
    member = _column(sa.Text)
    redirect_uri = _column(sa.Text)
    state = _column(sa.Text, nullable=True)
    license = _column(sa.Text)
    code_challenge = _column(sa.String(128))
    created = _column(INSTANT, index=True)
    seen = _column(INSTANT)
    claimed = _column(INSTANT, nullable=True)
    concluded = _column(INSTANT, nullable=True)
    progress = _column(sa.JSON)


class Permission(db.Model):  # type: ignore[name-defined, misc]
    """One grant by an SME at our issuer. One row per grant; history is never overwritten."""

    __tablename__ = "permission"
    id = _column(sa.String(32), primary_key=True)
    account = _column(sa.String(48), unique=True)
    status_index = _column(sa.Integer, unique=True)
    client_id = _column(sa.Text, index=True)
    member = _column(sa.Text)
    license = _column(sa.Text)
    fuels = _column(sa.JSON)
    text_sha256 = _column(sa.String(64))
    sme = _column(sa.Text, index=True)
    meters = _column(sa.JSON)
    datasources = _column(sa.JSON)
    granted = _column(INSTANT)
    expires = _column(INSTANT, index=True)
    redeemed = _column(INSTANT, nullable=True)
    refresh_id = _column(sa.String(48), unique=True)
    refresh_version = _column(sa.Integer)
    ended = _column(INSTANT, nullable=True, index=True)
    ended_as = _column(sa.String(16), nullable=True)
    ended_by = _column(sa.Text, nullable=True)
    ended_where = _column(sa.Text, nullable=True)
    ended_why = _column(sa.Text, nullable=True)


class Evidence(db.Model):  # type: ignore[name-defined, misc]
    """What an SME saw and did.

    `subject` is the permission that it granted, or the connection that it asked us to make.
    """

    __tablename__ = "evidence"
    id = _column(sa.String(48), primary_key=True)
    subject = _column(sa.String(32), unique=True)
    at = _column(INSTANT)
    license = _column(sa.Text)
    text_shown = _column(sa.Text)
    shown_sha256 = _column(sa.String(64))
    raw_sha256 = _column(sa.String(64))
    client_id = _column(sa.Text)
    names = _column(sa.JSON)
    who = _column(sa.JSON)
    meters = _column(sa.JSON)
    address = _column(sa.Text)
    user_agent = _column(sa.Text)
    correlation_id = _column(sa.String(48))


class Code(db.Model):  # type: ignore[name-defined, misc]
    """An authorization code, consumed by one conditional UPDATE."""

    __tablename__ = "code"
    digest = _column(sa.String(64), primary_key=True)
    permission = _column(sa.String(32), sa.ForeignKey("permission.id"))
    client_id = _column(sa.Text)
    redirect_uri = _column(sa.Text)
    code_challenge = _column(sa.String(128))
    issued = _column(INSTANT, index=True)
    expires = _column(INSTANT)
    redeemed = _column(INSTANT, nullable=True)
    wrong_verifiers = _column(sa.Integer, server_default="0")


class DataSource(db.Model):  # type: ignore[name-defined, misc]
    """The opaque id of one meter for one client and one SME: stable, and different for every client."""

    __tablename__ = "datasource"
    id = _column(sa.String(48), primary_key=True)
    client_id = _column(sa.Text)
    sme = _column(sa.Text)
    meter = _column(sa.String(48))
    __table_args__ = (sa.UniqueConstraint("client_id", "sme", "meter"),)


class Link(db.Model):  # type: ignore[name-defined, misc]
    """`dependent` falls when `support` has fallen and nothing else supports it.

    Both are ids of permissions or connections.
    """

    __tablename__ = "link"
    support = _column(sa.String(32), primary_key=True)
    dependent = _column(sa.String(32), primary_key=True, index=True)


class Outbox(db.Model):  # type: ignore[name-defined, misc]
    """A call that we owe. Its secret is recomputed or unsealed at delivery from `subject`."""

    __tablename__ = "outbox"
    id = _column(BIG_ID, primary_key=True, autoincrement=True)
    kind = _column(sa.String(16))
    subject = _column(sa.String(32), index=True)
    recipient = _column(sa.Text)
    created = _column(INSTANT)
    due = _column(INSTANT, index=True)
    leased = _column(INSTANT, nullable=True)
    attempts = _column(sa.Integer, server_default="0")
    delivered = _column(INSTANT, nullable=True)
    given_up = _column(INSTANT, nullable=True)
    last_error = _column(sa.Text, nullable=True)


class Meter(db.Model):  # type: ignore[name-defined, misc]
    """The EDP's own meter register: one row per meter.

    Numbers and addresses are here, because this is where they live.
    """

    __tablename__ = "meter"
    id = _column(sa.String(48), primary_key=True)
    sme = _column(sa.Text, index=True)
    business = _column(sa.Text)
    fuel = _column(sa.String(16))
    number = _column(sa.String(16), index=True)
    postcode = _column(sa.String(8))
    outcode = _column(sa.String(4))
    measures = _column(sa.JSON)
    scenario = _column(sa.String(32), nullable=True)


class DayBlock(db.Model):  # type: ignore[name-defined, misc]
    """A day's half-hours of one meter, already in the API's JSON.

    `holder` is "edp", or the connection that fetched it.
    """

    __tablename__ = "day_block"
    holder = _column(sa.String(32), primary_key=True)
    meter = _column(sa.String(LONGEST_SOURCE), primary_key=True)
    measure = _column(sa.String(8), primary_key=True)
    day = _column(INSTANT, primary_key=True)
    body = _column(sa.LargeBinary)


class Account(db.Model):  # type: ignore[name-defined, misc]
    """An SME's account at a CAP's portal."""

    __tablename__ = "account"
    id = _column(sa.String(32), primary_key=True)
    email = _column(sa.String(254), unique=True)
    business = _column(sa.Text)
    created = _column(INSTANT)


class SignInCode(db.Model):  # type: ignore[name-defined, misc]
    """The e-mail code that was sent last for an address, as a keyed digest."""

    __tablename__ = "sign_in_code"
    email = _column(sa.String(254), primary_key=True)
    digest = _column(sa.String(64))
    expires = _column(INSTANT)
    used = _column(INSTANT, nullable=True)


class Connection(db.Model):  # type: ignore[name-defined, misc]
    """A permission that we hold as a client: a CAP's connection to one EDP for one SME."""

    __tablename__ = "connection"
    id = _column(sa.String(32), primary_key=True)
    account = _column(sa.String(32), sa.ForeignKey("account.id"), index=True)
    issuer = _column(sa.Text)
    resource = _column(sa.Text)
    member = _column(sa.Text)
    application = _column(sa.Text)
    license = _column(sa.Text)
    fsp = _column(sa.Text, nullable=True)
    refresh_sealed = _column(sa.LargeBinary)
    refresh_mac = _column(sa.String(64), unique=True)
    granted = _column(INSTANT)
    expires = _column(INSTANT)
    ended = _column(INSTANT, nullable=True)
    ended_as = _column(sa.String(16), nullable=True)
    ended_by = _column(sa.Text, nullable=True)
    ended_why = _column(sa.Text, nullable=True)
    collect_due = _column(INSTANT, nullable=True, index=True)
    leased = _column(INSTANT, nullable=True)
    collected = _column(INSTANT, nullable=True)
    trouble = _column(sa.Text, nullable=True)


class Collected(db.Model):  # type: ignore[name-defined, misc]
    """One window of one data source as it was fetched: the EDP's signed record, and what our calculation rests on."""

    __tablename__ = "collected"
    connection = _column(sa.String(32), sa.ForeignKey("connection.id"), primary_key=True)
    datasource = _column(sa.String(LONGEST_SOURCE), primary_key=True)
    measure = _column(sa.String(8), primary_key=True)
    window_start = _column(INSTANT, primary_key=True)
    window_end = _column(INSTANT)
    fuel = _column(sa.String(16))
    outcode = _column(sa.String(4))
    at = _column(INSTANT)
    complete = _column(sa.Boolean)
    record = _column(sa.LargeBinary)


class Month(db.Model):  # type: ignore[name-defined, misc]
    """One whole calendar month (UTC) of one fuel's emissions from one connection, in kilograms."""

    __tablename__ = "month"
    connection = _column(sa.String(32), sa.ForeignKey("connection.id"), primary_key=True)
    fuel = _column(sa.String(16), primary_key=True)
    start = _column(INSTANT, primary_key=True)
    kilograms = _column(sa.Float)
    complete = _column(sa.Boolean)
    at = _column(INSTANT)


class Session(db.Model):  # type: ignore[name-defined, misc]
    """A server-side session; the browser holds an opaque id of which we keep the digest."""

    __tablename__ = "session"
    digest = _column(sa.String(64), primary_key=True)
    kind = _column(sa.String(16))
    data = _column(sa.JSON)
    created = _column(INSTANT)
    seen = _column(INSTANT, index=True)


class Attempt(db.Model):  # type: ignore[name-defined, misc]
    """Failures counted under one key in one window."""

    __tablename__ = "attempt"
    key = _column(sa.String(96), primary_key=True)
    window = _column(INSTANT, primary_key=True, index=True)
    count = _column(sa.Integer)


class Fetched(db.Model):  # type: ignore[name-defined, misc]
    """The last good copy of something that is fetched: a list, a Directory entry, a permission text."""

    __tablename__ = "fetched"
    name = _column(sa.Text, primary_key=True)
    body = _column(sa.LargeBinary)
    headers = _column(sa.JSON)
    fetched = _column(INSTANT)
    fresh_until = _column(INSTANT)


class AuditEvent(db.Model):  # type: ignore[name-defined, misc]
    """A grant, a decision or a withdrawal, written in the same transaction as the act."""

    __tablename__ = "audit_event"
    id = _column(BIG_ID, primary_key=True, autoincrement=True)
    at = _column(INSTANT, index=True)
    event = _column(sa.String(48))
    correlation_id = _column(sa.String(48))
    fields = _column(sa.JSON)


def table(model: Any) -> sa.Table:
    """The Core table of a model."""
    return model.__table__  # type: ignore[no-any-return]

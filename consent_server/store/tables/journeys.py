"""A client's request as it was pushed, and a browser's way from it to a decision."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple, NotRequired

from typing_extensions import TypedDict  # pydantic cannot validate that of typing before Python 3.12

from consent_server.scheme.meters import MaskedMeter
from consent_server.scheme.permission import Who
from consent_server.store.rows import INDEXED, KEY, table
from consent_server.store.tables.columns import Challenge, Digest, Id, Instant, PublicId


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

"""Customer log-in: send the browser to the EDP's own provider, take it back once, and find the business in the register.

A log-in under way is kept in a journey, or in the session of a browser at /manage; everything else is the same for both. The
code that comes back is redeemed as a background task, so that no page waits for a slow provider and no code is redeemed twice.
"""

import hmac
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, Final

from consent_server import clock
from consent_server.deployment import current
from consent_server.metering import sources
from consent_server.outbound.errors import BadAnswer, CallbackRefused, OAuthRefused, Unreachable
from consent_server.outbound.log_in import LogInProvider, LogInRequest, TooWeak
from consent_server.refusal import Refusal, ServerFault, Unavailable, by_code
from consent_server.store.tables.journeys import FoundCustomer, LogInState, Progress
from consent_server.store.tables.sessions import SessionData
from consent_server.web import background, budgets, headers
from consent_server.web.background import ProviderBusy, StillUnderWay
from consent_server.web.language import N_
from consent_server.web.limits import Guess, network_of

#: The strength of a log-in whose authentication context the settings do not describe.
UNSAID: Final = N_("the customer's log-in; how it logged in is not known")
#: The account for which the provider's documents are fetched: they are the same for all.
_DOCUMENTS: Final = "documents"
#: The use of the key that seals verifiers: strangers begin log-ins (`Sealer.for_use`).
_SEALED: Final = "log-in"


class LogInNotOurs(Refusal):
    code = "log_in_not_ours"
    error = "access_denied"
    status = 403
    public = (
        "You came back from the log-in in a way that does not belong to this visit. Nothing was shared. Log in again."
    )
    help = (
        "Start again from the app that sent you, or from the page of your permissions, and use the same browser until "
        "you are back. A log-in can be used once."
    )
    clause = "RFC 9700 2.1, 4.4 and 4.7; OpenID Connect Core 3.1.2.7"


class LogInStopped(Refusal):
    code = "log_in_stopped"
    error = "access_denied"
    status = 403
    public = "The log-in was not finished. Nothing was shared. Log in again when you are ready."
    help = (
        "The provider said that the log-in was stopped or refused. Log in again, or choose another way if there is one."
    )
    clause = "OpenID Connect Core 3.1.2.6"


class LogInTooWeak(Refusal):
    code = "log_in_too_weak"
    error = "access_denied"
    status = 403
    public = "This needs a stronger log-in than the one that was used. Nothing was shared. Log in again with a second factor."
    help = "Set up what the provider asks for, such as a second factor, and log in again."
    clause = "RFC 9470; OpenID Connect Core 3.1.2.1"


class LogInRefused(Refusal):
    code = "log_in_refused"
    status = 502
    public = "We could not verify what the log-in told us. Nothing was shared. Log in again."
    help = (
        "Log in again. If it happens twice, tell us the correlation id: our log says what was wrong. For the "
        "operator: `consent-server doctor` compares the settings with the provider."
    )
    clause = "OpenID Connect Core 3.1.3.5 and 3.1.3.7"


class LogInUnreachable(Unavailable):
    code = "log_in_unreachable"
    public = "The log-in does not respond just now. Nothing was shared. Try again in a minute."
    help = "Try again in a minute, or choose another way if there is one."
    clause = "RFC 9110 15.6.4"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60"}


class KeptLogIn(ABC):
    """Where one browser's log-in is kept while it is under way, under `log_in`."""

    redirect_uri: str

    @abstractmethod
    def edit(self, change: Callable[[Progress | SessionData], object]) -> None:
        """Change what is kept, as it is now and not as it was when the request began."""

    def change(self, state: str, newest: LogInState, *, back: bool) -> bool:
        """Keep `newest` if the log-in under way has this state, and has come back or not, as `back` says; return whether."""
        kept = False

        def replace(held: Progress | SessionData) -> None:
            nonlocal kept
            before = held.get("log_in")
            if before is not None and (before["state"], before["came_back"]) == (state, back):
                held["log_in"], kept = newest, True

        self.edit(replace)
        return kept


def provider() -> LogInProvider:
    """Return the provider of a deployment that has one."""
    found = current().log_in
    assert found is not None  # settings.has_log_in
    return found


def method() -> str:
    """Return what the evidence calls this way to show who one is."""
    return f"log-in at {current().settings.login.provider}"  # a record, and in English whoever reads the page


def form_targets() -> tuple[str, ...]:
    """Return the origins through which a browser goes to log in. Raise LogInUnreachable; StillUnderWay for a slow provider."""
    if provider().has_metadata():
        endpoint = _authorization_endpoint()
    else:
        try:
            issuer = current().settings.login.issuer
            endpoint = background.run(issuer, _DOCUMENTS, lambda: None, lambda _: _authorization_endpoint())
        except ProviderBusy:
            raise StillUnderWay from None  # others are fetching them already
    return headers.origin_of(endpoint), *current().settings.login.through


def _authorization_endpoint() -> str:
    try:
        return provider().metadata().authorization_endpoint
    except Unreachable as error:
        raise LogInUnreachable(str(error)) from None


def leave(redirect_uri: str, state: str, address: str) -> tuple[str, LogInState]:
    """Return where to send the browser at a network address, and what must be kept of it. Raise LogInUnreachable, TooMany."""
    attempt = budgets.log_in(address)
    attempt.take()  # each is kept, and causes a call to the provider when it comes back
    begun = LogInState(
        state=state,
        nonce=secrets.token_urlsafe(32),
        verifier=current().sealer.for_use(_SEALED).seal(secrets.token_urlsafe(48)).hex(),
        at=clock.now(),
        came_back=False,
        fault="",
        found=None,
    )
    try:
        return provider().address(_asked(redirect_uri, begun)), begun
    except Unreachable as error:
        attempt.succeeded()  # nobody must wait because the provider was down
        raise LogInUnreachable(str(error)) from None


def come_back(kept: KeptLogIn, under_way: LogInState | None, returned: Mapping[str, str], address: str) -> None:
    """Take what came back with a browser, once; its result is in `kept`, now or later. Raise LogInNotOurs, ProviderBusy.

    The same return once more, as from a reload, changes nothing.
    """
    state = returned.get("state", "")
    if under_way is None or not hmac.compare_digest(under_way["state"].encode(), state.encode()):
        raise LogInNotOurs("state")
    if under_way["came_back"]:
        return
    back: LogInState = {**under_way, "came_back": True, "at": clock.now()}

    def begin() -> LogInState:
        if not kept.change(state, back, back=False):
            raise StillUnderWay  # another request of this browser has just taken it
        return back

    try:
        account = network_of(address)  # who it is, is not known yet
        act = partial(_redeem, kept, returned, budgets.log_in(address))
        background.run(current().settings.login.issuer, account, begin, act)
    except StillUnderWay:
        return


def result(log_in: LogInState | None) -> FoundCustomer | None:
    """Return what a log-in has led to, or None where none has come back. Raise the refusal in which it ended, StillUnderWay."""
    if log_in is None or not log_in["came_back"]:
        return None
    if log_in["fault"]:
        raise by_code(log_in["fault"])("the log-in ended so")
    if log_in["found"] is None:
        if not background.is_lost(log_in["at"]):
            raise StillUnderWay
        raise LogInUnreachable("the log-in has no result")
    return log_in["found"]


def _redeem(kept: KeptLogIn, returned: Mapping[str, str], attempt: Guess, taken: LogInState) -> str:
    ended: LogInState = {**taken, "fault": ServerFault.code}
    try:
        ended["found"] = _found(_asked(kept.redirect_uri, taken), returned)
        ended["fault"] = ""
    except Refusal as refusal:
        ended["fault"] = refusal.code
        background.log.warning("a log-in ended: %s: %s", refusal.code, refusal.private)
    finally:
        kept.change(taken["state"], ended, back=True)
    if ended["fault"] in ("", LogInUnreachable.code):
        attempt.succeeded()
    return ""


def _found(asked: LogInRequest, returned: Mapping[str, str]) -> FoundCustomer:
    try:
        customer = provider().customer(asked, returned)
    except CallbackRefused as refused:
        raise LogInNotOurs(str(refused)) from None
    except OAuthRefused as refused:
        # invalid_grant: the code has expired, or was used by somebody else
        stopped = refused.error not in {"invalid_client", "unauthorized_client", "invalid_request", "invalid_scope"}
        raise (LogInStopped if stopped else LogInRefused)(str(refused)) from None
    except TooWeak as weak:
        raise LogInTooWeak(str(weak)) from None
    except Unreachable as error:
        raise (LogInRefused if isinstance(error, BadAnswer) else LogInUnreachable)(str(error)) from None
    identified = sources.register().of_customer(customer.id, clock.now())
    strength = current().settings.login.strengths.get(customer.acr, UNSAID)
    if identified is None:
        return FoundCustomer(sme="", business="", strength=strength, meters=[])
    meters = [meter.meter for meter in identified.meters]
    return FoundCustomer(
        sme=identified.sme, business=identified.business, strength=strength, meters=meters, email=customer.email
    )


def _asked(redirect_uri: str, log_in: LogInState) -> LogInRequest:
    verifier = current().sealer.for_use(_SEALED).unseal(bytes.fromhex(log_in["verifier"]))
    return LogInRequest(redirect_uri, log_in["state"], log_in["nonce"], verifier)

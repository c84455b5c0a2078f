"""From code to tokens (RFC 6749 section 4.1.3): all checks first, then two conditional UPDATEs, each in its own transaction.

The first redeems the code; the second, once the first is committed, decides which process may send the tokens. If the client
presents the code correctly again after the second, the code has been used twice, and what was issued for it ends. Before the
second nothing can have been sent: the database failed, or the process ended, and a client that tries again gets its tokens.

A code that is presented wrongly changes nothing but the count of wrong verifiers, so that whoever holds a stolen code cannot
spoil it for its owner.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from consent_server import audit, clock, store
from consent_server.deployment import current
from consent_server.issuer import issue, superseding
from consent_server.issuer.issue import TokenResponse
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.refusal import Refusal, verdict
from consent_server.scheme.permission import Act
from consent_server.signing.jws import base64url
from consent_server.store import audit_events, codes, permissions
from consent_server.store.codes import HeldCode
from consent_server.store.tables.permissions import AuthorizationCode, Permission
from consent_server.tokens import refresh_token
from consent_server.withdrawal.withdraw import Withdrawal, withdraw_in

PARAMETERS: Final = ("code", "redirect_uri", "code_verifier")
MOST_WRONG_VERIFIERS: Final = 5

# RFC 7636 section 4.1
_VERIFIER: Final = re.compile(r"[A-Za-z0-9\-._~]{43,128}")


@dataclass(frozen=True)
class Redemption:
    """A code as it is presented, with what is kept of it, and when."""

    form: Mapping[str, str]
    client_id: str
    held: HeldCode
    at: int


class CodeRequestIncomplete(Refusal):
    code = "code_request_incomplete"
    public = "code and redirect_uri are both needed to redeem a code."
    help = "Send code, redirect_uri (as it was pushed) and code_verifier."
    clause = "RFC 6749 4.1.3"


class CodeRefused(Refusal):
    """One response for everything that is wrong with a code; the cause is in `private`."""

    code = "code_refused"
    error = "invalid_grant"
    public = "The code is not valid: unknown, expired, used, another client's, or sent with other values than pushed."
    help = (
        "Redeem a code once, within its lifetime, with the certificate, redirect_uri and code_verifier that belong to "
        "the pushed request. After any failure start a new authorization request."
    )
    clause = "RFC 6749 5.2; RFC 6749 4.1.3"


class VerifierRefused(CodeRefused):
    code = "code_verifier_refused"
    public = "The code_verifier is missing or does not match the code_challenge."
    help = (
        "Send the code_verifier whose SHA-256 was pushed as code_challenge. After five wrong ones the code is no "
        "longer valid."
    )
    clause = "RFC 7636 4.6"


class CodeReplayed(CodeRefused):
    code = "code_replayed"
    public = "The code has been used before; the tokens that were issued for it are no longer valid."
    help = "A code works once. Start a new authorization request; the SME must give permission again."
    clause = "RFC 6749 4.1.2"


def code_is_this_clients(redemption: Redemption) -> Refusal | None:
    # RFC 6749 section 4.1.3: "ensure that the authorization code was issued to the authenticated confidential client"
    if redemption.held.code.client_id != redemption.client_id:
        return CodeRefused(f"the code of {redemption.held.code.client_id}")
    return None


def redirect_uri_is_the_pushed(redemption: Redemption) -> Refusal | None:
    # RFC 6749 section 4.1.3: "their values are identical"
    if redemption.form["redirect_uri"] != redemption.held.code.redirect_uri:
        return CodeRefused("another redirect_uri than pushed")
    return None


def code_is_not_guessed_at(redemption: Redemption) -> Refusal | None:
    if redemption.held.code.wrong_verifiers >= MOST_WRONG_VERIFIERS:
        return CodeRefused("dead after too many wrong verifiers")
    return None


def verifier_matches(redemption: Redemption) -> Refusal | None:
    verifier = redemption.form.get("code_verifier")
    if verifier is None:
        return VerifierRefused("no code_verifier")
    challenge = base64url(hashlib.sha256(verifier.encode()).digest())
    # RFC 7636 section 4.6: "If the values are not equal, an error response indicating invalid_grant"
    if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(challenge, redemption.held.code.code_challenge):
        return VerifierRefused("another code_verifier")
    return None


def code_is_unused(redemption: Redemption) -> Refusal | None:
    # RFC 6749 section 4.1.2: "MUST deny the request and SHOULD revoke (when possible) all tokens previously issued"
    code = redemption.held.code
    return CodeReplayed("used before") if code.redeemed is not None and not code.unanswered else None


def code_is_fresh(redemption: Redemption) -> Refusal | None:
    # FAPI 2.0 section 5.3.2.1: codes live at most 60 seconds; at the end of that time a code has expired
    return CodeRefused("expired") if redemption.at >= redemption.held.code.expires else None


def permission_is_live(redemption: Redemption) -> Refusal | None:
    # Withdrawal of Permission: what was withdrawn before it was redeemed yields no token
    return None if redemption.held.permission.is_live(redemption.at) else CodeRefused("its permission has ended")


CHECKS: Final = (
    code_is_this_clients,
    redirect_uri_is_the_pushed,
    code_is_not_guessed_at,
    verifier_matches,
    code_is_unused,
    code_is_fresh,
    permission_is_live,
)


def redeem(caller: MemberCertificate, form: Mapping[str, str]) -> TokenResponse:
    """Exchange a code for tokens; return the body of RFC 6749 section 5.1."""
    at = clock.now()
    # RFC 6749 section 4.1.3: code and redirect_uri are REQUIRED
    if "code" not in form or "redirect_uri" not in form:
        raise CodeRequestIncomplete()
    code = form["code"]
    held = codes.look(code, at)
    if held is None:
        raise CodeRefused("no such code")
    presented = Redemption(form, caller.application, held, at)
    refusal = verdict(CHECKS, presented)
    if refusal is not None:
        raise _judged_in_turn(presented) or refusal
    # Before the code is spent: a fault of ours then leaves it, and the permission before, as they were. In no transaction: a
    # key in an HSM may take long. Where the code is lost to another call, nobody is sent these tokens.
    tokens = _tokens(held.permission, caller, at)
    if held.has_older or not codes.redeem_at_once(code, at):
        refusal = _judged_in_turn(presented)
        if refusal is not None:
            raise refusal
    if not _may_answer(code, held.code, at):
        # Another worker sends what it issued: it was used twice.
        raise CodeReplayed("lost a race")
    permission = held.permission
    audit.event("code_redeemed", client_id=permission.client_id, permission=permission.id, license=permission.license)
    return tokens


def _judged_in_turn(presented: Redemption) -> Refusal | None:
    """Judge it again, and record what follows, while no other transaction acts for its business.

    What was refused before is refused again: nothing that comes between makes a code valid.
    """
    form, at = presented.form, presented.at
    with store.writing() as c:
        held = codes.hold(c, form["code"], at)
        if held is None:
            return CodeRefused("no such code")
        now = replace(presented, held=held)
        refusal = verdict(CHECKS, now)
        if isinstance(refusal, VerifierRefused) and "code_verifier" in form:
            codes.wrong_verifier(c, form["code"])
        elif isinstance(refusal, CodeReplayed):
            _end_what_it_issued(c, now.held.code, at)
        elif refusal is None and codes.redeem(c, form["code"], at):
            permissions.redeem(c, now.held.permission.id, at)
            if now.held.has_older:
                _supersede(c, now.held.permission, at)
    return refusal


def _may_answer(code: str, row: AuthorizationCode, at: int) -> bool:
    """Return whether this call, and no other, sends what the code issued; end what it issued otherwise.

    True also when that cannot be known. Its redemption is kept, so the tokens are good; to refuse them would leave the client
    with a code that it may not send again. Raise OutcomeUnknown where the store fails before that; it may then send it again.
    """
    is_first = None
    try:
        is_first = codes.answer(code)
        if not is_first:
            with store.writing() as c:
                _end_what_it_issued(c, row, at)
    except store.StoreUnavailable as refusal:
        if is_first is None and isinstance(refusal, store.OutcomeUnknown):
            return True
        raise store.OutcomeUnknown(refusal.private) from refusal
    return is_first


def _tokens(permission: Permission, caller: MemberCertificate, at: int) -> TokenResponse:
    return {
        **issue.token_response(permission, caller, at),
        "refresh_token": refresh_token.text(current().refresh_keys, permission.refresh_version, permission.refresh_id),
    }


def _supersede(c: store.Connection, new: Permission, at: int) -> None:
    """End the older permissions that the new one replaces.

    Without a message: the client holds the new token in the same moment. What rests on the older one stays as it is.
    """
    for old in superseding.replaced_by(c, new, at):
        how = {"by": new.id, "where": "token endpoint", "why": "a newer permission"}
        if permissions.end(c, old, Act.SUPERSEDE, at=at, **how):
            audit_events.keep(c, audit.event("permission_superseded", permission=old.id, by=new.id))


def _end_what_it_issued(c: store.Connection, code: AuthorizationCode, at: int) -> None:
    audit_events.keep(c, audit.event("code_replayed", client_id=code.client_id, permission=code.permission))
    replayed = Withdrawal("issuer", "token endpoint", "its code was used twice", already_told=code.client_id)
    withdraw_in(c, code.permission, replayed, at)

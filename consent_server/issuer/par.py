"""Pushed authorization requests (RFC 9126): a client states over mutual TLS what its SME will be asked.

The SME reads exactly what is accepted here: nothing is taken from the browser later.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from consent_server import audit, clock, store
from consent_server.caller import membership
from consent_server.deployment import current
from consent_server.issuer import redirect_uri
from consent_server.outbound.directory import is_member_url
from consent_server.pki.member_certificate import MemberCertificate
from consent_server.refusal import Refusal, require
from consent_server.scheme.licenses import License
from consent_server.store import requests
from consent_server.store.digests import digest, new_secret
from consent_server.store.tables.journeys import PushedRequest
from consent_server.web import budgets
from consent_server.web.limits import TooMany

#: Parameters of a pushed request; others are ignored (RFC 6749 section 3.1).
PARAMETERS: Final = (
    "response_type",
    "response_mode",
    "scope",
    "redirect_uri",
    "state",
    "code_challenge",
    "code_challenge_method",
    "request",
    "request_uri",
    # Of our own: RFC 6749 section 3.1 lets other issuers ignore them.
    "fsp",
    "permission_text_sha256",
    # OpenID Connect Core 4: a client that was led to us with one sends it back.
    "login_hint",
)
REQUEST_URI: Final = "urn:ietf:params:oauth:request_uri:"
MOST_STATE: Final = 2048
MOST_HINT: Final = 48

# RFC 7636 section 4.2: BASE64URL-ENCODE of a SHA-256 is 43 characters, without padding
_S256_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Push:
    """A pushed request's parameters, and what this issuer checks them against."""

    form: Mapping[str, str]
    licenses: Mapping[str, License]
    sandbox: bool


class RequestObject(Refusal):
    code = "request_object"
    public = "Send the parameters themselves: request and request_uri are not accepted in a pushed request."
    help = "Leave out request and request_uri. The response to this request contains the request_uri to use."
    clause = "RFC 9126 2.1; OAuth with Member Identity Certificates"


class ResponseTypeMissing(Refusal):
    code = "response_type_missing"
    public = "response_type is missing: send response_type=code."
    help = "Send response_type=code."
    clause = "RFC 6749 4.1.1"


class ResponseTypeUnsupported(Refusal):
    code = "response_type_unsupported"
    error = "unsupported_response_type"
    public = "Only response_type=code is supported."
    help = "Send response_type=code. The implicit and hybrid flows are not supported."
    clause = "FAPI 2.0 5.3.2.2"


class ResponseModeUnsupported(Refusal):
    code = "response_mode_unsupported"
    public = "Responses are sent only in the query: leave out response_mode."
    help = "Leave out response_mode, or send response_mode=query."
    clause = "FAPI 2.0 5.3.2.2; RFC 9207 2"


class CodeChallengeMissing(Refusal):
    code = "code_challenge_missing"
    public = "code_challenge is missing: use PKCE with code_challenge_method=S256."
    help = "Make a code_verifier for each request, and send the BASE64URL of its SHA-256 as code_challenge."
    clause = "FAPI 2.0 5.3.2.2"


class CodeChallengeMethodUnsupported(Refusal):
    code = "code_challenge_method_unsupported"
    public = "code_challenge_method must be S256."
    help = "Send code_challenge_method=S256. Without it the method would be plain, which is not accepted."
    clause = "FAPI 2.0 5.3.2.2; RFC 7636 4.3"


class CodeChallengeMalformed(Refusal):
    code = "code_challenge_malformed"
    public = "code_challenge must be the BASE64URL of a SHA-256: 43 characters, without padding."
    help = "Send the BASE64URL encoding of the SHA-256 of the code_verifier, without the = at the end."
    clause = "RFC 7636 4.2"


class LicenseMissing(Refusal):
    code = "license_missing"
    error = "invalid_scope"
    public = "scope is missing: send the URL of the one license that is asked for."
    help = "Send as scope the Registry URL of a license in scopes_supported of the metadata."
    clause = "RFC 6749 3.3; OAuth with Member Identity Certificates"


class MoreThanOneLicense(Refusal):
    code = "more_than_one_license"
    error = "invalid_scope"
    public = "scope must be the URL of one license and nothing else."
    help = "Send exactly one license URL as scope. Push another request for another license."
    clause = "OAuth with Member Identity Certificates"


class LicenseUnknown(Refusal):
    code = "license_unknown"
    error = "invalid_scope"
    public = "This issuer does not accept the license in scope; see scopes_supported in the metadata."
    help = "Use a license URL listed in scopes_supported of the metadata, character for character."
    clause = "RFC 6749 3.3; OAuth with Member Identity Certificates"


class RedirectUriMissing(Refusal):
    code = "redirect_uri_missing"
    public = "redirect_uri is missing from the pushed request."
    help = "Send redirect_uri in the pushed request. It is never taken from the browser."
    clause = "FAPI 2.0 5.3.2.2"


class RedirectUriRefused(Refusal):
    code = "redirect_uri_refused"
    public = "The redirect_uri is not acceptable."
    help = (
        "Send a plain https URL with a DNS name, without user name, fragment, or any response parameter in its query."
    )
    clause = "FAPI 2.0 5.3.2.2; RFC 9700 4.1"


class StateTooLong(Refusal):
    code = "state_too_long"
    public = f"state must be at most {MOST_STATE} characters."
    help = f"Send a state of at most {MOST_STATE} characters; it is returned as it was sent."
    clause = "RFC 9126 2.3"


class BankNotInLicense(Refusal):
    code = "bank_not_in_license"
    public = "fsp names a bank, and the text of this license names none: leave it out, or ask for the combined license."
    help = "Send fsp with the combined license only."
    clause = "Perseus policy data-license"


class BankUnknown(Refusal):
    code = "bank_unknown"
    public = "fsp must be the Directory URL of a member that has the role of a financial service provider."
    help = (
        "Send the member URL exactly as in the Directory. The bank's membership and its agreement with the scheme "
        "must be in force."
    )
    clause = "Perseus policy data-license"


class AnotherTextWasRead(Refusal):
    code = "another_text_was_read"
    public = "permission_text_sha256 is not the digest of this license's text: another text was shown to the business."
    help = "Show the current text of the license, and send the SHA-256 of the bytes that the Registry serves."
    clause = "Perseus policy data-license"


class TooManyPushedRequests(Refusal):
    code = "too_many_pushed_requests"
    error = "temporarily_unavailable"
    status = 429
    public = "This client has pushed too many requests; try again after the time in Retry-After."
    help = "Wait for the number of seconds in Retry-After. Other clients are not affected."
    clause = "RFC 6585 4; RFC 9126 2.3"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "60"}


def no_request_object(push: Push) -> Refusal | None:
    # RFC 9126 section 2.1 item 2: reject a pushed request that has request_uri; request objects are not used in this profile
    for name in ("request_uri", "request"):
        if name in push.form:
            return RequestObject(f"{name} in a pushed request")
    return None


def response_type_is_code(push: Push) -> Refusal | None:
    response_type = push.form.get("response_type")
    # RFC 6749 section 4.1.1: response_type is REQUIRED
    if response_type is None:
        return ResponseTypeMissing()
    # FAPI 2.0 section 5.3.2.2: shall support the authorization code grant, and no other here
    return None if response_type == "code" else ResponseTypeUnsupported("another response_type than code")


def response_mode_is_query(push: Push) -> Refusal | None:
    # FAPI 2.0 section 5.3.2.2: code and state travel in the query; RFC 9207 is defined for that
    return None if push.form.get("response_mode", "query") == "query" else ResponseModeUnsupported()


def pkce_with_s256(push: Push) -> Refusal | None:
    challenge = push.form.get("code_challenge")
    # FAPI 2.0 section 5.3.2.2: shall require PKCE with S256 as the code challenge method
    if challenge is None:
        return CodeChallengeMissing()
    # RFC 7636 section 4.3: an absent code_challenge_method means plain
    if push.form.get("code_challenge_method") != "S256":
        return CodeChallengeMethodUnsupported()
    return None if _S256_CHALLENGE.fullmatch(challenge) else CodeChallengeMalformed(f"{len(challenge)} characters")


def one_known_license(push: Push) -> Refusal | None:
    # RFC 6749 section 3.3: without a default, a request that omits scope fails with invalid scope
    if "scope" not in push.form:
        return LicenseMissing()
    asked = licenses_in(push.form["scope"])
    # OAuth with Member Identity Certificates: the scope is one license
    if len(asked) != 1:
        return MoreThanOneLicense(f"{len(asked)} values in scope")
    return None if asked[0] in push.licenses else LicenseUnknown("not a license of this issuer")


def redirect_uri_is_plain(push: Push) -> Refusal | None:
    uri = push.form.get("redirect_uri")
    # FAPI 2.0 section 5.3.2.2: shall require the redirect_uri parameter in pushed authorization requests
    if uri is None:
        return RedirectUriMissing()
    # FAPI 2.0 section 5.3.2.2: shall use the https scheme; RFC 9700 section 4.1: parse, never match patterns
    fault = redirect_uri.fault(uri, sandbox=push.sandbox)
    return RedirectUriRefused(fault, public=f"redirect_uri {fault}.") if fault else None


def state_can_be_returned(push: Push) -> Refusal | None:
    # RFC 6749 section 4.1.2: "The exact value received from the client", which must fit into a Location header
    length = len(push.form.get("state", ""))
    return StateTooLong(f"{length} characters") if length > MOST_STATE else None


def only_a_combined_license_names_a_bank(push: Push) -> Refusal | None:
    # Perseus policy data-license: permission "with that wording", and only this wording has [FSP]
    if "fsp" in push.form and not _license(push).is_combined:
        return BankNotInLicense("fsp with another license")
    return None


def text_read_is_the_licenses(push: Push) -> Refusal | None:
    # Perseus policy data-license: the client asserts that permission was obtained with this very wording
    read = push.form.get("permission_text_sha256")
    if read is not None and read != _license(push).text_sha256:
        return AnotherTextWasRead("another digest than the license's")
    return None


def _license(push: Push) -> License:
    return push.licenses[licenses_in(push.form["scope"])[0]]  # one_known_license


CHECKS: Final = (
    no_request_object,
    response_type_is_code,
    response_mode_is_query,
    pkce_with_s256,
    redirect_uri_is_plain,
    state_can_be_returned,
    one_known_license,
    only_a_combined_license_names_a_bank,
    text_read_is_the_licenses,
)


def licenses_in(scope: str) -> list[str]:
    """Return the values of a scope without `offline_access`: clients of other servers send it, and it changes nothing
    here, since every grant comes with a refresh token.
    """
    return [value for value in scope.split(" ") if value != "offline_access"]


def push(caller: MemberCertificate, form: Mapping[str, str]) -> dict[str, str | int]:
    """Check and keep one pushed request; return the body of RFC 9126 section 2.2."""
    settings = current().settings
    require(CHECKS, Push(form, current().licenses, settings.is_sandbox))
    license_ = licenses_in(form["scope"])[0]
    at = clock.now()
    # A CAP names the bank for which it asks, and the digest of the text that it has shown. A bank names neither.
    named = form if settings.party == "edp" else {}
    fsp, text_read = named.get("fsp"), named.get("permission_text_sha256")
    if fsp is not None:
        _require_bank(caller, fsp, at)
    handle = REQUEST_URI + new_secret()
    pushed = PushedRequest(
        digest=digest(handle),
        client_id=caller.application,
        member=caller.member,
        certificate=caller.fingerprint,
        redirect_uri=form["redirect_uri"],
        state=form.get("state"),
        license=license_,
        code_challenge=form["code_challenge"],
        created=at,
        expires=at + settings.lifetimes.pushed_request,
        fsp=fsp,
        text_read=text_read,
        hint=hint if len(hint := form.get("login_hint", "")) <= MOST_HINT else None,
    )
    limit = budgets.pushed_requests()
    # The push is the client's assertion that it has shown the text: who, with which certificate, for what, when.
    event = audit.line(
        "pushed_request",
        client_id=caller.application,
        member=caller.member,
        license=license_,
        redirect_host=redirect_uri.host(form["redirect_uri"]),
        certificate=caller.fingerprint,
        **({"fsp": fsp} if fsp else {}),
        **({"text_sha256": pushed.text_read} if pushed.text_read else {}),
    )
    # Counted and audited in the same transaction as the push: a second commit would double its cost.
    if not requests.push_within(pushed, limit.budget(caller.application), event):
        (window,) = limit.windows
        # RFC 9126 section 2.3: 429 when a client exceeds what the server allows
        raise TooManyPushedRequests(f"from {caller.application}", headers={"Retry-After": str(window.left)})
    audit.write(event)
    return {"request_uri": handle, "expires_in": settings.lifetimes.pushed_request}


def _require_bank(caller: MemberCertificate, fsp: str, at: int) -> None:
    """Raise BankUnknown unless the Directory lists a bank; TooManyPushedRequests before it is asked about too many."""
    here = current()
    if not is_member_url(fsp, here.settings):
        raise BankUnknown("no member's URL")
    limit, is_unknown = budgets.named_banks(), not here.directory.has_member(fsp)
    if is_unknown:
        try:
            limit.failed(caller.application)
        except TooMany as refused:
            raise TooManyPushedRequests(f"banks of {caller.application}", headers=refused.answer_headers) from None
    if not membership.is_bank(here.directory, here.settings, fsp, at):
        raise BankUnknown("no bank of the Directory")
    if is_unknown:
        with store.writing() as c:
            limit.give_back(c, caller.application)

"""Signing in with a passkey (Web Authentication Level 3), as an alternative to the code by e-mail, which is always offered too.

A passkey identifies its account, so nobody types an address, and no page reveals which accounts exist or have passkeys. The
device must have verified its user. The library `webauthn` checks what a browser sends; this module checks whose passkey it
is, and that a challenge is this browser's, new and used once.
"""

import hmac
import secrets
from collections.abc import Sequence
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
from webauthn.helpers import (
    parse_attestation_object,
    parse_authentication_credential_json,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.structs import (
    AttestationFormat,
    AuthenticationCredential,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    RegistrationCredential,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from consent_server import audit, clock, store
from consent_server.deployment import current
from consent_server.store import accounts, mails, passkeys
from consent_server.store.digests import digest, new_id
from consent_server.store.tables.accounts import Passkey, SmeAccount
from consent_server.web import budgets, device_cookie, language
from consent_server.web.language import N_, gettext
from consent_server.web.pages import moment, plain
from consent_server.web.refusals import NotFound

NOT_ACCEPTED: Final = N_("This passkey was not accepted. Try again, or have a code sent.")
NOT_ADDED: Final = N_("The passkey was not added. Try again.")
NOT_A_NAME: Final = N_("Type a name by which you will know this passkey, such as Office laptop.")
TOO_MANY: Final = N_("You have as many passkeys as an account may have. Remove one first.")
#: How the evidence describes an SME that signed in.
METHOD: Final = N_("Signed in to its account with a passkey")
STRENGTH: Final = N_("Has a device with a passkey of the account, which verified its user")

#: Seconds for which a page with a challenge may be left open.
CHALLENGE_S: Final = 600
#: Passkeys of one account.
MOST: Final = 10
LONGEST_NAME: Final = 60
#: Web Authentication 4: a credential id has at most 1023 bytes.
_LONGEST_ID: Final = 1023
#: We ask for none; a device may sign by itself all the same. Other formats would bring their makers' certificates to judge.
_FORMATS: Final = (AttestationFormat.NONE, AttestationFormat.PACKED)


class Notice(StrEnum):
    """What a mail about a passkey says; the subject of an owed mail is then the passkey's id."""

    ADDED = "passkey-added"
    REMOVED = "passkey-removed"


class _NotOurs(Exception):
    """What was sent is no passkey of ours; the text is for the log."""


def to_sign_in(browser: str) -> str:
    """Return the options of navigator.credentials.get() as JSON, for the browser that holds the secret `browser`."""
    verification = UserVerificationRequirement.REQUIRED
    challenge = _challenge("sign-in", browser).encode()
    timeout = CHALLENGE_S * 1000
    options = generate_authentication_options(
        rp_id=_our_id(), challenge=challenge, timeout=timeout, user_verification=verification
    )
    return options_to_json(options)


def to_add(account: SmeAccount, known: Sequence[Passkey], browser: str) -> str:
    """Return the options of navigator.credentials.create() as JSON, for the browser that holds the secret `browser`.

    `known` are the account's passkeys: a device that holds one makes no second.
    """
    options = generate_registration_options(
        rp_id=_our_id(),
        rp_name=current().settings.brand,
        user_id=account.id.encode(),
        user_name=account.email,
        challenge=_challenge(f"add {account.id}", browser).encode(),
        timeout=CHALLENGE_S * 1000,
        # Discoverable: it is found without an address. Verified: a device that was left unlocked signs nobody in.
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(each.credential) for each in known],
    )
    return options_to_json(options)


@store.together()
def sign_in(sent: str, address: str, cookie: str, browser: str) -> SmeAccount | None:
    """Return the account whose passkey a browser has used, None where it is not accepted, whatever the reason.

    `sent` is its AuthenticationResponseJSON, `address` the network address, `cookie` its device cookie, and `browser` the
    secret that it holds. Raise TooMany when the attempt must wait.
    """
    assertion = _assertion(sent)
    known = _account_with(assertion.raw_id) if assertion is not None else None
    # Counted before it is checked, as a code is; a browser in which the account's owner was before waits for nobody else.
    attempt = budgets.passkey(address, known and device_cookie.budget_key(cookie, (known[1].email,)))
    attempt.take()
    try:
        if assertion is None or known is None:
            raise _NotOurs("unknown")
        passkey, account = known
        _verify(assertion, passkey, browser)
    except _NotOurs as refused:
        audit.event("passkey_refused", why=str(refused), passkey=known[0].id if known else None)
        return None
    attempt.succeeded()
    return account


def add(account: SmeAccount, typed_name: str, sent: str, browser: str) -> str | None:
    """Keep a new passkey of an account; return what is wrong, or None. `sent` is a RegistrationResponseJSON.

    Raise TooMany.
    """
    name = _name(typed_name)
    if name is None:
        return NOT_A_NAME
    at = clock.now()
    budgets.passkeys_added().failed(account.id)
    try:
        new = _registered(account, name, sent, browser, at)
    except _NotOurs as refused:
        audit.event("passkey_refused", why=str(refused), passkey=None)
        return NOT_ADDED
    with store.writing() as c:
        if accounts.hold(c, account.id) is None:  # erased since this request began
            return NOT_ADDED
        if len(passkeys.of_account(c, account.id)) >= MOST:
            return TOO_MANY
        if not passkeys.add(c, new):
            return NOT_ADDED
        mails.add(c, new.id, Notice.ADDED, account.id, language.of_reader(), at)
    audit.event("passkey_added", account=account.id, passkey=new.id)
    return None


def remove(account: SmeAccount, passkey: str) -> bool:
    """Remove a passkey of an account; return False where it has no such passkey."""
    at = clock.now()
    with store.writing() as c:
        if not passkeys.remove(c, account.id, passkey, at):
            return False
        mails.add(c, passkey, Notice.REMOVED, account.id, language.of_reader(), at)
    audit.event("passkey_removed", account=account.id, passkey=passkey)
    return True


def rename(account: SmeAccount, passkey: str, typed_name: str) -> str | None:
    """Give a passkey of an account another name; return what is wrong, or None. Raise NotFound where it has none such."""
    name = _name(typed_name)
    if name is None:
        return NOT_A_NAME
    with store.writing() as c:
        if not passkeys.rename(c, account.id, passkey, name):
            raise NotFound("passkey")
    audit.event("passkey_renamed", account=account.id, passkey=passkey)
    return None


def of_account(account: SmeAccount) -> list[Passkey]:
    """Return the passkeys of an account, oldest first."""
    with store.reading() as c:
        return passkeys.of_account(c, account.id)


def notice(c: store.Connection, subject: str, about: Notice) -> tuple[str, str, str] | None:
    """Return address, subject and text of a mail about a passkey; None where passkey or account are not there any more."""
    passkey = passkeys.find(c, subject)
    account = accounts.find(c, passkey.account) if passkey is not None else None
    if passkey is None or account is None:
        return None
    settings = current().settings
    values = {
        "brand": plain(settings.brand),
        "name": plain(passkey.name),
        "at": moment(passkey.removed or passkey.added),
        "address": f"{settings.public.origin}/passkeys",
    }
    if about is Notice.ADDED:
        head = gettext("A passkey was added to your %(brand)s account", **values)
        what = gettext(
            'The passkey "%(name)s" was added on %(at)s. Whoever has it can sign in to your account.', **values
        )
    else:
        head = gettext("A passkey was removed from your %(brand)s account", **values)
        what = gettext('The passkey "%(name)s" was removed on %(at)s. Nobody can sign in with it any more.', **values)
    if_not_you = gettext(
        "If this was not you, sign in with a code and remove the passkeys that you do not know:\n%(address)s", **values
    )
    return account.email, head, f"{what}\n\n{if_not_you}\n"


def _name(typed: str) -> str | None:
    name = " ".join(typed.split())
    return name if 0 < len(name) <= LONGEST_NAME and name.isprintable() else None


def _assertion(sent: str) -> AuthenticationCredential | None:
    try:
        return parse_authentication_credential_json(sent)
    except Exception:  # the library raises whatever its parsers do
        return None


def _account_with(credential: bytes) -> tuple[Passkey, SmeAccount] | None:
    with store.reading() as c:
        passkey = passkeys.by_credential(c, credential[:_LONGEST_ID])
        account = accounts.find(c, passkey.account) if passkey is not None else None
    return (passkey, account) if passkey is not None and account is not None else None


def _verify(assertion: AuthenticationCredential, passkey: Passkey, browser: str) -> None:
    """Verify an assertion and record the use (Web Authentication 7.2). Raise _NotOurs."""
    # 7.2 step 6: no user was known before, so the response must name the one whose passkey it is
    if not hmac.compare_digest(assertion.response.user_handle or b"", passkey.account.encode()):
        raise _NotOurs("another account")
    challenge = _used_challenge("sign-in", browser, assertion.response.client_data_json)
    try:
        verified: VerifiedAuthentication = verify_authentication_response(
            credential=assertion,
            expected_challenge=challenge,
            expected_rp_id=_our_id(),
            expected_origin=current().settings.public.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except Exception as error:  # as above; its text may quote what was sent
        raise _NotOurs(type(error).__name__) from None
    with store.writing() as c:
        used = passkeys.used(c, passkey, verified.new_sign_count, clock.now())
    if not used:
        raise _NotOurs("used or removed meanwhile")


def _registered(account: SmeAccount, name: str, sent: str, browser: str, at: int) -> Passkey:
    """Return the passkey that a browser has made (Web Authentication 7.1). Raise _NotOurs."""
    try:
        made: RegistrationCredential = parse_registration_credential_json(sent)
        shape = parse_attestation_object(made.response.attestation_object).fmt
    except Exception as error:
        raise _NotOurs(type(error).__name__) from None
    if shape not in _FORMATS:
        raise _NotOurs("attestation")
    challenge = _used_challenge(f"add {account.id}", browser, made.response.client_data_json)
    try:
        verified = verify_registration_response(
            credential=made,
            expected_challenge=challenge,
            expected_rp_id=_our_id(),
            expected_origin=current().settings.public.origin,
            require_user_verification=True,
        )
    except Exception as error:
        raise _NotOurs(type(error).__name__) from None
    if len(verified.credential_id) > _LONGEST_ID or verified.credential_id != made.raw_id:
        raise _NotOurs("credential id")
    return Passkey(
        id=new_id(),
        account=account.id,
        credential=verified.credential_id,
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        name=name,
        added=at,
    )


def _our_id() -> str:
    # Web Authentication 5.1.2: the RP ID is the effective domain of our pages
    return urlsplit(current().settings.public.origin).hostname or ""


def _challenge(purpose: str, browser: str) -> str:
    """Return a new challenge. Nothing is kept of it until it is used: it has its time, and a MAC that names the browser."""
    head = f"{clock.now()}.{secrets.token_hex(16)}"
    return f"{head}.{_mac(purpose, browser, head)}"


def _used_challenge(purpose: str, browser: str, client_data: bytes) -> bytes:
    """Return the challenge in what a browser signed, which is then used. Raise _NotOurs."""
    try:
        signed = parse_client_data_json(client_data)
        challenge = signed.challenge.decode("ascii")
        head, _, mac = challenge.rpartition(".")
        issued = int(head.partition(".")[0])
    except Exception as error:
        raise _NotOurs(type(error).__name__) from None
    if signed.cross_origin:  # 7.2 step 14: our pages are in no frame
        raise _NotOurs("a frame of another site")
    if not hmac.compare_digest(mac.encode(), _mac(purpose, browser, head).encode()):
        raise _NotOurs("another browser's challenge")
    at = clock.now()
    if not 0 <= at - issued < CHALLENGE_S:
        raise _NotOurs("challenge too old")
    with store.writing() as c:
        is_new = passkeys.use_challenge(c, challenge, at)
    if not is_new:
        raise _NotOurs("challenge used before")
    return signed.challenge


def _mac(purpose: str, browser: str, head: str) -> str:
    return current().sealer.mac(f"passkey challenge {purpose} {digest(browser)} {head}")

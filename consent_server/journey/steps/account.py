"""Who is this, at a CAP's issuer: an SME signs in to its account, with a code sent by e-mail or with a passkey.

Every address gets the same page, whether it has an account or not. An account that is signed in at the portal in this
browser is asked for nothing.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial

from consent_server import audit, store
from consent_server.accounts import business, passkeys, sign_in
from consent_server.deployment import current
from consent_server.journey import hand_over
from consent_server.journey.step import Onward, Page, Step, Visit
from consent_server.store import accounts
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.journeys import Journey, Progress
from consent_server.store.tables.sessions import SessionData
from consent_server.web.language import N_
from consent_server.web.typed import FieldError


class SignIn(Step):
    name = "sign-in"
    label = N_("Sign in")
    template = "journey/sign_in.html"
    fields = ("email", "as", "passkey")
    kept = ("email",)
    uses_session = True

    def beside(self, c: store.Connection, journey: Journey, held: SessionData, at: int) -> SmeAccount | None:
        """Return the account that is signed in at the portal in this browser."""
        account = held.get("account")
        return accounts.find(c, account) if account else None

    def act(self) -> AbstractContextManager[None]:
        return store.together()

    def show(self, visit: Visit) -> Page | Onward:
        """Return the page; nothing is asked of whom our own portal has just led here, or who hands on what it has allowed."""
        known = _of_session(visit)
        identified = visit.progress.get("identified")
        if known is not None and (identified is None or identified["sme"] != known.id):  # else it came back for another
            pressed = hand_over.take_press(visit)
            if pressed is not None or current().is_combined(visit.journey.license):
                return _by_session(visit, known, pressed["covers"] if pressed is not None else "")
        return _page(visit, visit.progress.get("email", ""))

    def take(self, visit: Visit, form: Mapping[str, str]) -> Page | Onward:
        if "passkey" in form:
            account = passkeys.sign_in(form["passkey"], visit.address, visit.device_cookie, visit.secret)
            if account is None:
                return _page(visit, "", FieldError("use-passkey", passkeys.NOT_ACCEPTED))
            return _signed_in(visit, account, by_passkey=True)
        known = _of_session(visit)
        if form.get("as") == "session" and known is not None:
            return _by_session(visit, known, "")
        typed = form.get("email", "")
        asked = sign_in.ask_code(typed, visit.address, visit.device_cookie, opens_account=False)
        if asked is None:
            return _page(visit, typed, FieldError("email", sign_in.NOT_AN_ADDRESS))
        proved: Progress = {"by_passkey": False, "by_session": False, "pressed": ""}
        kept: Progress = {**proved, "email": asked.email, "no_mail": asked.no_mail}
        return Onward(kept, then=partial(sign_in.mail_code, asked))


def _page(visit: Visit, email: str, *errors: FieldError) -> Page:
    options = passkeys.to_sign_in(visit.secret)
    values = {"typed": {"email": email}, "options": options, "signed_in": _of_session(visit)}
    return Page(values, errors=errors, status=422 if errors else 200, script=True)


def _of_session(visit: Visit) -> SmeAccount | None:
    return visit.beside if isinstance(visit.beside, SmeAccount) else None


def _by_session(visit: Visit, known: SmeAccount, pressed: str) -> Onward:
    audit.event("signed_in", account=known.id, method="session", client_id=visit.journey.client_id)
    by_passkey = visit.session is not None and visit.session.data.get("by_passkey", False)
    progress = _identified(known, by_passkey=by_passkey)
    return Onward({**progress, "by_session": True, "pressed": pressed}, proven=True)


def _identified(account: SmeAccount, *, by_passkey: bool) -> Progress:
    who = business.who(account, by_passkey=by_passkey)
    return {"identified": {"sme": account.id, "meters": [], "who": who}, "by_passkey": by_passkey}


class EnterCode(Step):
    name = "code"
    label = N_("Your code")
    template = "journey/code.html"
    fields = ("code",)

    def act(self) -> AbstractContextManager[None]:
        return store.together()

    def needed(self, progress: Progress) -> bool:
        return not (progress.get("by_passkey") or progress.get("by_session"))

    def show(self, visit: Visit) -> Page:
        return Page({"typed": {}, "email": visit.progress["email"], "no_mail": visit.progress.get("no_mail", False)})

    def take(self, visit: Visit, form: Mapping[str, str]) -> Page | Onward:
        email = visit.progress["email"]
        account = sign_in.check_code(email, form.get("code", ""), visit.address, visit.device_cookie, visit.journey.id)
        if account is None:
            error = FieldError("code", sign_in.WRONG_CODE)
            return Page({"typed": {}, "email": email}, errors=(error,), status=422)
        return _signed_in(visit, account, by_passkey=False)


def _signed_in(visit: Visit, account: SmeAccount, *, by_passkey: bool) -> Onward:
    method = "passkey" if by_passkey else "code"
    audit.event("signed_in", account=account.id, method=method, client_id=visit.journey.client_id)
    identified = _identified(account, by_passkey=by_passkey)
    return Onward({**identified, "by_session": False, "pressed": ""}, proven=True, owns=(account.email,))

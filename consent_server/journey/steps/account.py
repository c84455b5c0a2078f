"""Who is this, at a CAP's issuer: an SME signs in to its account, with a code sent by e-mail or with a passkey.

Every address gets the same page, whether it has an account or not.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from consent_server import audit, store
from consent_server.accounts import business, passkeys, sign_in
from consent_server.journey.step import FieldError, Onward, Page, Step, Visit
from consent_server.store.tables import Progress, SmeAccount
from consent_server.web.language import N_


class SignIn(Step):
    name = "sign-in"
    label = N_("Sign in")
    template = "journey/sign_in.html"
    fields = ("email", "passkey")
    kept = ("email",)

    def show(self, visit: Visit) -> Page:
        return self._page(visit, visit.progress.get("email", ""))

    def take(self, visit: Visit, form: Mapping[str, str]) -> Page | Onward:
        if "passkey" in form:
            return self._by_passkey(visit, form["passkey"])
        typed = form.get("email", "")
        asked = sign_in.send_code(typed, visit.address, visit.device_cookie, opens_account=False)
        if asked is None:
            return self._page(visit, typed, FieldError("email", sign_in.NOT_AN_ADDRESS))
        return Onward({"email": asked.email, "no_mail": asked.no_mail, "by_passkey": False})

    def _by_passkey(self, visit: Visit, sent: str) -> Page | Onward:
        account = passkeys.sign_in(sent, visit.address, visit.device_cookie, visit.secret)
        if account is None:
            return self._page(visit, "", FieldError("use-passkey", passkeys.NOT_ACCEPTED))
        return _signed_in(visit, account, by_passkey=True)

    def _page(self, visit: Visit, email: str, *errors: FieldError) -> Page:
        values = {"typed": {"email": email}, "options": passkeys.to_sign_in(visit.secret)}
        return Page(values, errors=errors, status=422 if errors else 200, script=True)


class EnterCode(Step):
    name = "code"
    label = N_("Your code")
    template = "journey/code.html"
    fields = ("code",)

    def act(self) -> AbstractContextManager[None]:
        return store.together()

    def needed(self, progress: Progress) -> bool:
        return not progress.get("by_passkey", False)

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
    who = business.who(account, by_passkey=by_passkey)
    progress: Progress = {"identified": {"sme": account.id, "meters": [], "who": who}, "by_passkey": by_passkey}
    return Onward(progress, proven=True, owns=(account.email,))

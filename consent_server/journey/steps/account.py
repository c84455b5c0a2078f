"""Who is this, at a CAP's issuer: an SME signs in to its account.

Every address gets the same page, whether it has an account or not.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from consent_server import audit, store
from consent_server.accounts import sign_in
from consent_server.journey.step import FieldError, Onward, Page, Step, Visit
from consent_server.scheme.permission import Who
from consent_server.store.tables import Progress
from consent_server.web.language import N_


class SignIn(Step):
    name = "sign-in"
    label = N_("Sign in")
    template = "journey/sign_in.html"
    fields = ("email",)

    def show(self, visit: Visit) -> Page:
        return Page({"typed": {"email": visit.progress.get("email", "")}})

    def take(self, visit: Visit, form: Mapping[str, str]) -> Page | Onward:
        typed = form.get("email", "")
        asked = sign_in.send_code(typed, visit.address, visit.device_cookie, opens_account=False)
        if asked is None:
            error = FieldError("email", sign_in.NOT_AN_ADDRESS)
            return Page({"typed": {"email": typed}}, errors=(error,), status=422)
        return Onward({"email": asked.email, "no_mail": asked.no_mail})


class EnterCode(Step):
    name = "code"
    label = N_("Your code")
    template = "journey/code.html"
    fields = ("code",)

    def act(self) -> AbstractContextManager[None]:
        return store.together()

    def show(self, visit: Visit) -> Page:
        return Page({"typed": {}, "email": visit.progress["email"], "no_mail": visit.progress.get("no_mail", False)})

    def take(self, visit: Visit, form: Mapping[str, str]) -> Page | Onward:
        email = visit.progress["email"]
        account = sign_in.check_code(email, form.get("code", ""), visit.address, visit.device_cookie, visit.journey.id)
        if account is None:
            error = FieldError("code", sign_in.WRONG_CODE)
            return Page({"typed": {}, "email": email}, errors=(error,), status=422)
        audit.event("signed_in", account=account.id, client_id=visit.journey.client_id)
        who: Who = {"business": account.business, "method": sign_in.METHOD, "strength": sign_in.STRENGTH}
        progress: Progress = {"identified": {"sme": account.id, "meters": [], "who": who}}
        return Onward(progress, proven=True, owns=(email,))

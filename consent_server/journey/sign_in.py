"""Who is this, at a CAP's issuer: an SME signs in to its account with a code sent by e-mail.

Every address is answered alike, whether it has an account or not.
"""

import re
from collections.abc import Mapping

from consent_server import audit
from consent_server.journey.parts import Accounts
from consent_server.journey.step import FieldError, Onward, Page, Step, Visit

_EMAIL = re.compile(r"[^\s@<>\"(),:;\\]{1,64}@[^\s@<>\"(),:;\\]{1,189}")

NOT_AN_ADDRESS = "Type your e-mail address, such as name@example.com."
WRONG_CODE = (
    "This code is not right, or it is too old. Check the newest e-mail from us, or go back and have a new code sent."
)
METHOD = "Signed in to its account with a code sent by e-mail"
STRENGTH = "Controls the e-mail address of the account"


def _accounts(visit: Visit) -> Accounts:
    assert visit.parts.accounts is not None, "this party has no accounts"
    return visit.parts.accounts


def show_sign_in(visit: Visit) -> Page:
    return Page({"typed": {"email": visit.progress.get("email", "")}})


def take_sign_in(visit: Visit, form: Mapping[str, str]) -> Page | Onward:
    """Send a code."""
    email = form.get("email", "").strip().lower()
    if not _EMAIL.fullmatch(email):
        return Page(
            {"typed": {"email": form.get("email", "")}}, errors=(FieldError("email", NOT_AN_ADDRESS),), status=422
        )
    # Every mail counts, until a code is used.
    visit.parts.limits.address.take(f"mail {visit.address}")
    visit.parts.limits.mail.take(email)
    _accounts(visit).send_code(email)
    return Onward({"email": email})


def show_code(visit: Visit) -> Page:
    return Page({"typed": {}, "email": visit.progress["email"]})


def take_code(visit: Visit, form: Mapping[str, str]) -> Page | Onward:
    """Check the code; a right one works once."""
    email = visit.progress["email"]
    code = re.sub(r"[\s-]+", "", form.get("code", ""))
    limits = visit.parts.limits
    # Counted before it is checked, so that guesses sent at the same instant cannot pass together.
    limits.address.take(visit.address)
    limits.account.take(email)
    account = _accounts(visit).check_code(email, code) if code else None
    if account is None:
        return Page({"typed": {}, "email": email}, errors=(FieldError("code", WRONG_CODE),), status=422)
    limits.account.clear(email)
    limits.mail.clear(email)
    # Only what this sign-in took: whoever has one account must not guess on at others from the same address.
    limits.address.give_back(visit.address)
    limits.address.give_back(f"mail {visit.address}")
    audit.event("signed_in", account=account.sme, client_id=visit.journey.client_id)
    who = {"business": account.business, "method": METHOD, "strength": STRENGTH}
    return Onward({"identified": {"sme": account.sme, "meters": [], "who": who}}, proven=True)


SIGN_IN = Step("sign-in", "Sign in", "journey/sign_in.html", ("email",), show_sign_in, take_sign_in)
CODE = Step("code", "Your code", "journey/code.html", ("code",), show_code, take_code)

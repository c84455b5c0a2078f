"""Which business is this, and which meters: a postcode with an MPAN, an MPRN or both, matched against the register.

Used by the journey's first step at an EDP, and by the page where permissions are looked after. Numbers that
the register does not have and numbers that do not match get the same sentence, so that meters cannot be found by guessing.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Final

from consent_server import clock
from consent_server.journey.step import Onward, Page, Step, Visit
from consent_server.journey.steps.sites import identified_by
from consent_server.metering import sources
from consent_server.metering.register import TYPED, Identified
from consent_server.scheme.meters import MeterNumberError, SupplyNumber, parse_mpan, parse_mprn, parse_postcode
from consent_server.scheme.permission import Who
from consent_server.web import budgets, device_cookie
from consent_server.web.language import N_, gettext
from consent_server.web.typed import FieldError

FIELDS = ("postcode", "mpan", "mprn", "checked")
WHO_FIELDS = ("name", "capacity")
LONGEST_NAME = 100

NO_MATCH = N_(
    "We could not match this postcode with these numbers. Check each of them against your latest bill. "
    "They must all be for the same business."
)
NEITHER = N_("Type the number of your electricity supply (MPAN), your gas supply (MPRN), or both.")
CHECK_MPAN = N_(
    "The last digit of this MPAN does not fit the others, so one may be mistyped. Check it against your bill. "
    "If it is right, press Continue again."
)
CHECK_MPRN = N_(
    "The last two digits of this MPRN do not fit the others, so one may be mistyped. Check it against your bill. "
    "If it is right, press Continue again."
)
#: Field -> how it is read, and what the page says of a wrong check digit.
_NUMBERS: Final = {"mpan": (parse_mpan, CHECK_MPAN), "mprn": (parse_mprn, CHECK_MPRN)}


@dataclass(frozen=True)
class Typed:
    """What was typed, in the form that the register takes."""

    postcode: str = field(repr=False)
    mpan: str | None = field(repr=False)
    mprn: str | None = field(repr=False)

    def subjects(self) -> list[str]:
        """Return the meters as subjects of a limit."""
        return [f"{fuel}:{number}" for fuel, number in (("electricity", self.mpan), ("gas", self.mprn)) if number]


def read(form: Mapping[str, str]) -> Typed | Page:
    """Return what was typed, or the page again, saying what to mend.

    A wrong check digit is pointed out once: the page then carries the number that it spoke of in `checked`, and the same
    number sent again goes on to the register.
    """
    errors: list[FieldError] = []
    postcode = None
    try:
        postcode = parse_postcode(form.get("postcode", "")).full
    except MeterNumberError as error:
        errors.append(FieldError("postcode", gettext(error.message, **error.values)))
    if not form.get("mpan") and not form.get("mprn"):
        errors.append(FieldError("mpan", NEITHER))
    mpan, mprn = _number("mpan", form, errors), _number("mprn", form, errors)
    if errors or postcode is None:
        doubted = (each.number for each in (mpan, mprn) if each is not None and not each.check_digit_ok)
        return again(form, *errors, checked=" ".join(doubted))
    return Typed(postcode, mpan.number if mpan else None, mprn.number if mprn else None)


def _number(name: str, form: Mapping[str, str], errors: list[FieldError]) -> SupplyNumber | None:
    """Return the number in a field, and note what is wrong with it; None where there is none that can be read."""
    if not form.get(name):
        return None
    parse, doubtful = _NUMBERS[name]
    try:
        found = parse(form[name])
    except MeterNumberError as error:
        errors.append(FieldError(name, gettext(error.message, **error.values)))
        return None
    if not found.check_digit_ok and found.number not in form.get("checked", "").split():
        errors.append(FieldError(name, doubtful))
    return found


def again(form: Mapping[str, str], *errors: FieldError, checked: str = "") -> Page:
    """Return the same page with what was typed kept."""
    typed = {name: form.get(name, "") for name in (*FIELDS, *WHO_FIELDS)} | {"checked": checked}
    return Page({"typed": typed}, errors=errors, status=422)


def match(typed: Typed, address: str, cookie: str) -> Identified | None:
    """Ask the register, for the browser at a network address with this device cookie. Raise TooMany when it must wait.

    Each attempt counts until it has succeeded, so that guesses sent at the same instant cannot pass together. A success
    forgets the failures of its own meters, and of no more: knowing one meter must not allow more guesses at others.
    """
    meters = typed.subjects()
    attempt = budgets.identification(address, typed.postcode, meters, device_cookie.budget_key(cookie, meters))
    attempt.take()
    try:
        identified = sources.register().find(typed.postcode, typed.mpan, typed.mprn, clock.now())
    except Exception:
        attempt.succeeded()  # nothing was judged: an owner must not wait because the register was down
        raise
    if identified is not None:
        attempt.succeeded(*((budgets.meter(), each) for each in meters))
    return identified


class Bill(Step):
    """Identify the business by a bill, and note who says to act for it: a claim, kept as such."""

    name = "identify"
    label = N_("Your meters")
    template = "journey/identify.html"
    fields = (*FIELDS, *WHO_FIELDS)
    kept = fields
    offer = N_("Use a bill instead")

    def act(self) -> AbstractContextManager[None]:
        return sources.act()

    def show(self, visit: Visit) -> Page:
        return Page({"typed": {}})

    def take(self, visit: Visit, form: Mapping[str, str]) -> Page | Onward:
        typed = read(form)
        if isinstance(typed, Page):
            return typed
        checked = form.get("checked", "")
        too_long = [name for name in WHO_FIELDS if len(form.get(name, "")) > LONGEST_NAME]
        if too_long:
            errors = (
                FieldError(name, gettext("Use at most %(most)d characters.", most=LONGEST_NAME)) for name in too_long
            )
            return again(form, *errors, checked=checked)
        identified = match(typed, visit.address, visit.device_cookie)
        if identified is None:
            return again(form, FieldError("postcode", NO_MATCH), checked=checked)
        who: Who = {
            "business": identified.business,
            "name": form.get("name", ""),
            "capacity": form.get("capacity", ""),
            "method": identified.method,
            "strength": identified.strength,
        }
        following = identified_by(identified, who, TYPED, visit.journey.license, visit.at)
        return replace(following, owns=typed.subjects())

"""Which business is this, and which meters: a postcode with an MPAN, an MPRN or both, matched against the register.

Used by the journey's first step at an EDP, and by the page where permissions are looked after. One sentence answers both
what the register does not know and what does not belong together, so that nobody learns about meters by asking.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from consent_server import audit
from consent_server.journey.parts import Identified, JourneyParts
from consent_server.journey.step import FieldError, Onward, Page, Step, Visit
from consent_server.scheme.meters import MeterNumberError, parse_mpan, parse_mprn, parse_postcode

FIELDS = ("postcode", "mpan", "mprn", "checked")
WHO_FIELDS = ("name", "capacity")
LONGEST_NAME = 100

NO_MATCH = (
    "We could not match this postcode with these numbers. Check each of them against your latest bill. "
    "They must all be for the same business."
)
NEITHER = "Type the number of your electricity supply (MPAN), your gas supply (MPRN), or both."
CHECK_MPAN = (
    "The last digit of this MPAN does not fit the others, so one may be mistyped. Check it against your bill. "
    "If it is right, press Continue again."
)
CHECK_MPRN = (
    "The last two digits of this MPRN do not fit the others, so one may be mistyped. Check it against your bill. "
    "If it is right, press Continue again."
)


@dataclass(frozen=True)
class Typed:
    """What was typed, in the form that the register takes."""

    postcode: str = field(repr=False)
    mpan: str | None = field(repr=False)
    mprn: str | None = field(repr=False)

    def subjects(self) -> list[str]:
        """The meters as subjects of a limit."""
        return [f"{fuel}:{number}" for fuel, number in (("electricity", self.mpan), ("gas", self.mprn)) if number]


def read(form: Mapping[str, str]) -> Typed | Page:
    """What was typed, or the page again, saying what to mend.

    A wrong check digit is pointed out once: the page then carries the number that it spoke of in `checked`, and the same
    number sent again goes on to the register.
    """
    pointed_out = form.get("checked", "").split()
    errors: list[FieldError] = []
    doubted: list[str] = []
    postcode = mpan = mprn = None
    try:
        postcode = parse_postcode(form.get("postcode", "")).full
    except MeterNumberError as error:
        errors.append(FieldError("postcode", str(error)))
    if not form.get("mpan") and not form.get("mprn"):
        errors.append(FieldError("mpan", NEITHER))
    if form.get("mpan"):
        try:
            electricity = parse_mpan(form["mpan"])
            mpan = electricity.core
            if not electricity.check_digit_ok:
                doubted.append(mpan)
                if mpan not in pointed_out:
                    errors.append(FieldError("mpan", CHECK_MPAN))
        except MeterNumberError as error:
            errors.append(FieldError("mpan", str(error)))
    if form.get("mprn"):
        try:
            gas = parse_mprn(form["mprn"])
            mprn = gas.number
            if not gas.check_digit_ok:
                doubted.append(mprn)
                if mprn not in pointed_out:
                    errors.append(FieldError("mprn", CHECK_MPRN))
        except MeterNumberError as error:
            errors.append(FieldError("mprn", str(error)))
    if errors or postcode is None:
        return again(form, *errors, checked=" ".join(doubted))
    return Typed(postcode, mpan, mprn)


def again(form: Mapping[str, str], *errors: FieldError, checked: str = "") -> Page:
    """The same page with what was typed kept."""
    typed = {name: form.get(name, "") for name in (*FIELDS, *WHO_FIELDS)} | {"checked": checked}
    return Page({"typed": typed}, errors=errors, status=422)


def match(parts: JourneyParts, typed: Typed, address: str, journey_id: str) -> Identified | None:
    """Ask the register, under the limits on failures of a meter, a journey and an address. Raises a 429 Refusal.

    Each attempt counts until it has succeeded, so that guesses sent at the same instant cannot pass together (E11). A
    success forgets the failures of its own meters, and of no more: whoever knows one meter must not guess on at others.
    """
    assert parts.identify is not None, "this party has no meter register"
    limits = parts.limits
    limits.address.take(address)
    limits.journey.take(journey_id)
    for subject in typed.subjects():
        limits.meter.take(subject)
    identified = parts.identify(typed.postcode, typed.mpan, typed.mprn)
    if identified is not None:
        limits.address.give_back(address)
        limits.journey.give_back(journey_id)
        for subject in typed.subjects():
            limits.meter.clear(subject)
    return identified


def show(_visit: Visit) -> Page:
    return Page({"typed": {}})


def take(visit: Visit, form: Mapping[str, str]) -> Page | Onward:
    """Identify the business, and note who says to act for it: a claim, kept as such."""
    typed = read(form)
    if isinstance(typed, Page):
        return typed
    too_long = [name for name in WHO_FIELDS if len(form.get(name, "")) > LONGEST_NAME]
    if too_long:
        errors = (FieldError(name, f"Use at most {LONGEST_NAME} characters.") for name in too_long)
        return again(form, *errors, checked=form.get("checked", ""))
    identified = match(visit.parts, typed, visit.address, visit.journey.id)
    if identified is None:
        return again(form, FieldError("postcode", NO_MATCH), checked=form.get("checked", ""))
    audit.event(
        "sme_identified",
        client_id=visit.journey.client_id,
        method=identified.method,
        strength=identified.strength,
    )
    return Onward(
        {
            "identified": {
                "sme": identified.sme,
                "meters": identified.meters,
                "who": {
                    "business": identified.business,
                    "name": form.get("name", ""),
                    "capacity": form.get("capacity", ""),
                    "method": identified.method,
                    "strength": identified.strength,
                },
            }
        },
        proven=True,
    )


STEP = Step("identify", "Your meters", "journey/identify.html", (*FIELDS, *WHO_FIELDS), show, take)

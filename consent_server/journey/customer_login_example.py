"""An example of a plug-in step: an EDP whose customers have a log-in of their own replaces `identify` by it.

Postcode and MPAN prove that somebody has seen a bill. A customer log-in proves more, and the evidence says so. What a
plug-in needs is one `Step`; it is declared in the tuple of the party's steps:

    sign_in = customer_login(check_password)
    parts = JourneyParts(steps=(sign_in, *EDP_STEPS[1:]), …)

Everything else (this browser alone, CSRF, limits, the new secret after the proof, the permission page) stays as it is.
The page is an ordinary template; its field names are those in `fields`, and its button has the id `continue`.
"""

from collections.abc import Callable, Mapping

from consent_server import audit
from consent_server.journey.parts import Identified
from consent_server.journey.step import FieldError, Onward, Page, Step, Visit

WRONG = "The customer number or the password is not right."


def customer_login(check_password: Callable[[str, str], Identified | None]) -> Step:
    """A step that asks for a customer number and password; `check_password` answers the customer and its meters."""

    def show(_visit: Visit) -> Page:
        return Page({"typed": {}})

    def take(visit: Visit, form: Mapping[str, str]) -> Page | Onward:
        customer = form.get("customer", "").strip()
        limits = visit.parts.limits
        # Counted before it is checked, so that guesses sent at the same instant cannot pass together.
        limits.address.take(visit.address)
        limits.account.take(customer)
        identified = check_password(customer, form.get("password", ""))
        if identified is None:
            return Page({"typed": {"customer": customer}}, errors=(FieldError("customer", WRONG),), status=422)
        limits.account.clear(customer)
        limits.address.give_back(visit.address)
        method, strength = identified.method, identified.strength
        audit.event("sme_identified", client_id=visit.journey.client_id, method=method, strength=strength)
        who = {"business": identified.business, "method": method, "strength": strength}
        return Onward({"identified": {"sme": identified.sme, "meters": identified.meters, "who": who}}, proven=True)

    return Step("log-in", "Log in", "journey/customer_login_example.html", ("customer", "password"), show, take)

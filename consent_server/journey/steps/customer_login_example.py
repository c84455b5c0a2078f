"""An example of a plug-in step: an EDP whose customers have a log-in of their own replaces the step `Bill` by it.

Postcode and MPAN prove that somebody has seen a bill. A customer log-in proves more, and the evidence shows it. What a
plug-in needs is one subclass of `Step`, an object of which the setting `journey.steps` names. Everything else (this browser
alone, CSRF, limits, the new secret after the proof, the permission page) stays as it is. The page is an ordinary template; its
field names are those in `fields`, and its button has the id `continue`.
"""

from abc import abstractmethod
from collections.abc import Mapping

from consent_server.journey.step import Onward, Page, Step, Visit
from consent_server.journey.steps.sites import identified_by
from consent_server.metering.register import Identified
from consent_server.scheme.permission import Who
from consent_server.web import budgets
from consent_server.web.language import N_
from consent_server.web.typed import FieldError

LOGGED_IN = N_("the customer logged in")
WRONG = N_("The customer number or the password is not right.")


class CustomerLogin(Step):
    """Identify the business by a customer number and a password."""

    name = "log-in"
    label = N_("Log in")
    template = "journey/customer_login_example.html"
    fields = ("customer", "password")
    kept = ("customer",)

    @abstractmethod
    def check_password(self, customer: str, password: str) -> Identified | None:
        """Return the customer and its meters; None when customer number and password do not belong together."""

    def show(self, visit: Visit) -> Page:
        return Page({"typed": {}})

    def take(self, visit: Visit, form: Mapping[str, str]) -> Page | Onward:
        customer = form.get("customer", "").strip()
        # Counted before it is checked, so that guesses sent at the same instant cannot pass together.
        attempt = budgets.password(visit.address, customer)
        attempt.take()
        identified = self.check_password(customer, form.get("password", ""))
        if identified is None:
            return Page({"typed": {"customer": customer}}, errors=(FieldError("customer", WRONG),), status=422)
        attempt.succeeded((budgets.passwords(), customer))
        who: Who = {"business": identified.business, "method": identified.method, "strength": identified.strength}
        return identified_by(identified, who, LOGGED_IN, visit.journey.license, visit.at)

"""A step as an EDP would write it: a log-in of its own, by customer number and password."""

from consent_server.journey.steps.customer_login_example import CustomerLogin
from consent_server.metering.register import Identified, Tenancy


class PlayedLogin(CustomerLogin):
    def check_password(self, customer: str, password: str) -> Identified | None:
        if (customer, password) != ("C-1", "right"):
            return None
        meter = Tenancy("m-1", "electricity", ("import",), "SW8", "••• 1234")
        return Identified("sme-7", "Acme Widgets Ltd", [meter], "Customer log-in", "Knows the customer's password")


step = PlayedLogin()

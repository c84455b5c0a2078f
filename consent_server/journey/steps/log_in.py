"""Which business is this: it logs in at the EDP's own provider, and then ticks which of its meters it will share."""

from collections.abc import Callable, Mapping

from consent_server import store
from consent_server.deployment import current
from consent_server.journey import log_in
from consent_server.journey.log_in import KeptLogIn, LogInUnreachable
from consent_server.journey.step import Away, Onward, Page, Step, Visit, state_of
from consent_server.journey.steps.sites import offered_to
from consent_server.outbound.log_in import RETURNED
from consent_server.refusal import Refusal
from consent_server.scheme.permission import Who
from consent_server.store import journeys
from consent_server.store.tables.journeys import FoundCustomer, LogInState, Progress
from consent_server.web import background
from consent_server.web.background import StillUnderWay
from consent_server.web.language import N_
from consent_server.web.typed import FieldError

NAME = "log-in"


class InJourney(KeptLogIn):
    """A log-in in the progress of a journey."""

    def __init__(self, visit: Visit) -> None:
        self.redirect_uri = f"{current().settings.public.origin}/journey/{NAME}/return"
        self._visit = visit

    def edit(self, change: Callable[[Progress], object]) -> None:
        with store.writing() as c:
            journeys.change(c, self._visit.journey.id, self._visit.at, change)


class LogIn(Step):
    """Identify the business by a log-in of the EDP's customers (OpenID Connect)."""

    name = NAME
    label = N_("Log in")
    template = "journey/log_in.html"
    fields = ()
    returns = RETURNED
    offer = N_("Log in instead")

    def show(self, visit: Visit) -> Page | Onward:
        found = outcome(visit.progress.get("log_in"))
        if isinstance(found, Page):
            return found
        return _onward(visit, found) if found["meters"] else page(unknown=True)

    def take(self, visit: Visit, form: Mapping[str, str]) -> Page | Away:
        try:
            state = state_of(visit.journey.id)
            address, begun = log_in.leave(InJourney(visit).redirect_uri, state, visit.address)
        except LogInUnreachable as refusal:
            return page(refusal)
        return Away(address, {"log_in": begun})

    def resume(self, visit: Visit, returned: Mapping[str, str]) -> Onward | None:
        kept = InJourney(visit)
        log_in.come_back(kept, visit.progress.get("log_in"), returned, visit.address)
        with store.reading() as c:
            newest = journeys.find(c, visit.journey.id)
        try:
            found = log_in.result(newest.progress.get("log_in")) if newest else None
        except (Refusal, StillUnderWay):
            return None  # its page says so
        return _onward(visit, found) if found is not None and found["meters"] else None


def _onward(visit: Visit, found: FoundCustomer) -> Onward:
    method, strength = log_in.method(), found["strength"]
    who: Who = {"business": found["business"], "method": method, "strength": strength}
    return offered_to(found["sme"], found["meters"], who, found.get("email", ""))


def outcome(under_way: LogInState | None) -> FoundCustomer | Page:
    """Return what a log-in has led to, or the page to show while there is none."""
    try:
        return log_in.result(under_way) or page()
    except Refusal as refusal:
        return page(refusal)
    except StillUnderWay:
        return _waiting()


def page(fault: Refusal | None = None, *, unknown: bool = False) -> Page:
    """Return the page with the button, saying what ended the log-in before; `unknown` says that it led to no meters."""
    targets: tuple[str, ...] = ()
    try:
        targets = log_in.form_targets()
    except Refusal as refusal:
        fault = fault or refusal
    except StillUnderWay:
        return _waiting()
    values = {"login": current().settings.login, "waits": False, "unknown": unknown}
    errors = (FieldError("continue", fault.sentence),) if fault else ()
    return Page(values, errors=errors, status=fault.status if fault else 200, form_targets=targets)


def _waiting() -> Page:
    return Page({"login": current().settings.login, "waits": True}, refresh_s=background.REFRESH_S)

"""The SME's decision: agree, having ticked; decline; or read again what has changed since."""

from collections.abc import Mapping

from consent_server import store
from consent_server.issuer import decision
from consent_server.issuer.decision import Decision, code_for
from consent_server.journey import read
from consent_server.journey.hand_over import PRESS_S
from consent_server.journey.step import Away, Ended, Page, Step, Visit
from consent_server.scheme import instant
from consent_server.store.tables.journeys import Journey
from consent_server.store.tables.sessions import SessionData
from consent_server.web.language import N_
from consent_server.web.typed import FieldError

TICK = N_("Tick the box to say that you give this permission, or press Decline.")
CHANGED = N_("What is asked has changed since this page was opened. Read it again before you decide.")


class Decide(Step):
    name = "permission"
    label = N_("Your decision")
    template = "journey/permission.html"
    fields = ("agree", "decision", "shown")
    uses_session = True

    def beside(self, c: store.Connection, journey: Journey, held: SessionData, at: int) -> read.Beside | None:
        return read.beside(c, journey, at) if "identified" in journey.progress else None

    def show(self, visit: Visit) -> Page | Ended | Away:
        if _signed_out(visit):
            return _sign_in(visit)
        asked = read.question(visit)
        if isinstance(asked, Page):
            return asked
        just_pressed = 0 <= visit.at - visit.progress.get("proved", 0) < PRESS_S
        if just_pressed and asked.covers and visit.progress.get("pressed") == asked.covers:
            return Ended(decision.conclude(visit.journey, _decision(visit, asked)))
        return read.page(asked)

    def take(self, visit: Visit, form: Mapping[str, str]) -> Page | Ended | Away:
        """Take one decision. Nothing in the form widens it: who, what and for whom come from the journey alone."""
        if _signed_out(visit):
            return _sign_in(visit)
        if form.get("decision") == "decline":
            return Ended(decision.decline(visit.journey))
        asked = read.question(visit)
        if isinstance(asked, Page):
            return asked
        if not form.get("shown") == visit.progress.get("shown") == asked.digest:
            return read.page(asked, errors=(FieldError("permission-text", CHANGED),), status=409)
        agreed = asked.agreed is not None or form.get("agree") == "yes"
        if not agreed or form.get("decision") != "allow":
            return read.page(asked, errors=(FieldError("agree", TICK),), status=422)
        return Ended(decision.conclude(visit.journey, _decision(visit, asked)))


def _signed_out(visit: Visit) -> bool:
    """Return whether this browser's session has ended, or is another account's, since it showed who the SME is."""
    return bool(visit.progress.get("by_session")) and visit.account != visit.progress["identified"]["sme"]


def _sign_in(visit: Visit) -> Away:
    return Away(f"/journey/sign-in?journey={visit.journey.id}", {})


def _decision(visit: Visit, asked: read.Question) -> Decision:
    identified = visit.progress["identified"]
    text = asked.text
    agreed = {"agreed": instant.text(asked.agreed)} if asked.agreed is not None else {}
    return Decision(
        agreed=True,
        sme=identified["sme"],
        who=identified["who"],
        # All of them: a client gets 403, not 404, for a meter of this SME that the license leaves out. `fuels` says
        # which of them may be read.
        meters=read.meters_of(visit.progress),
        fuels=asked.fuels,
        text_shown=text.text,
        shown_sha256=text.shown_sha256,
        raw_sha256=text.raw_sha256,
        names={**text.names, "client": asked.asker.legal_name, "host": asked.host, "license": text.title, **agreed},
        address=visit.address,
        user_agent=visit.user_agent,
        email=identified.get("email", ""),
        code=code_for(visit.journey.id, visit.secret),
        until=asked.until,
        named_connections=asked.named_connections,
    )

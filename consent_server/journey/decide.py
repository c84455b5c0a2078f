"""The SME's decision: agree, having ticked; decline; or read again what has changed since."""

from collections.abc import Mapping

from consent_server.issuer import decision
from consent_server.issuer.decision import Decision, code_for
from consent_server.journey import read
from consent_server.journey.step import Ended, FieldError, Page, Step, Visit
from consent_server.web.language import N_

TICK = N_("Tick the box to say that you give this permission, or press Decline.")
CHANGED = N_("What is asked has changed since this page was opened. Read it again before you decide.")


class Decide(Step):
    name = "permission"
    label = N_("Your decision")
    template = "journey/permission.html"
    fields = ("agree", "decision", "shown")

    def show(self, visit: Visit) -> Page:
        asked = read.question(visit)
        return asked if isinstance(asked, Page) else read.page(asked)

    def take(self, visit: Visit, form: Mapping[str, str]) -> Page | Ended:
        """Take one decision. Nothing in the form widens it: who, what and for whom come from the journey alone."""
        if form.get("decision") == "decline":
            return Ended(decision.decline(visit.journey))
        asked = read.question(visit)
        if isinstance(asked, Page):
            return asked
        if not form.get("shown") == visit.progress.get("shown") == asked.digest:
            return read.page(asked, errors=(FieldError("permission-text", CHANGED),), status=409)
        if form.get("agree") != "yes" or form.get("decision") != "allow":
            return read.page(asked, errors=(FieldError("agree", TICK),), status=422)
        return Ended(decision.conclude(visit.journey, _decision(visit, asked)))


def _decision(visit: Visit, asked: read.Question) -> Decision:
    identified = visit.progress["identified"]
    text = asked.text
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
        names={**text.names, "client": asked.asker.legal_name, "host": asked.host, "license": text.title},
        address=visit.address,
        user_agent=visit.user_agent[:300],
        email=identified.get("email", ""),
        code=code_for(visit.journey.id, visit.secret),
    )

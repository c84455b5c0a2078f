"""The SME's answer: agree, having ticked; decline; or be shown again what has changed since."""

from collections.abc import Mapping

from consent_server.journey import read
from consent_server.journey.decision import Decision, code_for
from consent_server.journey.step import Ended, FieldError, Page, Step, Visit

TICK = "Tick the box to say that you give this permission, or press Decline."
CHANGED = "What is asked has changed since this page was opened. Read it again before you decide."


def take(visit: Visit, form: Mapping[str, str]) -> Page | Ended:
    """One decision. Nothing that the form says widens it: who, what and for whom come from the journey alone (E15)."""
    if form.get("decision") == "decline":
        return Ended(visit.parts.decline(visit.journey))
    if stands_in_the_way := read.obstacle(visit):
        return stands_in_the_way
    asked = read.question(visit)
    if asked is None:
        return read.not_covered()
    if not form.get("shown") == visit.progress.get("shown") == asked.digest:
        return read.page(visit, asked, errors=(FieldError("permission-text", CHANGED),), status=409)
    if form.get("agree") != "yes" or form.get("decision") != "allow":
        return read.page(visit, asked, errors=(FieldError("agree", TICK),), status=422)
    return Ended(visit.parts.conclude(visit.journey, _decision(visit, asked)))


def _decision(visit: Visit, asked: read.Question) -> Decision:
    identified = visit.progress["identified"]
    text = asked.text
    return Decision(
        agreed=True,
        sme=identified["sme"],
        who=identified["who"],
        # All of them, for a client must be told 403 for a meter of this SME that the license leaves out; `fuels` says
        # which of them may be read.
        meters=identified["meters"],
        fuels=asked.fuels,
        text_shown=text.text,
        shown_sha256=text.shown_sha256,
        raw_sha256=text.raw_sha256,
        names={**text.names, "client": asked.asker.legal_name, "host": asked.host, "license": text.title},
        address=visit.address,
        user_agent=visit.user_agent[:300],
        code=code_for(visit.journey.id, visit.secret),
    )


STEP = Step("permission", "Your decision", "journey/permission.html", ("agree", "decision", "shown"), read.show, take)

"""The authorization endpoint and the steps of the journey that begins there. The rules are in the steps."""

import secrets
from collections.abc import Mapping
from typing import Final

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import store
from consent_server.issuer import authorize, decision, metadata
from consent_server.issuer.decision import code_for
from consent_server.journey import browser
from consent_server.journey.browser import Holds, NotThisBrowser
from consent_server.journey.step import Onward, Page, Step, Visit, journey_of
from consent_server.journey.steps import open_step, path_of, step_named, steps
from consent_server.journey.views import responses, visits
from consent_server.receipts import links
from consent_server.refusal import Refusal
from consent_server.web import budgets, cookies, pages, parameters, typed
from consent_server.web.application import require_get
from consent_server.web.limits import network_of
from consent_server.web.refusals import NotFound
from consent_server.web.typed import KeptForm

#: Journeys that one browser can be on at a time; the oldest is forgotten.
MOST_JOURNEYS: Final = 20

routes = Blueprint("journey", __name__)


@routes.get(metadata.AUTHORIZE)
def authorization_endpoint() -> Response:
    require_get()
    query = parameters.query(request, optional=authorize.PARAMETERS)
    try:
        journey_id, secret = authorize.enter(query)
    except authorize.RequestUnknown:  # only then is anything counted: a good link works whatever was opened before it
        budgets.unknown_requests().failed(network_of(request.remote_addr or ""))
        raise
    response = Response(status=303, headers={"Location": path_of(steps({})[0], journey_id)})
    cookies.clear_oldest(request, response, browser.cookie(""), MOST_JOURNEYS - 1)
    cookies.set_cookie(response, browser.cookie(journey_id), secret, responses.COOKIE_MAX_AGE_S)
    return response


@routes.route("/journey/<name>", methods=["GET", "POST"])
def step(name: str) -> AnyResponse:
    this = step_named(name)
    if this is None:
        raise NotFound("no such step")
    visit, holds = visits.of_browser(step=this)
    if holds is Holds.PREVIOUS:
        if request.method != "POST":
            raise NotThisBrowser("a secret that was replaced")
        return responses.repeated(visit, visits.form(visit, *this.fields))
    if visit.journey.concluded is not None:
        return responses.finished(visit)
    sent = visits.form(visit, *this.fields) if request.method == "POST" else None
    mine = steps(visit.progress, this)
    open_ = open_step(mine, visit.progress)
    if this not in mine[: mine.index(open_) + 1]:  # a step was skipped: nothing is taken from its form (ASVS 5.0 2.3.1)
        return redirect(path_of(open_, visit.journey.id), 303)
    if sent is None:
        # What was waited for has no form: nobody can repeat it, and so nobody who had the old secret gets the new one.
        outcome, sent = responses.typed_before(visit, this, this.show(visit)), {"once": secrets.token_urlsafe(16)}
        return responses.followed(visit, this, outcome, visits.keep_outcome(visit, this, outcome, sent))
    kept = {name: text for name, text in sent.items() if name in this.kept}
    typed.keep(this.name, visit.journey.id, KeptForm(kept))  # whatever follows, a refusal too: Back shows it
    return _taken(visit, this, sent)


@routes.get("/journey/<name>/return")
def came_back(name: str) -> AnyResponse:
    """Take back a browser that a step has sent away. No page is shown at this address, whose query may have a code."""
    this = step_named(name)
    if this is None or not this.returns:
        raise NotFound("no such step")
    require_get()
    returned = parameters.query(request, optional=this.returns)
    visit, holds = visits.of_browser(journey_of(returned.get("state", "")))
    if holds is Holds.PREVIOUS:
        return responses.repeated(visit, returned)
    if visit.journey.concluded is not None:
        return responses.finished(visit)
    onward = this.resume(visit, returned)
    if onward is None:
        return redirect(path_of(this, visit.journey.id), 303)
    return responses.led(visit, onward, visits.move_on(visit, this, onward, returned))


@routes.post("/journey/cancel")
def cancel() -> AnyResponse:
    visit = visits.current_visit()
    visits.form(visit)
    if visit.journey.concluded is not None:
        return responses.finished(visit)
    return responses.ended(visit, decision.decline(visit.journey))


@routes.post("/journey/again")
def again() -> AnyResponse:
    """Redirect once more from the page that says that the decision was made, while that is safe."""
    visit = visits.current_visit()
    visits.form(visit)
    if visit.journey.concluded is None:
        raise NotThisBrowser("not concluded by this browser")
    return responses.ended(visit, decision.again(visit.journey, code_for(visit.journey.id, visit.secret)))


@routes.get("/journey/receipt")
def receipt() -> AnyResponse:
    """Lead to the receipt of what this browser has allowed: the redirect to the client leaves no time to show it."""
    visit = visits.current_visit()
    granted = decision.permission_of(code_for(visit.journey.id, visit.secret))
    if granted is not None:
        return redirect(links.make_path(granted), 303)
    return pages.render(
        "journey/no_receipt.html", form_targets=responses.targets(visit), **responses.common(visit, None)
    )


def _taken(visit: Visit, step: Step, sent: Mapping[str, str]) -> AnyResponse:
    """Take a form, in one transaction with what is kept of it where the step can (`Step.act`)."""
    claimed = visit.at if visit.journey.claimed is None else None
    try:
        with step.act():
            outcome = step.take(visit, sent)
            moved = visits.keep_outcome(visit, step, outcome, sent, claimed)
        if isinstance(outcome, Onward) and outcome.then is not None:
            visits.follow_up(visit, outcome.then)
    except store.StoreUnavailable:
        raise
    except Refusal:  # such as that it must wait: the journey is this browser's all the same
        visits.keep(visit, claimed=claimed)
        raise
    if isinstance(outcome, Page) and outcome.errors:
        return responses.to_mend(visit, step, outcome)
    return responses.followed(visit, step, outcome, moved)

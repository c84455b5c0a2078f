"""The journey's routes. Each is short: the rules are in the steps."""

import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock
from consent_server.journey import browser, evidence, identify, manage, steps
from consent_server.journey.decision import code_for
from consent_server.journey.parts import JourneyParts, Management
from consent_server.journey.step import Ended, FieldError, Onward, Page, Step, Visit
from consent_server.web import cookies, csrf, headers, pages, parameters
from consent_server.web.refusals import NotFound


def blueprints(parts: JourneyParts) -> tuple[Blueprint, ...]:
    """The journey, the evidence and, where the party has one, the pages that look after permissions."""
    manage = (_manage(parts, parts.management),) if parts.management is not None else ()
    return (_journey(parts), _evidence(parts), *manage)


def _journey(parts: JourneyParts) -> Blueprint:
    blueprint = Blueprint("journey", __name__, url_prefix="/journey")

    def visit() -> tuple[Visit, browser.Holds]:
        # Whatever is wrong with the query, there is no journey here: one answer, which says what to do.
        sent = parameters.query(request, optional=("journey",))
        journey_id = sent.get("journey", "")
        cookie = request.cookies.get(parts.cookie(journey_id)) if journey_id else None
        found = parts.storage.load(journey_id) if journey_id and len(journey_id) <= 32 else None
        at = clock.now()
        journey, holds = browser.judge(found, cookie, at, idle_s=parts.idle_s, life_s=parts.life_s)
        agent = pages.plain(request.user_agent.string, 300)
        return Visit(journey, parts, cookie or "", at, request.remote_addr or "", agent), holds

    def form(here: Visit, *fields: str) -> dict[str, str]:
        sent = parameters.form(request, optional=(*fields, csrf.FIELD), beside=("journey",))
        csrf.check(request, sent.pop(csrf.FIELD, None), here.secret, parts.origin)
        return sent

    def shown(here: Visit, step: Step, page: Page) -> Response:
        progress = {**here.progress, **page.progress} if page.progress else None
        parts.storage.save(here.journey.id, here.at, progress, None)
        return pages.render(
            page.template or step.template,
            page.status,
            form_targets=(headers.origin_of(here.journey.redirect_uri),),
            **{**common(here, step), "errors": page.errors, **page.values},
        )

    def common(here: Visit, step: Step | None) -> dict[str, Any]:
        return {
            "journey": here.journey.id,
            "party": parts.party,
            "origin": parts.origin,
            "asker": parts.client(here.journey.client_id),
            "csrf": csrf.token(here.secret),
            "steps": parts.steps,
            "current": step,
            "errors": (),
        }

    def finished(here: Visit) -> Response:
        targets = (headers.origin_of(here.journey.redirect_uri),)
        return pages.render("journey/finished.html", form_targets=targets, **common(here, None))

    def ended(here: Visit, location: str | None) -> AnyResponse:
        return redirect(location, 303) if location else finished(here)

    def onward(here: Visit, index: int, done: Onward, sent: Mapping[str, str]) -> AnyResponse:
        progress = {**here.progress, **done.progress, "done": steps.done_after(parts.steps, index)}
        response: AnyResponse
        if not done.proven:
            parts.storage.save(here.journey.id, here.at, progress, None)
            return redirect(steps.path_of(parts.steps[index + 1], here.journey.id), 303)
        nonce = progress.setdefault("nonce", secrets.token_urlsafe(16))
        parts.storage.save(here.journey.id, here.at, progress | {"proved": here.at}, None)
        following = browser.next_secret(here.secret, nonce, sent)
        newest = parts.storage.load(here.journey.id)
        if newest is None or newest.secret != browser.digest(following):  # else a click at the same instant was first
            parts.storage.rotate(here.journey.id, following)
        response = redirect(steps.path_of(parts.steps[index + 1], here.journey.id), 303)
        cookies.set_cookie(response, parts.cookie(here.journey.id), following, steps.COOKIE_MAX_AGE_S)
        return response

    def repeated(here: Visit, step: Step) -> AnyResponse:
        """The second half of a double click on the step that proved who the SME is: the same answer once more."""
        sent = form(here, *step.fields)
        following = browser.next_secret(here.secret, here.progress.get("nonce", ""), sent)
        if request.method != "POST" or not hmac.compare_digest(browser.digest(following), here.journey.secret):
            raise browser.NotThisBrowser("a secret that was replaced")
        following_step = parts.steps[steps.open_step(parts.steps, here.progress)]
        response = redirect(steps.path_of(following_step, here.journey.id), 303)
        cookies.set_cookie(response, parts.cookie(here.journey.id), following, steps.COOKIE_MAX_AGE_S)
        return response

    @blueprint.route("/<name>", methods=["GET", "POST"])
    def step(name: str) -> AnyResponse:
        index = next((i for i, known in enumerate(parts.steps) if known.name == name), None)
        if index is None:
            raise NotFound("no such step")
        here, holds = visit()
        this = parts.steps[index]
        if holds is browser.Holds.PREVIOUS:
            if request.method != "POST":
                raise browser.NotThisBrowser("a secret that was replaced")
            return repeated(here, this)
        if here.journey.concluded is not None:
            return finished(here)
        open_index = steps.open_step(parts.steps, here.progress)
        if request.method == "GET":
            if index > open_index:
                return redirect(steps.path_of(parts.steps[open_index], here.journey.id), 303)
            return shown(here, this, this.show(here))
        sent = form(here, *this.fields)
        if index > open_index:  # a step was skipped: nothing is taken from this form (ASVS 5.0 2.3.1)
            return redirect(steps.path_of(parts.steps[open_index], here.journey.id), 303)
        parts.storage.save(here.journey.id, here.at, None, here.at)
        outcome = this.take(here, sent)
        if isinstance(outcome, Page):
            return shown(here, this, outcome)
        if isinstance(outcome, Ended):
            return ended(here, outcome.redirect)
        return onward(here, index, outcome, sent)

    @blueprint.post("/cancel")
    def cancel() -> AnyResponse:
        here, holds = visit()
        if holds is browser.Holds.PREVIOUS:
            raise browser.NotThisBrowser("a secret that was replaced")
        form(here)
        if here.journey.concluded is not None:
            return finished(here)
        return ended(here, parts.decline(here.journey))

    @blueprint.post("/again")
    def again() -> AnyResponse:
        """From the page that says it is done: the same redirect once more, while that is safe."""
        here, holds = visit()
        form(here)
        if holds is browser.Holds.PREVIOUS or here.journey.concluded is None:
            raise browser.NotThisBrowser("not concluded by this browser")
        return ended(here, parts.again(here.journey, code_for(here.journey.id, here.secret)))

    return blueprint


def _evidence(parts: JourneyParts) -> Blueprint:
    blueprint = Blueprint("evidence", __name__)

    @blueprint.get("/evidence/<evidence_id>")
    def evidence_page(evidence_id: str) -> Response:
        address = request.remote_addr or ""
        parts.limits.evidence.check(address)
        at = clock.now()
        grants = [evidence.view(grant, at) for grant in parts.evidence(evidence_id)] if len(evidence_id) <= 48 else []
        if not grants:
            parts.limits.evidence.failed(address)
            raise NotFound("evidence")
        response = pages.render("evidence/evidence.html", grant=grants[0], others=grants[1:], party=parts.party)
        return headers.frame_anywhere(response)

    return blueprint


def _manage(parts: JourneyParts, management: Management) -> Blueprint:
    blueprint = Blueprint("manage", __name__, url_prefix="/manage")
    sessions = management.sessions
    form_cookie = f"{sessions.cookie}-form"

    def sign_in_page(page: Page) -> Response:
        """The form is ours only in the browser that was shown it, though nobody has signed in yet."""
        secret = request.cookies.get(form_cookie) or secrets.token_urlsafe(32)
        values = {"errors": page.errors, "csrf": csrf.token(secret), **page.values}
        response = pages.render("manage/identify.html", page.status, **values)
        cookies.set_cookie(response, form_cookie, secret, steps.COOKIE_MAX_AGE_S)
        return response

    def form(secret: str, *fields: str) -> dict[str, str]:
        sent = parameters.form(request, optional=(*fields, csrf.FIELD))
        csrf.check(request, sent.pop(csrf.FIELD, None), secret, parts.origin)
        return sent

    @blueprint.get("")
    def start() -> Response:
        return sign_in_page(Page({"typed": {}}))

    @blueprint.post("")
    def identify_again() -> AnyResponse:
        secret = request.cookies.get(form_cookie, "")
        sent = form(secret, *identify.FIELDS)
        if not secret:
            raise csrf.CsrfRefused("no cookie")
        typed = identify.read(sent)
        if isinstance(typed, Page):
            return sign_in_page(typed)
        identified = identify.match(parts, typed, request.remote_addr or "", browser.digest(secret))
        if identified is None:
            error = FieldError("postcode", identify.NO_MATCH)
            return sign_in_page(identify.again(sent, error, checked=sent.get("checked", "")))
        response = redirect("/manage/permissions", 303)
        sessions.end(request, response)
        sessions.begin(response, {"sme": identified.sme, "business": identified.business})
        return response

    @blueprint.get("/permissions")
    def permissions() -> AnyResponse:
        session = sessions.current(request)
        if session is None:
            return redirect("/manage", 303)
        overview = manage.overview(management.permissions_of(session.data["sme"]), clock.now())
        return pages.render(
            "manage/permissions.html",
            overview=overview,
            business=session.data["business"],
            csrf=csrf.token(session.secret),
        )

    def own_page(template: str) -> AnyResponse:
        """A page about one of the SME's own permissions."""
        session = sessions.current(request)
        if session is None:
            return redirect("/manage", 303)
        wanted = parameters.query(request, required=("permission",))["permission"]
        grant = manage.own(management.permissions_of(session.data["sme"]), wanted, clock.now())
        if grant is None:
            raise NotFound("permission")
        return pages.render(template, grant=grant, csrf=csrf.token(session.secret))

    @blueprint.get("/receipt")
    def receipt() -> AnyResponse:
        return own_page("manage/receipt.html")

    @blueprint.get("/withdraw")
    def ask() -> AnyResponse:
        return own_page("manage/withdraw.html")

    @blueprint.get("/withdrawn")
    def withdrawn() -> AnyResponse:
        return own_page("manage/withdrawn.html")

    @blueprint.post("/withdraw")
    def withdraw() -> AnyResponse:
        session = sessions.current(request)
        if session is None:
            return redirect("/manage", 303)
        sent = form(session.secret, "permission")
        sme = session.data["sme"]
        grant = manage.own(management.permissions_of(sme), sent.get("permission", ""), clock.now())
        if grant is None:
            raise NotFound("permission")
        management.withdraw(grant.permission, sme)  # False on a second click: it has ended, which is what was asked
        return redirect(f"/manage/withdrawn?permission={grant.permission}", 303)

    @blueprint.post("/leave")
    def leave() -> AnyResponse:
        session = sessions.current(request)
        response = redirect("/manage", 303)
        if session is not None:
            form(session.secret)
            sessions.end(request, response)
        return response

    return blueprint

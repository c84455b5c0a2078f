"""The authorization endpoint and the steps of the journey that begins there. The rules are in the steps."""

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from flask import Blueprint, Response, redirect, request
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.wrappers import Response as AnyResponse

from consent_server import audit, clock, store
from consent_server.deployment import current
from consent_server.issuer import authorize, decision, metadata
from consent_server.issuer.decision import code_for
from consent_server.journey import browser, hand_over
from consent_server.journey.browser import Holds, NotThisBrowser
from consent_server.journey.step import Away, Ended, FieldError, Onward, Page, Step, Visit, journey_of
from consent_server.journey.steps import done_after, open_step, path_of, step_named, steps, ways
from consent_server.outbound.errors import Unreachable
from consent_server.receipts import links
from consent_server.refusal import Refusal, Unavailable
from consent_server.scheme.permission import Who
from consent_server.store import audit_events, journeys
from consent_server.store.digests import digest
from consent_server.store.tables import Journey, Progress, SessionData
from consent_server.web import budgets, cookies, csrf, device_cookie, headers, pages, parameters, sessions, typed
from consent_server.web.limits import network_of
from consent_server.web.refusals import NotFound
from consent_server.web.sessions import BrowserSession
from consent_server.web.typed import KeptForm

COOKIE_MAX_AGE_S: Final = 3600
#: Journeys that one browser can be on at a time; the oldest is forgotten.
MOST_JOURNEYS: Final = 20
LONGEST_ID: Final = 32

Shown = TypeVar("Shown", bound=Page | Onward | Ended | Away)


@dataclass(frozen=True)
class Moved:
    """Where a journey has moved on to: a path, and the secret that its browser gets, if it has shown who the SME is."""

    path: str
    secret: str = field(default="", repr=False)


routes = Blueprint("journey", __name__)


@routes.get(metadata.AUTHORIZE)
def authorization_endpoint() -> Response:
    if request.method != "GET":  # Flask calls GET's view for HEAD, and this one opens a journey
        raise MethodNotAllowed(["GET"])
    query = parameters.query(request, optional=authorize.PARAMETERS)
    try:
        journey_id, secret = authorize.enter(query)
    except authorize.RequestUnknown:  # only then is anything counted: a good link works whatever was opened before it
        budgets.unknown_requests().failed(network_of(request.remote_addr or ""))
        raise
    response = Response(status=303, headers={"Location": path_of(steps({})[0], journey_id)})
    cookies.clear_oldest(request, response, browser.cookie(""), MOST_JOURNEYS - 1)
    cookies.set_cookie(response, browser.cookie(journey_id), secret, COOKIE_MAX_AGE_S)
    return response


@routes.route("/journey/<name>", methods=["GET", "POST"])
def step(name: str) -> AnyResponse:
    this = step_named(name)
    if this is None:
        raise NotFound("no such step")
    here, holds = _visit(step=this)
    if holds is Holds.PREVIOUS:
        if request.method != "POST":
            raise NotThisBrowser("a secret that was replaced")
        return _repeated(here, _form(here, *this.fields))
    if here.journey.concluded is not None:
        return _finished(here)
    sent = _form(here, *this.fields) if request.method == "POST" else None
    mine = steps(here.progress, this)
    open_ = open_step(mine, here.progress)
    if this not in mine[: mine.index(open_) + 1]:  # a step was skipped: nothing is taken from its form (ASVS 5.0 2.3.1)
        return redirect(path_of(open_, here.journey.id), 303)
    if sent is None:
        # What was waited for has no form: nobody can repeat it, and so nobody who had the old secret gets the new one.
        outcome, sent = _typed_before(here, this, this.show(here)), {"once": secrets.token_urlsafe(16)}
        return _followed(here, this, outcome, _kept(here, this, outcome, sent))
    kept = {name: text for name, text in sent.items() if name in this.kept}
    typed.keep(this.name, here.journey.id, KeptForm(kept))  # whatever follows, a refusal too: Back shows it
    return _taken(here, this, sent)


@routes.get("/journey/<name>/return")
def came_back(name: str) -> AnyResponse:
    """Take back a browser that a step has sent away. No page is shown at this address, whose query may have a code."""
    this = step_named(name)
    if this is None or not this.returns:
        raise NotFound("no such step")
    if request.method != "GET":  # Flask calls GET's view for HEAD, and this one uses a code
        raise MethodNotAllowed(["GET"])
    returned = parameters.query(request, optional=this.returns)
    here, holds = _visit(journey_of(returned.get("state", "")))
    if holds is Holds.PREVIOUS:
        return _repeated(here, returned)
    if here.journey.concluded is not None:
        return _finished(here)
    onward = this.resume(here, returned)
    if onward is None:
        return redirect(path_of(this, here.journey.id), 303)
    return _led(here, onward, _onward(here, this, onward, returned))


@routes.post("/journey/cancel")
def cancel() -> AnyResponse:
    here = _current_visit()
    _form(here)
    if here.journey.concluded is not None:
        return _finished(here)
    return _ended(here, decision.decline(here.journey))


@routes.post("/journey/again")
def again() -> AnyResponse:
    """Redirect once more from the page that says that the decision was made, while that is safe."""
    here = _current_visit()
    _form(here)
    if here.journey.concluded is None:
        raise NotThisBrowser("not concluded by this browser")
    return _ended(here, decision.again(here.journey, code_for(here.journey.id, here.secret)))


@routes.get("/journey/receipt")
def receipt() -> AnyResponse:
    """Lead to the receipt of what this browser has allowed: the redirect to the client leaves no time to show it."""
    here = _current_visit()
    granted = decision.permission_of(code_for(here.journey.id, here.secret))
    if granted is not None:
        return redirect(links.path(granted), 303)
    return pages.render("journey/no_receipt.html", form_targets=_targets(here), **_common(here, None))


# this browser's visit


def _visit(named: str | None = None, step: Step | None = None) -> tuple[Visit, Holds]:
    # Whatever is wrong with the query, the journey is not found: one refusal, which says what to do.
    journey_id = parameters.query(request, optional=("journey",)).get("journey", "") if named is None else named
    cookie = request.cookies.get(browser.cookie(journey_id)) if journey_id else None
    at = clock.now()
    found = _Found()
    if cookie and len(journey_id) <= LONGEST_ID:
        found.look(journey_id, step, at)
    lifetimes = current().settings.lifetimes
    journey, holds = browser.judge(found.journey, cookie, at, idle_s=lifetimes.journey_idle, life_s=lifetimes.journey)
    agent, device = pages.plain(request.user_agent.string, 300), device_cookie.sent(request)
    address = request.remote_addr or ""
    return Visit(journey, cookie or "", at, address, agent, device, found.session, found.beside), holds


class _Found:
    """What is kept of a visit: its journey, this browser's session at the portal, and what the step reads beside them."""

    journey: Journey | None = None
    session: BrowserSession | None = None
    beside: object = None

    def look(self, journey_id: str, step: Step | None, at: int) -> None:
        """Read it, in one transaction."""

        def read(c: store.Connection, held: SessionData) -> None:
            self.journey = journeys.find(c, journey_id)
            if step is not None and self.journey is not None and self.journey.concluded is None:
                self.beside = step.beside(c, self.journey, held, at)

        if step is not None and step.uses_session and current().settings.party == "cap":
            self.session = sessions.of_kind(hand_over.PORTAL).current(request, read)
        if self.session is None:
            with store.reading() as c:
                read(c, {})


def _current_visit() -> Visit:
    here, holds = _visit()
    if holds is Holds.PREVIOUS:
        raise NotThisBrowser("a secret that was replaced")
    return here


def _form(here: Visit, *fields: str) -> dict[str, str]:
    return csrf.form(here.secret, *fields, beside=("journey",))


def _keep(here: Visit, progress: Progress | None = None, claimed: int | None = None) -> None:
    """Note the visit, and keep progress and the instant of the first POST when they are given.

    Nothing is written where nothing has changed since another visit that was noted shortly before.
    """
    changed = progress is not None and progress != here.progress
    if changed or claimed is not None or not _is_noted(here):
        with store.writing() as c:
            journeys.touch(c, here.journey.id, here.at, progress if changed else None, claimed)


def _is_noted(here: Visit) -> bool:
    """Return whether a visit was noted within a sixtieth of the time after which a journey is over unless it is visited."""
    return 0 <= here.at - here.journey.seen < current().settings.lifetimes.journey_idle // 60


def _taken(here: Visit, step: Step, sent: Mapping[str, str]) -> AnyResponse:
    """Take a form, in one transaction with what is kept of it where the step can (`Step.act`)."""
    claimed = here.at if here.journey.claimed is None else None
    try:
        with step.act():
            outcome = step.take(here, sent)
            moved = _kept(here, step, outcome, sent, claimed)
        if isinstance(outcome, Onward) and outcome.then is not None:
            _followed_up(here, outcome.then)
    except store.StoreUnavailable:
        raise
    except Refusal:  # such as that it must wait: the journey is this browser's all the same
        _keep(here, claimed=claimed)
        raise
    if isinstance(outcome, Page) and outcome.errors:
        return _to_mend(here, step, outcome)
    return _followed(here, step, outcome, moved)


def _followed_up(here: Visit, then: Callable[[], None]) -> None:
    """Do what a step leaves to be done once it is kept. Where that is refused, the journey is where it was before the step."""
    try:
        then()
    except Refusal:
        with store.writing() as c:
            journeys.touch(c, here.journey.id, here.at, here.progress)
        raise


def _kept(
    here: Visit,
    step: Step,
    outcome: Page | Onward | Ended | Away,
    sent: Mapping[str, str],
    claimed: int | None = None,
) -> Moved | None:
    """Keep what an outcome says of the journey; return where it has moved on to. An end is kept with the decision."""
    if isinstance(outcome, Onward):
        return _onward(here, step, outcome, sent, claimed)
    if not isinstance(outcome, Ended):
        _keep(here, {**here.progress, **outcome.progress}, claimed)
    return None


# responses


def _to_mend(here: Visit, step: Step, page: Page) -> AnyResponse:
    """Redirect to the step's page, which then says what to mend, and goes on saying so after Back and reload."""
    values: Mapping[str, str] = page.values.get("typed", {})  # type: ignore[assignment]
    again = {name: text for name, text in values.items() if name in step.kept}
    errors = [(error.field, error.text) for error in page.errors]
    typed.keep(step.name, here.journey.id, KeptForm(again, errors, page.status))
    return redirect(path_of(step, here.journey.id), 303)


def _typed_before(here: Visit, step: Step, outcome: Shown) -> Shown:
    """Return a step's page with what its browser typed into it before, and what is to be mended."""
    if not isinstance(outcome, Page) or outcome.template is not None or outcome.errors:
        return outcome
    before = typed.held(step.name, here.journey.id)
    values = {**outcome.values, "typed": {**outcome.values.get("typed", {}), **before.values}}  # type: ignore[dict-item]
    errors = tuple(FieldError(*error) for error in before.errors)
    return replace(outcome, values=values, errors=errors, status=before.status)


def _followed(here: Visit, step: Step, outcome: Page | Onward | Ended | Away, moved: Moved | None) -> AnyResponse:
    if isinstance(outcome, Page):
        return _shown(here, step, outcome)
    if isinstance(outcome, Ended):
        return _ended(here, outcome.redirect)
    if isinstance(outcome, Away):
        return redirect(outcome.redirect, 303)
    assert moved is not None
    return _led(here, outcome, moved)


def _shown(here: Visit, step: Step, page: Page) -> Response:
    values = {**_common(here, step), "errors": page.errors, **page.values}
    targets = (*_targets(here), *page.form_targets)
    template = page.template or step.template
    response = pages.render(template, page.status, form_targets=targets, script=page.script, **values)
    if page.refresh_s:
        response.headers["Refresh"] = f"{page.refresh_s};url={path_of(step, here.journey.id)}"
    return response


def _common(here: Visit, step: Step | None) -> dict[str, Any]:
    settings = current().settings
    asker = current().member_of(here.journey.client_id)
    license_ = current().licenses.get(here.journey.license)
    return {
        "bank": _bank(here),
        "for_a_bank": license_ is not None and license_.is_combined,
        "read_there": license_ is not None and here.journey.text_read == license_.text_sha256,
        "journey": here.journey.id,
        "party": settings.party,
        "origin": settings.public.origin,
        "asker": asker,
        "asker_logo": current().logos.name_of(asker),
        "csrf": csrf.token(here.secret),
        "steps": steps(here.progress, step),
        "ways": [_link(way, here) for way in ways() if way is not step],
        "current": step,
        "errors": (),
        "minutes": settings.lifetimes.journey_idle // 60,
    }


def _bank(here: Visit) -> str:
    """Return the name of the bank that the client named; it is empty where it named none."""
    if here.journey.fsp is None:
        return ""
    try:
        return current().directory.member(here.journey.fsp).name
    except Unreachable as error:
        raise Unavailable(str(error)) from None


def _link(way: Step, here: Visit) -> dict[str, str]:
    return {"name": way.name, "words": way.offer or way.label, "path": path_of(way, here.journey.id)}


def _targets(here: Visit) -> tuple[str, ...]:
    return (headers.origin_of(here.journey.redirect_uri),)


def _finished(here: Visit) -> Response:
    return pages.render("journey/finished.html", form_targets=_targets(here), **_common(here, None))


def _ended(here: Visit, location: str | None) -> AnyResponse:
    typed.forget(*(each.name for each in steps(here.progress)))
    return redirect(location, 303) if location else _finished(here)


def _onward(here: Visit, step: Step, done: Onward, sent: Mapping[str, str], claimed: int | None = None) -> Moved:
    progress: Progress = {**here.progress, **done.progress}
    if step in ways():
        progress["way"] = step.name
    mine = steps(progress)
    progress["done"] = done_after(mine, step)
    typed.forget(*(each.name for each in mine if each.name not in progress["done"]))
    path = path_of(open_step(mine, progress), here.journey.id)
    if not done.proven:
        _keep(here, progress, claimed)
        return Moved(path)
    following = browser.next_secret(here.secret, progress.setdefault("nonce", secrets.token_urlsafe(16)), sent)
    progress["proved"] = here.at
    with store.writing() as c:
        journeys.prove(c, here.journey.id, here.at, progress, claimed, following)
        if progress["identified"] != here.progress.get("identified"):  # else a browser could fill the audit trail
            _keep_identification(c, here, progress["identified"]["who"])
    return Moved(path, following)


def _keep_identification(c: store.Connection, here: Visit, who: Who) -> None:
    by = {"method": who["method"], "strength": who["strength"]}
    event = audit.event("sme_identified", client_id=here.journey.client_id, journey=here.journey.id, **by)
    audit_events.keep(c, event)


def _led(here: Visit, done: Onward, moved: Moved) -> AnyResponse:
    if not moved.secret:
        return redirect(moved.path, 303)
    response = _with_secret(here, moved.path, moved.secret)
    device_cookie.remember(response, here.device_cookie, done.owns)
    return response


def _repeated(here: Visit, sent: Mapping[str, str]) -> AnyResponse:
    """Return the same redirect when what proved who the SME is comes twice, as from a double click."""
    following = browser.next_secret(here.secret, here.progress.get("nonce", ""), sent)
    if not hmac.compare_digest(digest(following), here.journey.secret):
        raise NotThisBrowser("a secret that was replaced")
    following_step = open_step(steps(here.progress), here.progress)
    return _with_secret(here, path_of(following_step, here.journey.id), following)


def _with_secret(here: Visit, path: str, secret: str) -> AnyResponse:
    response = redirect(path, 303)
    cookies.set_cookie(response, browser.cookie(here.journey.id), secret, COOKIE_MAX_AGE_S)
    return response

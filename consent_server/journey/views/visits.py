"""This browser's visit to a journey: whose it is, and what is kept of it."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from flask import request

from consent_server import audit, clock, store
from consent_server.deployment import current
from consent_server.journey import browser
from consent_server.journey.browser import Holds, NotThisBrowser
from consent_server.journey.step import Ended, Onward, Outcome, Step, Visit
from consent_server.journey.steps import done_after, open_step, path_of, steps, ways
from consent_server.scheme.permission import Who
from consent_server.store import audit_events, journeys
from consent_server.store.tables.journeys import Journey, Progress
from consent_server.store.tables.sessions import SessionData
from consent_server.web import csrf, device_cookie, pages, parameters, sessions, typed
from consent_server.web.sessions import BrowserSession

LONGEST_ID: Final = 32


@dataclass(frozen=True)
class Moved:
    """Where a journey has moved on to: a path, and the secret that its browser gets, if it has shown who the SME is."""

    path: str
    secret: str = field(default="", repr=False)


def of_browser(named: str | None = None, step: Step | None = None) -> tuple[Visit, Holds]:
    """Return this browser's visit to the journey that is `named`, or that the query names, and which secret the browser holds.

    `step` is the step that is visited. Raise JourneyOver and NotThisBrowser.
    """
    # Whatever is wrong with the query, the journey is not found: one refusal, which says what to do.
    journey_id = parameters.query(request, optional=("journey",)).get("journey", "") if named is None else named
    cookie = request.cookies.get(browser.cookie(journey_id)) if journey_id else None
    at = clock.now()
    found = _Found()
    if cookie and len(journey_id) <= LONGEST_ID:
        found.look(journey_id, step, at)
    lifetimes = current().settings.lifetimes
    journey, holds = browser.judge(found.journey, cookie, at, idle_s=lifetimes.journey_idle, life_s=lifetimes.journey)
    agent, device = pages.user_agent(), device_cookie.sent(request)
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
            self.session = sessions.of_kind("portal").current(request, read)
        if self.session is None:
            with store.reading() as c:
                read(c, {})


def current_visit() -> Visit:
    """Return the visit of a browser that holds the newest secret. Raise JourneyOver and NotThisBrowser."""
    visit, holds = of_browser()
    if holds is Holds.PREVIOUS:
        raise NotThisBrowser("a secret that was replaced")
    return visit


def form(visit: Visit, *fields: str) -> dict[str, str]:
    """Return the fields of a form that was sent from a page of this journey. Raise CsrfRefused."""
    return csrf.form(visit.secret, *fields, beside=("journey",))


def keep(visit: Visit, progress: Progress | None = None, claimed: int | None = None) -> None:
    """Note the visit, and keep progress and the instant of the first POST when they are given.

    Nothing is written where nothing has changed since another visit that was noted shortly before.
    """
    changed = progress is not None and progress != visit.progress
    if changed or claimed is not None or not _is_noted(visit):
        with store.writing() as c:
            journeys.touch(c, visit.journey.id, visit.at, progress if changed else None, claimed)


def _is_noted(visit: Visit) -> bool:
    """Return whether a visit was noted within a sixtieth of the time after which a journey is over unless it is visited."""
    return 0 <= visit.at - visit.journey.seen < current().settings.lifetimes.journey_idle // 60


def follow_up(visit: Visit, then: Callable[[], None]) -> None:
    """Do what a step leaves to be done once it is kept. Where that fails, the journey is where it was before the step."""
    try:
        then()
    except BaseException:
        with store.writing() as c:
            journeys.touch(c, visit.journey.id, visit.at, visit.progress)
        raise


def keep_outcome(
    visit: Visit,
    step: Step,
    outcome: Outcome,
    sent: Mapping[str, str],
    claimed: int | None = None,
) -> Moved | None:
    """Keep what an outcome says of the journey; return where it has moved on to. An end is kept with the decision."""
    if isinstance(outcome, Onward):
        return move_on(visit, step, outcome, sent, claimed)
    if not isinstance(outcome, Ended):
        keep(visit, {**visit.progress, **outcome.progress}, claimed)
    return None


def move_on(visit: Visit, step: Step, done: Onward, sent: Mapping[str, str], claimed: int | None = None) -> Moved:
    """Keep that a step is done; return where the journey has moved on to."""
    progress: Progress = {**visit.progress, **done.progress}
    if step in ways():
        progress["way"] = step.name
    mine = steps(progress)
    progress["done"] = done_after(mine, step)
    typed.forget(*(each.name for each in mine if each.name not in progress["done"]))
    path = path_of(open_step(mine, progress), visit.journey.id)
    if not done.proven:
        keep(visit, progress, claimed)
        return Moved(path)
    following = browser.next_secret(visit.secret, progress.setdefault("nonce", secrets.token_urlsafe(16)), sent)
    progress["proved"] = visit.at
    with store.writing() as c:
        journeys.prove(c, visit.journey.id, visit.at, progress, claimed, following)
        if progress["identified"] != visit.progress.get("identified"):  # else a browser could fill the audit trail
            _keep_identification(c, visit, progress["identified"]["who"])
    return Moved(path, following)


def _keep_identification(c: store.Connection, visit: Visit, who: Who) -> None:
    by = {"method": who["method"], "strength": who["strength"]}
    event = audit.event("sme_identified", client_id=visit.journey.client_id, journey=visit.journey.id, **by)
    audit_events.keep(c, event)

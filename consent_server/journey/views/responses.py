"""The responses of a journey: a step's page, the way to the next one, and the end."""

import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from flask import Response, redirect
from werkzeug.wrappers import Response as AnyResponse

from consent_server.deployment import current
from consent_server.journey import browser
from consent_server.journey.browser import NotThisBrowser
from consent_server.journey.step import Away, Ended, Onward, Outcome, Page, Step, Visit
from consent_server.journey.steps import open_step, path_of, steps, ways
from consent_server.journey.views.visits import Moved
from consent_server.outbound.errors import Unreachable
from consent_server.refusal import Unavailable
from consent_server.store.digests import digest
from consent_server.web import cookies, csrf, device_cookie, headers, pages, typed
from consent_server.web.typed import KeptForm

COOKIE_MAX_AGE_S: Final = 3600


def to_mend(visit: Visit, step: Step, page: Page) -> AnyResponse:
    """Redirect to the step's page, which then says what to mend, and goes on saying so after Back and reload."""
    values: Mapping[str, str] = page.values.get("typed", {})  # type: ignore[assignment]
    again = {name: text for name, text in values.items() if name in step.kept}
    typed.keep(step.name, visit.journey.id, KeptForm(again, page.errors, page.status))
    return redirect(path_of(step, visit.journey.id), 303)


def typed_before(visit: Visit, step: Step, outcome: Outcome) -> Outcome:
    """Return a step's page with what its browser typed into it before, and what is to be mended."""
    if not isinstance(outcome, Page) or outcome.template is not None or outcome.errors:
        return outcome
    before = typed.held(step.name, visit.journey.id)
    values = {**outcome.values, "typed": {**outcome.values.get("typed", {}), **before.values}}  # type: ignore[dict-item]
    return replace(outcome, values=values, errors=before.errors, status=before.status)


def followed(visit: Visit, step: Step, outcome: Outcome, moved: Moved | None) -> AnyResponse:
    """Return the response to a step's outcome, which has been kept."""
    if isinstance(outcome, Page):
        return _shown(visit, step, outcome)
    if isinstance(outcome, Ended):
        return ended(visit, outcome.redirect)
    if isinstance(outcome, Away):
        return redirect(outcome.redirect, 303)
    assert moved is not None
    return led(visit, outcome, moved)


def _shown(visit: Visit, step: Step, page: Page) -> Response:
    values = {**common(visit, step), "errors": page.errors, **page.values}
    response = pages.render(
        page.template or step.template,
        page.status,
        form_targets=(*targets(visit), *page.form_targets),
        script=page.script,
        **values,
    )
    if page.refresh_s:
        response.headers["Refresh"] = f"{page.refresh_s};url={path_of(step, visit.journey.id)}"
    return response


def common(visit: Visit, step: Step | None) -> dict[str, Any]:
    """Return what every page of a journey shows; `step` is the one whose page it is."""
    settings = current().settings
    asker = current().member_of(visit.journey.client_id)
    license_ = current().licenses.get(visit.journey.license)
    return {
        "bank": _bank(visit),
        "for_a_bank": current().is_combined(visit.journey.license),
        "read_there": license_ is not None and visit.journey.text_read == license_.text_sha256,
        "journey": visit.journey.id,
        "party": settings.party,
        "origin": settings.public.origin,
        "asker": asker,
        "asker_logo": current().logos.name_of(asker),
        "csrf": csrf.token(visit.secret),
        "steps": steps(visit.progress, step),
        "ways": [_link(way, visit) for way in ways() if way is not step],
        "current": step,
        "errors": (),
        "minutes": settings.lifetimes.journey_idle // 60,
    }


def _bank(visit: Visit) -> str:
    """Return the name of the bank that the client named; it is empty where it named none."""
    if visit.journey.fsp is None:
        return ""
    try:
        return current().directory.member(visit.journey.fsp).name
    except Unreachable as error:
        raise Unavailable(str(error)) from None


def _link(way: Step, visit: Visit) -> dict[str, str]:
    return {"name": way.name, "words": way.offer or way.label, "path": path_of(way, visit.journey.id)}


def targets(visit: Visit) -> tuple[str, ...]:
    """Return the origin of the client, to which the forms of a journey may end up redirecting."""
    return (headers.origin_of(visit.journey.redirect_uri),)


def finished(visit: Visit) -> Response:
    """Return the page that says that the decision was made."""
    return pages.render("journey/finished.html", form_targets=targets(visit), **common(visit, None))


def ended(visit: Visit, location: str | None) -> AnyResponse:
    """Return the redirect to the client, or the page that says that the decision was made."""
    typed.forget(*(each.name for each in steps(visit.progress)))
    return redirect(location, 303) if location else finished(visit)


def led(visit: Visit, done: Onward, moved: Moved) -> AnyResponse:
    """Return the redirect to the next step, with a new secret if the browser has shown who the SME is."""
    if not moved.secret:
        return redirect(moved.path, 303)
    response = _with_secret(visit, moved.path, moved.secret)
    device_cookie.remember(response, visit.device_cookie, done.owns)
    return response


def repeated(visit: Visit, sent: Mapping[str, str]) -> AnyResponse:
    """Return the same redirect when what proved who the SME is comes twice, as from a double click."""
    following = browser.next_secret(visit.secret, visit.progress.get("nonce", ""), sent)
    if not hmac.compare_digest(digest(following), visit.journey.secret):
        raise NotThisBrowser("a secret that was replaced")
    following_step = open_step(steps(visit.progress), visit.progress)
    return _with_secret(visit, path_of(following_step, visit.journey.id), following)


def _with_secret(visit: Visit, path: str, secret: str) -> AnyResponse:
    response = redirect(path, 303)
    cookies.set_cookie(response, browser.cookie(visit.journey.id), secret, COOKIE_MAX_AGE_S)
    return response

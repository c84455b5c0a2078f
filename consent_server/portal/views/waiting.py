"""A browser's background tasks at a provider: what they leave in its session, and the page that waits for them."""

import re
from collections.abc import Callable
from typing import Final, Literal, TypeVar

from flask import Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock
from consent_server.portal import connecting
from consent_server.portal.connecting import ConnectionTerms, Visitor
from consent_server.portal.providers import Provider, ProviderUnreachable
from consent_server.portal.views.visits import bank, of_portal, page, see_other, signed_in_session
from consent_server.refusal import Refusal, ServerFault, by_code
from consent_server.scheme.permission_text import ShownText
from consent_server.store.digests import new_id
from consent_server.store.tables.sessions import BackgroundTask, Pending, SessionData
from consent_server.web import background, parameters
from consent_server.web.background import StillUnderWay
from consent_server.web.sessions import BrowserSession

T = TypeVar("T")

LEAVING: Final = "/connect/leaving"
RETURNING: Final = "/connect/returning"
BY_HAND: Final = "by-hand"
MOST_PENDING: Final = 4


def leave(provider: Provider, text: ShownText, visitor: Visitor, terms: ConnectionTerms) -> AnyResponse:
    """Push the request of this browser; return a redirect to the provider, or to the page that waits for it."""
    held = signed_in_session()

    def begin() -> BackgroundTask:
        begun = BackgroundTask(id=new_id(), name=provider.name, at=clock.now(), to="", fault="")
        of_portal().change(held, lambda values: values.update({"leaving": begun}))
        return begun

    account = visitor.account.id
    return _run(provider, account, LEAVING, begin, lambda begun: _push(held, provider, text, visitor, terms, begun))


def come_back(pending: Pending, query: str) -> AnyResponse:
    """Redeem what came back with this browser; return a redirect to what that leads to, or to the page that waits for it."""
    held = signed_in_session()
    provider, account = Provider(**pending["provider"]), pending["account"]

    def begin() -> Pending | None:
        return _take(held, pending["state"])

    return _run(provider, account, RETURNING, begin, lambda taken: _redeem(held, taken, query))


def _run(
    provider: Provider, account: str, waiting: str, begin: Callable[[], T], act: Callable[[T], str]
) -> AnyResponse:
    try:
        return redirect(background.run(provider.issuer, account, begin, act), 303)
    except StillUnderWay:
        return see_other(waiting)


def outcome(found: BackgroundTask | None, path: str) -> AnyResponse:
    """Return where a task leads. While it is under way, return the page that says for whom the browser waits."""
    if found is None:
        return see_other("/connect")
    if found["fault"]:
        raise by_code(found["fault"])(f"{path}: the task ended so")
    if found["to"]:
        return redirect(found["to"], 303)
    if background.is_lost(found["at"]):
        raise ProviderUnreachable(f"{path}: the task has no result")
    return waiting_page(found["name"], path)


def waiting_page(name: str, path: str) -> Response:
    """Return the page that says whom the browser waits for."""
    return look_again(page("waiting", provider=name, bank=bank(), path=path, by_itself=looks_by_itself()), path)


def looks_by_itself() -> bool:
    """Return whether this page looks again by itself: unless the visitor has stopped it (WCAG 2.2.2)."""
    return _look() != BY_HAND


def look_again(response: Response, path: str) -> Response:
    """Let the browser look again by itself, which needs no script, unless the visitor has stopped it.

    Each look has another number, since to the same address with a fragment no browser goes again. The fragment is where the
    keyboard then goes on from: the words about the waiting, with its links (WCAG 2.2.1 and 2.4.3).
    """
    if looks_by_itself():
        looked = _look()
        following = (int(looked) + 1) % 1000 if re.fullmatch("[0-9]{1,3}", looked) else 1
        response.headers["Refresh"] = f"{background.REFRESH_S};url={path}?look={following}#waiting"
    return response


def _look() -> str:
    return parameters.query(request, optional=("look",)).get("look", "")


def _push(
    held: BrowserSession,
    provider: Provider,
    text: ShownText,
    visitor: Visitor,
    terms: ConnectionTerms,
    begun: BackgroundTask,
) -> str:
    ended: BackgroundTask = {**begun, "fault": ServerFault.code}
    try:
        ended["to"], pending = connecting.begin(provider, text, visitor, terms)
        of_portal().change(held, lambda values: _remember(values, pending))
        ended["fault"] = ""
    except Refusal as refusal:
        ended["fault"] = refusal.code
        raise
    finally:
        of_portal().change(held, lambda values: _keep(values, "leaving", ended))
    return ended["to"]


def _redeem(held: BrowserSession, pending: Pending | None, query: str) -> str:
    if pending is None:
        return RETURNING  # another request of this browser has just taken it
    ended = _returned(pending, to="/connect", fault=ServerFault.code)
    try:
        connecting.finish(pending, query)
        ended["to"], ended["fault"] = "/connected", ""
    except connecting.Declined:
        ended["to"], ended["fault"] = "/connect/declined", ""
    except Refusal as refusal:
        ended["fault"] = refusal.code
        raise
    finally:
        of_portal().change(held, lambda values: _keep(values, "returning", ended))
    return ended["to"]


def _returned(pending: Pending, *, to: str = "", fault: str = "") -> BackgroundTask:
    return BackgroundTask(id=pending["state"], name=pending["provider"]["name"], at=clock.now(), to=to, fault=fault)


def _keep(values: SessionData, name: Literal["leaving", "returning"], ended: BackgroundTask) -> None:
    """Keep how a task has ended, unless another has begun since."""
    newest = values.get(name)
    if newest is not None and newest["id"] == ended["id"]:
        values[name] = ended


def _remember(values: SessionData, pending: Pending) -> None:
    """Keep a connection under way, and of those before it the newest alone."""
    others = list(values.get("pending", {}).items())[-(MOST_PENDING - 1) :]
    values["pending"] = {**dict(others), pending["state"]: pending}


def _take(held: BrowserSession, state: str) -> Pending | None:
    """Take the connection under way with this state out of the session; None when it is not there (any more)."""
    taken: list[Pending] = []

    def take(values: SessionData) -> None:
        found = values.get("pending", {}).pop(state, None)
        if found is not None:
            taken.append(found)
            values["returning"] = _returned(found)

    of_portal().change(held, take)
    return taken[0] if taken else None

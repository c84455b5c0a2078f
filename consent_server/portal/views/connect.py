"""Connecting an energy data provider: choose, read, agree, go there and come back."""

from typing import Final
from urllib.parse import urlsplit

from flask import Blueprint, Response, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock, store
from consent_server.accounts.business import name_business
from consent_server.collect.report import is_weighing
from consent_server.portal import banks, connecting
from consent_server.portal.connecting import ConnectionTerms, ReturnNotOurs, Visitor
from consent_server.portal.given import CONNECTION, named, rows_of
from consent_server.portal.providers import Provider, ProviderSlow, providers
from consent_server.portal.views.visits import (
    account,
    bank,
    bank_url,
    change,
    data,
    keep,
    mended,
    page,
    see_other,
    sent,
    signed_in,
    signed_in_account,
    to_mend,
    typed_before,
)
from consent_server.portal.views.waiting import (
    LEAVING,
    RETURNING,
    come_back,
    leave,
    look_again,
    looks_by_itself,
    outcome,
    waiting_page,
)
from consent_server.scheme.summary import summary
from consent_server.store import connections
from consent_server.web import headers, pages, parameters
from consent_server.web.language import N_
from consent_server.web.typed import FieldError

NOT_CHOSEN: Final = N_("Choose the company that holds your meter readings.")
NOT_TICKED: Final = N_("Tick the box to say that you give this permission, or press Cancel.")
CHANGED: Final = N_("What is asked has changed since this page was opened. Read it again before you agree.")

CONNECT: Final = "/connect"
PERMISSION: Final = "/connect/permission"

routes = Blueprint("portal_connect", __name__)


@routes.get("/connect")
@signed_in
def connect() -> AnyResponse:
    found = providers()
    only = found[0].service if len(found) == 1 else None
    before = typed_before(CONNECT)
    return page(
        "connect",
        before=before,
        providers=found,
        chosen=before.values.get("provider", data().get("provider", only)),
        typed=before.values,
        bank=bank(),
    )


@routes.post("/connect")
@signed_in
def choose() -> AnyResponse:
    form = sent("provider", "business")
    found = providers()
    errors: list[FieldError] = []
    known = signed_in_account()
    if not known.business:
        problem = name_business(known.id, form.get("business", ""))
        errors += [FieldError("business", problem)] if problem else []
    chosen = form.get("provider")
    if chosen not in {provider.service for provider in found}:
        errors.append(FieldError("providers", NOT_CHOSEN))
    if errors or chosen is None:
        return to_mend(CONNECT, errors, 422, **form)
    mended(CONNECT, PERMISSION)
    keep({"provider": chosen})
    return see_other(PERMISSION)


@routes.get("/connect/permission")
@signed_in
def permission() -> AnyResponse:
    provider = _chosen_provider()
    return _permission_page(provider, _terms(provider)) if provider else see_other("/connect")


@routes.post("/connect/permission")
@signed_in
def agree() -> AnyResponse:
    form = sent("agree", "shown")
    provider = _chosen_provider()
    if provider is None:
        return see_other("/connect")
    terms = _terms(provider)
    text = connecting.text_for(provider, terms)
    asked = connecting.question(signed_in_account(), provider, terms, text)
    if not form.get("shown") == data().get("shown") == asked:
        return to_mend(PERMISSION, [FieldError("permission-text", CHANGED)], 409)
    if form.get("agree") != "yes":
        return to_mend(PERMISSION, [FieldError("agree", NOT_TICKED)])
    mended(PERMISSION)
    by_passkey, address = data().get("by_passkey", False), request.remote_addr or ""
    visitor = Visitor(signed_in_account(), by_passkey, address, pages.user_agent())
    return leave(provider, text, visitor, terms)


@routes.get(LEAVING)
@signed_in
def leaving() -> AnyResponse:
    """Lead to the provider, once it has taken our request."""
    return outcome(data().get("leaving"), LEAVING)


@routes.post("/connect/cancel")
@signed_in
def cancel() -> AnyResponse:
    sent()
    change(lambda held: held.pop("shown", None))
    return see_other("/account")


@routes.get("/callback")
def callback() -> AnyResponse:
    """Finish a connection. It is taken out of the session, so that what the provider returned is used once."""
    state = parameters.query(request, optional=("state",)).get("state", "")
    known = account()
    if known is None:
        raise ReturnNotOurs("nobody is signed in")
    pending = data().get("pending", {}).get(state)
    if pending is None:
        returned = data().get("returning")
        if state and returned is not None and returned["id"] == state:
            # a second click on Allow brings the same response again
            return see_other(returned["to"] or RETURNING)
        raise ReturnNotOurs("no request with this state is under way in this session")
    if pending["account"] != known.id:
        raise ReturnNotOurs("another account began this")
    return come_back(pending, request.query_string.decode("ascii", "replace"))


@routes.get(RETURNING)
@signed_in
def returning() -> AnyResponse:
    """Lead to what a return from a provider has come to."""
    return outcome(data().get("returning"), RETURNING)


@routes.get("/connect/declined")
@signed_in
def declined() -> AnyResponse:
    return page("declined")


@routes.get("/connected")
@signed_in
def connected() -> AnyResponse:
    known = signed_in_account()
    at, listed = clock.now(), banks.listed(bank_url())
    with store.reading() as c:
        live = connections.live(c, known.id, at)
        waiting = any(row.collected is None or is_weighing(c, row.id, 0, at, at) for row in live)
        held, offered = rows_of(c, known.id), banks.offers(c, known.id, listed)
    if not live:
        return see_other("/connect")
    trouble = next((row.trouble for row in live if row.collected is None and row.trouble), None)
    names = [each.other for each in named(held) if each.live and each.kind == CONNECTION]
    response = page(
        "connected",
        form_targets=banks.origins(offered),
        waiting=waiting,
        trouble=trouble,
        names=names,
        bank=bank(),
        offers=offered,
        path="/connected",
        by_itself=looks_by_itself(),
    )
    # Where a bank can be shared with, nobody need wait: the page stays as it is.
    waits = waiting and not any(each.agreed for each in offered)
    return look_again(response, "/connected") if waits else response


def _chosen_provider() -> Provider | None:
    """Return the provider that was chosen; None where there is none, or the account's business has no name yet."""
    if not signed_in_account().business:
        return None
    service = data().get("provider")
    return next((each for each in providers() if each.service == service), None)


def _terms(provider: Provider) -> ConnectionTerms:
    return connecting.terms_for(signed_in_account(), provider, bank_url())


def _permission_page(provider: Provider, terms: ConnectionTerms) -> Response:
    text = connecting.text_for(provider, terms)
    try:
        target = connecting.destination(provider)
    except ProviderSlow:
        return waiting_page(provider.name, PERMISSION)
    known = signed_in_account()
    shown, asked = connecting.question(known, provider, terms, text), summary(text, clock.now())
    keep({"shown": shown})
    return page(
        "permission",
        before=typed_before(PERMISSION),
        ends=None,
        form_targets=(headers.origin_of(target),),
        provider=provider,
        host=urlsplit(target).netloc,
        text=text,
        asked=asked,
        change=connecting.change_of(known.id, provider, asked),
        bank=text.names.get("FSP"),
        shown=shown,
    )

"""What an SME has permitted through its account, what is on record of it, and withdrawing it."""

from dataclasses import asdict

from flask import Blueprint, request, stream_with_context
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock, store
from consent_server.portal import given, held, record, withdrawing
from consent_server.portal.record import Comparison
from consent_server.portal.views.visits import (
    beside_account,
    data,
    keep,
    page,
    see_other,
    sent,
    signed_in,
    signed_in_account,
    to_sign_in,
)
from consent_server.receipts import links
from consent_server.web import headers, pages, parameters
from consent_server.web.refusals import NotFound

routes = Blueprint("portal_permissions", __name__)


@routes.get("/permissions")
@signed_in
def permissions() -> AnyResponse:
    everything = given.in_detail(signed_in_account().id)
    live = [each for each in everything if each.live]
    unfinished = [each for each in everything if each.open and not each.live]
    return page("permissions", live=live, unfinished=unfinished, past=[each for each in everything if not each.open])


@routes.get("/permissions/held")
@signed_in
def everything_held() -> AnyResponse:
    """Return everything that we hold about the business."""
    return page("held", parts=held.of_account(signed_in_account(), clock.now()))


@routes.get("/permissions/held.json")
@signed_in
def held_file() -> AnyResponse:
    return pages.file(stream_with_context(held.as_json(signed_in_account(), clock.now())), "what-we-hold.json")


@routes.get("/permissions/record")
def record_of_connection() -> AnyResponse:
    rows = beside_account(lambda c, known: given.rows_of(c, known.id))
    if rows is None:
        return to_sign_in()
    subject = _named()
    connection, logged = rows.connection(subject), rows.seen.get(subject)
    if connection is None or logged is None:  # another's, and an unknown one alike
        raise NotFound("permission")
    theirs = record.look(connection)
    if theirs.comparison is Comparison.WITHDRAWN:  # the look has ended it here
        with store.reading() as c:
            rows = given.rows_of(c, signed_in_account().id)
    (shown,) = (each for each in given.named(rows) if each.id == subject)
    frames = (headers.origin_of(theirs.evidence),) if theirs.evidence else ()
    return page("record", frames=frames, subject=shown, logged=logged, theirs=theirs)


@routes.get("/permissions/receipt")
@signed_in
def receipt() -> AnyResponse:
    known, subject = signed_in_account().id, _named()
    with store.together(), store.writing() as c:
        if not given.is_own(c, known, subject):
            raise NotFound("permission")
        return see_other(links.make_path(subject))


@routes.get("/permissions/withdraw")
@signed_in
def withdraw() -> AnyResponse:
    known, subject = signed_in_account().id, _named()
    with store.reading() as c:
        ending = withdrawing.would_end(c, known, subject)
    if ending is None:
        raise NotFound("permission")
    return page("withdraw", subject=subject, ending=ending) if ending else see_other("/permissions")


@routes.post("/permissions/withdraw")
@signed_in
def confirm() -> AnyResponse:
    known, subject = signed_in_account().id, sent("permission").get("permission", "")
    with store.together(), store.writing() as c:
        ended = withdrawing.withdraw_own(c, known, subject)
        if ended is None:
            raise NotFound("permission")
        if ended:
            keep({"withdrawn": [asdict(each) for each in ended]})
    return see_other("/permissions/withdrawn")


@routes.get("/permissions/withdrawn")
@signed_in
def withdrawn() -> AnyResponse:
    ended = data().get("withdrawn")
    return page("withdrawn", ended=ended) if ended else see_other("/permissions")


def _named() -> str:
    """Return the id of the permission that a link names; it is empty where the link names none."""
    return parameters.query(request, optional=("permission",)).get("permission", "")

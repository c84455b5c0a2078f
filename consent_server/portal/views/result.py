"""The account's first page, and the result."""

from flask import Blueprint
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock, store
from consent_server.collect.report import NothingYet
from consent_server.portal import bank_report, banks
from consent_server.portal import result as results
from consent_server.portal.chart import chart_of
from consent_server.portal.given import CONNECTION, RELEASE, named, rows_of, to_renew
from consent_server.portal.views.visits import bank, bank_url, page, see_other, signed_in, signed_in_account

routes = Blueprint("portal_result", __name__)


@routes.get("/account")
@signed_in
def home() -> AnyResponse:
    known, listed = signed_in_account().id, banks.listed(bank_url())
    with store.reading() as c:
        held, offered = rows_of(c, known), banks.offers(c, known, listed)
    everything = named(held)
    live = [each for each in everything if each.live]
    connected = [each for each in live if each.kind == CONNECTION]
    released = [each for each in live if each.kind == RELEASE]
    offered = offered if connected else []
    return page(
        "home",
        form_targets=banks.origins(offered),
        connected=connected,
        released=released,
        renewable=to_renew(everything),
        bank=bank(),
        offers=offered,
    )


@routes.get("/result")
@signed_in
def result() -> AnyResponse:
    known, listed, at = signed_in_account().id, banks.listed(bank_url()), clock.now()
    try:
        with store.reading() as c:
            found, held, offered = results.result(c, known), rows_of(c, known), banks.offers(c, known, listed)
            parts = {row.id: bank_report.parts(c, row) for row in held.releases if bank_report.has_report(row, at)}
    except NothingYet:
        return see_other("/connected")
    if found is None:
        return see_other("/connect")
    permitted = named(held)
    tonnes = {(each.fuel, each.start): each.figure.tonnes for each in found.months}
    names = {each.member: each.other for each in permitted}
    released = [each for each in permitted if each.live and each.kind == RELEASE]
    return page(
        "result",
        form_targets=banks.origins(offered),
        result=found,
        chart=chart_of(found.starts, found.fuels, tonnes) if tonnes else None,
        gaps=results.alike(found),
        names=names,
        bank=bank(),
        banks=released,
        parts=parts,
        offers=offered,
    )

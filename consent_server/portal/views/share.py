"""Sharing with a bank: one press here, and the browser goes on to the bank, which asks our issuer."""

from flask import Blueprint, redirect
from werkzeug.wrappers import Response as AnyResponse

from consent_server.portal import banks
from consent_server.portal.views.visits import keep, sent, signed_in, signed_in_account
from consent_server.web.refusals import NotFound

routes = Blueprint("portal_share", __name__)


@routes.post("/share")
@signed_in
def share() -> AnyResponse:
    form = sent("bank", "covers")
    led = banks.lead(signed_in_account().id, form.get("bank", ""), form.get("covers", ""))
    if led is None:
        raise NotFound("bank")
    start, pressed = led
    keep({"pressed": pressed})
    return redirect(start, 303)

"""The passkeys of an account: list them, add one, rename one, remove one."""

from typing import Final

from flask import Blueprint, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock
from consent_server.accounts import passkeys
from consent_server.portal.views.visits import (
    data,
    page,
    see_other,
    sent,
    signed_in,
    signed_in_account,
    signed_in_session,
)
from consent_server.store.tables.accounts import Passkey
from consent_server.web import parameters
from consent_server.web.refusals import NotFound
from consent_server.web.typed import FieldError

#: Seconds after signing in within which a passkey may be added: a session that was left open adds none. It may remove one, so
#: that whoever finds a passkey that is not its own need not wait.
FRESH_S: Final = 600

routes = Blueprint("portal_passkeys", __name__)


@routes.get("/passkeys")
@signed_in
def shown() -> AnyResponse:
    return _page()


@routes.post("/passkeys/add")
@signed_in
def add() -> AnyResponse:
    form = sent("name", "passkey")
    if not _is_fresh():
        return see_other("/passkeys")
    wrong = passkeys.add(signed_in_account(), form.get("name", ""), form.get("passkey", ""), signed_in_session().secret)
    if wrong is not None:
        return _page(422, (FieldError("name", wrong),), form.get("name", ""))
    return see_other("/passkeys")


@routes.get("/passkeys/rename")
@signed_in
def renaming() -> AnyResponse:
    mine = _own(parameters.query(request, required=("id",))["id"])
    return page("passkey_name", passkey=mine, typed={"name": mine.name})


@routes.post("/passkeys/rename")
@signed_in
def rename() -> AnyResponse:
    form = sent("id", "name")
    passkey, name = form.get("id", ""), form.get("name", "")
    wrong = passkeys.rename(signed_in_account(), passkey, name)
    if wrong is not None:
        mine = _own(passkey)
        return page("passkey_name", 422, passkey=mine, typed={"name": name}, errors=(FieldError("name", wrong),))
    return see_other("/passkeys")


@routes.post("/passkeys/remove")
@signed_in
def remove() -> AnyResponse:
    form = sent("id")
    if not passkeys.remove(signed_in_account(), form.get("id", "")):
        raise NotFound("passkey")
    return see_other("/passkeys")


def _own(passkey: str) -> Passkey:
    found = next((each for each in passkeys.of_account(signed_in_account()) if each.id == passkey), None)
    if found is None:
        raise NotFound("passkey")
    return found


def _page(status: int = 200, errors: tuple[FieldError, ...] = (), name: str = "") -> AnyResponse:
    known = signed_in_account()
    mine = passkeys.of_account(known)
    options = passkeys.to_add(known, mine, signed_in_session().secret) if _is_fresh() else ""
    return page(
        "passkeys", status, script=bool(options), mine=mine, options=options, typed={"name": name}, errors=errors
    )


def _is_fresh() -> bool:
    return 0 <= clock.now() - data().get("signed_in", 0) < FRESH_S

"""What was typed into a form, and what must be corrected: kept in the browser, for as long as a page may be idle.

A page that asks for a correction has its own address, and is not the response to the form. It is therefore there after Back
and reload too, with what was typed, although our pages are never cached. The values are in an encrypted cookie, bound to one
form of one journey or session: none of them are in the store, and no other browser can have such a cookie, whatever was
planted in it. Codes and passwords are not kept.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import orjson
from flask import after_this_request, g, request
from werkzeug.wrappers import Response

from consent_server.deployment import current
from consent_server.tokens.sealing import BadSealingKey, Sealer
from consent_server.web import cookies

#: Characters of a cookie. What makes a longer one is not kept: several of them must leave room in the Cookie header.
LONGEST: Final = 1600


@dataclass(frozen=True)
class FieldError:
    """One thing to mend: the id of the field, and a sentence saying how."""

    field: str
    text: str


@dataclass(frozen=True)
class KeptForm:
    """What was typed by the names of the fields, and what is to be mended. `status` is that of the response to the form."""

    values: Mapping[str, str] = field(default_factory=dict)
    errors: Sequence[FieldError] = ()
    status: int = 200


def keep(form: str, owner: str, typed: KeptForm, life_s: int | None = None) -> None:
    """Let this browser keep what was typed into a form, with whatever this request's response is.

    `owner` is the journey's id, or a secret of the session's: nothing is shown again under another. It is kept for `life_s`
    seconds, else for as long as a page may be idle.
    """
    choices = (_sealed(form, owner, each) for each in (typed, replace(typed, values={}), KeptForm()))
    sealed = next(sealed for sealed in choices if len(sealed) <= LONGEST)
    _keep(_cookie(form), sealed, current().settings.lifetimes.journey_idle if life_s is None else life_s)


def _sealed(form: str, owner: str, typed: KeptForm) -> str:
    errors = [(error.field, error.text) for error in typed.errors]
    text = orjson.dumps([form, owner, typed.values, errors, typed.status]).decode()
    return base64.urlsafe_b64encode(_sealer().seal(text)).decode()


def held(form: str, owner: str) -> KeptForm:
    """Return what this browser keeps of a form; nothing where it keeps none, or another's."""
    try:
        sealed = base64.urlsafe_b64decode(request.cookies.get(_cookie(form), ""))
        kept_form, kept_owner, values, errors, status = orjson.loads(_sealer().unseal(sealed))
    except (BadSealingKey, ValueError):
        return KeptForm()
    if (kept_form, kept_owner) != (form, owner):
        return KeptForm()
    return KeptForm(values, [FieldError(*error) for error in errors], status)


def forget(*forms: str) -> None:
    """Let this browser forget what was typed into forms."""
    for name in {_cookie(form) for form in forms} & request.cookies.keys():
        _keep(name, "", 0)


def _sealer() -> Sealer:
    return current().sealer.for_use("typed")


def _keep(name: str, value: str, life_s: int) -> None:
    if "typed" not in g:
        g.typed = {}
        after_this_request(_set_cookies)
    g.typed[name] = (value, life_s)


def _set_cookies(response: Response) -> Response:
    for name, (value, life_s) in g.typed.items():
        cookies.set_cookie(response, name, value, life_s)
    return response


def _cookie(form: str) -> str:
    return f"__Host-{current().settings.party}-typed-{form}"

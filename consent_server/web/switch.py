"""The switch between the languages, on every page: a form of one button, which sets a cookie and shows the page again.

The cookie holds `en` or `cy`, and only after somebody has pressed the button. Nothing else is changed here, so the form needs
no token; one that another site sends is refused all the same.
"""

import re
from typing import Final
from urllib.parse import quote, urlencode

from flask import redirect, request
from werkzeug.wrappers import Response

from consent_server.deployment import current
from consent_server.web import cookies, csrf, language, parameters

PATH: Final = "/language"
LIFE_S: Final = 365 * 24 * 3600
#: The parameters of our pages that say which page it is.
_NAMING: Final = ("journey", "permission", "next")
#: A path here, with its query. Two slashes, or one and a backslash, would lead to another host.
_PAGE = re.compile(r"/(?!/)[\x21-\x5B\x5D-\x7E]*")


def choose() -> Response:
    """Keep the language that was chosen, and lead back to the page on which it was."""
    sent = parameters.form(request, optional=("language", "page"))
    csrf.check_origin(request, current().settings.public.origin)
    page = sent.get("page", "")
    response: Response = redirect(page if _PAGE.fullmatch(page) else home(), 303)
    if sent.get("language") in language.NAMES:
        cookies.set_cookie(response, language.COOKIE, sent["language"], LIFE_S)
    return response


def home() -> str:
    """Return the path at which a business begins to look after its permissions."""
    return "/manage" if current().settings.party == "edp" else "/account"


def here() -> str:
    """Return the path of the page that is shown, with what of its query says which page it is: never a code or a fault."""
    named = {name: value for name, value in request.args.items() if name in _NAMING}
    path = quote(request.path)
    return f"{path}?{urlencode(named)}" if named else path

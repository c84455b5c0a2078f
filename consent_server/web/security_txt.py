"""Where a weakness of this deployment is reported: /.well-known/security.txt (RFC 9116), as `public.contact.security` says."""

from typing import Final

from flask import Blueprint, Response

from consent_server import clock
from consent_server.deployment import current
from consent_server.scheme import instant
from consent_server.web import language
from consent_server.web.refusals import NotFound

PATH: Final = "/.well-known/security.txt"
#: RFC 9116 section 2.5.5 recommends less than a year. A copy that somebody keeps is soon doubted; ours is always fresh.
GOOD_FOR_S: Final = 30 * instant.DAY

routes = Blueprint("security_txt", __name__)


@routes.get(PATH)
def security_txt() -> Response:
    """Return the file. Raise NotFound where no contact is set: a file without one is none (RFC 9116 section 2.5.3)."""
    public = current().settings.public
    if not public.contact.security:
        raise NotFound("no public.contact.security")
    lines = {
        "Contact": public.contact.security,
        "Expires": instant.text(instant.day_start(clock.now()) + GOOD_FOR_S),
        "Preferred-Languages": ", ".join(language.NAMES),
        "Canonical": public.origin + PATH,
    }
    return Response("".join(f"{name}: {value}\n" for name, value in lines.items()), mimetype="text/plain")

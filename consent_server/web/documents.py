"""Public documents, each made once: their media type, how long they may be cached, and their entity tag."""

from collections.abc import Callable
from typing import Final

from flask import Response, current_app, request

_MADE: Final = "documents"


def made_once(name: str, make: Callable[[], bytes]) -> bytes:
    """Return a document that does not change while this application runs; `make` makes it at the first call."""
    made: dict[str, bytes] = current_app.extensions.setdefault(_MADE, {})
    if name not in made:
        made[name] = make()
    return made[name]


def cacheable(body: bytes, media_type: str, max_age: int) -> Response:
    """Return the document, or 304 to a caller that has it (RFC 9110 section 13.1.2)."""
    response = Response(body, mimetype=media_type)
    response.headers["Cache-Control"] = f"public, max-age={max_age}"
    response.add_etag()
    response.make_conditional(request)
    return response

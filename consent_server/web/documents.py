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


def cacheable(
    body: bytes, media_type: str, max_age: int, *, gzipped: Callable[[bytes], bytes] | None = None
) -> Response:
    """Return the document, or 304 to a caller that has it (RFC 9110 section 13.1.2).

    Where it can be `gzipped`, it is for whoever takes that coding (section 12.5.3).
    """
    coding = request.accept_encodings.best_match(("gzip",)) if gzipped else None
    response = Response(gzipped(body) if gzipped and coding else body, mimetype=media_type)
    response.headers["Cache-Control"] = f"public, max-age={max_age}"
    if gzipped:
        response.vary.add("Accept-Encoding")
    if coding:
        response.content_encoding = coding
    response.add_etag()
    response.make_conditional(request)
    return response

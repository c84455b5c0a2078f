"""A `wsgi.input` that turns each fault of the body into 400: gunicorn's exceptions would become 500 in the application."""

from collections.abc import Callable
from io import RawIOBase
from typing import Any

from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest


class RequestBody(RawIOBase):
    """The body of one request. Reading raises BadRequest when it is malformed, too slow or shorter than announced."""

    def __init__(self, body: Any, announced: str | None) -> None:
        self._body = body
        self._missing = int(announced) if announced else 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._taken(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _taken(self, size: int) -> bytes:
        try:
            data: bytes = self._body.read(size)
        except (ParseException, OSError) as error:
            # RFC 9112 section 7.1 (a malformed chunk), or a client that left or took too long
            raise BadRequest(type(error).__name__) from None
        self._missing -= len(data)
        if len(data) < size and self._missing > 0:
            # RFC 9112 section 6.3: less than Content-Length is an incomplete message; gunicorn returns less only at its end
            raise BadRequest("IncompleteBody")
        return data


def with_request_body(application: Callable[..., Any]) -> Callable[..., Any]:
    """Return `application` with such a body in its environment."""

    def guarded(environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.input"] = RequestBody(environ["wsgi.input"], environ.get("CONTENT_LENGTH"))
        return application(environ, start_response)

    return guarded

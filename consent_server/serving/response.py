"""A response as gunicorn writes it, with less work for what is the same in most of them."""

import time
from email.utils import formatdate
from functools import lru_cache
from typing import Final

from gunicorn.http.wsgi import Response

from consent_server.web import correlation, headers

#: Names of headers of ours that gunicorn takes as they are, if their values are printable ASCII.
_PLAIN: Final = frozenset(
    {
        *headers.EVERYWHERE,
        *headers.TRANSPORT,
        *("Content-Security-Policy", "Content-Type", "Pragma", "Vary", "X-Frame-Options", correlation.HEADER),
    }
)


class DoorResponse(Response):  # type: ignore[misc]
    """gunicorn's response. What gunicorn asks of each header, eight questions and two regular expressions, has one answer for
    the most frequent of ours.
    """

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        for header in headers:
            name, value = header
            if name in _PLAIN and value.isascii() and value.isprintable():
                self.headers.append((name, value.strip(" ")))
            else:
                super().process_headers([header])


def http_date(timestamp: float | None = None) -> str:
    """Takes the place of gunicorn.util.http_date: the date of a second is made once."""
    return _date_of(int(time.time() if timestamp is None else timestamp))


@lru_cache(maxsize=1)
def _date_of(second: int) -> str:
    return formatdate(second, usegmt=True)

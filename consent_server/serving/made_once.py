"""What gunicorn makes anew for each request, although it is the same for all or most of them."""

import time
from email.utils import formatdate
from functools import lru_cache
from typing import Final

import gunicorn.util
from gunicorn.http import wsgi

from consent_server.web import correlation
from consent_server.web.headers import WORD_FOR_WORD

#: Names of other headers of ours that gunicorn takes as they are, if their values are printable ASCII.
_PLAIN: Final = frozenset({"Cache-Control", "Content-Security-Policy", "Content-Type", "Pragma", correlation.HEADER})
_base_environ: Final = lru_cache(maxsize=1)(wsgi.base_environ)


class DoorResponse(wsgi.Response):  # type: ignore[misc]
    """gunicorn's response. What gunicorn asks of each header, eight questions and two regular expressions, has one answer for
    the most frequent of ours.
    """

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        for header in headers:
            name, value = header
            if header in WORD_FOR_WORD:
                self.headers.append(header)
            elif name in _PLAIN and value.isascii() and value.isprintable():
                self.headers.append((name, value.strip(" ")))
            else:
                super().process_headers([header])


def http_date(timestamp: float | None = None) -> str:
    """Return a date of HTTP: that of now is made once a second."""
    return _date_of(int(time.time() if timestamp is None else timestamp))


@lru_cache(maxsize=1)
def _date_of(second: int) -> str:
    return formatdate(second, usegmt=True)


def install() -> None:
    """Put these in the place of gunicorn's own, which it looks up by these names."""
    wsgi.Response = DoorResponse
    wsgi.base_environ = lambda config: dict(_base_environ(config))
    gunicorn.util.http_date = http_date

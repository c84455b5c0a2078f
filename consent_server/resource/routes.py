"""Which paths of an API are guarded, and what each returns: for the front ends that see a path and not a view."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from consent_server.refusal import Refusal

# RFC 3986 3.3: the characters of a segment. A dot segment, an empty one or any other character may be read in two ways.
# So may these, sent as they are or encoded: the API routes by a decoded path, as WSGI and ASGI do, takes what follows a
# semicolon for parameters (3.3), or decodes twice. Then it serves another route than the one that was judged.
_SEGMENT: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})+")
_READ_IN_TWO_WAYS: Final = frozenset("/\\;%?#")
_NAME: Final = re.compile(r"\{([a-z_]+)\}")
DATASOURCE: Final = "datasource"
#: The methods of a route that names none: a permission is to read (RFC 9110 9.2.1).
READING: Final = ("GET", "HEAD")


class RouteNotGuarded(Refusal):
    """The path is in none of the guarded routes, or can be read in two ways. Nothing is released from it."""

    code = "route_not_guarded"
    error = "not_found"
    status = 404
    public = "There is no such resource here."
    help = (
        "Ask for a path of the API, without empty or dot segments, and without an encoded slash, a semicolon, or an "
        "encoded percent sign. Operators: each path of the API needs a route in the guard's settings."
    )
    clause = "RFC 3986 3.3; ASVS 5.0 8.1.1"


@dataclass(frozen=True)
class GuardedRoute:
    """`path` has names in braces for its segments: /readings/{datasource}/{measure}. `{datasource}` holds an id of the token.

    `fuel` is the fuel that the route returns; None where the API itself decides by the permission's fuels. `methods` are all
    that the route takes, in capitals.
    """

    path: str
    fuel: str | None = None
    methods: tuple[str, ...] = READING

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or self.fuel not in (None, "electricity", "gas"):
            raise ValueError(f"a route is a path from / on, and electricity, gas or nothing: {self.path}, {self.fuel}")


@dataclass(frozen=True)
class GuardedPath:
    """A path that a request asks for: its route, and the data source that it names."""

    route: GuardedRoute
    datasource: str | None


def find(routes: Sequence[GuardedRoute], path: str) -> GuardedPath:
    """Return the first route that has this path, as it is sent (percent-encoded, without its query). Raise RouteNotGuarded."""
    head, *segments = path.split("/")
    decoded = [_decoded(segment) for segment in segments]
    if head or None in decoded:
        raise RouteNotGuarded("a path that could be read in two ways")
    for route in routes:
        wanted = route.path.split("/")[1:]
        if len(wanted) == len(decoded) and all(map(_fits, wanted, decoded)):
            named = dict(zip(wanted, decoded, strict=True))
            return GuardedPath(route, named.get(f"{{{DATASOURCE}}}"))
    raise RouteNotGuarded("no route has this path")


def _fits(wanted: str, segment: str | None) -> bool:
    return wanted == segment or _NAME.fullmatch(wanted) is not None


def _decoded(segment: str) -> str | None:
    """Return a segment decoded, or None for one that another reader might take for something else."""
    if not _SEGMENT.fullmatch(segment):
        return None
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        return None
    if text in (".", "..") or not text.isprintable() or not _READ_IN_TWO_WAYS.isdisjoint(text):
        return None
    return text

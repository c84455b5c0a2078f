"""The one shape of cookie: an opaque handle, for this host alone, over TLS alone, out of scripts' reach."""

from werkzeug.wrappers import Request, Response


def set_cookie(response: Response, name: str, value: str, max_age: int) -> None:
    """Set `__Host-…` for `max_age` seconds. The prefix makes browsers refuse one that a sibling host tossed."""
    if not name.startswith("__Host-"):
        raise ValueError(f"the cookie {name} must have the __Host- prefix")
    response.set_cookie(name, value, max_age=max_age, secure=True, httponly=True, samesite="Lax", path="/")


def clear_oldest(request: Request, response: Response, prefix: str, most: int) -> None:
    """Leave the browser `most` cookies whose names begin with `prefix`, and let it forget the oldest of the others.

    Without an end to them, a page that opens journey after journey in somebody's browser would fill the Cookie header
    until no request of that browser is read here any more, a withdrawal's neither.
    """
    # RFC 6265 section 5.4: a browser sends its older cookies first
    held = [name for name in request.cookies if name.startswith(prefix)]
    for name in held[: max(0, len(held) - most)]:
        clear_cookie(response, name)


def clear_cookie(response: Response, name: str) -> None:
    """Make the browser forget it."""
    set_cookie(response, name, "", 0)

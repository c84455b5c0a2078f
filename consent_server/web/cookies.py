"""The one form of cookie: an opaque handle or a language, for this host only, over TLS only, and unreadable for scripts."""

from werkzeug.wrappers import Request, Response


def set_cookie(response: Response, name: str, value: str, max_age: int) -> None:
    """Set `__Host-…` for `max_age` seconds. Browsers refuse one with this prefix that a sibling host sets."""
    if not name.startswith("__Host-"):
        raise ValueError(f"the cookie {name} must have the __Host- prefix")
    response.set_cookie(name, value, max_age=max_age, secure=True, httponly=True, samesite="Lax", path="/")


def clear_oldest(request: Request, response: Response, prefix: str, most: int) -> None:
    """Keep the newest `most` cookies whose names begin with `prefix` (at least one), and delete the others.

    Without a limit, a page that opens journey after journey in a visitor's browser would fill the Cookie header until
    every request of that browser is refused, a withdrawal too.
    """
    # RFC 6265 section 5.4: a browser sends its older cookies first
    held = [name for name in request.cookies if name.startswith(prefix)]
    for name in held[:-most]:
        clear_cookie(response, name)


def clear_cookie(response: Response, name: str) -> None:
    """Delete a cookie in the browser."""
    set_cookie(response, name, "", 0)

"""The one shape of cookie: an opaque handle, for this host alone, over TLS alone, out of scripts' reach."""

from werkzeug.wrappers import Response


def set_cookie(response: Response, name: str, value: str, max_age: int) -> None:
    """Set `__Host-…` for `max_age` seconds. The prefix makes browsers refuse one that a sibling host tossed."""
    if not name.startswith("__Host-"):
        raise ValueError(f"the cookie {name} must have the __Host- prefix")
    response.set_cookie(name, value, max_age=max_age, secure=True, httponly=True, samesite="Lax", path="/")


def clear_cookie(response: Response, name: str) -> None:
    """Make the browser forget it."""
    set_cookie(response, name, "", 0)

"""Flask, without what no door uses: sessions of its own, coroutines, and addresses that depend on the host."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from flask import Flask, Request, request
from flask.sessions import NullSession, SessionInterface
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.routing import Map, MapAdapter, Rule


class _NoSessions(SessionInterface):
    """Flask would look for a secret key at each request."""

    _none: Final = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._none


class _Routes(MapAdapter):
    """What finds the view of one request."""

    def __init__(self, rules: Map, asked: Request, plain: Mapping[tuple[str, str], Rule]) -> None:
        # Nothing is read of `Host`, which the caller chooses and Flask would read three times.
        super().__init__(rules, "", "/", "", asked.scheme, asked.path, asked.method)
        self._plain = plain

    def match(self, *how: Any, **more: Any) -> Any:
        """Return the view's rule, and the values in the path."""
        rule = self._plain.get((self.default_method, self.path_info))
        return super().match(*how, **more) if rule is None else (rule, {})


class DoorApplication(Flask):
    """The application of a door."""

    session_interface = _NoSessions()
    #: The rules of paths without a variable part, by method and path.
    _plain: Mapping[tuple[str, str], Rule] | None = None

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return `func`. Flask would ask of every view and hook, at each request, whether it is a coroutine."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        if request is None:
            return None
        if self._plain is None:
            rules = [rule for rule in self.url_map.iter_rules() if not rule.arguments]
            self._plain = {(method, rule.rule): rule for rule in rules for method in rule.methods or ()}
        return _Routes(self.url_map, request, self._plain)


def require_get() -> None:
    """Raise MethodNotAllowed for HEAD, for which Flask calls the view of GET: for a view that changes something."""
    if in_hand().method != "GET":
        raise MethodNotAllowed(["GET"])


def in_hand() -> Request:
    """Return the request in hand. Each look at an attribute of Flask's `request` searches for it."""
    found: Request = request._get_current_object()  # type: ignore[attr-defined]
    return found

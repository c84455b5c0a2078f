"""The guard as ASGI middleware, for a data API in Starlette, FastAPI or any other ASGI framework.

    from starlette.applications import Starlette
    from consent_server.resource.asgi import GuardMiddleware
    from consent_server.resource.remote import License, RemoteGuard
    from consent_server.resource.routes import GuardedRoute

    guard = RemoteGuard(issuer="https://auth.edp.example", …, arrival="escaped-pem", proxies=("127.0.0.1",))
    app = Starlette(routes=…)
    app.add_middleware(GuardMiddleware, guard=guard, routes=[GuardedRoute("/readings/{datasource}", fuel="electricity")])

A view finds what the caller may have in `request.state.permission`. Every path that no route names is refused. ASGI servers do
not hand on client certificates: a proxy ends TLS and passes the certificate on.
"""

import asyncio
import contextvars
import secrets
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from consent_server import audit
from consent_server.refusal import Refusal
from consent_server.resource.guard import Release
from consent_server.resource.remote import GuardAnswer, RemoteGuard
from consent_server.resource.routes import GuardedRoute

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class GuardMiddleware:
    """Calls `app` for admitted requests alone; the lifespan passes, and a WebSocket is closed."""

    def __init__(self, app: Asgi, guard: RemoteGuard, routes: Sequence[GuardedRoute]) -> None:
        self._app, self._guard, self._routes = app, guard, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        before = audit.correlation_id.set(secrets.token_urlsafe(12))
        try:
            # The guard may call the issuer or the Directory, and waits for them in a thread.
            decided = await asyncio.get_running_loop().run_in_executor(
                None, contextvars.copy_context().run, self._decide, scope
            )
            if isinstance(decided, GuardAnswer):
                await _send(decided, send)
                return
            scope.setdefault("state", {})["permission"] = decided
            await self._app(scope, receive, _unstored(send))
        finally:
            audit.correlation_id.reset(before)

    def _decide(self, scope: Scope) -> Release | GuardAnswer:
        path = scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
        try:
            return self._guard.admit_path(self._routes, path, environ_of(scope))[0]
        except Refusal as refusal:
            return self._guard.refused(refusal)


def environ_of(scope: Scope) -> dict[str, str]:
    """Return as much of a WSGI environment as the guard reads. A header that came twice is joined by a comma, as in WSGI."""
    environ = {
        "REQUEST_METHOD": scope["method"],
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "REMOTE_ADDR": (scope.get("client") or ("",))[0],
    }
    for name, value in scope["headers"]:
        key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        # Two spellings of one name must not become one header: gunicorn drops those with an underscore.
        if b"_" not in name:
            text = value.decode("latin-1")
            environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


async def _send(refused: GuardAnswer, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
    headers.append((b"content-length", str(len(refused.body)).encode()))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": refused.body})


def _unstored(send: Send) -> Send:
    """Return a `send` that adds Cache-Control to a response that has none (RFC 9111 5.2.2.5)."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if not any(name.lower() == b"cache-control" for name, _ in headers):
                message["headers"] = [*headers, (b"cache-control", b"no-store")]
        await send(message)

    return sending

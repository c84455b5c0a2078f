"""The doors of the sandbox's providers, at which a client meets its scenario.

It is another application than the one that `consent-server serve` loads, in a room that nothing else imports; and it does not
open with the settings of production.
"""

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from errno import ECONNRESET
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from flask import Flask, Response, current_app, g, has_request_context, redirect, request
from werkzeug.wrappers import Response as AnyResponse

import consent_server
from consent_server import clock, store
from consent_server.deployment import current
from consent_server.issuer.authorize import pushed_request
from consent_server.issuer.metadata import AUTHORIZE, PAR
from consent_server.issuer.presented import of_access_token
from consent_server.refusal import RedirectRefusal, Refusal, with_query
from consent_server.resource.answer import not_yet
from consent_server.sandbox.client_scenarios import report
from consent_server.sandbox.client_scenarios.table import ENDPOINTS, HEADER, NORMAL, SCENARIOS, ClientScenario
from consent_server.sandbox.layout import APPLICATIONS, Layout
from consent_server.settings import BadSettings
from consent_server.web.refusals import BadHttpRequest
from consent_server.withdrawal.withdraw import Withdrawal, withdraw

SLOW_S: Final = 20
NOT_READY_S: Final = 5
_RATE_LIMITED_S: Final = 10
_PROXY_PAGE: Final = "<html><body><h1>{}</h1><hr><p>a proxy</p></body></html>\n"
#: What a client sends of what it was given: where it is spent, it is known again by the digest.
_CREDENTIALS: Final = ("code", "refresh_token", "token", "request_uri")


@dataclass
class Visit:
    """A request of a client of the sandbox: what it sent, and what it meets. `code` is one that was made up for it."""

    client: str
    body: bytes
    scenario: ClientScenario | None = None
    code: str = ""


def application() -> Flask:
    """Return what gunicorn loads for a door of the EDP or the CAP; the environment names the sandbox."""
    app = consent_server.application()
    install(app, Layout(Path(os.environ["SANDBOX_DIRECTORY"]), int(os.environ["SANDBOX_PORT"])))
    return app


def install(app: Flask, layout: Layout) -> None:
    """Let clients of a door meet their scenarios. Raise BadSettings outside of a sandbox."""
    with app.app_context():
        if not current().settings.is_sandbox:
            raise BadSettings("environment: what a client meets on purpose exists for the sandbox alone")
    app.extensions["client_scenarios"] = layout
    app.before_request(_before)
    app.after_request(_after)


def met_now() -> str:
    """Return the name of the scenario that the client of this request meets; "" for none."""
    visit = _visit() if has_request_context() else None
    return visit.scenario.name if visit is not None and visit.scenario is not None else ""


def _visit() -> Visit | None:
    found: Visit | None = g.get("client_visit")
    return found


def _before() -> AnyResponse | None:
    """Find out who calls and what it is to meet; raise or return that where the request itself is not needed for it."""
    g.client_visit = None
    endpoint, wanted = ENDPOINTS.get(request.endpoint or ""), request.headers.get(HEADER)
    layout: Layout = current_app.extensions["client_scenarios"]
    if endpoint is None or (wanted is None and not layout.client_scenarios.exists()):
        return None
    client = _client(layout, endpoint)
    scenario = _scenario(layout, endpoint, client, wanted)
    if not client:
        return None
    visit = g.client_visit = Visit(client, request.get_data())
    request.environ["wsgi.input"] = request.stream = BytesIO(visit.body)  # for the view, which reads it itself
    if scenario is None or endpoint not in scenario.at:
        return None
    visit.scenario = scenario
    if code := scenario.refusals.get(endpoint):
        raise _refusal(Refusal.family[code], scenario)
    # What is compressed cannot be changed afterwards.
    request.environ.pop("HTTP_ACCEPT_ENCODING", None)
    instead = INSTEAD.get(scenario.name)
    return instead() if instead else None


def _client(layout: Layout, endpoint: str) -> str:
    """Return the name of the calling application; "" for one that is not the sandbox's. Raise what the door raises."""
    named = (
        request.args.get("client_id", "")
        if endpoint == AUTHORIZE
        else current().callers.member(request.environ, clock.now()).application
    )
    return next((name for name in APPLICATIONS if layout.application(name) == named), "")


def _scenario(layout: Layout, endpoint: str, client: str, wanted: str | None) -> ClientScenario | None:
    if wanted is None or endpoint == AUTHORIZE:  # a browser's request has no header of the client's
        choice = report.chosen(layout, client)
        return SCENARIOS[choice[0]] if choice is not None else None
    scenario = SCENARIOS.get(wanted)
    if not client:
        raise BadHttpRequest(public=f"{HEADER} is for the applications of the manifest.")
    if wanted == NORMAL:
        return None
    if scenario is None:
        raise BadHttpRequest(public=f"{HEADER} names no scenario of a client; GET /sandbox/clients lists them.")
    if endpoint == PAR and AUTHORIZE in scenario.at and PAR not in scenario.at:
        report.choose(layout, client, scenario.name, once=True)
        return None
    if endpoint not in scenario.at:
        raise BadHttpRequest(
            public=f"{scenario.name} is met at {' '.join(scenario.at)}.".replace("…", "<id>/<measure>")
        )
    return scenario


def _refusal(kind: type[Refusal], scenario: ClientScenario) -> Refusal:
    private = f"the scenario {scenario.name}"
    if issubclass(kind, RedirectRefusal):
        redirect_uri, state = _pushed()
        return kind(private, redirect_uri=redirect_uri, state=state, iss=current().settings.issuer)
    # The registered API: a 422 names the parameter at fault.
    missing: dict[str, object] = {"loc": ["query", "from"], "msg": "from is required", "type": "missing"}
    return kind(private, detail=[missing] if kind.status == 422 else None)


def _pushed() -> tuple[str, str | None]:
    """Return redirect_uri and state of the pushed request. Raise what the authorization endpoint raises without one."""
    with store.reading() as c:
        pushed = pushed_request(c, request.args, clock.now())
    return pushed.redirect_uri, pushed.state


# instead of the response


def _back(**parameters: str) -> Callable[[], AnyResponse]:
    """Return a redirect to the client with these parameters; state and iss are those of its request unless they are named."""

    def instead() -> AnyResponse:
        redirect_uri, state = _pushed()
        given = {"state": state, "iss": current().settings.issuer, **parameters}
        if "error" not in parameters:
            visit = _visit()
            assert visit is not None
            visit.code = given["code"] = secrets.token_urlsafe(32)
        return redirect(with_query(redirect_uri, given), 303)

    return instead


def _slowly() -> None:
    time.sleep(SLOW_S)


INSTEAD: Final[Mapping[str, Callable[[], AnyResponse | None]]] = {
    "access_denied": _back(error="access_denied", error_description="The business did not agree."),
    "authorize_server_error": _back(error="server_error"),
    "authorize_unavailable": _back(error="temporarily_unavailable"),
    "wrong_state": _back(state="another-state"),
    "wrong_issuer": _back(iss="https://another-issuer.example"),
    "slow": _slowly,
    "rate_limited": lambda: Response(
        _PROXY_PAGE.format("429 Too Many Requests"), 429, {"Retry-After": str(_RATE_LIMITED_S)}
    ),
    "bad_gateway": lambda: Response(_PROXY_PAGE.format("502 Bad Gateway"), 502),
}


# a good response, spoiled


def _withdrawn(response: Response) -> None:
    token = request.headers.get("Authorization", "").partition(" ")[2]
    found = of_access_token(token, clock.now())
    if found is not None:
        _, permission = found
        withdraw(permission.id, Withdrawal(by="sme", where="/sandbox/clients", why="the scenario withdrawn_midway"))


def _collecting(response: Response) -> None:
    answer = not_yet(NOT_READY_S)
    response.status_code = answer.status
    response.set_data(b"".join(answer.body))
    response.headers.update(answer.headers)


def _lost(response: Response) -> None:
    response.status_code = 504
    response.set_data(_PROXY_PAGE.format("504 Gateway Timeout"))
    response.mimetype = "text/html"


def _cut_off(response: Response) -> None:
    body = response.get_data()

    def half() -> Iterator[bytes]:
        yield body[: len(body) // 2]
        raise ConnectionResetError(ECONNRESET, "the scenario cut_off")

    response.response = half()
    response.headers["Content-Length"] = str(len(body))


def _garbled(response: Response) -> None:
    response.set_data(b"{" + response.get_data())


def _provenance(change: Callable[[dict[str, Any]], None]) -> Callable[[Response], None]:
    def spoil(response: Response) -> None:
        document = orjson.loads(response.get_data())
        change(document)
        response.set_data(orjson.dumps(document))

    return spoil


def _without_record(document: dict[str, Any]) -> None:
    del document["provenance"]


def _broken_signature(document: dict[str, Any]) -> None:
    signature = document["provenance"]["steps"][-1]
    signature[-1] = _other(signature[-1])


def _altered_step(document: dict[str, Any]) -> None:
    steps = document["provenance"]["steps"]
    position = next(index for index, each in enumerate(steps) if isinstance(each, str))
    steps[position] = _other(steps[position])


def _without_certificates(document: dict[str, Any]) -> None:
    document["provenance"]["certificates"] = {}


def _other(text: str) -> str:
    """Return Base64 text with another character in its middle."""
    middle = len(text) // 2
    return f"{text[:middle]}{'A' if text[middle] != 'A' else 'B'}{text[middle + 1 :]}"


SPOILED: Final[Mapping[str, Callable[[Response], None]]] = {
    "withdrawn_midway": _withdrawn,
    "not_ready": _collecting,
    "gateway_timeout": _lost,
    "cut_off": _cut_off,
    "not_json": _garbled,
    "provenance_missing": _provenance(_without_record),
    "provenance_signature_broken": _provenance(_broken_signature),
    "provenance_step_altered": _provenance(_altered_step),
    "provenance_certificate_missing": _provenance(_without_certificates),
}


def _after(response: Response) -> Response:
    """Spoil a good response where the scenario says so, and keep what the client sent and met."""
    visit = _visit()
    if visit is None:
        return response
    layout: Layout = current_app.extensions["client_scenarios"]
    name = visit.scenario.name if visit.scenario is not None and _meets(visit.scenario, response) else ""
    if spoil := SPOILED.get(name):
        spoil(response)
    if name and report.chosen(layout, visit.client) == (name, True):
        report.stop(layout, visit.client)
    report.keep(layout, visit.client, _seen(visit, response, name))
    return response


def _meets(scenario: ClientScenario, response: Response) -> bool:
    """Return whether this request met its scenario: what needs a good response does not happen to a refused one."""
    made_before = scenario.name in INSTEAD or scenario.refusals
    return bool(made_before) or response.status_code in (200, 201)


def _seen(visit: Visit, response: Response, scenario: str) -> report.Seen:
    token = request.headers.get("Authorization", "").partition(" ")[2]
    body = visit.body.decode("utf-8", "replace")
    values = {**request.args, **dict(parse_qsl(body))}
    credential = visit.code or token or next(filter(None, map(values.get, _CREDENTIALS)), "")
    sent = f"{request.method} {request.full_path} {token} {body}"
    return report.Seen(
        at=clock.now(),
        endpoint=ENDPOINTS[request.endpoint or ""],
        status=response.status_code,
        request=_digest(sent),
        credential=_digest(credential) if credential else "",
        scenario=scenario,
        retry_after=int(response.headers.get("Retry-After", "0")),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

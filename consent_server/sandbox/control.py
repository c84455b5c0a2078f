"""/sandbox: the control page for people, and the same things as JSON for programs.

The clock, the revocation list and the scenarios are set here. A POST returns 200 only when every process has the
change: the clock's file is mapped by all of them, the scenarios' files are read at each use, and for the
revocation list the doors are asked. Programs send JSON; forms are accepted from the page itself, by their Origin.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

import sqlalchemy as sa
from flask import Blueprint, Response, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from consent_server import clock
from consent_server.sandbox import databases, mail, membership, revocation, scenarios
from consent_server.sandbox.client_scenarios import report
from consent_server.sandbox.client_scenarios.table import HEADER, NORMAL
from consent_server.sandbox.client_scenarios.table import SCENARIOS as CLIENT_SCENARIOS
from consent_server.sandbox.layout import APPLICATIONS, CLIENTS, MEMBERS, Layout
from consent_server.sandbox.publishing import answered, here, refused
from consent_server.sandbox.smes import APPLICABLE, BY_NAME, SCENARIOS, SMES
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY

# What the sandbox's certificates and lists outlive.
_LARGEST_STEP: Final = 400 * DAY
_OFFSET: Final = struct.Struct("<q")


class _Bad(Exception):
    """The request cannot be done; says what to change."""


def state(layout: Layout) -> dict[str, Any]:
    """Return what GET /sandbox shows a program."""
    number, on_list = revocation.revoked(layout)
    met = scenarios.current(layout)
    return {
        "ready": layout.ready.exists(),
        "manifest": str(layout.manifest),
        "clock": {"offset_s": _offset(layout), "now": instant.text(clock.now())},
        "addresses": {name: layout.origin(name) for name in _SERVICES},
        "scenarios": dict(SCENARIOS),
        "applicable": sorted(APPLICABLE),
        "smes": [{"name": s.name, "scenario": met[s.name], "about": s.about} for s in SMES],
        "revocation_list": {"url": layout.revocation_list_url, "number": number, "revoked": sorted(on_list)},
        "suspended": sorted(membership.suspended(layout)),
        "withdrawn": sorted(membership.withdrawn(layout)),
        "clients": {name: {"meets": entry.meets, "revoked": name in on_list} for name, entry in CLIENTS.items()},
    }


def client_scenarios(layout: Layout) -> dict[str, Any]:
    """Return what GET /sandbox/clients shows a program: what there is to meet, what is chosen, and what was met."""
    return {
        "header": HEADER,
        "chosen": report.all_chosen(layout),
        "met": [{**asdict(each), "at": instant.text(each.at)} for each in report.report(layout)],
        "scenarios": {
            name: {"at": row.at, "about": row.about, "duty": row.duty, "todo": row.todo}
            for name, row in CLIENT_SCENARIOS.items()
        },
    }


routes = Blueprint("control", __name__, static_folder="static", static_url_path="/sandbox/static")


@routes.get("/sandbox")
def show() -> Response:
    return _page(here()) if _wants_page() else answered(state(here()))


@routes.get("/sandbox/clients")
def clients() -> Response:
    shown = client_scenarios(here())
    if _wants_page():
        return _rendered("sandbox/clients.html", layout=here(), shown=shown, applications=APPLICATIONS, normal=NORMAL)
    return answered(shown)


@routes.get("/sandbox/health")
def health() -> Response:
    """Return 200 once the whole sandbox is ready."""
    ready = here().ready.exists()
    return answered({"status": "ready" if ready else "starting"}, 200 if ready else 503)


@routes.get("/sandbox/outbox")
def outbox() -> Response:
    try:
        return answered(databases.calls_owed(here()))
    except (sa.exc.DBAPIError, OSError):
        return refused(503, "temporarily_unavailable", "The parties have no databases yet; try again in a moment.")


@routes.post("/sandbox/<any(clock, scenario, crl, membership):what>")
def set_to(what: str) -> AnyResponse:
    """Do what a program asks for in JSON, or a person with a form of our own page."""
    layout, change = here(), _CHANGES[what]
    try:
        if request.is_json:
            asked = request.get_json(silent=True)
            if not isinstance(asked, dict):
                raise _Bad("The body must be a JSON object.")
            return answered(change(layout, asked))
        if request.headers.get("Origin") != layout.origin("trust"):
            return refused(415, "invalid_request", "Send JSON with Content-Type: application/json.")
        change(layout, _from_form())
    except _Bad as error:
        return refused(422, "invalid_request", str(error))
    except TimeoutError as error:
        return refused(503, "temporarily_unavailable", str(error))
    back = f"{layout.control}/clients" if "client" in request.form else layout.control
    return redirect(back, 303)


def _from_form() -> dict[str, Any]:
    asked: dict[str, Any] = request.form.to_dict()
    if "days" in asked:
        try:
            asked["offset_s"] = round(float(asked.pop("days")) * DAY)
        except (ValueError, OverflowError):
            raise _Bad("The clock's step is a number of days.") from None
    return asked


def _set_clock(layout: Layout, asked: dict[str, Any]) -> dict[str, Any]:
    offset = asked.get("offset_s")
    if not isinstance(offset, int) or isinstance(offset, bool) or abs(offset) > _LARGEST_STEP:
        raise _Bad(f"offset_s must be a whole number of seconds between -{_LARGEST_STEP} and {_LARGEST_STEP}.")
    clock.write_offset(layout.clock, offset)
    return {"offset_s": offset, "now": instant.text(clock.now())}


def _set_scenario(layout: Layout, asked: dict[str, Any]) -> dict[str, Any]:
    if "client" in asked:
        return _set_client_scenario(layout, asked)
    sme = BY_NAME.get(asked.get("sme", "")) if isinstance(asked.get("sme"), str) else None
    if sme is None:
        raise _Bad(f"sme must be one of {', '.join(BY_NAME)}.")
    if not sme.known:
        raise _Bad(f"{sme.name} has no meters in the register: it meets no other trouble.")
    possible = sorted(APPLICABLE | {sme.scenario})
    scenario = asked.get("scenario")
    if scenario not in possible:
        whose = f"; {scenario} is the business of that name" if scenario in SCENARIOS else ""
        raise _Bad(f"scenario of {sme.name} must be one of {', '.join(possible)}{whose}.")
    try:
        count = databases.keep_known(layout, sme, scenario != "unknown")
    except (sa.exc.DBAPIError, OSError):
        raise TimeoutError("The register cannot be written just now; try again in a moment.") from None
    scenarios.change(layout, sme.name, str(scenario))
    return {"sme": sme.name, "scenario": scenario, "meters": count}


def _set_client_scenario(layout: Layout, asked: dict[str, Any]) -> dict[str, Any]:
    client, scenario = asked["client"], asked.get("scenario")
    if not isinstance(client, str) or client not in APPLICATIONS or "sme" in asked:
        raise _Bad(f"client must be one of {', '.join(APPLICATIONS)}, and no sme beside it.")
    if scenario == NORMAL:
        report.stop(layout, client)
    elif isinstance(scenario, str) and scenario in CLIENT_SCENARIOS:
        report.choose(layout, client, scenario)
    else:
        raise _Bad(f"scenario of a client must be {NORMAL} or one of {', '.join(CLIENT_SCENARIOS)}.")
    return {"client": client, "scenario": scenario}


def _change_list(layout: Layout, asked: dict[str, Any]) -> dict[str, Any]:
    action = {key: asked[key] for key in ("revoke", "restore") if key in asked}
    if len(action) != 1 or not all(isinstance(name, str) for name in action.values()):
        raise _Bad('Name one client of the manifest: {"revoke": NAME} or {"restore": NAME}.')
    try:
        number = revocation.change(layout, **action)
    except revocation.NotRevocable:
        raise _Bad("Name a client of the manifest whose certificate the sandbox's authority issued.") from None
    if not revocation.wait_until_effective(lambda: revocation.doors_have(layout, number)):
        raise TimeoutError("The list is published, but not every door has it yet; send the same request again.")
    return {"number": number, "revoked": sorted(revocation.revoked(layout)[1])}


def _change_membership(layout: Layout, asked: dict[str, Any]) -> dict[str, Any]:
    kind: membership.Kind = "application" if "application" in asked else "member"
    name, status = asked.get(kind), asked.get("status")
    known = APPLICATIONS if kind == "application" else MEMBERS
    if not isinstance(name, str) or name not in known or len(asked) != 2:
        raise _Bad(f"Name one member ({', '.join(MEMBERS)}) or one application ({', '.join(APPLICATIONS)}).")
    if status not in membership.STATUSES[kind]:
        raise _Bad(f"status of a {kind} is {' or '.join(membership.STATUSES[kind])}.")
    membership.change(layout, kind, name, str(status))
    membership.wait_until_effective()
    return {kind: name, "status": status}


#: What a POST changes -> how. Raise _Bad, and TimeoutError for a change that not every process has in time.
_CHANGES: Final[Mapping[str, Callable[[Layout, dict[str, Any]], dict[str, Any]]]] = {
    "clock": _set_clock,
    "scenario": _set_scenario,
    "crl": _change_list,
    "membership": _change_membership,
}


def _offset(layout: Layout) -> int:
    try:
        return int(_OFFSET.unpack_from(layout.clock.read_bytes())[0])
    except FileNotFoundError:
        return 0


# What the page tells people: service -> who, and what for.
_SERVICES: Final = {
    "trust": "Registry, Directory, revocation list, grid intensity, mail and this page",
    "edp_public": "Energy data provider: the pages on which a business decides, and manages what it allowed",
    "edp_mutual_tls": "Energy data provider: its issuer's back channel and consumption data (client certificate)",
    "cap_public": "Carbon accounting provider: its portal, and its issuer's pages",
    "cap_mutual_tls": "Carbon accounting provider: its issuer's back channel, emissions, messages (client certificate)",
    "fsp_public": "Financial service provider: its start link, and the emissions it was given",
    "fsp_mutual_tls": "Financial service provider: messages (client certificate)",
}


def _page(layout: Layout) -> Response:
    now = state(layout)
    return _rendered(
        "sandbox/control.html",
        layout=layout,
        state=now,
        services=[(layout.origin(name), about) for name, about in _SERVICES.items()],
        smes=[(sme, entry["scenario"]) for sme, entry in zip(SMES, now["smes"], strict=True)],
        choices={sme.name: sorted(APPLICABLE | {sme.scenario}) for sme in SMES},
        members=[(name, entry, layout.member(name), name in now["suspended"]) for name, entry in MEMBERS.items()],
        applications=[
            (name, entry, layout.application(name), name in now["withdrawn"]) for name, entry in APPLICATIONS.items()
        ],
        clients=[(name, entry, layout.application(name), now["clients"][name]) for name, entry in CLIENTS.items()],
        mail=mail.mailed(layout)[-5:],
        days=now["clock"]["offset_s"] / DAY,
    )


def _wants_page() -> bool:
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def _rendered(template: str, **shown: Any) -> Response:
    response = make_response(render_template(template, **shown))
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("Accept")
    return response

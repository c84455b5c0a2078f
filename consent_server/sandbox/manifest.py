"""DIR/manifest.json: what other people's programs rely on. Its form is the sandbox contract's, version 1."""

import json
from typing import Any, Final

from consent_server.sandbox import synthetic
from consent_server.sandbox.journal import write_whole
from consent_server.sandbox.layout import CLIENTS, LICENSES, Layout
from consent_server.sandbox.smes import SMES, Sme
from consent_server.scheme import instant

VERSION: Final = 1

Step = dict[str, Any]


def build(layout: Layout, at: int) -> dict[str, Any]:
    """Return the manifest of a sandbox started at `at` with its default settings."""
    first, last = synthetic.span(at)
    return {
        "version": VERSION,
        "trust": {
            "registry": layout.registry,
            "directory": layout.directory_url,
            "server_ca": str(layout.authority / "server_root.pem"),
            "client_ca": str(layout.authority / "client_root.pem"),
            "signing_ca": str(layout.authority / "signing_root.pem"),
            "crl": layout.revocation_list_url,
        },
        "licenses": {name: layout.license(name) for name in LICENSES},
        "issuers": {party: layout.issuer(party) for party in ("edp", "cap")},
        "resources": {party: layout.resource(party) for party in ("edp", "cap")},
        "pages": {party: layout.origin(f"{party}_public") for party in ("edp", "cap", "fsp")},
        "doors": {party: layout.origin(f"{party}_mutual_tls") for party in ("edp", "cap", "fsp")},
        "readings": {"from": instant.text(first), "to": instant.text(last)},
        "clients": {name: _client(layout, name) for name in CLIENTS},
        "smes": [_sme(sme) for sme in SMES],
        "control": layout.control,
    }


def write(layout: Layout, at: int) -> None:
    """Write the manifest atomically: it is never seen incomplete."""
    write_whole(layout.manifest, (json.dumps(build(layout, at), indent=1, ensure_ascii=False) + "\n").encode())


def _client(layout: Layout, name: str) -> dict[str, Any]:
    return {
        "client_id": layout.application(name),
        "member": layout.member_of(name),
        "roles": layout.roles_of(name),
        "certificate": str(layout.certificate(name, "certificate")),
        "key": str(layout.certificate(name, "key")),
        "chain": str(layout.certificate(name, "chain")),
        "meets": CLIENTS[name].meets,
    }


def _sme(sme: Sme) -> dict[str, Any]:
    return {
        "name": sme.name,
        "scenario": sme.scenario,
        "about": sme.about,
        "fuels": list(sme.fuels),
        "ends": "client" if sme.known else "page",
        "journey": {"edp": _journey_at_edp(sme), "cap": _journey_at_cap(sme)},
        "connect": {"cap": _connect(sme)} if sme.known else {},
        "withdraw": {"edp": _withdraw_at_edp(sme), "cap": _withdraw_at_cap(sme)} if sme.known else {},
    }


def _journey_at_edp(sme: Sme) -> list[Step]:
    known = [_step("/journey/identify", "continue", fill=sme.identification())]
    if sme.logs_in:
        known = [_step("/journey/identify", "way-log-in"), _step("/journey/log-in", "continue"), _logged_in(sme)]
    ticked = _other_sites(sme) if not sme.logs_in else ["site-1", "site-2"]
    steps = [
        *known,
        *([_step("/journey/sites", "continue", check=ticked)] if ticked else []),
        _step("/journey/permission", "allow", check=["agree"]),
    ]
    return steps if sme.known else steps[:1]


def _other_sites(sme: Sme) -> list[str]:
    return [f"site-{number}" for number in range(1, len(sme.sites))]


def _journey_at_cap(sme: Sme) -> list[Step]:
    steps = [
        *_signed_in(sme, "/journey/sign-in", "/journey/code"),
        _step("/journey/permission", "allow", check=["agree"]),
    ]
    # The unknown one has an account and no connection: its journey ends on the page with `connect-first`.
    return steps if sme.known else steps[:2]


def _connect(sme: Sme) -> list[Step]:
    return [
        *_signed_in(sme, "/sign-in", "/sign-in/code"),
        _step("/account", "connect"),
        _step("/connect", "continue"),
        _step("/connect/permission", "continue", check=["agree"]),
        *_journey_at_edp(sme),
    ]


def _withdraw_at_edp(sme: Sme) -> list[Step]:
    known = [_step("/manage", "continue", fill=sme.identification())]
    if sme.logs_in:
        known = [_step("/manage", "way-log-in"), _step("/manage/log-in", "continue"), _logged_in(sme)]
    return [
        *known,
        _step("/manage/permissions", "withdraw"),
        _step("/manage/withdraw", "confirm"),
    ]


def _withdraw_at_cap(sme: Sme) -> list[Step]:
    return [
        *_signed_in(sme, "/sign-in", "/sign-in/code"),
        _step("/account", "permissions"),
        _step("/permissions", "withdraw"),
        _step("/permissions/withdraw", "confirm"),
    ]


def _logged_in(sme: Sme) -> Step:
    return _step("/customers/authorize", "continue", fill={"customer": sme.email, "password": sme.code})


def _signed_in(sme: Sme, address_page: str, code_page: str) -> list[Step]:
    return [
        _step(address_page, "continue", fill={"email": sme.email}),
        _step(code_page, "continue", fill={"code": sme.code}),
    ]


def _step(path: str, click: str, *, fill: dict[str, str] | None = None, check: list[str] | None = None) -> Step:
    """Return one page in the whole form of the contract's STEP, also where nothing is filled or ticked."""
    return {"path": path, "fill": fill or {}, "check": check or [], "click": click}

"""Everything on disk that one sandbox starts from: certificates, keys, settings of the parties, and the manifest.

`prepare` makes all of it; afterwards the processes only need the layout and `DIR/<party>/settings.toml`.
"""

import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

from consent_server import clock
from consent_server.sandbox import customers, manifest, membership, registry, revocation
from consent_server.sandbox.authority import Authority
from consent_server.sandbox.layout import APPLICATIONS, LICENSES, LOGOS, MEMBERS, Layout
from consent_server.sandbox.smes import SMES
from consent_server.scheme import messages, roles
from consent_server.tokens import keys, refresh_token

#: The parties with settings. The FSP is a small program of the sandbox's own, which borrows their form.
PARTIES: Final = ("edp", "cap", "fsp")

_APPLICATION: Final = {"edp": "edp_service", "cap": "cap_portal", "fsp": "fsp_service"}
# What each must know by URL and digest. The CAP's issuer takes the one that FSPs ask for; the other is its portal's.
_LICENSES: Final = {
    "edp": ("electricity_and_gas", "one_permission", "electricity"),
    "cap": ("emissions", "one_permission"),
    "fsp": ("emissions",),
}
_PORTAL_LICENSE: Final = "electricity_and_gas"
_COMBINED_LICENSE: Final = "one_permission"
#: On light pages and on dark ones.
_COLOURS: Final = {"edp": ("#1d4f91", "#8fb8f0"), "cap": ("#0b5d4a", "#5fd0ae"), "fsp": ("#5b2a86", "#c9a6f0")}
_WITHDRAWAL_PROCESS: Final = "signing in to Tallyleaf, opening “My permissions” and pressing “Withdraw”"
_SEALING_KEY_BYTES: Final = 32
#: The sandbox's EDP plays one that reads smart meters through the DCC, as the scheme describes it.
_METERING: Final = {
    "readings_source": "consent_server.sandbox.readings:troubled",
    "vouches_for_sites": True,
    "origin": "https://www.smartdcc.co.uk/",
    "origin_license": "https://smartenergycodecompany.co.uk/documents/sec/consolidated-sec/",
    "origin_method": "SmartDCCOtherUser",
}

# The contract: no limit is met below 200 journeys and 3,000 requests in ten minutes from one address.
_LIMITS: Final = {
    "tries_per_known_browser_per_day": 2000,
    "tries_per_network": 2000,
    "tries_per_network_per_day": 20000,
    "tries_in_all": 2000,
    "tries_in_all_per_day": 20000,
    "tries_per_meter_per_day": 2000,
    "tries_per_postcode_per_day": 2000,
    "tries_per_account_per_day": 2000,
    "mails_per_mailbox": 2000,
    "mails_per_mailbox_per_day": 2000,
    "unknown_links_per_network": 6000,
    "pushed_requests_per_client": 6000,
}


def prepare(
    layout: Layout,
    *,
    at: int | None = None,
    database_urls: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> None:
    """Make a sandbox's files in an empty or missing directory; the manifest comes last.

    `at` is the instant of the start (now). `database_urls` names a database for each party, instead of a SQLite file
    of its own. `overrides` are `--set` pairs such as {"edp.metadata.authorization_alias": "false"}. Raise ValueError
    for one that names neither party.
    """
    at = clock.now() if at is None else at
    authority = Authority(layout.authority).create(at)
    issue_certificates(layout, authority)
    revocation.start(layout, authority)
    clock.write_offset(layout.clock, 0)
    given = _by_party(overrides or {})
    for party in PARTIES:
        _make_keys(layout, party, at)
        settings = settings_for(layout, party, (database_urls or {}).get(party))
        for dotted, value in given[party].items():
            _override(settings, dotted, value)
        layout.settings(party).write_text(to_toml(settings), encoding="utf-8")
    layout.bank.write_text(json.dumps(_bank(layout), indent=1), encoding="utf-8")
    layout.sign_in_codes.write_text(json.dumps({sme.email: sme.code for sme in SMES}, indent=1), encoding="utf-8")
    manifest.write(layout, at)


def issue_certificates(layout: Layout, authority: Authority) -> None:
    """Issue a client certificate for every application, signing certificates for the parties, one for `localhost`."""
    for name, entry in APPLICATIONS.items():
        authority.client(
            name,
            layout.application(name),
            layout.member_of(name),
            layout.roles_of(name),
            expired=entry.fault == "expired",
            self_signed=entry.fault == "self_signed",
            wrong_ca=entry.fault == "wrong_ca",
            second_uri=layout.application("two_uris_second") if entry.fault == "two_uris" else None,
        )
    for name in _APPLICATION.values():
        authority.signing(name, layout.application(name), layout.member_of(name), layout.roles_of(name))
    authority.server()


def settings_for(layout: Layout, party: str, database_url: str | None = None) -> dict[str, Any]:
    """Return the settings of "edp", "cap" or "fsp", as `consent_server.settings` takes them; paths are absolute."""
    application = _APPLICATION[party]
    return {
        "environment": "sandbox",
        # There is no third kind of server: the FSP's program reads addresses, keys and trust from here, no more.
        "party": "cap" if party == "fsp" else party,
        "issuer": layout.issuer(party),
        "member": {
            "url": layout.member(party),
            "name": MEMBERS[party].brand_name or MEMBERS[party].legal_name,
            "application": layout.application(application),
            "data_service": layout.data_service(party),
            "introspectors": [layout.application(application), layout.application(party)],
            "withdrawal_process": _WITHDRAWAL_PROCESS if party == "cap" else "",
        },
        "public": {**_listener(layout, f"{party}_public"), "brand": _brand(party), "contact": _contact(party)},
        "mutual_tls": _listener(layout, f"{party}_mutual_tls"),
        "clients": {
            "root": str(layout.authority / "client_root.pem"),
            # The revocation list is signed by this issuer.
            "issuers": str(layout.authority / "client_issuer.pem"),
            "arrival": "tls",
            "membership_s": membership.REMEMBERED_S,
            "unknown_membership": "allow",
        },
        "revocation_list": {"source": layout.revocation_list_url, "refresh_s": 2},
        "scheme": _scheme(layout, party),
        "catalogue": _catalogue(layout, party),
        "database": {
            "url": database_url or f"sqlite:///{layout.database(party)}",
            "withdrawal_journal": str(layout.withdrawal_journal(party)),
        },
        "keys": _keys(layout, party),
        "lifetimes": {},
        "tokens": {},
        "metadata": {},
        "limits": dict(_LIMITS),
        "metering": {},
        "collection": {},
        "mail": {},
        "jobs": {"outbox_s": 1, "collect_s": 1},
        "sandbox": {"clock": str(layout.clock)},
        **(_of_edp(layout) if party == "edp" else _of_cap(layout) if party == "cap" else {}),
    }


def _of_edp(layout: Layout) -> dict[str, Any]:
    return {
        "journey": {"steps": ["bill", "login"]},
        "login": _login(layout),
        "metering": dict(_METERING),
        "mail": {"source": layout.mail, "sender": "post@hartlebury.example"},
    }


def _of_cap(layout: Layout) -> dict[str, Any]:
    return {
        "collection": {
            "license": _license(layout, _PORTAL_LICENSE),
            "combined_license": _license(layout, _COMBINED_LICENSE),
            "intensity": layout.intensity,
            "retry_s": 5,
        },
        "portal": {"banks": [{"member": layout.member("fsp"), "start": f"{layout.origin('fsp_public')}/apply"}]},
        "mail": {"source": layout.mail, "sender": "post@tallyleaf.example"},
        "sandbox": {"clock": str(layout.clock), "fixed_codes": str(layout.sign_in_codes)},
    }


def _scheme(layout: Layout, party: str) -> dict[str, Any]:
    return {
        "registry": layout.registry,
        "directory": layout.directory_url,
        "trust_framework": layout.trust_framework,
        "withdrawal_subjects": [
            messages.WITHDRAWAL_SUBJECT,
            f"{layout.registry}/{registry.WITHDRAWAL_MESSAGE}",
        ],
        "edp_roles": [layout.role(roles.EDP)],
        "cap_roles": [layout.role(roles.CAP)],
        "fsp_roles": [layout.role(roles.FSP)],
        "consumption_standard": layout.consumption_standard,
        "emissions_standard": layout.emissions_standard,
        "licenses": [_license(layout, name) for name in _LICENSES[party]],
    }


def _catalogue(layout: Layout, party: str) -> dict[str, str]:
    name = "consumption-data" if party == "edp" else "emissions-data"
    return {
        "title": "Half-hourly electricity and gas" if party == "edp" else "Monthly emissions",
        "endpoint_description": f"{layout.registry}/api/{name}/2026-03-12",
        "heartbeat_description": f"{layout.registry}/api/heartbeat/2026-03-12",
    }


def _keys(layout: Layout, party: str) -> dict[str, str]:
    folder, application = layout.party(party) / "keys", _APPLICATION[party]
    return {
        "sealing": str(folder / "sealing"),
        "client_certificate": str(layout.certificate(application, "chain")),
        "client_key": str(layout.certificate(application, "key")),
        "signing_root": str(layout.authority / "signing_root.pem"),
        "server_roots": str(layout.authority / "server_root.pem"),
        "tokens": str(folder / "tokens"),
        "refresh": str(folder / "refresh"),
        "signing_certificate": str(layout.signing_certificate(application, "chain")),
        "signing_key": str(layout.signing_certificate(application, "key")),
    }


def _login(layout: Layout) -> dict[str, Any]:
    return {
        "issuer": layout.customers,
        "name": "Hartlebury customers",
        "client_id": customers.CLIENT_ID,
        "secret": str(layout.customers_secret),
        "strengths": {customers.ACR: "a password"},
    }


def _bank(layout: Layout) -> dict[str, str]:
    """Return what the FSP needs about its CAP besides the settings."""
    return {
        "issuer": layout.issuer("cap"),
        "portal": layout.origin("cap_public"),
        "license": layout.license("emissions"),
        "combined": layout.license(_COMBINED_LICENSE),
    }


def to_toml(settings: Mapping[str, Any]) -> str:
    """Return settings as TOML: plain values first, then one table for each section."""
    plain = {key: value for key, value in settings.items() if not isinstance(value, Mapping)}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items()]
    for section, values in settings.items():
        if section not in plain:
            lines += ["", f"[{section}]"]
            lines += [f"{key} = {_value(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    # JSON's strings, numbers and booleans are TOML's.
    return json.dumps(value, ensure_ascii=False)


def _listener(layout: Layout, service: str) -> dict[str, Any]:
    return {
        "origin": layout.origin(service),
        "bind": f"127.0.0.1:{layout.port(service)}",
        "certificate": str(layout.server_certificate("chain")),
        "key": str(layout.server_certificate("key")),
        # One process for each door: what /ready says then holds for the whole door.
        "workers": 1,
    }


def _contact(party: str) -> dict[str, str]:
    """Whom people can ask: a number of those that are given to nobody (Ofcom, numbers for use in drama)."""
    name = (MEMBERS[party].brand_name or party).split()[0].lower()
    return {"email": f"help@{name}.example", "telephone": "01632 960001"}


def _brand(party: str) -> dict[str, str]:
    light, dark = _COLOURS[party]
    return {"logo": str(LOGOS / f"{party}.svg"), "colour": light, "dark_colour": dark}


def _license(layout: Layout, name: str) -> dict[str, Any]:
    return {
        "url": layout.license(name),
        "label": LICENSES[name][0],
        "text_sha256": registry.text_sha256(layout, name),
        "fuels": ["electricity"] if name == "electricity" else ["electricity", "gas"],
    }


def _make_keys(layout: Layout, party: str, at: int) -> None:
    folder = layout.party(party) / "keys"
    keys.make(folder / "tokens", at)
    refresh_token.rotate(folder / "refresh", at)
    keys.write_key_file(folder, "sealing", secrets.token_bytes(_SEALING_KEY_BYTES))
    if party == "edp":
        keys.write_key_file(folder, layout.customers_secret.name, secrets.token_urlsafe(32).encode("ascii"))


def _by_party(overrides: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {party: {} for party in PARTIES}
    for dotted, value in overrides.items():
        party, _, key = dotted.partition(".")
        if party not in found or not key:
            raise ValueError(f"{dotted}: begin with the party, such as edp.{dotted}")
        found[party][key] = value
    return found


def _override(settings: dict[str, Any], dotted: str, value: str) -> None:
    """Set one key to text, from which the settings read numbers and booleans."""
    *sections, last = dotted.split(".")
    target = settings
    for section in sections:
        target = target.setdefault(section, {})
    target[last] = value

"""A CAP with one account: connections, permissions, and what rests on what."""

from collections.abc import Iterator
from typing import Any

import pytest

from consent_server import store
from consent_server.deployment import Deployment
from consent_server.store import accounts, connections, links, outbox, permissions, rows
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.collecting import MeterMonth, ProviderConnection
from consent_server.store.tables.permissions import Permission
from consent_server.withdrawal.outbox import LONGEST_DELAY_S
from tests.deployments import deploy, in_new_database, layout, opened, settings_of

NOW = 1773307800
FAR = 4102444800
ISSUER = "https://edp.example"
CLIENT = "https://directory.example/a/fsp"
#: The inbox's door behind a proxy that passes certificates on, with the revocation list in a file; a quarter of an hour to
#: the give-up list.
SETTINGS = {
    "clients.arrival": "client-cert",
    "clients.proxies": ["127.0.0.1/32"],
    "jobs.give_up_after_s": 3 * LONGEST_DELAY_S,
}


@pytest.fixture
def deployment(database_url: str, held_clock: Any) -> Iterator[Deployment]:
    settings = settings_of("cap", database_url, {**SETTINGS, "revocation_list.source": str(layout().revocation_list)})
    deployment = deploy(settings)
    with in_new_database(opened(deployment, "mutual_tls")):
        with store.writing() as c:
            accounts.add(c, SmeAccount("acme", "owner@acme.example", "Acme", created=0))
        yield deployment


def refresh_id(permission: str) -> str:
    return f"refresh-{permission}".ljust(32, "-")


def permission_row(name: str, **changes: Any) -> Permission:
    values = {
        "account": f"account-{name}",
        "client_id": CLIENT,
        "member": f"https://directory.example/m/{name}",
        "license": "https://registry.example/license",
        "fuels": ["electricity"],
        "text_sha256": "0" * 64,
        "sme": "acme",
        "meters": [],
        "datasources": [],
        "granted": 100,
        "expires": FAR,
        "refresh_id": refresh_id(name),
        "refresh_version": 1,
        "redeemed": 100,
    }
    return Permission(id=name, **values | changes)


def permission(name: str, **changes: Any) -> str:
    with store.writing() as c:
        permissions.add(c, permission_row(name, **changes))
    return name


def connection(deployment: Deployment, name: str, token: str = "", **changes: Any) -> str:
    """A connection with a day of readings; `token` is the refresh token that we hold for it."""
    token = token or f"token-{name}"
    values = {
        "account": "acme",
        "issuer": ISSUER,
        "resource": ISSUER,
        "member": f"https://directory.example/m/{name}",
        "application": "https://directory.example/a/edp",
        "license": "https://registry.example/license",
        "refresh_sealed": deployment.sealer.seal(token),
        "refresh_mac": deployment.sealer.mac(token),
        "granted": 100,
        "expires": FAR,
    }
    with store.writing() as c:
        connections.add(c, ProviderConnection(id=name, **values | changes))
        rows.put(c, MeterMonth(name, "meter", 0, "electricity", "SW8", b"half-hours", "", 1, 1.0, 1.0, True, 0, 0, 0))
    return name


def linked(support: str, dependent: str) -> None:
    with store.writing() as c:
        links.add(c, support, dependent)


def owed() -> list[tuple[str, str]]:
    """(kind, subject) of every call that we owe."""
    with store.reading() as c:
        return [(row.kind, row.subject) for row in outbox.waiting(c)]

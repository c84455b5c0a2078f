"""The sandbox's revocation list: which clients are on it, rewriting it, and waiting until every door has it."""

import json
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import httpx
from cryptography import x509

from consent_server.sandbox.authority import Authority
from consent_server.sandbox.journal import write_whole
from consent_server.sandbox.layout import CLIENTS, MUTUAL_TLS_DOORS, Layout

#: The contract's promise, in seconds.
EFFECTIVE_WITHIN: Final = 30.0
_POLL_S: Final = 0.2
# Certificates that the sandbox's authority did not issue: no list of its own can revoke them.
_NOT_OURS: Final = frozenset({"self_signed", "wrong_ca"})

_one_at_a_time = threading.Lock()


class NotRevocable(ValueError):
    """The name is no client of the manifest, or its certificate is not from the sandbox's authority."""


def start(layout: Layout, authority: Authority) -> None:
    """Publish the first list: the client `revoked` alone."""
    _publish(layout, authority, 1, {name for name, entry in CLIENTS.items() if entry.fault == "revoked"})


def revoked(layout: Layout) -> tuple[int, frozenset[str]]:
    """Return the number of the list in force, and the names of the clients on it."""
    state = json.loads(layout.revoked.read_text(encoding="utf-8"))
    return state["number"], frozenset(state["revoked"])


def change(layout: Layout, *, revoke: str | None = None, restore: str | None = None) -> int:
    """Put a client on the list or take it off; return the number of the list in force. Raise NotRevocable."""
    for name in (revoke, restore):
        if name is not None and (name not in CLIENTS or name in _NOT_OURS):
            raise NotRevocable(name)
    with _one_at_a_time:
        number, names = revoked(layout)
        wanted = (names | {revoke} if revoke else names) - ({restore} if restore else set())
        if wanted != names:
            number += 1
            _publish(layout, Authority(layout.authority), number, wanted)
        return number


def wait_until_effective(check: Callable[[], bool]) -> bool:
    """Return True once `check` does, and False when it has not within EFFECTIVE_WITHIN."""
    ends = time.monotonic() + EFFECTIVE_WITHIN
    while not check():
        if time.monotonic() + _POLL_S > ends:
            return False
        time.sleep(_POLL_S)
    return True


def doors_have(layout: Layout, number: int) -> bool:
    """Return whether every mutual-TLS door reports at /ready that it uses this list or a newer one."""
    with watcher(layout) as client:
        return all(_list_number(client, layout.origin(door)) >= number for door in MUTUAL_TLS_DOORS)


def watcher(layout: Layout) -> httpx.Client:
    """Return a client for /ready of every door, which asks for no role."""
    context = ssl.create_default_context(cafile=str(layout.authority / "server_root.pem"))
    context.load_cert_chain(layout.certificate("watcher", "chain"), layout.certificate("watcher", "key"))
    return httpx.Client(verify=context, timeout=5.0, trust_env=False)


def _list_number(client: httpx.Client, origin: str) -> int:
    try:
        answer: Any = client.get(f"{origin}/ready").json()
        return int(answer["revocation_list"]["number"])
    except (httpx.HTTPError, ValueError, TypeError, KeyError):
        return 0  # not there yet, or without a list


def _publish(layout: Layout, authority: Authority, number: int, names: set[str] | frozenset[str]) -> None:
    serials = [
        x509.load_pem_x509_certificate(layout.certificate(name, "certificate").read_bytes()).serial_number
        for name in names
    ]
    write_whole(layout.revocation_list, authority.crl(serials, number))
    write_whole(layout.revoked, json.dumps({"number": number, "revoked": sorted(names)}).encode())

"""`consent-server doctor`: look at a deployment before it goes live, and say what to do about each thing that is not right.

Nothing is kept and nothing is changed. What is outside is asked as the server would ask it, past every cache, and without
our client certificate, so that a bad one spoils its own line alone.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from consent_server.parties.operator.doctor import certificates, house, scheme
from consent_server.parties.operator.doctor.finding import FAIL, Finding, failing
from consent_server.parties.operator.doctor.outside import Outside
from consent_server.settings import Settings

__all__ = ["FAIL", "Finding", "examine", "settings_faults"]

log = logging.getLogger("consent_server.doctor")
# Each finding says in its own words what the rooms would log; without a handler their warnings would stand between.
logging.getLogger("consent_server").addHandler(logging.NullHandler())

#: In this order: what stands in files, what the trust framework says of us, what is ours and running.
LOCAL: tuple[Callable[[Settings, int], Iterator[Finding]], ...] = (
    certificates.roots,
    certificates.servers,
    certificates.client,
    certificates.signing,
    house.keys,
)
OUTSIDE: tuple[Callable[[Settings, Outside, int], Iterator[Finding]], ...] = (
    scheme.clock,
    scheme.revocation_list,
    scheme.member,
    scheme.application,
    scheme.data_service,
    scheme.allowlist,
    scheme.texts,
    scheme.metadata,
    house.mail,
)


def examine(settings: Settings, at: int, database: Callable[[], AbstractContextManager[None]]) -> Iterator[Finding]:
    """Every finding, as it is made. `database` opens the party's database."""
    for local in LOCAL:
        yield from _carefully(local.__name__, lambda local=local: local(settings, at))  # type: ignore[misc]
    yield from _carefully("database", lambda: house.database(settings, database))
    try:
        outside = Outside(settings)
    except OSError as error:  # an ssl.SSLError is one
        yield failing(f"server roots {settings.keys.server_roots}: {type(error).__name__}", "name a PEM file of roots")
        return
    for check in OUTSIDE:
        yield from _carefully(check.__name__, lambda check=check: check(settings, outside, at))  # type: ignore[misc]


def _carefully(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check finds; a fault that it did not foresee is a finding as well, and the others still have their turn."""
    try:
        yield from check()
    except Exception as error:
        log.debug("%s", name, exc_info=True)
        yield failing(
            f"{name.replace('_', ' ')}: could not be looked at ({type(error).__name__}: {error})", "report this"
        )


def settings_faults(message: str) -> Iterator[Finding]:
    """What BadSettings says, one line for each key."""
    head, *rest = message.splitlines()
    for line in rest or [head]:
        yield failing(f"settings: {line.strip()}", "correct this key; docs/settings.md says what each one means")

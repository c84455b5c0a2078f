"""`consent-server onboard check`: how far a party is on its way into the scheme, and what only a person can do.

Everything is looked at by the doctor's own checks. What is added is the order in which a party joins, the request for a
certificate that is not there yet, and whether a first grant was made.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from consent_server import store
from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.directory import Directory
from consent_server.outbound.session import Session
from consent_server.parties.operator import catalogue
from consent_server.parties.operator.doctor import certificates, each_carefully, house, scheme
from consent_server.parties.operator.doctor.finding import FAIL, Finding, either, failing
from consent_server.parties.operator.doctor.outside import Outside
from consent_server.settings import Settings
from consent_server.store import connections, permissions
from consent_server.store.database import opened

CERTIFICATES: Final = "Certificates"
MEMBERSHIP: Final = "Membership, role and agreement"
APPLICATION: Final = "Application in the Directory"
CATALOGUE: Final = "Catalogue entry"
ALLOWLIST: Final = "Server allowlist"
TEXTS: Final = "Permission texts"

#: What only a person can do, and the step that shows that it was done, if one does.
_TASKS: Final = (
    ("Pass the trust framework's checks of the organisation (KYC).", MEMBERSHIP),
    ("Sign the trust framework's agreement, and the scheme's agreement in the role of {party}.", MEMBERSHIP),
    ("Name a Trust Framework Lead Officer and a Trust Framework Data Officer.", None),
    ("Add the application to the Directory, with its role.", APPLICATION),
    ("Paste the certificate requests into the Directory, and store what it issues.", CERTIFICATES),
    ("Publish the catalogue entry: `consent-server catalogue entry` writes it.", CATALOGUE),
    ("Have the host names of both doors put on the server allowlist.", ALLOWLIST),
    ("Read the permission text of each license, and pin its digest.", TEXTS),
    ("Say who answers when a certificate, an agreement or a text is about to end.", None),
)


@dataclass(frozen=True)
class JoiningStep:
    """One step of joining: its title, and what was found."""

    title: str
    findings: tuple[Finding, ...]

    @property
    def done(self) -> bool:
        return all(finding.level != FAIL for finding in self.findings)

    @property
    def clear(self) -> bool:
        """Return whether there is no warning either: a sandbox only warns of an agreement that is not in force."""
        return all(finding.level == "ok" for finding in self.findings)


@dataclass(frozen=True)
class PersonalTask:
    """What only a person can do. `state` is "ask" where nothing that a program sees shows whether it is done."""

    state: Literal["done", "open", "ask"]
    what: str

    def __str__(self) -> str:
        return f"{self.state:<4}  {self.what}"


def steps(settings: Settings, at: int) -> Iterator[JoiningStep]:
    """Yield each step as it was found, in the order of joining."""
    try:
        outside = Outside(settings)
    except OSError as error:  # an ssl.SSLError is one
        roots = failing(
            f"server roots {settings.keys.server_roots}: {type(error).__name__}", "name a PEM file of roots"
        )
        yield JoiningStep(CERTIFICATES, (roots,))
        return
    for title, checks in _checks(settings, outside, at).items():
        yield JoiningStep(title, tuple(each_carefully(checks)))


def tasks(settings: Settings, found: list[JoiningStep]) -> Iterator[PersonalTask]:
    """Yield what a person must do; what a step shows counts as done once there is nothing to say about that step."""
    done = {step.title: step.clear for step in found}
    for what, shown_by in _TASKS:
        what = what.format(party="a CAP" if settings.party == "cap" else "an EDP")
        yield PersonalTask("ask" if shown_by is None else "done" if done.get(shown_by, False) else "open", what)


def _checks(settings: Settings, outside: Outside, at: int) -> dict[str, dict[str, Iterator[Finding]]]:
    """Return the checks of each step; each begins when its step is reached."""
    return {
        MEMBERSHIP: {"member": scheme.member(settings, outside, at)},
        APPLICATION: {"application": scheme.application(settings, outside)},
        CERTIFICATES: {
            "requests": certificates.requests(settings),
            "roots": certificates.roots(settings, at),
            "servers": certificates.servers(settings, at),
            "client": certificates.client(settings, at),
            "signing": certificates.signing(settings, at),
            "revocation list": scheme.revocation_list(settings, outside, at),
        },
        CATALOGUE: {"data service": scheme.data_service(settings, outside)},
        ALLOWLIST: {"allowlist": scheme.allowlist(settings, outside, at)},
        TEXTS: {"texts": scheme.texts(settings, outside, at)},
        "Keys and database": {"keys": house.keys(settings, at), "database": house.database(settings, at)},
        "Doors and heartbeat": {"metadata": scheme.metadata(settings, outside), "heartbeat": _heartbeat(settings)},
        "First grant": {"first grant": _first_grant(settings, at)},
    }


def _heartbeat(settings: Settings) -> Iterator[Finding]:
    """Call our own mutual-TLS door as another member does, with our client certificate."""
    try:
        session = Session(settings)
    except (OSError, ValueError) as error:
        yield failing(f"heartbeat: our client certificate cannot be used: {type(error).__name__}", "see Certificates")
        return
    Directory(settings, session, MemoryCache())  # gives the session its allowlist
    yield from catalogue.heartbeat(settings, session)


def _first_grant(settings: Settings, at: int) -> Iterator[Finding]:
    """Look for a grant, in a sandbox: in production it is a business that gives the first one."""
    if not settings.is_sandbox or any(finding.level == FAIL for finding in house.database(settings, at)):
        return
    with opened(settings.database), store.reading() as c:
        granted = permissions.any_redeemed(c)
        connected = connections.any_collected(c)
    todo = f"walk it: docs/joining-{settings.party}.md"
    yield either(granted, "first grant: a client was given tokens", todo, "first grant: no client was given tokens yet")
    if settings.party == "cap":
        yield either(
            connected, "first connection: data were collected", todo, "first connection: no data were collected yet"
        )

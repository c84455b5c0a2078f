"""What a party hands to the journey: the values that it passes around and the functions that it may not import."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from consent_server.journey.decision import Decision


class Journey(Protocol):
    """One browser's walk, as the store keeps it. `secret` and `previous_secret` are SHA-256 digests in hex."""

    id: str
    secret: str
    previous_secret: str | None
    client_id: str
    redirect_uri: str
    state: str | None
    license: str
    created: int
    seen: int
    concluded: int | None
    progress: dict[str, Any]


class Identified(Protocol):
    """A business that the meter register knows, and its meters: {"id", "fuel", "measures", "outcode", "masked"}.

    `method` and `strength` say in plain words what was checked and how much that proves; the evidence names them.
    """

    @property
    def sme(self) -> str: ...
    @property
    def business(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def strength(self) -> str: ...
    @property
    def meters(self) -> list[dict[str, Any]]: ...


class Account(Protocol):
    """An SME that has signed in. `sme` is the account's id."""

    @property
    def sme(self) -> str: ...
    @property
    def business(self) -> str: ...


class Limit(Protocol):
    """A limit on failures of one subject; `check` and `take` raise a Refusal with status 429 when they are used up."""

    def check(self, subject: str) -> None: ...
    def take(self, subject: str) -> None: ...
    def failed(self, subject: str) -> None: ...
    def give_back(self, subject: str) -> None: ...
    def clear(self, subject: str) -> None: ...


@dataclass(frozen=True)
class Limits:
    """`meter` per day; `journey`, `address` and `account` per window; `mail` for mails to one address, used or not;
    `evidence` for guessed evidence addresses."""

    meter: Limit
    journey: Limit
    address: Limit
    account: Limit
    mail: Limit
    evidence: Limit


@dataclass(frozen=True)
class Asker:
    """The member whose application asks: its brand or legal name, and its legal name."""

    name: str
    legal_name: str


@dataclass(frozen=True)
class ShownText:
    """A license's permission text, filled for one client.

    `text` is the filled text, `html` its rendering, `shown_sha256` the digest of `text`, `raw_sha256` that of the
    Registry's bytes. `names` holds the party names that were filled in, under "EDP", "CAP" and "FSP" as far as the text
    has them; `duration` is the license's own words, such as "1 year".
    """

    html: str
    text: str
    shown_sha256: str
    raw_sha256: str
    names: Mapping[str, str]
    fuels: frozenset[str]
    title: str
    duration: str


@dataclass(frozen=True)
class Grant:
    """A permission and its evidence, as the store's rows have them."""

    permission: Any
    evidence: Any


@dataclass(frozen=True)
class Storage:
    """Where journeys are kept. `save` keeps progress and the first POST when they are given, and notes the visit."""

    load: Callable[[str], Journey | None]
    save: Callable[[str, int, dict[str, Any] | None, int | None], None]
    """(journey id, at, progress or None, claimed or None)"""
    rotate: Callable[[str, str], None]
    """(journey id, new secret)"""


@dataclass(frozen=True)
class Accounts:
    """How an SME signs in at a CAP's issuer."""

    send_code: Callable[[str], None]
    """Send a code to this address if it has an account; say nothing either way."""
    check_code: Callable[[str, str], Account | None]
    """(address, code): the account, once for each code."""
    is_connected: Callable[[str], bool]
    """Whether this SME has a live connection to an energy data provider."""
    connect_url: str
    """Where it makes one: a path on our own origin."""


@dataclass(frozen=True)
class Management:
    """How an SME looks after its permissions at an EDP. `sessions` is a web.sessions.Sessions."""

    sessions: Any
    permissions_of: Callable[[str], Sequence[Grant]]
    """All grants of an SME, newest first."""
    withdraw: Callable[[str, str], bool]
    """(permission id, sme): False when it had ended before."""


@dataclass(frozen=True)
class JourneyParts:
    """Everything that one party's journey needs. `origin` is the public door's."""

    party: str
    origin: str
    idle_s: int
    life_s: int
    steps: tuple[Any, ...]
    storage: Storage
    limits: Limits
    text_for: Callable[[str, str, str], ShownText]
    """(license URL, client_id, SME): raises a Refusal where the text may not be shown."""
    client: Callable[[str], Asker]
    conclude: Callable[[Journey, Decision], str | None]
    """The grant in one transaction: where to send the browser, or None when the request had been answered before."""
    decline: Callable[[Journey], str | None]
    """access_denied: where to send the browser, or None as above."""
    again: Callable[[Journey, str], str | None] = field(repr=False)
    """(concluded journey, its code): its answer once more, while that code is unused and alive, or it declined; else None."""
    evidence: Callable[[str], Sequence[Grant]]
    """By evidence id: that grant, then all other grants of the same SME to the same client, newest first; or none."""
    identify: Callable[[str, str | None, str | None], Identified | None] | None = None
    """(postcode, MPAN core, MPRN)"""
    accounts: Accounts | None = None
    management: Management | None = None

    def cookie(self, journey_id: str) -> str:
        """The cookie of one journey. Ports of one host share cookies, so each party names its own."""
        return f"__Host-{self.party}-journey-{journey_id}"

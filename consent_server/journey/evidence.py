"""A grant as a page tells it: to the SME that gave it, and to whoever holds the address of its evidence.

Permission Records: the evidence page is full evidence as HTML, with the type of evidence rather than documents, and all
earlier grants of that SME to that client. Meters are masked; nothing on it can be clicked, run or used.
"""

from dataclasses import dataclass
from typing import Any

from consent_server.journey.parts import Grant
from consent_server.scheme import licenses
from consent_server.scheme.permission import State, state_at


@dataclass(frozen=True)
class GrantView:
    """What pages show of one grant. `rows` are label and value of everything that is kept about how it was given."""

    permission: str
    evidence: str
    client: str
    host: str
    title: str
    license: str
    fuels: tuple[str, ...]
    meters: tuple[dict[str, Any], ...]
    granted: int
    expires: int
    ended: int | None
    state: State
    who: dict[str, str]
    text_html: str
    shown_sha256: str
    raw_sha256: str
    address: str
    user_agent: str
    correlation_id: str

    @property
    def live(self) -> bool:
        return self.state is State.GRANTED


def view(grant: Grant, at: int) -> GrantView:
    """One grant as it stands at the instant `at`."""
    permission, evidence = grant.permission, grant.evidence
    state = state_at(permission.ended, permission.ended_as, permission.expires, at)
    return GrantView(
        permission=permission.id,
        evidence=evidence.id,
        client=evidence.names.get("client", permission.client_id),
        host=evidence.names.get("host", ""),
        title=evidence.names.get("license", permission.license),
        license=permission.license,
        fuels=tuple(permission.fuels),
        meters=tuple(meter for meter in permission.meters if meter["fuel"] in permission.fuels),
        granted=permission.granted,
        expires=permission.expires,
        ended=permission.expires if state is State.EXPIRED else permission.ended,
        state=state,
        who=evidence.who,
        text_html=licenses.render(evidence.text_shown),
        shown_sha256=evidence.shown_sha256,
        raw_sha256=evidence.raw_sha256,
        address=evidence.address,
        user_agent=evidence.user_agent,
        correlation_id=evidence.correlation_id,
    )

"""What the SME reads before it decides: the Registry's text whole, who asks, for what, and from which meters."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from consent_server import store
from consent_server.deployment import current
from consent_server.journey.step import FieldError, Page, Visit
from consent_server.outbound.directory import Member
from consent_server.scheme.meters import MaskedMeter
from consent_server.scheme.permission import Who
from consent_server.scheme.permission_text import ShownText, question_digest
from consent_server.store import connections
from consent_server.store.tables import Progress

#: Where an SME connects an energy data provider: a page of the CAP's portal.
CONNECT = "/connect"


@dataclass(frozen=True)
class Question:
    """What one SME is asked: the text, who asks, and the meters and fuels that an agreement would cover."""

    text: ShownText
    asker: Member
    host: str
    meters: tuple[MaskedMeter, ...]
    fuels: tuple[str, ...]
    who: Who
    digest: str


def question(visit: Visit) -> Question | Page:
    """Return the question as it is now, or the page that says why nothing can be asked."""
    journey, identified = visit.journey, visit.progress["identified"]
    here = current()
    if here.settings.party == "cap" and not _connected(identified["sme"], visit.at):
        return Page({"connect_url": CONNECT}, template="journey/connect_first.html")
    text = here.party.text(journey.license, journey.client_id, identified["sme"])
    asker = here.member_of(journey.client_id)
    every = meters_of(visit.progress)
    meters = tuple(meter for meter in every if meter["fuel"] in text.fuels)
    if not meters and (every or here.settings.party == "edp"):  # an EDP has nothing to share but meters
        return Page({}, template="journey/not_covered.html")
    fuels = {meter["fuel"] for meter in meters} if meters else text.fuels
    host = urlsplit(journey.redirect_uri).netloc
    facts = (journey.license, journey.client_id, asker.legal_name, host, identified["sme"])
    digest = question_digest(text, *facts, *(meter["id"] for meter in meters))
    return Question(text, asker, host, meters, tuple(sorted(fuels)), identified["who"], digest)


def meters_of(progress: Progress) -> list[MaskedMeter]:
    """Return the meters that the SME named, then those that it ticked."""
    return [*progress["identified"]["meters"], *progress.get("chosen", ())]


def _connected(sme: str, at: int) -> bool:
    """Return whether the SME has a live connection: without one a CAP has nothing to share."""
    with store.reading() as c:
        return bool(connections.live(c, sme, at))


def page(asked: Question, errors: tuple[FieldError, ...] = (), status: int = 200) -> Page:
    """Return the permission page; the digest of its question is kept."""
    values = {"asked": asked, "who": asked.who, "agree": False}
    return Page(values, {"shown": asked.digest}, errors, status)

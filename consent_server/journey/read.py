"""What the SME reads before it decides: the Registry's text whole, who asks, for what, and from which meters."""

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from consent_server import store
from consent_server.deployment import current
from consent_server.issuer import superseding
from consent_server.journey.step import FieldError, Page, Visit
from consent_server.outbound.directory import Member
from consent_server.scheme import licenses
from consent_server.scheme.changes import Change, Terms, change
from consent_server.scheme.meters import MaskedMeter
from consent_server.scheme.permission import Who
from consent_server.scheme.permission_text import ShownText, question_digest
from consent_server.scheme.summary import Summary, summary
from consent_server.store import connections
from consent_server.store.tables import Progress

#: Where an SME connects an energy data provider: a page of the CAP's portal.
CONNECT = "/connect"


@dataclass(frozen=True)
class Question:
    """What one SME is asked: the text, who asks, and the meters and fuels that an agreement would cover.

    `change` is what it would change of a permission that the client has already.
    """

    text: ShownText
    asker: Member
    host: str
    meters: tuple[MaskedMeter, ...]
    fuels: tuple[str, ...]
    who: Who
    digest: str
    summary: Summary
    change: Change | None


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
    fuels = tuple(sorted({meter["fuel"] for meter in meters} if meters else text.fuels))
    host = urlsplit(journey.redirect_uri).netloc
    facts = (journey.license, journey.client_id, asker.legal_name, host, identified["sme"])
    digest = question_digest(text, *facts, *(meter["id"] for meter in meters))
    short = summary(replace(text, fuels=frozenset(fuels)), visit.at)
    terms = Terms(fuels, short.until, meters, bank=short.bank is not None)
    return Question(text, asker, host, meters, fuels, identified["who"], digest, short, _change(visit, terms))


def _change(visit: Visit, new: Terms) -> Change | None:
    """Return what an agreement would change of the newest permission that it would replace and that is in use."""
    journey, sme = visit.journey, visit.progress["identified"]["sme"]
    with store.reading() as c:
        older = superseding.replaced(c, journey.client_id, sme, journey.license, visit.at)
    old = next((row for row in older if row.redeemed is not None), None)
    if old is None:
        return None
    license_ = current().licenses.get(old.license)
    covered = licenses.transfers(license_.label) if license_ is not None else frozenset()
    meters = tuple(meter for meter in old.meters if meter["fuel"] in old.fuels)
    bank = covered >= {licenses.READINGS, licenses.EMISSIONS}
    return change(Terms(old.fuels, old.expires, meters, bank), new)


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

"""What the SME reads before it decides: the Registry's text whole, who asks, for what, and from which meters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode, urlsplit

from consent_server import store
from consent_server.deployment import current
from consent_server.issuer import superseding
from consent_server.journey import hand_over
from consent_server.journey.step import Page, Visit
from consent_server.outbound.directory import Member
from consent_server.scheme import licenses
from consent_server.scheme.changes import Change, Terms, change
from consent_server.scheme.meters import MaskedMeter
from consent_server.scheme.permission import Who
from consent_server.scheme.permission_text import ShownText, question_digest
from consent_server.scheme.summary import Summary, summary
from consent_server.store import connections, evidence
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.journeys import Journey, Progress
from consent_server.store.tables.permissions import Evidence, Permission
from consent_server.web.typed import FieldError

#: Where an SME connects an energy data provider: a page of the CAP's portal.
CONNECT = "/connect"
#: The same for a bank that asks (`fsp`).
START = "/start"


@dataclass(frozen=True)
class Question:
    """What one SME is asked: the text, who asks, and the meters and fuels that an agreement would cover.

    `summary` is what it asks for in short, and `change` what it would change of a permission that the client has already.
    `named_connections` are the ids of the connections whose members the text names.
    `agreed` is when it agreed to this text before, where the permission is handed on to the bank that the text names: it then
    lasts `until` the end of that one, and `covers` is the digest of what is handed on.
    """

    text: ShownText
    asker: Member
    host: str
    meters: tuple[MaskedMeter, ...]
    fuels: tuple[str, ...]
    who: Who
    digest: str
    named_connections: tuple[str, ...]
    summary: Summary | None = None
    change: Change | None = None
    agreed: int | None = None
    until: int | None = None
    covers: str = ""


@dataclass(frozen=True)
class Beside:
    """What the store has for a question: the SME's live connections at a CAP, the newest permission in use that an agreement
    would replace, and what was read before where it is handed on."""

    live: Sequence[ProviderConnection] = ()
    older: Permission | None = None
    before: Evidence | None = None


def beside(c: store.Connection, journey: Journey, at: int) -> Beside:
    """Read what the store has for the question of a journey whose SME is known."""
    sme = journey.progress["identified"]["sme"]
    live = connections.live(c, sme, at) if current().settings.party == "cap" else []
    if hand_over.is_handed_on(journey.license):
        named = hand_over.naming(live, journey.member)
        return Beside(live, before=evidence.of_subject(c, named[0].id) if named else None)
    older = superseding.replaced(c, journey.client_id, sme, journey.license, at)
    return Beside(live, next((row for row in older if row.redeemed is not None), None))


def question(visit: Visit) -> Question | Page:
    """Return the question as it is now, or the page that says why nothing can be asked."""
    journey, identified = visit.journey, visit.progress["identified"]
    here, kept = current(), visit.beside
    assert isinstance(kept, Beside)
    asker = here.member_of(journey.client_id)
    if here.settings.party == "cap" and not kept.live:
        return Page(
            {"connect_url": _connect_for(asker), "offered": _is_offered(asker)}, template="journey/connect_first.html"
        )
    if hand_over.is_handed_on(journey.license):
        return _handed_on(visit, asker, kept)
    text = here.party.text(journey, sorted({row.member for row in kept.live}))
    every = meters_of(visit.progress)
    meters = tuple(meter for meter in every if meter["fuel"] in text.fuels)
    if not meters and (every or here.settings.party == "edp"):  # an EDP has nothing to share but meters
        return Page({}, template="journey/not_covered.html")
    fuels = tuple(sorted({meter["fuel"] for meter in meters} if meters else text.fuels))
    host = urlsplit(journey.redirect_uri).netloc
    facts = (journey.license, journey.client_id, asker.legal_name, host, identified["sme"], journey.fsp or "")
    digest = question_digest(text, *facts, *(meter["id"] for meter in meters))
    short = summary(replace(text, fuels=frozenset(fuels)), visit.at)
    terms = Terms(fuels, short.until, meters, bank=short.bank is not None)
    named = tuple(row.id for row in kept.live)
    return Question(
        text, asker, host, meters, fuels, identified["who"], digest, named, short, _change(kept.older, terms)
    )


def _change(old: Permission | None, new: Terms) -> Change | None:
    if old is None:
        return None
    license_ = current().licenses.get(old.license)
    covered = licenses.transfers(license_.label) if license_ is not None else frozenset()
    meters = tuple(meter for meter in old.meters if meter["fuel"] in old.fuels)
    bank = covered >= {licenses.READINGS, licenses.EMISSIONS}
    return change(Terms(old.fuels, old.expires, meters, bank), new)


def _handed_on(visit: Visit, asker: Member, kept: Beside) -> Question | Page:
    """Return the question to hand on what was allowed; the page that says so where no permission names this bank."""
    journey, identified = visit.journey, visit.progress["identified"]
    named, seen = hand_over.naming(kept.live, journey.member), kept.before
    if seen is None:
        return Page({}, template="journey/not_named.html")
    text, host = hand_over.text_of(seen), urlsplit(journey.redirect_uri).netloc
    covers = hand_over.covers(identified["sme"], journey.member, named)
    facts = (journey.license, journey.client_id, asker.legal_name, host, identified["sme"], covers)
    return Question(
        text=text,
        asker=asker,
        host=host,
        meters=(),
        fuels=tuple(sorted(text.fuels)),
        who=identified["who"],
        digest=question_digest(text, *facts),
        named_connections=tuple(row.id for row in named),
        agreed=seen.at,
        until=max(row.expires for row in named),
        covers=covers,
    )


def _connect_for(asker: Member) -> str:
    """Return where an SME connects its energy data, which its text then allows this bank to have the result of."""
    return f"{START}?{urlencode({'fsp': asker.url})}" if _is_offered(asker) else CONNECT


def _is_offered(asker: Member) -> bool:
    """Return whether the portal leads to this bank: then nobody has to find the way back by itself."""
    return any(each.member == asker.url for each in current().settings.portal.banks)


def meters_of(progress: Progress) -> list[MaskedMeter]:
    """Return the meters that the SME named, then those that it ticked."""
    return [*progress["identified"]["meters"], *progress.get("chosen", ())]


def page(asked: Question, errors: tuple[FieldError, ...] = (), status: int = 200) -> Page:
    """Return the permission page; the digest of its question is kept."""
    values = {"asked": asked, "who": asked.who, "agree": False}
    template = "journey/hand_over.html" if asked.agreed is not None else None
    return Page(values, {"shown": asked.digest}, errors, status, template)

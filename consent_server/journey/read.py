"""What the SME reads before it decides: the Registry's text whole, who asks, for what, and from which meters."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from consent_server.journey.parts import Asker, ShownText
from consent_server.journey.step import Page, Visit


@dataclass(frozen=True)
class Question:
    """What one SME is asked: the text, who asks, and the meters and fuels that an agreement would cover."""

    text: ShownText
    asker: Asker
    host: str
    meters: tuple[dict[str, Any], ...]
    fuels: tuple[str, ...]
    digest: str


def question(visit: Visit) -> Question | None:
    """The question as it stands now, or None when the license covers none of the SME's meters.

    `digest` covers all that decides what is agreed to. It is kept when the page is shown, travels in its form and is
    compared when the answer comes, so that nobody agrees to another text, client or meter than was read (E07).
    """
    journey, identified = visit.journey, visit.progress["identified"]
    text = visit.parts.text_for(journey.license, journey.client_id, identified["sme"])
    asker = visit.parts.client(journey.client_id)
    meters = tuple(meter for meter in identified["meters"] if meter["fuel"] in text.fuels)
    if identified["meters"] and not meters:
        return None
    fuels = {meter["fuel"] for meter in meters} if meters else text.fuels
    host = urlsplit(journey.redirect_uri).netloc
    agreed_to = [
        *(text.shown_sha256, text.raw_sha256, journey.license, journey.client_id, asker.legal_name, host),
        *(identified["sme"], *(meter["id"] for meter in meters)),
    ]
    digest = hashlib.sha256(json.dumps(agreed_to).encode()).hexdigest()
    return Question(text, asker, host, meters, tuple(sorted(fuels)), digest)


def obstacle(visit: Visit) -> Page | None:
    """The page that stands in the way of the question: a CAP has nothing to share without a live connection."""
    accounts = visit.parts.accounts
    if accounts is not None and not accounts.is_connected(visit.progress["identified"]["sme"]):
        return Page({"connect_url": accounts.connect_url}, template="journey/connect_first.html")
    return None


def page(visit: Visit, asked: Question, **more: Any) -> Page:
    """The permission page; what it shows is kept as shown."""
    values = {"asked": asked, "who": visit.progress["identified"]["who"], "agree": False}
    return Page(values, {"shown": asked.digest}, **more)


def show(visit: Visit) -> Page:
    if stands_in_the_way := obstacle(visit):
        return stands_in_the_way
    asked = question(visit)
    return not_covered() if asked is None else page(visit, asked)


def not_covered() -> Page:
    """The license is for electricity and the SME named its gas meter alone, or the other way round."""
    return Page({}, template="journey/not_covered.html")

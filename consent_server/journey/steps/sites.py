"""Which sites and meters: where the register vouches for a business's meters, the business ticks those that it will share.

Nothing is ticked for it. A bill opens the meters whose numbers were typed, and no more (UK GDPR 5(1)(c)); a log-in opens none.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import count, groupby
from typing import Final

from consent_server.deployment import current
from consent_server.journey.step import Onward, Page, Step, Visit
from consent_server.metering import sources
from consent_server.metering.register import LINKED, LOGGED_IN, Identified, Tenancy
from consent_server.scheme.meters import MaskedMeter
from consent_server.scheme.permission import Who
from consent_server.store.tables.journeys import Progress
from consent_server.web.language import N_
from consent_server.web.typed import FieldError

#: Sites, and meters at sites with several, that have boxes of their own; a business with more sites ticks all, or none.
MOST_BOXES: Final = 2000

NONE: Final = N_("Tick at least one site or meter, or cancel.")
CHANGED: Final = N_("Our records of your sites have changed since this page was opened. Look at them again.")


@dataclass(frozen=True)
class Place:
    """A site as the page shows it: words for it (or none), the first half of its postcode, and its meters.

    `boxes` are the names of its meters' own boxes: none where it has one meter, or the business has too many.
    """

    id: str
    site: str
    outcode: str
    meters: tuple[MaskedMeter, ...]
    boxes: tuple[str, ...] = ()

    def ticked(self, form: Mapping[str, str]) -> tuple[MaskedMeter, ...]:
        """Return the meters that a form ticks: all by the site's box, else those whose own boxes are ticked."""
        if form.get(self.id) == "yes":
            return self.meters
        return tuple(meter for box, meter in zip(self.boxes, self.meters, strict=False) if form.get(box) == "yes")

    def boxes_of(self, chosen: set[str]) -> set[str]:
        """Return the boxes that are ticked where meters with these ids are chosen."""
        if chosen >= {meter["id"] for meter in self.meters}:
            return {self.id}
        return {box for box, meter in zip(self.boxes, self.meters, strict=False) if meter["id"] in chosen}


def identified_by(identified: Identified, who: Who, proof: str, license_url: str, at: int) -> Onward:
    """Return what follows once a business is identified; `proof` says how its meters were named."""
    meters = [meter.as_kept(proof) for meter in identified.meters]
    offers = bool(_others(identified.sme, meters, license_url, at))
    found: Progress = {"identified": {"sme": identified.sme, "meters": meters, "who": who}}
    return Onward({**found, "offers": offers, "vouched": [], "chosen": []}, proven=True)


def offered_to(sme: str, meters: Sequence[str], who: Who, email: str) -> Onward:
    """Return what follows once a business has proved that these are all its meters: it ticks some of them."""
    found: Progress = {"identified": {"sme": sme, "meters": [], "who": who, "email": email}}
    return Onward({**found, "offers": True, "vouched": meters, "chosen": [], "log_in": None}, proven=True)


_BOXES: Final = tuple(f"{kind}-{number}" for kind in ("site", "meter") for number in range(1, MOST_BOXES + 1))


class Sites(Step):
    """Offer the business's sites by name: all of them after a log-in, the others after a bill."""

    name = "sites"
    label = N_("Your sites")
    template = "journey/sites.html"
    fields = ("offered", "all", *_BOXES)

    def needed(self, progress: Progress) -> bool:
        return progress.get("offers", False)

    def act(self) -> AbstractContextManager[None]:
        return sources.act()

    def show(self, visit: Visit) -> Page:
        places = _offered(visit)
        if not places and _by_log_in(visit):
            return Page(_common(visit), template="journey/no_meters.html")
        return _page(visit, places, {meter["id"] for meter in visit.progress["chosen"]})

    def take(self, visit: Visit, form: Mapping[str, str]) -> Page | Onward:
        places = _offered(visit)
        # A box is a number on the page that was shown: it must be the same page.
        if not form.get("offered") == visit.progress.get("offered") == _digest(places):
            return _page(visit, places, set(), (FieldError("sites", CHANGED),), 409)
        everything = form.get("all") == "yes"
        ticked = [meter for place in places for meter in (place.meters if everything else place.ticked(form))]
        if not ticked and _by_log_in(visit):
            return _page(visit, places, set(), (FieldError("sites", NONE),), 422)
        return Onward({"chosen": ticked})


def _offered(visit: Visit) -> list[Place]:
    identified, vouched = visit.progress["identified"], visit.progress.get("vouched", ())
    if vouched:
        own = sources.register().tenancies(identified["sme"], vouched).values()
        others, proof = _covered(own, visit.journey.license, visit.at), LOGGED_IN
    else:
        others, proof = _others(identified["sme"], identified["meters"], visit.journey.license, visit.at), LINKED
    grouped = enumerate(groupby(sorted(others, key=_place), key=_place), start=1)
    places = [
        Place(f"site-{number}", site, outcode, tuple(each.as_kept(proof) for each in meters))
        for number, ((site, outcode, _), meters) in grouped
    ]
    return _with_boxes(places) if len(others) <= MOST_BOXES else places


def _with_boxes(places: Sequence[Place]) -> list[Place]:
    numbers = count(1)
    return [
        replace(place, boxes=tuple(f"meter-{next(numbers)}" for _ in place.meters)) if len(place.meters) > 1 else place
        for place in places
    ]


def _others(sme: str, named: Iterable[MaskedMeter], license_url: str, at: int) -> list[Tenancy]:
    """Return the business's meters at other places, where the register vouches for the link: those the license covers.

    Where a meter was named the others were left out on purpose: who does not share its gas does not type the number.
    """
    known, every = {meter["id"] for meter in named}, sources.register().sites(sme, at)
    here = {_place(each) for each in every if each.meter in known and each.holds(at)}
    return [each for each in _covered(every, license_url, at) if _place(each) not in here]


def _covered(every: Iterable[Tenancy], license_url: str, at: int) -> list[Tenancy]:
    license_ = current().licenses.get(license_url)
    fuels = license_.fuels if license_ is not None else frozenset()
    return [each for each in every if each.holds(at) and each.fuel in fuels]


def _by_log_in(visit: Visit) -> bool:
    return bool(visit.progress.get("vouched"))


def _place(meter: Tenancy) -> tuple[str, str, str]:
    return meter.site, meter.outcode, meter.place


def _digest(places: list[Place]) -> str:
    shown = "\n".join(" ".join(meter["id"] for meter in place.meters) for place in places)
    return hashlib.sha256(shown.encode()).hexdigest()


def _page(
    visit: Visit, places: list[Place], chosen: set[str], errors: tuple[FieldError, ...] = (), status: int = 200
) -> Page:
    digest = _digest(places)
    values = {
        **_common(visit),
        "named": visit.progress["identified"]["meters"],
        "places": places,
        "boxes": len(places) <= MOST_BOXES,
        "ticked": {box for place in places for box in place.boxes_of(chosen)},
        "offered": digest,
    }
    return Page(values, {"offered": digest}, errors, status)


def _common(visit: Visit) -> dict[str, object]:
    return {"business": visit.progress["identified"]["who"]["business"]}

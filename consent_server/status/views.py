"""The status page at the public door, for outsiders: as a page, as JSON and as a feed (RFC 4287). No personal data is in it."""

from collections.abc import Mapping
from typing import Final
from xml.etree import ElementTree

import orjson
from flask import Blueprint, Response, current_app

from consent_server.deployment import current
from consent_server.scheme import instant
from consent_server.status.state import Day, Part, Recent, ServiceStatus
from consent_server.store.tables.status import StatusNotice
from consent_server.web import documents, pages
from consent_server.web.language import N_

#: Seconds for which others may keep what is shown: it changes once a minute.
MAX_AGE_S: Final = 60

#: What readers call the parts, and their states.
_NAMES: Final[Mapping[str, str]] = {
    "issuer": N_("Permissions and tokens"),
    "data": N_("Data service"),
    "messages": N_("Messages to partners"),
    "directory": N_("The scheme’s Directory, as seen from here"),
    "registry": N_("The scheme’s Registry, as seen from here"),
}
_STATES: Final[Mapping[str, str]] = {
    "ok": N_("Working"),
    "degraded": N_("Working in part"),
    "down": N_("Not working"),
    "planned": N_("Planned downtime"),
    "unknown": N_("Not known"),
}
_ATOM: Final = "http://www.w3.org/2005/Atom"

routes = Blueprint("status", __name__)


@routes.get("/status")
def page() -> Response:
    found = _recent()
    response = pages.render("status/status.html", service=found, names=_NAMES, states=_STATES)
    response.headers["Cache-Control"] = f"public, max-age={MAX_AGE_S}"
    return response


@routes.get("/status.json")
def document() -> Response:
    found = _recent()
    body = {
        "at": instant.text(found.at),
        "state": found.state,
        "parts": [_part(part) for part in found.parts],
        "incidents": [_notice(notice) for notice in found.notices if notice.kind == "incident"],
        "downtime": [_notice(notice) for notice in found.notices if notice.kind == "downtime"],
    }
    return documents.cacheable(orjson.dumps(body), "application/json", MAX_AGE_S)


@routes.get("/status.atom")
def feed() -> Response:
    return documents.cacheable(_feed(_recent()), "application/atom+xml", MAX_AGE_S)


def _recent() -> ServiceStatus:
    kept: Recent = current_app.extensions.setdefault("status", Recent())
    return kept.now()


def _part(part: Part) -> dict[str, object]:
    return {
        "part": part.name,
        "state": part.state,
        "availability": part.availability,
        "days": [_day(day) for day in part.days],
    }


def _day(day: Day) -> dict[str, object]:
    sums = day.sums
    return {
        "day": instant.date(sums.day),
        "state": day.state,
        "asked": sums.asked,
        "answered": sums.answered,
        "measured_s": sums.measured_s,
        "down_s": sums.down_s,
        "planned_s": sums.planned_s,
    }


def _notice(notice: StatusNotice) -> dict[str, object]:
    return {
        "id": notice.id,
        "title": notice.title,
        "parts": notice.parts,
        "effect": notice.effect,
        "announced": instant.text(notice.announced),
        "begins": instant.text(notice.begins),
        "ends": None if notice.ends is None else instant.text(notice.ends),
        "cancelled": None if notice.cancelled is None else instant.text(notice.cancelled),
        "texts": [{"at": instant.text(each["at"]), "text": each["text"]} for each in notice.texts],
    }


def _feed(found: ServiceStatus) -> bytes:
    """Return the notices as a feed. ElementTree escapes what operators wrote."""
    settings = current().settings
    where = f"{settings.public.origin}/status"
    changed = [_changed(notice, found.at) for notice in found.notices]
    feed = ElementTree.Element("feed", xmlns=_ATOM)
    _add(feed, "id", where)
    _add(feed, "title", f"Status of {pages.plain(settings.brand)}")
    _add(feed, "updated", instant.text(max(changed, default=instant.day_start(found.at))))
    ElementTree.SubElement(ElementTree.SubElement(feed, "author"), "name").text = pages.plain(settings.brand)
    ElementTree.SubElement(feed, "link", href=where)
    ElementTree.SubElement(feed, "link", rel="self", href=f"{where}.atom")
    for notice, at in zip(found.notices, changed, strict=True):
        entry = ElementTree.SubElement(feed, "entry")
        _add(entry, "id", f"{where}#{notice.id}")
        _add(entry, "title", f"Cancelled: {notice.title}" if notice.cancelled is not None else notice.title)
        _add(entry, "published", instant.text(notice.announced))
        _add(entry, "updated", instant.text(at))
        ElementTree.SubElement(entry, "link", href=f"{where}#{notice.id}")
        _add(entry, "content", _said(notice))
    body: bytes = ElementTree.tostring(feed, encoding="utf-8", xml_declaration=True)
    return body


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, name).text = text


def _changed(notice: StatusNotice, at: int) -> int:
    """Return when partners last had something new of a notice."""
    ended = notice.ends if notice.ends is not None and notice.ends <= at else 0
    return max(notice.announced, notice.cancelled or 0, ended, *(each["at"] for each in notice.texts))


def _said(notice: StatusNotice) -> str:
    ends = "open" if notice.ends is None else instant.text(notice.ends)
    first = f"{notice.kind}, {notice.effect}: {', '.join(notice.parts)}, from {instant.text(notice.begins)} to {ends}"
    return "\n".join((first, *(f"{instant.text(each['at'])} {each['text']}" for each in notice.texts)))

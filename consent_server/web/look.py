"""The stylesheet in the party's colours, the icon, the one script, and logos: ours, and those of members, once checked."""

from pathlib import Path
from typing import Final

from flask import Blueprint, Response

from consent_server.brand import colour
from consent_server.deployment import current
from consent_server.web import documents, headers, pages
from consent_server.web.refusals import NotFound

STATIC: Final = Path(__file__).parent / "static"
MAX_AGE_S: Final = 3600

routes = Blueprint("look", __name__)


@routes.get("/static/style.css")
def stylesheet() -> Response:
    return documents.cacheable(documents.made_once("style.css", _stylesheet), "text/css", MAX_AGE_S)


@routes.get("/static/icon.svg")
def icon() -> Response:
    """Return the icon of a party that has no logo."""
    return documents.cacheable(documents.made_once("icon.svg", _icon), "image/svg+xml", MAX_AGE_S)


@routes.get("/static/passkeys.js")
def script() -> Response:
    return documents.cacheable(documents.made_once("passkeys.js", _script), "text/javascript", MAX_AGE_S)


@routes.get("/logos/<name>")
def logo(name: str) -> Response:
    """Return our own logo by its name, another member's by that which `outbound.logos` gives it."""
    own = current().logo
    found = (own.content, own.media_type) if name == pages.OWN_LOGO and own is not None else current().logos.kept(name)
    if found is None:
        raise NotFound("logo")
    response = documents.cacheable(*found, MAX_AGE_S)
    response.headers["Content-Security-Policy"] = headers.PICTURE_POLICY
    response.headers[headers.OPENER] = "unsafe-none"
    return response


def _stylesheet() -> bytes:
    brand = current().settings.public.brand
    light = colour.shades(brand.colour, colour.LIGHT).css()
    dark = colour.shades(brand.dark_colour, colour.DARK).css()
    head = (
        f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f"@media print {{ :root {{ {light} }} }}\n\n"
    )
    return head.encode() + (STATIC / "style.css").read_bytes()


def _script() -> bytes:
    return (STATIC / "passkeys.js").read_bytes()


def _icon() -> bytes:
    drawn = (STATIC / "icon.svg").read_text(encoding="utf-8")
    return drawn.format(colour=current().settings.public.brand.colour).encode()

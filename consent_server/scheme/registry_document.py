"""What the Registry publishes about a license, in Turtle or JSON-LD."""

import re
from functools import lru_cache
from typing import Final

from consent_server.scheme import instant, rdf
from consent_server.scheme.licenses import PublishedLicense, expiry
from consent_server.scheme.permission_text import is_web_address

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}Z?", re.ASCII)
_RDFS: Final = "http://www.w3.org/2000/01/rdf-schema#"


class MalformedLicense(ValueError):
    """The Registry's document does not describe this license in a way that can be relied on."""


@lru_cache(maxsize=64)  # a copy is read for each page that shows a text, and to read it takes milliseconds
def from_rdf(body: bytes, url: str) -> PublishedLicense:
    """Return the license at `url` from a document. Raise MalformedLicense if it is not there.

    Terms are compared as full IRIs, in any of the namespaces that the Registry has used.
    """
    try:
        properties = rdf.read(body, url).get(url, {})
    except rdf.MalformedRdf as error:
        raise MalformedLicense(str(error)) from None
    if not set(rdf.values(properties, rdf.TYPE)) & set(rdf.ib1("License")):
        raise MalformedLicense("the document does not describe this license")
    text_url, _, fragment = _one(properties, "permissionText").partition("#")
    text_sha256 = fragment.lower()
    if not is_web_address(text_url) or not re.fullmatch(r"[0-9a-f]{64}", text_sha256):
        raise MalformedLicense("permissionText is not an https URL with a SHA-256 as its fragment")
    duration = _one(properties, "licenseDuration")
    try:
        expiry(duration, 0)
    except ValueError as error:
        raise MalformedLicense(str(error)) from error
    return PublishedLicense(
        url=url,
        title=_title(properties),
        text_url=text_url,
        text_sha256=text_sha256,
        duration=duration,
        deprecated_after=_end(properties, "deprecatedAfter"),
        prohibited_after=_end(properties, "prohibitedAfter"),
        uses=tuple(sorted(rdf.values(properties, *rdf.ib1("permittedUse")))),  # RDF has no order of them
    )


def _one(properties: rdf.Properties, name: str) -> str:
    values = rdf.values(properties, *rdf.ib1(name))
    if len(values) != 1 or not values[0]:
        raise MalformedLicense(f"the license has not exactly one {name}")
    return values[0]


def _title(properties: rdf.Properties) -> str:
    for name in ("comment", "label"):
        if values := rdf.values(properties, _RDFS + name):
            return values[0]
    raise MalformedLicense("the license has no comment and no label")


def _end(properties: rdf.Properties, name: str) -> int | None:
    """Return the instant from which `name` ("…After") holds; a date alone means the end of that day.

    The Registry's model has a resource for prohibitedAfter, where a date is meant: an IRI whose last part is a date counts
    as that date, and a resource without one sets no end.
    """
    if not rdf.values(properties, *rdf.ib1(name)):
        return None
    value = _one(properties, name)
    is_resource = value.startswith(("https://", "_:"))
    if is_resource:
        value = re.split(r"[/#]", value)[-1]
    try:
        if _DATE.fullmatch(value):
            return instant.parse(f"{value[:10]}T00:00:00Z") + instant.DAY
        if is_resource:
            return None
        return instant.parse(value)
    except ValueError as error:
        raise MalformedLicense(f"{name}: {error}") from None

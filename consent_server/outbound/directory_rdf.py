"""The Directory's entries in Turtle and JSON-LD, with the field names of its JSON (Directory 1.0, RDF Representations)."""

from collections.abc import Mapping
from typing import Any, Final

from consent_server.scheme import rdf
from consent_server.scheme.rdf import ib1

_DCAT: Final = "http://www.w3.org/ns/dcat#"
_DCTERMS: Final = "http://purl.org/dc/terms/"

#: JSON field -> the IRIs under which RDF has it. Where the JSON has a list, RDF may repeat the term.
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "legalName": ("http://schema.org/legalName", "https://schema.org/legalName"),
    "privacyPolicy": ib1("privacyPolicy"),
    "publisher": (f"{_DCTERMS}publisher",),
    "title": (f"{_DCTERMS}title",),
    "homePageURL": ib1("homePageURL"),
    "messageDelivery": ib1("messageDelivery"),
    "endpointURL": (f"{_DCAT}endpointURL",),
    "oauthIssuer": ib1("oauthIssuer"),
}
_ROLES: Final = ib1("role")


def entry(body: bytes, url: str) -> dict[str, Any]:
    """Return the entry whose subject is `url`. Raise ValueError when it is not in the document."""
    found = rdf.read(body, url)
    if url not in found:
        raise ValueError("the document does not describe the URL that was requested")
    return _as_json(url, found[url])


def services(body: bytes, url: str) -> list[dict[str, Any]]:
    """Return the data services of a catalogue that was found at `url`. Raise ValueError."""
    return [
        _as_json(subject, properties)
        for subject, properties in rdf.read(body, url).items()
        if f"{_DCAT}DataService" in rdf.values(properties, rdf.TYPE)
    ]


def _as_json(subject: str, properties: rdf.Properties) -> dict[str, Any]:
    roles = list(rdf.values(properties, *_ROLES))
    source: dict[str, Any] = {"id": subject, "roles": roles, "role": roles}
    for name, iris in _FIELDS.items():
        if found := rdf.values(properties, *iris):
            # A field that is there twice has no value: it becomes a list, and the reader's error names the field.
            source[name] = found[0] if len(found) == 1 else list(found)
    return source

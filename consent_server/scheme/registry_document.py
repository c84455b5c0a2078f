"""What the Registry publishes about a license, as JSON-LD with its context inline. Nothing is fetched."""

import re
from collections.abc import Mapping

from consent_server.scheme import instant
from consent_server.scheme.licenses import PublishedLicense, expiry
from consent_server.scheme.permission_text import is_web_address

_NAMESPACES = (
    "https://registry.trust.ib1.org/ns/1.0#",
    "https://registry.core.trust.ib1.org/ns/1.0#",
    "https://registry.ib1.org/ns/1.0#",
    "https://registry.core.trust.ib1.org/ns/ib1#",
)
_RDFS = "http://www.w3.org/2000/01/rdf-schema#"
_LONGEST_IRI = 2000


class MalformedLicense(ValueError):
    """The Registry's document does not describe this license in a way that can be relied on."""


def from_rdf(document: object, url: str) -> PublishedLicense:
    """Return the license at `url` from a JSON-LD document, compact or expanded. Raise MalformedLicense if it is not there.

    Terms are compared as full IRIs, in any of the namespaces that the Registry has used.
    """
    properties = _license_properties(document, url)
    text_url, _, fragment = _one(properties, "permissionText").partition("#")
    text_sha256 = fragment.lower()
    if not is_web_address(text_url) or not re.fullmatch(r"[0-9a-f]{64}", text_sha256):
        raise MalformedLicense("permissionText is not an https URL with a SHA-256 as its fragment")
    duration = _one(properties, "licenseDuration")
    try:
        expiry(duration, 0)
        ends = {name: _end(properties, name) for name in ("deprecatedAfter", "prohibitedAfter")}
    except ValueError as error:
        raise MalformedLicense(str(error)) from error
    return PublishedLicense(
        url=url,
        title=_one(properties, "comment" if properties.get("comment") else "label"),
        text_url=text_url,
        text_sha256=text_sha256,
        duration=duration,
        deprecated_after=ends["deprecatedAfter"],
        prohibited_after=ends["prohibitedAfter"],
    )


def _license_properties(document: object, url: str) -> dict[str, list[str]]:
    """Return local name -> values of the one node that is this license."""
    top = document if isinstance(document, dict) else {}
    context = _context(top.get("@context", {}))
    nodes = document if isinstance(document, list) else top.get("@graph", [top])
    if not isinstance(nodes, list):
        raise MalformedLicense("@graph is not a list")
    found = [
        node
        for node in nodes
        if isinstance(node, dict)
        and _iri(node.get("@id"), context) == url
        and "License" in {_local_name(_iri(kind, context)) for kind in _as_list(node.get("@type"))}
    ]
    if len(found) != 1:
        raise MalformedLicense("the document does not describe this license once")
    properties: dict[str, list[str]] = {}
    for key, value in found[0].items():
        name = _local_name(_iri(key, context))
        if name is not None and value is not None:
            properties.setdefault(name, []).extend(_values(value, context))
    return properties


def _context(given: object) -> dict[str, str]:
    """Return term -> IRI or compact IRI of an inline context. A context by URL, which we would have to fetch, is refused."""
    context: dict[str, str] = {}
    for part in _as_list(given):
        if not isinstance(part, dict):
            raise MalformedLicense("only an inline @context is read")
        for term, definition in part.items():
            target = definition.get("@id") if isinstance(definition, dict) else definition
            if isinstance(target, str):
                if len(target) > _LONGEST_IRI:  # every term would repeat it
                    raise MalformedLicense("@context defines a term that is too long")
                context[term] = target
    return context


def _iri(term: object, context: Mapping[str, str], depth: int = 4) -> str | None:
    """Return the full IRI of a term, compact IRI or IRI; None when it has none or its definition is circular."""
    if not isinstance(term, str) or depth == 0:
        return None
    if term in context:
        return _iri(context[term], context, depth - 1)
    prefix, colon, rest = term.partition(":")
    if not colon:
        return f"{context['@vocab']}{term}" if "@vocab" in context else None
    if rest.startswith("//") or prefix not in context:
        return term
    base = _iri(context[prefix], context, depth - 1)
    return None if base is None else base + rest


def _local_name(iri: str | None) -> str | None:
    """Return the name within IB1's or RDF Schema's namespace, or None for every other IRI."""
    for namespace in (*_NAMESPACES, _RDFS):
        if iri is not None and iri.startswith(namespace):
            return iri.removeprefix(namespace)
    return None


def _values(value: object, context: Mapping[str, str]) -> list[str]:
    found = []
    for part in _as_list(value):
        if isinstance(part, dict):
            part = part["@value"] if "@value" in part else _iri(part.get("@id"), context)
        if isinstance(part, str):
            found.append(part)
    return found


def _one(properties: Mapping[str, list[str]], name: str) -> str:
    values = list(dict.fromkeys(properties.get(name, [])))
    if len(values) != 1 or not values[0]:
        raise MalformedLicense(f"the license has not exactly one {name}")
    return values[0]


def _end(properties: Mapping[str, list[str]], name: str) -> int | None:
    """Return the instant from which `name` ("…After") holds; a date alone means the end of that day."""
    if name not in properties:
        return None
    value = _one(properties, name)
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}Z?", value):
        return instant.parse(f"{value[:10]}T00:00:00Z") + instant.DAY
    return instant.parse(value)


def _as_list(value: object) -> list[object]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]

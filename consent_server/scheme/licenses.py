"""Licenses: what the Registry publishes about one, its permission text, and what that text covers.

The license is the scope, and the text is the license: the raw text is pinned by its SHA-256, shown as published with
its placeholders filled, and never corrected, shortened or translated.
"""

import hashlib
import html
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from consent_server.scheme import instant

ELECTRICITY: Final = "electricity"
GAS: Final = "gas"

COMBINED: Final = "energy-consumption-emissions-edp-cap-fsp"

# License label -> the transfers it covers.
_TRANSFERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "energy-consumption-edp-cap": frozenset({"EDP to CAP"}),
        "energy-consumption-data": frozenset({"EDP to CAP"}),
        "emissions-cap-fsp": frozenset({"CAP to FSP"}),
        "emissions-report": frozenset({"CAP to FSP"}),
        COMBINED: frozenset({"EDP to CAP", "CAP to FSP"}),
    }
)

# Exact tokens of the 2026-03-12 texts, then those of the older ones.
EDP_PRIVACY_POLICY: Final = "[EDP privacy policy link]"
PLACEHOLDERS: Final = (
    "[CAP]",
    "[EDP]",
    "[FSP]",
    EDP_PRIVACY_POLICY,
    "[CAP process]",
    "[Carbon accounting provider]",
    "[insert source of data]",
    "[insert specific name of financial services provider]",
)


class MalformedLicense(ValueError):
    """The Registry's document does not describe this license in a way that can be relied on."""


class UnfilledPlaceholder(ValueError):
    """A permission text would show a placeholder, or a bracket that may be one, instead of what it stands for."""


@dataclass(frozen=True)
class License:
    """A license as configured: what is asked for, by whom, for which fuels, and under which exact text.

    `text_sha256` is the hex digest of the raw text's bytes; `duration` is "count unit", such as "1 year"; `asked_by`
    is a role name of `roles`.
    """

    url: str
    label: str
    text_sha256: str
    fuels: frozenset[str]
    duration: str
    asked_by: str


@dataclass(frozen=True)
class PublishedLicense:
    """A license as the Registry describes it. The two instants are None where the Registry sets no end.

    After `deprecated_after` new grants deserve a warning, after `prohibited_after` there must be none.
    """

    url: str
    title: str
    text_url: str
    text_sha256: str
    duration: str
    deprecated_after: int | None = None
    prohibited_after: int | None = None


def digest(text: bytes | str) -> str:
    """SHA-256 in hex, over the bytes as fetched or the UTF-8 of a text."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def expiry(license_duration: str, granted: int) -> int:
    """The instant at which a permission granted then has expired: "1 year" is a calendar year. ValueError if unread."""
    match = re.fullmatch(r"([1-9][0-9]{0,3}) (day|month|year)s?", license_duration, re.ASCII)
    if match is None:
        raise ValueError('a license duration is a count and a unit, such as "1 year"')
    count = int(match[1])
    if match[2] == "day":
        return granted + count * instant.DAY
    return instant.months_later(granted, count if match[2] == "month" else 12 * count)


def at_least_as_wide(new: License, old: License) -> bool:
    """Whether a grant under `new` permits all that one under `old` did, so that it takes its place.

    The combined license covers what energy-consumption-edp-cap covers, and not the other way round.
    """
    return new.asked_by == old.asked_by and new.fuels >= old.fuels and _transfers(new) >= _transfers(old)


def _transfers(license: License) -> frozenset[str]:
    return _TRANSFERS.get(license.label, frozenset({license.label}))


# What a text names

_GREENHOUSE_GAS = re.compile(r"green\s?-?house[\s-]+gas(?:es)?")
_FUEL = r"(?:(?:natural|mains)\s)?(?:electricity|gas)"
_FUELS = rf"\b{_FUEL}(?:(?:\s?,\s?|\s?/\s?|\s?&\s?|\s(?:and|or|and/or)\s){{1,2}}(?:your\s|of\s|for\s)?{_FUEL}){{0,3}}\b"
_CONSUMED = re.compile(
    # "electricity and gas consumption", "gas meter readings", "gas you use"
    rf"(?P<before>{_FUELS})(?:\s(?:data|meter|smart|half-hourly|hourly|energy|that|which|you|your|business|has|have)){{0,6}}"
    r"\s(?:consumption|consumed|consumes?|usage|use[sd]?|readings)\b"
    # "consumption of electricity and gas", "usage data for gas"; but no "use of electricity and gas tariff data"
    r"|\b(?:consumption|usage|use|consumes?|uses|readings)(?:\s(?:data|of|for|your|half-hourly|smart|meter)){0,6}"
    rf"\s\(?(?P<after>{_FUELS})(?!\s*(?:tariff|price|cost|bill|emission))"
)
_NEGATED = re.compile(
    r"\b(?:not|no|never|nor|neither|without|except|excepting|excluding|excludes?|other than)\b|n['’]t\b"
)


def names_fuel(raw_text: str, fuel: str) -> bool:
    """Whether the text names the fuel as something consumed: "Your electricity and gas consumption".

    "Greenhouse gas" does not name gas, nor does a tariff, nor a sentence that excludes anything. A wording that is not
    recognised does not name the fuel: a license is then refused, and a person has to look at it.
    """
    return any(
        fuel in re.findall(r"electricity|gas", match["before"] or match["after"])
        for sentence in _sentences(raw_text)
        if not _NEGATED.search(sentence)
        for match in _CONSUMED.finditer(sentence)
    )


def _sentences(raw_text: str) -> Iterator[str]:
    """Sentences, and bullets as sentences of their own, in lower case with single spaces and no greenhouse gas."""
    paragraphs = re.split(r"\r?\n[^\S\n]*(?=\r?\n|\* )", "\n" + raw_text.casefold())
    for part in paragraphs:
        for sentence in re.split(r"[.;:!?](?=\s|$)", part):
            yield _GREENHOUSE_GAS.sub("ghg", re.sub(r"\s+", " ", sentence.replace("*", " ")))


# Filling and rendering. The texts use a tiny part of Markdown: paragraphs, "* " bullets, a line in _italics_, links,
# bare https URLs. Values that are filled in have every character escaped that could mean something there.

_BRACKETED = re.compile(r"(?P<token>\[[^\[\]\r\n]*\])(?P<target>\([^()\s]*\))?")
_MEANINGFUL = re.compile(r"[\\\[\]*_:]")
_INLINE = re.compile(
    r"\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|\[(?P<label>(?:\\.|[^\[\]\\])+)\]\((?P<target>https://[^\s()<>\\]+)\)"
    r"|(?P<bare>https://[^\s()<>\[\]\\\"'“”‘’]*[^\s()<>\[\]\\\"'“”‘’.,;:!?*_])"
)
_ITALIC_LINE = re.compile(r"_(?P<text>(?:\\.|[^_\\])+)_")


def fill(raw_text: str, values: Mapping[str, str]) -> str:
    """The text with its placeholders filled, still in the texts' Markdown; `values` maps whole tokens ("[EDP]").

    Markdown links stay. Values are escaped, so that a name is never markup or a link; a value that is an https URL
    becomes a link where the placeholder may be one, and the privacy policy must be one.
    UnfilledPlaceholder for a token without a (usable) value, an unknown token, or a stray bracket.
    """
    if re.search(r"[\[\]]", _BRACKETED.sub("", raw_text)):
        raise UnfilledPlaceholder("a square bracket that opens or closes nothing")

    def replacement(match: re.Match[str]) -> str:
        token, target = match["token"], match["target"] or ""
        if token not in PLACEHOLDERS:
            if not target:
                raise UnfilledPlaceholder(f"unknown placeholder {token[:80]}")
            return match[0]
        value = _one_line(values.get(token, ""))
        if not value or target.startswith("(https://"):
            raise UnfilledPlaceholder(token)
        return _as_markdown(token, value) + target

    return _BRACKETED.sub(replacement, raw_text)


def render(filled_text: str) -> str:
    """HTML of a filled text: p, ul, li, em, and a with an https target; everything else is escaped text."""
    blocks: list[str] = []
    paragraph: list[str] = []
    items: list[str] = []

    def finish() -> None:
        if paragraph:
            blocks.append(f"<p>{_inline(' '.join(paragraph))}</p>")
        if items:
            blocks.append("<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>")
        paragraph.clear()
        items.clear()

    for line in filled_text.replace("\r\n", "\n").split("\n"):
        words = line.strip()
        italic = _ITALIC_LINE.fullmatch(words)
        if not words:
            finish()
        elif italic:
            finish()
            blocks.append(f"<p><em>{_inline(italic['text'])}</em></p>")
        elif words.startswith("* "):
            if paragraph:
                finish()
            items.append(words[2:])
        elif items:
            items[-1] += f" {words}"
        else:
            paragraph.append(words)
    finish()
    return "\n".join(blocks)


def _one_line(value: str) -> str:
    """The value without line breaks, and without the invisible characters that reorder or hide text."""
    spaced = re.sub(r"\s+", " ", value)
    return "".join(c for c in spaced if unicodedata.category(c)[0] != "C").strip()


def _as_markdown(token: str, value: str) -> str:
    escaped = _MEANINGFUL.sub(r"\\\g<0>", value)
    if token not in (EDP_PRIVACY_POLICY, "[CAP process]"):
        return escaped
    if _is_web_address(value):
        return f"[{escaped}]({value.replace('(', '%28').replace(')', '%29')})"
    if token == EDP_PRIVACY_POLICY:
        raise UnfilledPlaceholder(f"{token} is not an https URL")
    return escaped


def _is_web_address(value: str) -> bool:
    if not re.fullmatch(r"https://[!-~]+", value) or re.search(r"[<>\[\]\\\"']", value):
        return False
    try:
        parts = urlsplit(value)
        return bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False


def _inline(markdown: str) -> str:
    pieces: list[str] = []
    position = 0
    for match in _INLINE.finditer(markdown):
        pieces.append(html.escape(markdown[position : match.start()]))
        position = match.end()
        if match["escaped"]:
            pieces.append(html.escape(match["escaped"]))
        elif match["bare"]:
            pieces.append(_anchor(match["bare"], html.escape(match["bare"])))
        else:
            pieces.append(_anchor(match["target"], html.escape(re.sub(r"\\(.)", r"\1", match["label"]))))
    pieces.append(html.escape(markdown[position:]))
    return "".join(pieces)


def _anchor(target: str, label: str) -> str:
    return f'<a href="{html.escape(target)}" rel="noopener noreferrer">{label}</a>'


# What the Registry publishes, as JSON-LD with its context inline. Nothing is fetched.

_NAMESPACES = (
    "https://registry.trust.ib1.org/ns/1.0#",
    "https://registry.core.trust.ib1.org/ns/1.0#",
    "https://registry.ib1.org/ns/1.0#",
    "https://registry.core.trust.ib1.org/ns/ib1#",
)
_RDFS = "http://www.w3.org/2000/01/rdf-schema#"


def from_rdf(document: object, url: str) -> PublishedLicense:
    """Read the license at `url` from a JSON-LD document, compact or expanded; MalformedLicense if it is not there.

    Terms are compared as full IRIs, in any of the namespaces that the Registry has used.
    """
    properties = _license_properties(document, url)
    text_url, _, fragment = _one(properties, "permissionText").partition("#")
    text_sha256 = fragment.lower()
    if not _is_web_address(text_url) or not re.fullmatch(r"[0-9a-f]{64}", text_sha256):
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
    """Local name -> values, of the one node that is this license."""
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
    """Term -> IRI or compact IRI, from an inline context. A context by URL would have to be fetched: refused."""
    context: dict[str, str] = {}
    for part in _as_list(given):
        if not isinstance(part, dict):
            raise MalformedLicense("only an inline @context is read")
        for term, definition in part.items():
            target = definition.get("@id") if isinstance(definition, dict) else definition
            if isinstance(target, str):
                context[term] = target
    return context


def _iri(term: object, context: Mapping[str, str], depth: int = 4) -> str | None:
    """The full IRI of a term, compact IRI or IRI; None when it has none or defines itself in circles."""
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
    """The name within IB1's or RDF Schema's namespace; None for every other IRI."""
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
    """The instant from which `name` ("…After") holds; a date alone runs to the end of its day."""
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

"""Turtle and JSON-LD as the Registry and the Directory publish them, read by rdflib within limits. Nothing is fetched.

rdflib reads both formats, is maintained, and is pure Python, so that no document can crash the process. PyLD does not read
Turtle; pyoxigraph reads both, but a chain of terms in a @context overflows its stack (0.5.13). RDF/XML, which has entities, is
not read.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
import rdflib
from rdflib.plugins.parsers.jsonld import to_rdf
from rdflib.plugins.parsers.notation3 import RDFSink, SinkParser
from rdflib.term import Identifier, bind

#: What is asked for where RDF alone is published, and where the Directory's JSON is preferred.
ACCEPT: Final = "application/ld+json, text/turtle;q=0.9"

_MOST_BYTES: Final = 256 * 1024
_MOST_TRIPLES: Final = 5_000
#: Characters of all triples together, of one IRI in Turtle as its prefix and base make it, and of all that the contexts of a
#: JSON-LD document define: a prefix of 100,000 characters could otherwise be repeated 20,000 times.
_MOST_TEXT: Final = 4 * 1024 * 1024
_LONGEST_IRI: Final = 500
_MOST_CONTEXT: Final = 16 * 1024

# It would log literals that it cannot convert, with a traceback. Literals are taken as they are written: a decimal such as
# 1e999999999 would otherwise be written out in full, and XML or HTML parsed.
logging.getLogger("rdflib").setLevel(logging.CRITICAL)
rdflib.NORMALIZE_LITERALS = False
for _markup in (rdflib.RDF.XMLLiteral, rdflib.RDF.HTML):
    bind(str(_markup), str, datatype_specific=True)

#: Predicate IRI -> values: IRIs, literals as they are written, and blank nodes as "_:" and a name.
Properties = Mapping[str, Sequence[str]]


class MalformedRdf(ValueError):
    """The document is no Turtle or JSON-LD that we read: wrong, beyond a bound, or with a context elsewhere."""


class _Bounded(rdflib.Graph):
    """Keeps properties by subject, and refuses what is beyond the bounds while it is being read."""

    def __init__(self) -> None:
        super().__init__(bind_namespaces="none")
        self.found: dict[str, dict[str, list[str]]] = {}
        self._triples = self._text = 0

    def add(self, triple: tuple[Any, Any, Any]) -> "_Bounded":
        subject, predicate, value = map(_written, triple)
        self._triples += 1
        self._text += len(subject) + len(predicate) + len(value)
        if self._triples > _MOST_TRIPLES or self._text > _MOST_TEXT:
            raise MalformedRdf("more triples than are looked at")
        values = self.found.setdefault(subject, {}).setdefault(predicate, [])
        if value not in values[-100:]:
            values.append(value)
        return self

    def bind(self, *_: Any, **__: Any) -> None:
        """Ignore prefixes: IRIs are compared whole."""


class _Sink(RDFSink):
    """Refuses long IRIs as they are made, so that neither prefixes nor bases add up; text in literals is no matter."""

    def newSymbol(self, *args: str) -> rdflib.URIRef:
        if len(args[0]) > _LONGEST_IRI:
            raise MalformedRdf("an IRI is too long")
        return super().newSymbol(*args)


def read(body: bytes, base: str) -> Mapping[str, Properties]:
    """Return subject -> properties of a JSON-LD or Turtle document, which was found at the URL `base`. Raise MalformedRdf."""
    if len(body) > _MOST_BYTES:
        raise MalformedRdf("the document is too long")
    graph = _Bounded()
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    try:
        if document is None:
            SinkParser(_Sink(graph), baseURI=base, turtle=True).loadBuf(body.decode("utf-8"))
        else:
            _require_own_contexts(document)
            to_rdf(document, graph, base)
    except MalformedRdf:
        raise
    except Exception as error:  # of whatever kind the library raises for what a stranger wrote
        raise MalformedRdf(f"no RDF that can be read ({type(error).__name__})") from None
    return graph.found


def _require_own_contexts(document: object) -> None:
    """Raise MalformedRdf unless every @context is inline and short (JSON-LD 1.1 section 3.1, 4.1.6)."""
    size = 0
    for node in _objects(document):
        if "@import" in node:
            raise MalformedRdf("a @context imports another")
        if "@context" in node:
            context = node["@context"]
            parts = context if isinstance(context, list) else [context]
            if not all(part is None or isinstance(part, dict) for part in parts):
                raise MalformedRdf("only an inline @context is read")
            size += len(orjson.dumps(context))
    if size > _MOST_CONTEXT:
        raise MalformedRdf("the @context is too long")


def _objects(document: object) -> Iterator[dict[str, Any]]:
    left = [document]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            yield each
            left.extend(each.values())
        elif isinstance(each, list):
            left.extend(each)


def _written(term: Identifier) -> str:
    return f"_:{term}" if isinstance(term, rdflib.BNode) else str(term)


def values(properties: Properties, *names: str) -> tuple[str, ...]:
    """Return the values of a property under any of its IRIs, each once."""
    return tuple(dict.fromkeys(value for name in names for value in properties.get(name, ())))


NAMESPACES: Final = (
    "https://registry.trust.ib1.org/ns/1.0#",
    "https://registry.core.trust.ib1.org/ns/1.0#",
    "https://registry.ib1.org/ns/1.0#",
    "https://registry.core.trust.ib1.org/ns/ib1#",
)
TYPE: Final = str(rdflib.RDF.type)


def ib1(name: str) -> tuple[str, ...]:
    """Return the IRIs of one of IB1's terms, in each namespace that the Registry has used."""
    return tuple(namespace + name for namespace in NAMESPACES)

"""RDF that others wrote: both formats come to the same, and what would cost more than it is worth is refused."""

import json
import logging
import socket

import pytest

from consent_server.scheme import rdf

URL = "https://registry.example/x"
V = "https://v.example/"
LONG = "x" * 100_000

FORMS = [
    f'@prefix v: <{V}> . <x> v:name "n"@en, "m" ; v:of <y> ; v:at [ v:name "inner" ] .',
    f'PREFIX v: <{V}> BASE <{URL}> <x> v:name "n", "m" . <x> v:of <https://registry.example/y> ; v:at [ v:name "inner" ] .',
    json.dumps(
        {
            "@context": {"v": V, "of": {"@id": "v:of", "@type": "@id"}},
            "@id": "x",
            "v:name": [{"@value": "n", "@language": "en"}, "m"],
            "of": "y",
            "v:at": {"v:name": "inner"},
        }
    ),
    json.dumps(
        [
            {
                "@id": URL,
                V + "name": [{"@value": "n"}, {"@value": "m"}],
                V + "of": [{"@id": "https://registry.example/y"}],
                V + "at": [{"@id": "_:b"}],
            },
            {"@id": "_:b", V + "name": [{"@value": "inner"}]},
        ]
    ),
]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refused(*_, **__):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)


@pytest.mark.parametrize("document", FORMS, ids=["turtle", "turtle-with-base", "compact", "expanded"])
def test_the_formats_come_to_the_same(document):
    found = rdf.read(document.encode(), URL)
    properties = found[URL]
    assert sorted(rdf.values(properties, V + "name")) == ["m", "n"]
    assert rdf.values(properties, V + "of", V + "gone") == ("https://registry.example/y",)
    [inner] = rdf.values(properties, V + "at")
    assert inner.startswith("_:")
    assert rdf.values(found[inner], V + "name") == ("inner",)


def nested(count: int, inner: str) -> str:
    return f'{{"@context":{{"@vocab":"{V}"}},"a":' + '{"a":' * count + inner + "}" * (count + 1)


ENTITIES = "<!DOCTYPE l [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;'>]><l>&b;</l>"

REFUSED = {
    "nothing-of-either": "neither",
    "no-text": b"\xff\xfe" * 10,
    "a-context-elsewhere": '{"@context":"https://evil.example/c","@id":"x"}',
    "a-context-in-a-file": '{"@context":["file:///etc/passwd"],"@id":"x"}',
    "an-import": '{"@context":{"@version":1.1,"@import":"https://evil.example/c"},"@id":"x"}',
    "a-context-of-a-term": f'{{"@context":{{"a":{{"@id":"{V}","@context":"https://evil.example/c"}}}},"a":{{}}}}',
    "a-context-of-a-node-far-in": nested(5, '{"@context":"https://evil.example/c"}'),
    "terms-in-a-circle": '{"@context":{"a":"b:x","b":"a:x"},"a":"v"}',
    "a-long-context": json.dumps({"@context": {"p": V + LONG}, "p:a": "v"}),
    "contexts-that-add-up": json.dumps([{"@context": {"p": V + "x" * 500}, "p:a": "v"}] * 100),
    "deep-json": nested(700, "1"),
    "lists-without-end": "[" * 5000,
    "deep-turtle": f"@prefix : <{V}> . <x> :b " + "[ :b " * 2000 + "1" + "]" * 2000 + " .",
    "deep-collections": f"<x> <{V}> " + "(" * 2000 + ")" * 2000 + " .",
    "a-long-prefix": f"@prefix p: <{V}{LONG}> . p:a p:a p:a .",
    "bases-that-add-up": f"@base <{V}{'x' * 400}/> . @base <{'x' * 400}/> . <a> <b> <c> .",
    "bases-that-add-up-in-sparql": f"BASE <{V}{'x' * 400}/> BASE <{'x' * 400}/> <a> <b> <c> .",
    "too-many-triples": f"@prefix : <{V}> . " + "".join(f":{i} :b 1 ." for i in range(5_001)),
    "too-much-in-triples": f"@prefix p: <{V}{'x' * 400}> . " + "".join(f"p:{i} p:b p:c ." for i in range(4000)),
    "too-long": f"# {LONG}\n" * 3,
    "a-number-without-end": f"<x> <{V}> {'9' * 10_000} .",
    "rules-of-n3": "{ <a> <b> <c> } => { <d> <e> <f> } .",
}


@pytest.mark.parametrize("document", REFUSED.values(), ids=REFUSED)
def test_F03_what_costs_more_than_it_is_worth(document):
    with pytest.raises(rdf.MalformedRdf):
        rdf.read(document if isinstance(document, bytes) else document.encode(), URL)


@pytest.mark.parametrize("number", ["1e999999999", "-1e999999999", "007", "1.50"])
def test_F03_a_number_is_taken_as_it_is_written(number):
    datatype = "http://www.w3.org/2001/XMLSchema#decimal"
    for body in (
        f'<x> <{V}> "{number}"^^<{datatype}> .',
        json.dumps({"@id": "x", V: {"@value": number, "@type": datatype}}),
    ):
        assert rdf.read(body.encode(), URL)[URL][V] == [number]


#: What a member may call itself: it must not make a list unreadable in which others stand too.
NAMES = {
    "two-bases": "@base and @base <a> base <b>",
    "an-iri": f"<{'x' * 600}>",
    "white-space": " \n" * 60_000 + "base",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_F03_text_in_a_literal_is_not_taken_for_turtle(name):
    assert rdf.read(f'<x> <{V}> """{name}""" .'.encode(), URL)[URL][V] == [name]


def test_F03_markup_in_a_literal_is_not_parsed(monkeypatch, caplog):
    import xml.dom.minidom

    def refused(*_):
        raise AssertionError("XML was parsed")

    monkeypatch.setattr(xml.dom.minidom, "parseString", refused)
    caplog.set_level(logging.DEBUG)
    for kind in ("XMLLiteral", "HTML"):
        datatype = f"http://www.w3.org/1999/02/22-rdf-syntax-ns#{kind}"
        for body in (
            f'<x> <{V}> """{ENTITIES}"""^^<{datatype}> .',
            json.dumps({"@id": "x", V: {"@value": ENTITIES, "@type": datatype}}),
        ):
            assert rdf.read(body.encode(), URL)[URL][V] == [ENTITIES]
    assert not caplog.records

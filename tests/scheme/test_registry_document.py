import dataclasses
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_server.scheme import instant, licenses, registry_document

REGISTRY = "https://registry.core.sandbox.trust.ib1.org/scheme/perseus"
URL = f"{REGISTRY}/license/energy-consumption-edp-cap/2026-03-12"
SHA = hashlib.sha256(b"the text").hexdigest()
TEXT_URL = f"{REGISTRY}/files/permission-text/energy-consumption-edp-cap@2026-03-12.txt"
NAMESPACE = "https://registry.trust.ib1.org/ns/1.0#"
RDFS = "http://www.w3.org/2000/01/rdf-schema#"

# The Registry's document

COMPACT = {
    "@context": {
        "ib1": NAMESPACE,
        "rdfs": RDFS,
        "duration": "ib1:licenseDuration",
        "text": {"@id": "ib1:permissionText", "@type": "@id"},
    },
    "@id": URL,
    "@type": "ib1:License",
    "rdfs:label": "energy-consumption-edp-cap",
    "rdfs:comment": "Energy Consumption Data License",
    "duration": "1 year",
    "text": f"{TEXT_URL}#{SHA}",
    "ib1:permittedUse": ["one", "two"],
}
EXPECTED = licenses.PublishedLicense(
    url=URL, title="Energy Consumption Data License", text_url=TEXT_URL, text_sha256=SHA, duration="1 year"
)


def expanded(namespace: str = NAMESPACE, **changes) -> dict:
    node = {
        "@id": URL,
        "@type": [f"{namespace}License", "http://www.w3.org/2004/02/skos/core#Concept"],
        RDFS + "label": [{"@value": "energy-consumption-edp-cap", "@language": "en"}],
        RDFS + "comment": [{"@value": "Energy Consumption Data License"}],
        namespace + "licenseDuration": [{"@value": "1 year"}],
        namespace + "permissionText": [{"@id": f"{TEXT_URL}#{SHA}"}],
    }
    for name, value in changes.items():
        node[namespace + name] = value
    return node


TURTLE = f"""
@prefix ib1: <{NAMESPACE}> .
@prefix rdfs: <{RDFS}> .
<{URL}> a ib1:License ;
    rdfs:comment "Energy Consumption Data License"@en ;
    ib1:licenseDuration "1 year" ;
    ib1:permissionText <{TEXT_URL}#{SHA}> ;
    ib1:permittedUse "one" , "two" .
"""


def read(document: object) -> licenses.PublishedLicense:
    body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
    return registry_document.from_rdf(body, URL)


@pytest.mark.parametrize(
    "document",
    [
        TURTLE,
        TURTLE.replace(f"<{URL}>", "<2026-03-12>"),
        COMPACT,
        {**COMPACT, "@context": [{"ib1": NAMESPACE}, {**COMPACT["@context"]}]},
        {"@context": COMPACT["@context"], "@graph": [{"@id": REGISTRY}, COMPACT]},
        {
            "@context": {"@vocab": NAMESPACE, "rdfs": RDFS},
            "@id": URL,
            "@type": "License",
            "rdfs:comment": EXPECTED.title,
            "licenseDuration": "1 year",
            "permissionText": {"@id": f"{TEXT_URL}#{SHA.upper()}"},
        },
        {
            **expanded(),
            "@context": {"perseus": f"{REGISTRY}/"},
            "@id": "perseus:license/energy-consumption-edp-cap/2026-03-12",
        },
        [expanded()],
        [{"@id": f"{URL}/other"}, "x", expanded()],
        expanded("https://registry.core.trust.ib1.org/ns/1.0#"),
        expanded("https://registry.ib1.org/ns/1.0#"),
        expanded("https://registry.core.trust.ib1.org/ns/ib1#"),
        expanded(licenseTerritory=[{"@id": "https://x.example"}], deprecatedAfter=None),
        {"@context": COMPACT["@context"], "@graph": [COMPACT, COMPACT]},
    ],
)
def test_from_rdf_reads_the_forms_in_use(document):
    found = read(document)
    assert dataclasses.replace(found, uses=()) == EXPECTED
    assert found.uses == (("one", "two") if "permittedUse" in str(document) else ())


def test_the_label_is_the_title_where_there_is_no_comment():
    document = expanded()
    del document[RDFS + "comment"]
    assert read(document).title == "energy-consumption-edp-cap"


def test_ends_are_instants_and_a_date_runs_to_its_end():
    found = read(
        expanded(
            deprecatedAfter=[{"@value": "2027-03-12", "@type": "http://www.w3.org/2001/XMLSchema#date"}],
            prohibitedAfter=[{"@value": "2028-03-12T12:00:00Z"}],
        )
    )
    assert found.deprecated_after == instant.parse("2027-03-13T00:00:00Z")
    assert found.prohibited_after == instant.parse("2028-03-12T12:00:00Z")


@pytest.mark.parametrize(
    ("resource", "end"),
    [
        ("https://registry.example/date/2028-03-12", "2028-03-13T00:00:00Z"),
        ("https://registry.example/date#2028-03-12", "2028-03-13T00:00:00Z"),
        ("2028-03-12", "2028-03-13T00:00:00Z"),
        ("https://registry.example/scheme/perseus", None),
    ],
)
def test_a_resource_in_place_of_a_date(resource, end):
    found = read(expanded(prohibitedAfter=[{"@id": resource}]))
    assert found.prohibited_after == (end and instant.parse(end))


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        "text",
        {**COMPACT, "@id": URL + "/"},
        {**COMPACT, "@type": "ib1:Policy"},
        {**COMPACT, "@type": None},
        {**COMPACT, "@context": "https://registry.example/context.jsonld"},
        {**COMPACT, "@context": [COMPACT["@context"], "https://registry.example/context.jsonld"]},
        {**COMPACT, "@context": {**COMPACT["@context"], "ib1": "https://elsewhere.example/ns#"}},
        {**COMPACT, "@context": {"ib1": "ib1:x", "rdfs": RDFS}},
        {"@context": COMPACT["@context"], "@graph": {"0": COMPACT}},
        TURTLE.replace(URL, URL + "/"),
        TURTLE.replace(NAMESPACE, "https://elsewhere.example/ns#"),
        TURTLE.replace(SHA, SHA[:-1]),
        TURTLE.replace('"1 year"', '"1 year", "2 years"'),
        TURTLE + "}",
        expanded("https://registry.core.trust.ib1.org/ns/2.0#"),
        expanded(licenseDuration=[]),
        expanded(licenseDuration=[{"@value": "for ever"}]),
        expanded(licenseDuration=[{"@value": 1}]),
        expanded(licenseDuration=["1 year", "2 years"]),
        expanded(permissionText=[{"@id": TEXT_URL}]),
        expanded(permissionText=[{"@id": f"{TEXT_URL}#{SHA[:-1]}"}]),
        expanded(permissionText=[{"@id": f"{TEXT_URL}#{SHA}0"}]),
        expanded(permissionText=[{"@id": f"{TEXT_URL}#{SHA}"}, {"@id": f"{TEXT_URL}2#{SHA}"}]),
        expanded(permissionText=[{"@id": f"http://registry.example/x.txt#{SHA}"}]),
        expanded(permissionText=[{"@id": f"file:///etc/passwd#{SHA}"}]),
        expanded(permissionText=[{"@id": f"https://user@registry.example/x.txt#{SHA}"}]),
        expanded(prohibitedAfter=[{"@value": "soon"}]),
        expanded(prohibitedAfter=[{"@value": 20270312}]),
        expanded(prohibitedAfter=["2027-02-31"]),
    ],
)
def test_from_rdf_refuses(document):
    with pytest.raises(registry_document.MalformedLicense):
        read(document)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from([URL, "ib1:License", NAMESPACE]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*COMPACT, "@graph", "ib1", "@value"]), inner)
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from([*COMPACT, "@graph"]), JSON))
def test_from_rdf_raises_only_malformed_license(changes):
    try:
        read({**COMPACT, **changes})
    except registry_document.MalformedLicense:
        return

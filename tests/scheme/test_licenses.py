import dataclasses
import hashlib
import html.parser
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_server.scheme import instant, licenses, roles
from consent_server.scheme.licenses import ELECTRICITY, GAS, License

REGISTRY = "https://registry.core.sandbox.trust.ib1.org/scheme/perseus"
URL = f"{REGISTRY}/license/energy-consumption-edp-cap/2026-03-12"
SHA = hashlib.sha256(b"the text").hexdigest()
TEXT_URL = f"{REGISTRY}/files/permission-text/energy-consumption-edp-cap@2026-03-12.txt"
NAMESPACE = "https://registry.trust.ib1.org/ns/1.0#"
RDFS = "http://www.w3.org/2000/01/rdf-schema#"

# Texts in the shape of the Registry's, in our own words
BOTH_FUELS = """[CAP] (“we”) would like to read what [EDP] holds about you:

* Your electricity and gas consumption (every half hour)\x20
* Electricity and gas tariff data

We work out your greenhouse gas emissions:
* month by month
* for the last year,
  where there is one

_If you have a smart meter:_

[EDP] keeps to the industry's rules (https://code.example/rules). Its privacy policy is here: [EDP privacy policy link].

To stop, use [CAP process].  See [our policy](https://registry.example/policy/2026-03-12).

This ends after one year.\x20
"""
ELECTRICITY_ONLY = """[Carbon accounting provider] ("we") would like to read what [insert source of data] holds:

* Your electricity consumption (every half hour)
* Electricity and gas tariff data

We work out the greenhouse gas emissions of your consumption.
"""
VALUES = {
    "[CAP]": "Carbon & Co",
    "[EDP]": "Meter Data Corp",
    "[EDP privacy policy link]": "https://edp.example/privacy",
    "[CAP process]": "the page My permissions",
}


# Fuels


@pytest.mark.parametrize(
    ("text", "fuels"),
    [
        (BOTH_FUELS, {ELECTRICITY, GAS}),
        (BOTH_FUELS.replace("\n", "\r\n"), {ELECTRICITY, GAS}),
        (ELECTRICITY_ONLY, {ELECTRICITY}),
        ("", set()),
        ("Your greenhouse gas emissions", set()),
        ("Your greenhouse gas consumption", set()),
        ("Your green-house gases and their use", set()),
        ("Your Greenhouse\nGas consumption", set()),
        ("Your electricity consumption and greenhouse gas usage", {ELECTRICITY}),
        ("Your electricity and greenhouse gas consumption", set()),
        ("Electricity and gas tariff data", set()),
        ("The use of electricity and gas tariff data", {ELECTRICITY}),
        ("Your electricity consumption, not gas consumption", set()),
        ("Your electricity consumption. This does not include your gas consumption.", {ELECTRICITY}),
        ("Your electricity consumption. We don't read gas consumption.", {ELECTRICITY}),
        ("Your energy consumption excluding gas", set()),
        ("Biogas consumption", set()),
        ("Your gas consumption", {GAS}),
        ("Your GAS usage", {GAS}),
        ("Your gas and electricity consumption", {ELECTRICITY, GAS}),
        ("Your electricity/gas usage data", {ELECTRICITY, GAS}),
        ("Half-hourly consumption of electricity and of natural gas", {ELECTRICITY, GAS}),
        ("Your consumption data for electricity and gas", {ELECTRICITY, GAS}),
        ("Energy consumption (electricity and gas)", {ELECTRICITY, GAS}),
        ("Your electricity consumption and your gas consumption", {ELECTRICITY, GAS}),
        ("Your electricity and gas meter readings", {ELECTRICITY, GAS}),
        ("How much gas your business has used", {GAS}),
        ("Electricity\n\nand gas\n\nconsumption", set()),
        ("* electricity and\n* gas consumption", {GAS}),
    ],
)
def test_what_a_text_names(text, fuels):
    assert {fuel for fuel in (ELECTRICITY, GAS) if licenses.names_fuel(text, fuel)} == fuels


def test_a_text_names_no_other_fuel():
    assert not licenses.names_fuel(BOTH_FUELS, "oil")


# Filling


def test_fill_puts_every_value_in():
    filled = licenses.fill(BOTH_FUELS, VALUES)
    assert filled.startswith("Carbon & Co (“we”) would like to read what Meter Data Corp holds")
    assert "[https\\://edp.example/privacy](https://edp.example/privacy)." in filled
    assert "use the page My permissions.  See [our policy](https://registry.example/policy/2026-03-12)." in filled
    untouched = licenses.fill("Nothing *to* fill_in; [a link](https://a.example/b_c)\r\n", {})
    assert untouched == "Nothing *to* fill_in; [a link](https://a.example/b_c)\r\n"


def test_older_placeholders_are_known():
    values = {"[Carbon accounting provider]": "Carbon & Co", "[insert source of data]": "Meter Data Corp"}
    assert "[" not in licenses.fill(ELECTRICITY_ONLY, values)


def without(token: str) -> dict[str, str]:
    return {other: value for other, value in VALUES.items() if other != token}


PRIVACY = "[EDP privacy policy link]"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        *((BOTH_FUELS, without(token)) for token in VALUES),
        ("[EDP]", {"[EDP]": ""}),
        ("[EDP]", {"[EDP]": " \n\u202e\u200b "}),
        ("[EDP]", {"EDP": "Meter Data Corp"}),
        ("[edp]", {"[edp]": "x", "[EDP]": "x"}),
        ("[EDP ]", {"[EDP]": "x"}),
        ("[Bank]", {"[Bank]": "x"}),
        ("[FSP] and [insert name]", {"[FSP]": "x"}),
        ("[]", {}),
        ("[[EDP]]", {"[EDP]": "x"}),
        ("[EDP", {"[EDP]": "x"}),
        ("EDP]", {"[EDP]": "x"}),
        ("[CAP\nprocess]", {"[CAP process]": "x"}),
        ("[see [EDP]](https://a.example)", {"[EDP]": "x"}),
        ("[EDP](https://a.example)", {"[EDP]": "x"}),
        *(
            (PRIVACY, {PRIVACY: value})
            for value in [
                "our web site",
                "http://edp.example/privacy",
                "javascript:alert(1)",
                "https://",
                "https:///x",
                "https://user@edp.example/",
                "https://edp.example/a b",
                'https://edp.example/"x',
                "https://edp.example/<x>",
                "https://ехample.example/",
                "https://[edp.example/",
            ]
        ),
    ],
)
def test_fill_refuses_to_leave_a_placeholder(text, values):
    with pytest.raises(licenses.UnfilledPlaceholder):
        licenses.fill(text, values)


def test_a_token_before_a_bracket_is_filled_and_a_link_label_is_not():
    assert licenses.fill("[EDP](we) [policy](/p)", {"[EDP]": "x"}) == "x(we) [policy](/p)"


# Rendering


class Inspector(html.parser.HTMLParser):
    """The tags and text of a piece of HTML."""

    def __init__(self, markup: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        self.tags.append(("comment", {}))


def links(markup: str) -> list[str]:
    return [attributes["href"] for tag, attributes in Inspector(markup).tags if tag == "a"]


def test_render_makes_the_few_elements_that_texts_use():
    assert licenses.render(licenses.fill(BOTH_FUELS, VALUES)).split("\n") == [
        "<p>Carbon &amp; Co (“we”) would like to read what Meter Data Corp holds about you:</p>",
        "<ul><li>Your electricity and gas consumption (every half hour)</li>"
        "<li>Electricity and gas tariff data</li></ul>",
        "<p>We work out your greenhouse gas emissions:</p>",
        "<ul><li>month by month</li><li>for the last year, where there is one</li></ul>",
        "<p><em>If you have a smart meter:</em></p>",
        "<p>Meter Data Corp keeps to the industry&#x27;s rules ("
        '<a href="https://code.example/rules" rel="noopener noreferrer">https://code.example/rules</a>). '
        'Its privacy policy is here: <a href="https://edp.example/privacy" rel="noopener noreferrer">'
        "https://edp.example/privacy</a>.</p>",
        "<p>To stop, use the page My permissions.  See "
        '<a href="https://registry.example/policy/2026-03-12" rel="noopener noreferrer">our policy</a>.</p>',
        "<p>This ends after one year.</p>",
    ]


def test_line_endings_make_no_difference():
    filled = licenses.fill(BOTH_FUELS, VALUES)
    assert licenses.render(filled.replace("\n", "\r\n")) == licenses.render(filled)


@pytest.mark.parametrize(
    ("markdown", "targets"),
    [
        ("see https://a.example/b.", ["https://a.example/b"]),
        ("(https://a.example)", ["https://a.example"]),
        ("“https://a.example/?q=1&r=2”", ["https://a.example/?q=1&r=2"]),
        ("[x](https://a.example/b_c_d)", ["https://a.example/b_c_d"]),
        ("[x](http://a.example)", []),
        ("[x](javascript:alert(1))", []),
        ("[x](//a.example)", []),
        ("[x](https://a.example onclick=y)", ["https://a.example"]),
        ("http://a.example", []),
        ("https://", []),
        ("https\\://a.example", []),
        ("\\[x](https://a.example)", ["https://a.example"]),
    ],
)
def test_only_https_becomes_a_link(markdown, targets):
    assert links(licenses.render(markdown)) == targets


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><a href="https://evil.example">x</a>',
    "[click](https://evil.example)",
    "](https://evil.example)",
    "https://evil.example",
    "x\n\n* bullet\n\n_italic_",
    "* bullet",
    "_italic_",
    "\\",
    "\\[x](https://evil.example)",
    "\\\\[x](https://evil.example)",
    "{{7*7}}",
    "&lt;b&gt;",
    "[FSP]",
    "Acme (UK) Ltd",
    "Été & Söhne",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_name_is_always_plain_text(value):
    shown = Inspector(licenses.render(licenses.fill("[EDP]\n\nand [EDP], [EDP]", {"[EDP]": value})))
    expected = " ".join(value.split())
    assert shown.text.replace("\n", " ") == f"{expected} and {expected}, {expected}"
    assert {tag for tag, _ in shown.tags} == {"p"}


@given(st.text())
def test_any_name_is_plain_text_or_refused(value):
    try:
        filled = licenses.fill("Before [CAP process] after", {"[CAP process]": value})
    except licenses.UnfilledPlaceholder:
        return
    assert {tag for tag, _ in Inspector(licenses.render(filled)).tags} <= {"p", "a"}
    filled.encode()


@given(st.text(st.sampled_from("*_[]()\\<>&\"' \nahtps:/.-")))
def test_no_text_renders_as_anything_but_the_subset(text):
    for tag, attributes in Inspector(licenses.render(text)).tags:
        assert tag in {"p", "ul", "li", "em", "a"}
        assert set(attributes) <= {"href", "rel"}
        assert attributes.get("href", "https://").startswith("https://")


def test_characters_that_hide_or_reorder_are_taken_out_of_names():
    assert (
        licenses.fill("[EDP]", {"[EDP]": "Me\u202eter\u200b D\ud800ata\x00\x1b\t \u2028Corp\u2069"})
        == "Meter Data Corp"
    )


def test_the_privacy_policy_keeps_its_address():
    address = "https://edp.example/a_b_(c)?x=1&y=*2*#_z_"
    shown = Inspector(licenses.render(licenses.fill(PRIVACY, {PRIVACY: address})))
    assert shown.text == address
    assert [attributes["href"] for tag, attributes in shown.tags if tag == "a"] == [
        address.replace("(", "%28").replace(")", "%29")
    ]


def test_the_withdrawal_process_may_be_a_link():
    filled = licenses.fill("[CAP process]", {"[CAP process]": "https://cap.example/permissions"})
    assert links(licenses.render(filled)) == ["https://cap.example/permissions"]


# Digest and duration


def test_digest_is_over_the_raw_bytes():
    assert licenses.digest(b"a\r\n") == hashlib.sha256(b"a\r\n").hexdigest()
    assert licenses.digest("“we”") == hashlib.sha256("“we”".encode()).hexdigest()


@pytest.mark.parametrize(
    ("duration", "granted", "expires"),
    [
        ("1 year", "2026-03-12T09:30:00Z", "2027-03-12T09:30:00Z"),
        ("1 year", "2024-02-29T09:30:00Z", "2025-02-28T09:30:00Z"),
        ("2 years", "2026-03-12T09:30:00Z", "2028-03-12T09:30:00Z"),
        ("12 months", "2026-03-12T09:30:00Z", "2027-03-12T09:30:00Z"),
        ("1 month", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"),
        ("30 days", "2026-03-12T09:30:00Z", "2026-04-11T09:30:00Z"),
        ("1 day", "2026-03-12T09:30:00Z", "2026-03-13T09:30:00Z"),
    ],
)
def test_expiry(duration, granted, expires):
    assert instant.text(licenses.expiry(duration, instant.parse(granted))) == expires


@pytest.mark.parametrize(
    "duration", ["", "year", "1", "0 years", "-1 years", "1.5 years", "1  year", "1 week", "1 Year", "1 year\n", "P1Y"]
)
def test_expiry_refuses(duration):
    with pytest.raises(ValueError, match="duration"):
        licenses.expiry(duration, 0)


# Width

EDP_CAP = License(
    url=URL,
    label="energy-consumption-edp-cap",
    text_sha256=SHA,
    fuels=frozenset({ELECTRICITY, GAS}),
    duration="1 year",
    asked_by=roles.CAP,
)
OLDER = dataclasses.replace(EDP_CAP, label="energy-consumption-data", fuels=frozenset({ELECTRICITY}))
COMBINED = dataclasses.replace(EDP_CAP, label=licenses.COMBINED)
EMISSIONS = dataclasses.replace(EDP_CAP, label="emissions-cap-fsp", asked_by=roles.FSP)
UNKNOWN = dataclasses.replace(EDP_CAP, label="water-consumption")


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (EDP_CAP, EDP_CAP, True),
        (EDP_CAP, dataclasses.replace(EDP_CAP, url=URL + "-older"), True),
        (EDP_CAP, OLDER, True),
        (OLDER, EDP_CAP, False),
        (COMBINED, EDP_CAP, True),
        (COMBINED, OLDER, True),
        (EDP_CAP, COMBINED, False),
        (dataclasses.replace(COMBINED, fuels=OLDER.fuels), EDP_CAP, False),
        (COMBINED, EMISSIONS, False),
        (EMISSIONS, EDP_CAP, False),
        (UNKNOWN, EDP_CAP, False),
        (EDP_CAP, UNKNOWN, False),
        (UNKNOWN, UNKNOWN, True),
    ],
)
def test_which_license_takes_the_place_of_which(new, old, expected):
    assert licenses.at_least_as_wide(new, old) is expected


def test_every_label_with_a_known_role_has_known_transfers():
    for label in roles.asks_for:
        assert not licenses.at_least_as_wide(UNKNOWN, dataclasses.replace(EDP_CAP, label=label))


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


@pytest.mark.parametrize(
    "document",
    [
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
    ],
)
def test_from_rdf_reads_the_forms_in_use(document):
    assert licenses.from_rdf(json.loads(json.dumps(document)), URL) == EXPECTED


def test_the_label_is_the_title_where_there_is_no_comment():
    document = expanded()
    del document[RDFS + "comment"]
    assert licenses.from_rdf(document, URL).title == "energy-consumption-edp-cap"


def test_ends_are_instants_and_a_date_runs_to_its_end():
    found = licenses.from_rdf(
        expanded(
            deprecatedAfter=[{"@value": "2027-03-12", "@type": "http://www.w3.org/2001/XMLSchema#date"}],
            prohibitedAfter=[{"@value": "2028-03-12T12:00:00Z"}],
        ),
        URL,
    )
    assert found.deprecated_after == instant.parse("2027-03-13T00:00:00Z")
    assert found.prohibited_after == instant.parse("2028-03-12T12:00:00Z")


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
        {"@context": COMPACT["@context"], "@graph": [COMPACT, COMPACT]},
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
    with pytest.raises(licenses.MalformedLicense):
        licenses.from_rdf(document, URL)


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
        licenses.from_rdf({**COMPACT, **changes}, URL)
    except licenses.MalformedLicense:
        return


@pytest.mark.parametrize(
    "piece", ["electricity and ", "gas data ", "consumption of ", "gas , ", "[", "\\", "_a", "* a\n"]
)
def test_a_long_text_costs_little(piece):
    text = piece * (100_000 // len(piece))
    started = time.perf_counter()
    licenses.names_fuel(text, GAS)
    licenses.render(text)
    assert time.perf_counter() - started < 2

import html.parser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_server.scheme import permission_text
from consent_server.scheme.licenses import ELECTRICITY, GAS

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
    assert {fuel for fuel in (ELECTRICITY, GAS) if permission_text.names_fuel(text, fuel)} == fuels


def test_a_text_names_no_other_fuel():
    assert not permission_text.names_fuel(BOTH_FUELS, "oil")


# Filling


def test_fill_puts_every_value_in():
    filled = permission_text.fill(BOTH_FUELS, VALUES)
    assert filled.startswith("Carbon & Co (“we”) would like to read what Meter Data Corp holds")
    assert "[https\\://edp.example/privacy](https://edp.example/privacy)." in filled
    assert "use the page My permissions.  See [our policy](https://registry.example/policy/2026-03-12)." in filled
    untouched = permission_text.fill("Nothing *to* fill_in; [a link](https://a.example/b_c)\r\n", {})
    assert untouched == "Nothing *to* fill_in; [a link](https://a.example/b_c)\r\n"


def test_older_placeholders_are_known():
    values = {"[Carbon accounting provider]": "Carbon & Co", "[insert source of data]": "Meter Data Corp"}
    assert "[" not in permission_text.fill(ELECTRICITY_ONLY, values)


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
    with pytest.raises(permission_text.UnfilledPlaceholder):
        permission_text.fill(text, values)


def test_a_token_before_a_bracket_is_filled_and_a_link_label_is_not():
    assert permission_text.fill("[EDP](we) [policy](/p)", {"[EDP]": "x"}) == "x(we) [policy](/p)"


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
    assert permission_text.render(permission_text.fill(BOTH_FUELS, VALUES)).split("\n") == [
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
    filled = permission_text.fill(BOTH_FUELS, VALUES)
    assert permission_text.render(filled.replace("\n", "\r\n")) == permission_text.render(filled)


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
    assert links(permission_text.render(markdown)) == targets


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
    shown = Inspector(permission_text.render(permission_text.fill("[EDP]\n\nand [EDP], [EDP]", {"[EDP]": value})))
    expected = " ".join(value.split())
    assert shown.text.replace("\n", " ") == f"{expected} and {expected}, {expected}"
    assert {tag for tag, _ in shown.tags} == {"p"}


@given(st.text())
def test_any_name_is_plain_text_or_refused(value):
    try:
        filled = permission_text.fill("Before [CAP process] after", {"[CAP process]": value})
    except permission_text.UnfilledPlaceholder:
        return
    assert {tag for tag, _ in Inspector(permission_text.render(filled)).tags} <= {"p", "a"}
    filled.encode()


@given(st.text(st.sampled_from("*_[]()\\<>&\"' \nahtps:/.-")))
def test_no_text_renders_as_anything_but_the_subset(text):
    for tag, attributes in Inspector(permission_text.render(text)).tags:
        assert tag in {"p", "ul", "li", "em", "a"}
        assert set(attributes) <= {"href", "rel"}
        assert attributes.get("href", "https://").startswith("https://")


def test_characters_that_hide_or_reorder_are_taken_out_of_names():
    assert (
        permission_text.fill("[EDP]", {"[EDP]": "Me\u202eter\u200b D\ud800ata\x00\x1b\t \u2028Corp\u2069"})
        == "Meter Data Corp"
    )


def test_the_privacy_policy_keeps_its_address():
    address = "https://edp.example/a_b_(c)?x=1&y=*2*#_z_"
    shown = Inspector(permission_text.render(permission_text.fill(PRIVACY, {PRIVACY: address})))
    assert shown.text == address
    assert [attributes["href"] for tag, attributes in shown.tags if tag == "a"] == [
        address.replace("(", "%28").replace(")", "%29")
    ]


def test_the_withdrawal_process_may_be_a_link():
    filled = permission_text.fill("[CAP process]", {"[CAP process]": "https://cap.example/permissions"})
    assert links(permission_text.render(filled)) == ["https://cap.example/permissions"]


@pytest.mark.parametrize(
    "piece", ["electricity and ", "gas data ", "consumption of ", "gas , ", "[", "\\", "_a", "* a\n"]
)
def test_a_long_text_costs_little(piece):
    """Work that grew with the square of the length would take minutes."""
    text = piece * (1_000_000 // len(piece))
    permission_text.names_fuel(text, GAS)
    permission_text.render(text)

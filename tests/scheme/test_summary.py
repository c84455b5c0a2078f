"""What is asked in short says what the license says, for each license of the sandbox's Registry, and nothing else."""

import json
from typing import Any

import pytest

from consent_server.sandbox import registry
from consent_server.sandbox.layout import LICENSES
from consent_server.scheme import changes, instant, permission_text
from consent_server.scheme.changes import Terms
from consent_server.scheme.permission_text import ShownText
from consent_server.scheme.registry_document import from_rdf
from consent_server.scheme.summary import Summary, summary
from tests.deployments import layout

AT = instant.parse("2026-03-12T09:30:00Z")
NAMES = {"EDP": "Hartlebury", "CAP": "Tallyleaf", "FSP": "Wharfside Bank"}
VALUES = {
    **{f"[{role}]": name for role, name in NAMES.items()},
    "[EDP privacy policy link]": "https://edp.example/privacy",
    "[CAP process]": "asking Tallyleaf",
    "[Carbon accounting provider]": "Tallyleaf",
    "[insert source of data]": "Hartlebury",
}
BOTH = ("electricity", "gas")
#: License -> who asks, gives and else receives; readings, fuels, tariffs, half-hourly; and what ends it beside time.
SAYS: dict[str, tuple[Any, ...]] = {
    "electricity": ("Tallyleaf", "Hartlebury", None, True, BOTH[:1], BOTH[:1], True, True, False),
    "electricity_and_gas": ("Tallyleaf", "Hartlebury", None, True, BOTH, BOTH, True, False, True),
    "one_permission": ("Tallyleaf", "Hartlebury", "Wharfside Bank", True, BOTH, BOTH, True, False, True),
    "emissions": ("Wharfside Bank", "Tallyleaf", None, False, BOTH, (), False, False, True),
}


def from_the_registry(name: str, raw: str | None = None) -> ShownText:
    published = from_rdf(json.dumps(registry.license_document(layout(), name)).encode(), layout().license(name))
    raw = raw or registry.permission_text(layout(), name).decode()
    text = permission_text.fill(raw, VALUES)
    fuels = frozenset(fuel for fuel in BOTH if permission_text.names_fuel(raw, fuel))
    return ShownText(
        html=permission_text.render(text),
        text=text,
        shown_sha256="",
        raw_sha256="",
        names=NAMES,
        fuels=fuels,
        title=published.title,
        duration=published.duration,
        label=LICENSES[name][0],
        uses=published.uses,
        named=permission_text.named(raw),
        ending=permission_text.on_ending(text),
        withdrawal=permission_text.on_withdrawal(text),
    )


def told(found: Summary) -> tuple[Any, ...]:
    bank = found.bank.name if found.bank else None
    data = (found.readings, found.fuels, found.tariffs, found.half_hourly)
    return found.asks.name, found.gives.name, bank, *data, bool(found.ending), bool(found.withdrawal)


@pytest.mark.parametrize("name", LICENSES)
def test_the_summary_says_what_the_license_says(name: str) -> None:
    text, document = from_the_registry(name), registry.license_document(layout(), name)
    found = summary(text, AT)
    assert told(found) == SAYS[name]
    assert list(found.uses) == sorted(document["ib1:permittedUse"])
    assert (found.duration, instant.text(found.until)) == (document["ib1:licenseDuration"], "2027-03-12T09:30:00Z")
    words = " ".join(text.text.split())
    for sentence in (found.ending, found.withdrawal):
        assert sentence in words
    assert (found.export, found.months_back) == (False, None), "no text of the sandbox says a word of either"


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (("* the tariffs that we pay for electricity and for gas\n", ""), {"tariffs": ()}),
        (("tariffs that we pay for electricity and for gas", "tariff that we pay for gas"), {"tariffs": ("gas",)}),
        (("* the tariffs that we pay", "* not the tariffs that we pay"), {"tariffs": ()}),
        (("half-hourly meter readings", "meter readings"), {"half_hourly": False}),
        (("* our gas consumption", "* what we export to the grid\n* our gas consumption"), {"export": True}),
        (("* our gas consumption", "* nothing that we export\n* our gas consumption"), {"export": True}),
        (("* our gas consumption", "* no electricity that we export\n* our gas consumption"), {}),
        (("of the preceding", ""), {}),
        (("half-hourly meter readings", "half-hourly readings of the preceding 12 months"), {"months_back": 12}),
        (("half-hourly meter readings", "half-hourly readings of the last two years"), {"months_back": 24}),
        (("half-hourly meter readings", "half-hourly readings of the past month"), {"months_back": 1}),
        (("stops using the data", "goes on with the data"), {}),
        (("stops using the data and deletes", "goes on with the data and keeps"), {"withdrawal": ""}),
        (("lasts one year from today", "ends as soon as we move out"), {"ending": "This permission ends as soon as"}),
    ],
)  # fmt: skip
def test_a_text_that_says_something_else_has_another_summary(change: tuple[str, str], differs: dict[str, Any]) -> None:
    raw = registry.permission_text(layout(), "electricity_and_gas").decode()
    assert change[0] in raw or not differs
    was, found = (
        summary(from_the_registry("electricity_and_gas"), AT),
        summary(from_the_registry("electricity_and_gas", raw.replace(*change)), AT),
    )
    for name, value in differs.items():
        given = getattr(found, name)
        assert given == value or (value and isinstance(given, str) and given.startswith(value))
    changed = {name for name in vars(was) if getattr(was, name) != getattr(found, name)}
    assert changed <= {*differs, "withdrawal"}


def test_names_that_are_filled_in_add_nothing() -> None:
    raw = "[CAP] may fetch our electricity consumption.\n\nWe may withdraw. Then [CAP] stops.\n"
    name = "Gas Tariffs by half-hour. All export of the last 2 years. It deletes nothing, Ltd"
    found = permission_text.on_withdrawal(raw)
    assert permission_text.named(raw) == permission_text.Named()
    assert permission_text.without_markup(permission_text.fill(found, {"[CAP]": name})) == f"Then {name} stops."


METERS = tuple(
    {"id": each, "fuel": "electricity", "measures": ["import"], "outcode": "S3", "masked": each} for each in "abc"
)


@pytest.mark.parametrize(
    ("old", "new", "differs"),
    [
        ((BOTH, 1, METERS), (BOTH, 2, METERS), {"renewal": True}),
        ((BOTH[:1], 1), (BOTH, 2), {"new_fuels": ("gas",)}),
        ((BOTH, 1), (BOTH[:1], 2), {"left_fuels": ("gas",)}),
        ((BOTH, 1, METERS[:2]), (BOTH, 2, METERS[1:]), {"new_meters": METERS[2:], "left_meters": METERS[:1]}),
        ((BOTH, 1, METERS), (BOTH, 2), {"renewal": True}),
        ((BOTH, 1, METERS), (BOTH, 2, METERS, True), {"new_bank": True}),
        ((BOTH, 1, METERS, True), (BOTH, 2, METERS, True), {"renewal": True}),
    ],
)  # fmt: skip
def test_the_differences_of_two_permissions(old: Any, new: Any, differs: dict[str, Any]) -> None:
    found = changes.change(Terms(*old), Terms(*new))
    assert (found.ends, found.until, found.renewal) == (1, 2, differs.pop("renewal", False))
    usual = {"new_fuels": (), "left_fuels": (), "new_meters": (), "left_meters": (), "new_bank": False}
    assert {name: getattr(found, name) for name in usual} == usual | differs

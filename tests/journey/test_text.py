"""A permission text is shown as the Registry publishes it, with the Directory's names in it, or not at all."""

import hashlib
import html
import re
from typing import Any
from unittest.mock import ANY

import orjson
import pytest
from flask import Flask, render_template_string

from consent_server import deployment as deployments
from consent_server.journey import text as permission_texts
from consent_server.journey.text import LicenseProhibited, TextNotShowable, _warn_of_deprecation
from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.directory import Member
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.registry import Registry
from consent_server.outbound.session import Response
from consent_server.refusal import Unavailable
from consent_server.sandbox.layout import LICENSES
from consent_server.scheme import instant
from consent_server.scheme.permission_text import ShownText
from consent_server.scheme.summary import summary
from tests.deployments import START, deploy, settings_of
from tests.scheme.test_summary import from_the_registry

REGISTRY, DIRECTORY = "https://registry.example", "https://directory.example"
LICENSE, TEXT_URL = f"{REGISTRY}/license/one", f"{REGISTRY}/text/one"
EDP, CAP, FSP = (f"{DIRECTORY}/m/{name}" for name in ("edp", "cap", "fsp"))
TEXT = (
    "We allow [CAP] to fetch our electricity and gas consumption from [EDP], and to tell [FSP].\n\n"
    "* [EDP] has a privacy policy: [EDP privacy policy link]\n\n"
    "We may withdraw by [CAP process].\n"
)
BOTH = ("electricity", "gas")
TODAY = "2026-03-12"


class World:
    """The Registry's server and the Directory, as far as a text needs them. A test changes what they say."""

    def __init__(self) -> None:
        self.text = TEXT
        self.pinned: str | None = None  # the digest in the settings, that of the text unless a test says otherwise
        self.published: dict[str, Any] = {}
        self.down: set[str] = set()
        self.process = ""
        self.collects = False
        self.members = {
            EDP: Member(EDP, "Meter Data Corp Limited", "Meter Data", (), "https://edp.example/privacy", True),
            CAP: Member(CAP, "Carbon Accounting R Us Limited", None, (), None, True),
            FSP: Member(FSP, "Green Bank plc", "Green Bank", (), None, True),
        }

    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def get(self, url: str, **_: Any) -> Response:
        if "registry" in self.down:
            raise Unreachable("connect", "registry.example")
        if url == TEXT_URL:
            return Response(200, {}, "registry.example", self.text.encode())
        assert url == LICENSE
        document = {
            "@context": {
                "ib1": "https://registry.trust.ib1.org/ns/1.0#",
                "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
            },
            "@id": LICENSE,
            "@type": "ib1:License",
            "rdfs:label": "The license",
            "ib1:licenseDuration": "1 year",
            "ib1:permissionText": {"@id": f"{TEXT_URL}#{self.pinned or self.digest()}"},
            **self.published,
        }
        return Response(200, {}, "registry.example", orjson.dumps(document))

    def member(self, url: str) -> Member:
        if url not in self.members or "directory" in self.down:
            raise Unreachable("connect", "directory.example")
        return self.members[url]

    def app(self) -> Flask:
        """A party with the settings of this moment, and nothing fetched yet."""
        license_ = {"url": LICENSE, "label": "one", "text_sha256": self.pinned or self.digest(), "fuels": BOTH}
        other = {**license_, "url": f"{REGISTRY}/license/one-more"}
        asked, accepted = (license_, other) if self.collects else (other, license_)
        changes = {
            "scheme.registry": REGISTRY,
            "scheme.licenses": [accepted],
            "collection.license": asked,
            "collection.combined_license": None,
            "member.withdrawal_process": self.process,
        }
        deployment = deploy(settings_of("cap", "sqlite://", changes))
        played: Any = self
        deployment.registry = Registry(deployment.settings, played, MemoryCache())
        deployment.directory = played
        app = Flask("texts")
        deployments.install(app, deployment)
        return app

    def shown(self, license_url: str = LICENSE, **parties: Any) -> ShownText:
        with self.app().app_context():
            return permission_texts.shown(license_url, **{"edps": [EDP], "cap": CAP, **parties})


@pytest.fixture
def world(held_clock: Any) -> World:
    return World()


def test_the_text_with_its_names(world: World) -> None:
    shown = world.shown(fsp=FSP)
    assert shown.text.startswith(
        "We allow Carbon Accounting R Us Limited to fetch our electricity and gas consumption from Meter Data, "
        "and to tell Green Bank."
    )
    assert '<a href="https://edp.example/privacy" rel="noopener noreferrer">' in shown.html
    assert shown.names == {"EDP": "Meter Data", "CAP": "Carbon Accounting R Us Limited", "FSP": "Green Bank"}
    assert shown.raw_sha256 == world.digest()
    assert shown.shown_sha256 == hashlib.sha256(shown.text.encode()).hexdigest()
    assert (shown.fuels, shown.title, shown.duration) == (frozenset(BOTH), "The license", "1 year")


def test_a_text_that_the_portal_asks_for(world: World) -> None:
    world.collects = True
    assert "Meter Data" in world.shown().text


def test_an_fsp_that_nobody_named_is_the_one_that_the_sme_chose(world: World) -> None:
    shown = world.shown()
    assert "to tell the financial service provider that you chose at Carbon Accounting R Us Limited." in shown.text
    assert "FSP" not in shown.names


@pytest.mark.parametrize(
    ("process", "words"),
    [
        ("", "We may withdraw by asking Carbon Accounting R Us Limited, or by withdrawing here."),
        ("writing to us", "We may withdraw by writing to us."),
        (
            "https://cap.example/permissions",
            "We may withdraw by [https\\://cap.example/permissions](https://cap.example/permissions).",
        ),
    ],
    ids=["of-others", "in-words", "a-link"],
)
def test_how_to_withdraw(world: World, process: str, words: str) -> None:
    world.process = process
    assert words in world.shown().text


@pytest.mark.parametrize(
    ("count", "words"), [(2, "from Meter Data and Provider 1,"), (3, "from Meter Data and Provider 1 and Provider 2,")]
)
def test_several_edps_are_all_named(world: World, count: int, words: str) -> None:
    edps = [EDP]
    for number in range(1, count):
        edps.append(f"{DIRECTORY}/m/provider-{number}")
        world.members[edps[-1]] = Member(
            edps[-1], f"Provider {number}", None, (), world.members[EDP].privacy_policy, True
        )
    assert words in world.shown(edps=edps).text


def test_a_name_is_never_markup(world: World) -> None:
    name = "[Evil](https://evil.example) *Ltd* <script>"
    world.members[CAP] = Member(CAP, name, None, (), None, True)
    html = world.shown().html
    assert "<script>" not in html
    assert "evil.example" not in [part.partition('"')[0] for part in html.split('href="')[1:]]
    assert html.count("<a ") == 1, "the privacy policy alone"


def test_a_changed_text_shows_another_digest(world: World) -> None:
    first = world.shown(fsp=FSP)
    world.members[FSP] = Member(FSP, "Grey Bank plc", None, (), None, True)
    second = world.shown(fsp=FSP)
    assert first.raw_sha256 == second.raw_sha256
    assert first.shown_sha256 != second.shown_sha256


def _text(text: str) -> Any:
    return lambda world: setattr(world, "text", text)


def _two_policies(world: World) -> None:
    world.members[CAP] = Member(CAP, "Other", None, (), "https://other.example/privacy", True)


def _no_policy(world: World) -> None:
    world.members[EDP] = Member(EDP, "Meter Data", None, (), None, True)


@pytest.mark.parametrize(
    ("reason", "change", "parties"),
    [
        pytest.param(
            "TextChanged: one",
            lambda world: (setattr(world, "pinned", world.digest()), setattr(world, "text", TEXT + " More.")),
            {},
            id="E07-text-changed",
        ),
        pytest.param(
            "TextChanged: one",
            lambda world: world.published.update({"ib1:permissionText": {"@id": f"{TEXT_URL}#{'0' * 64}"}}),
            {},
            id="registry-pins-another",
        ),
        pytest.param(
            "FuelNotNamed: one: gas",
            _text("[CAP] may read our electricity consumption and our greenhouse gas emissions."),
            {},
            id="gas-not-named",
        ),
        pytest.param(
            "FuelNotNamed: one: electricity", _text("[CAP] may read our gas consumption."), {}, id="electricity-unnamed"
        ),
        pytest.param(
            "TextChanged: one: duration",
            lambda world: world.published.update({"ib1:licenseDuration": "2 years"}),
            {},
            id="another-duration",
        ),
        pytest.param(
            "UnfilledPlaceholder: unknown placeholder [BANK]",
            lambda world: setattr(world, "text", TEXT + " [BANK]"),
            {},
            id="E07-unknown-placeholder",
        ),
        pytest.param("UnfilledPlaceholder: [EDP]", lambda world: None, {"edps": []}, id="no-edp"),
        pytest.param("UnfilledPlaceholder: [EDP privacy", _no_policy, {}, id="E07-no-privacy-policy"),
        pytest.param("UnfilledPlaceholder: [EDP privacy", _two_policies, {"edps": [EDP, CAP]}, id="two-policies"),
        pytest.param(
            "KeyError", lambda world: None, {"license_url": f"{REGISTRY}/license/other"}, id="another-license"
        ),
    ],
)
def test_a_text_that_is_not_to_be_shown(world: World, reason: str, change: Any, parties: dict[str, Any]) -> None:
    change(world)
    with pytest.raises(TextNotShowable) as caught:
        world.shown(**parties)
    assert caught.value.private.startswith(reason)
    assert caught.value.status == 503


@pytest.mark.parametrize(
    ("after", "shown"),
    [("2026-03-11", False), (TODAY, True), ("2026-03-12T09:30:00Z", False), ("2026-03-12T09:30:01Z", True)],
)
def test_a_license_is_prohibited_after_the_end_that_the_registry_sets(world: World, after: str, shown: bool) -> None:
    world.published["ib1:prohibitedAfter"] = after
    if shown:
        assert world.shown().text
        return
    with pytest.raises(LicenseProhibited):
        world.shown()


def test_a_deprecated_license_is_still_shown_and_the_log_says_so(world: World, caplog: Any) -> None:
    world.published["ib1:deprecatedAfter"] = "2026-01-01"
    _warn_of_deprecation.cache_clear()
    assert world.shown().text
    assert world.shown().text
    assert [each.message for each in caplog.records if "is deprecated by the Registry" in each.message] == [ANY]


@pytest.mark.parametrize(
    ("down", "parties"),
    [("registry", {}), ("directory", {}), ("", {"cap": f"{DIRECTORY}/m/unknown"})],
    ids=["registry", "directory", "member"],
)
def test_what_cannot_be_had_just_now_is_said_so(world: World, down: str, parties: dict[str, Any]) -> None:
    world.down.add(down)
    with pytest.raises(Unavailable):
        world.shown(**parties)


def test_what_was_once_verified_stays_while_the_registry_is_down(world: World, held_clock: Any) -> None:
    with world.app().app_context():
        before = permission_texts.shown(LICENSE, edps=[EDP], cap=CAP)
        world.down.add("registry")
        held_clock.step(instant.DAY * 30)
        assert permission_texts.shown(LICENSE, edps=[EDP], cap=CAP) == before


def test_what_is_asked_in_short_is_the_same_at_both_parties(edp: Any, cap: Any) -> None:
    """And it has every fact of the license in words, for each license of the sandbox's Registry."""
    for name in LICENSES:
        same_at_both(edp, cap, name)


def same_at_both(edp: Any, cap: Any, name: str) -> None:
    short = summary(from_the_registry(name), START)
    source = "{% import 'components/summary.html' as s with context %}{{ s.facts(short, 'Acme') }}"
    pages_ = []
    for world in (edp, cap):
        with world.app.test_request_context():
            pages_.append(render_template_string(source, short=short))
    assert pages_[0] == pages_[1]
    words = html.unescape(re.sub(r"<[^>]*>", "", pages_[0]))
    parties = [each.name for each in (short.asks, short.gives, short.bank) if each]
    told = [*parties, *short.fuels, *short.uses, "12 March 2027", "1 year", short.ending, short.withdrawal]
    assert not [each for each in told if each not in words]
    assert ("Tariffs" in words, "export" in words, "gets the emissions" in words) == (
        bool(short.tariffs),
        short.export,
        short.bank is not None,
    )

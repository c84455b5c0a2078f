"""A license and its text, held to what was pinned (brief 4.1)."""

import hashlib

import pytest

from consent_server.outbound.registry import FuelNotNamed, Registry, RegistryUnreachable, TextChanged
from consent_server.settings.scheme import LicenseSettings

TEXT = "I give [CAP] permission to read my half-hourly electricity and gas consumption data. “We” means [EDP].\n"
SHA = hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.fixture
def publish(settings, trust, wire):
    """publish(text=…, fragment=…, text_url=…): put a license and its text on the Registry's server."""

    def put(text: str = TEXT, fragment: str = SHA, text_url: str | None = None) -> None:
        url = settings.scheme.licenses[0].url
        at = text_url or f"{settings.scheme.registry}/license/both.txt"
        trust.routes["/license/both"] = wire.json(
            {
                "@context": {
                    "ib1": "https://registry.trust.ib1.org/ns/1.0#",
                    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
                },
                "@id": url,
                "@type": "ib1:License",
                "rdfs:label": "Both fuels",
                "ib1:licenseTerms": {"@id": f"{settings.scheme.registry}/terms"},
                "ib1:licenseDuration": "1 year",
                "ib1:permissionText": {"@id": f"{at}#{fragment}"},
            },
            cache_control="max-age=60",
        )
        trust.routes["/license/both.txt"] = wire.answer(200, text.encode(), {"Cache-Control": "max-age=60"})

    return put


@pytest.fixture
def pinned(settings) -> LicenseSettings:
    return settings.scheme.licenses[0].model_copy(update={"text_sha256": SHA})


@pytest.fixture
def registry(settings, session_of, cache, held_clock):
    return Registry(settings, session_of(settings), cache)


def test_a_license_and_its_text(registry, publish, pinned, trust):
    publish()
    found = registry.license(pinned)
    assert (found.text, found.license.url, found.license.text_sha256) == (TEXT, pinned.url, SHA)
    assert trust.asked[0].headers["accept"] == "application/ld+json, text/turtle;q=0.9"
    registry.license(pinned)
    assert len(trust.asked) == 2


def test_a_text_that_was_changed_under_the_same_url(registry, publish, pinned):
    publish(text=TEXT + " ")
    with pytest.raises(TextChanged):
        registry.license(pinned)


def test_a_text_that_was_changed_with_its_digest(registry, publish, pinned):
    other = TEXT.replace("electricity and gas", "electricity")
    publish(text=other, fragment=hashlib.sha256(other.encode()).hexdigest())
    with pytest.raises(TextChanged):
        registry.license(pinned)


def test_a_text_that_does_not_name_the_fuel(registry, publish, pinned):
    other = "I give [CAP] my half-hourly electricity consumption data, to estimate greenhouse gas emissions.\n"
    sha = hashlib.sha256(other.encode()).hexdigest()
    publish(text=other, fragment=sha)
    with pytest.raises(FuelNotNamed, match="gas"):
        registry.license(pinned.model_copy(update={"text_sha256": sha}))
    only = pinned.model_copy(update={"text_sha256": sha, "fuels": ("electricity",)})
    assert registry.license(only).text == other


def test_an_outage_after_a_first_fetch_changes_nothing(registry, publish, pinned, trust, wire, held_clock):
    publish()
    registry.license(pinned)
    trust.routes.clear()
    trust.routes["*"] = wire.answer(503)
    held_clock.step(390 * 86400)
    assert registry.license(pinned).text == TEXT


@pytest.mark.parametrize("path", ["/license/both", "/license/both.txt"])
def test_never_fetched(registry, publish, pinned, trust, wire, path):
    publish()
    trust.routes[path] = wire.answer(503)
    with pytest.raises(RegistryUnreachable):
        registry.license(pinned)


def test_a_text_elsewhere_is_not_fetched(registry, publish, pinned, trust):
    publish(text_url="https://member.example/license/both.txt")
    with pytest.raises(RegistryUnreachable):
        registry.license(pinned)
    assert len(trust.asked) == 1


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"<x/>", b'{"@context":"https://evil.example/context"}', bytes(2_000_000)]
)
def test_a_document_that_is_no_license(registry, pinned, trust, wire, body):
    """F03: nothing but JSON is parsed, and no context is fetched."""
    trust.routes["/license/both"] = wire.answer(200, body)
    with pytest.raises(RegistryUnreachable):
        registry.license(pinned)

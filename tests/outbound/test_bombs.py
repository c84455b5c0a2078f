"""F03: a document from outside that expands without end, or refers to more documents, at each reader of such a document."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from consent_server.outbound import fields
from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.data import ConsumptionData
from consent_server.outbound.directory import Directory
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.intensity import GridDay, Intensity
from consent_server.outbound.jwks import RemoteKeys
from consent_server.outbound.registry import Registry
from consent_server.outbound.revocation_list import RevocationLists
from consent_server.outbound.session import MIB, Limits
from consent_server.outbound.status_list import StatusListPoller
from consent_server.outbound.upstream import Metadata, Upstream
from consent_server.pki.crl import NotTrusted
from consent_server.scheme import instant
from consent_server.scheme.registry_document import MalformedLicense, from_rdf

MARCH = instant.parse("2026-03-01T00:00:00Z")
ENTITIES = """<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">&c;</rdf:RDF>"""
EXTERNAL = """<?xml version="1.0"?><!DOCTYPE r SYSTEM "{evil}/external.dtd"><r/>"""
LONG = "x" * 900_000

BOMBS: dict[str, tuple[str, str]] = {
    "lists without end": ("application/json", "[" * 500_000),
    "objects in objects": ("application/json", '{"a":' * 150_000),
    "closed lists": ("application/json", "[" * 100_000 + "]" * 100_000),
    "a long number": ("application/json", "9" * 1_000_000),
    "a large number": ("application/json", '{"issuer":1e999,"data":[1e999]}'),
    "many members": ("application/json", json.dumps({f"member {number}": 0 for number in range(20_000)})),
    "many lists": ("application/json", json.dumps({"data": [[]] * 80_000, "keys": [[]] * 20_000})),
    "long text": (
        "application/json",
        json.dumps({"id": LONG[:300_000], "legalName": LONG[:300_000], "issuer": LONG[:300_000]}),
    ),
    "a context elsewhere": ("application/ld+json", '{"@context":"{evil}/context","@id":"{url}","@type":"ib1:License"}'),
    "contexts elsewhere": (
        "application/ld+json",
        '{"@context":[{"@import":"{evil}/c"},"{evil}/context"],"@id":"{url}"}',
    ),
    "entities in entities": ("application/rdf+xml", ENTITIES),
    "an external DTD": ("application/rdf+xml", EXTERNAL),
    "Turtle": ("text/turtle", "<https://a/b> <https://a/c> <https://a/d> .\n" * 20),
}


class NoDays:
    def get(self, *span: int) -> list[GridDay]:
        return []

    def put(self, days: Sequence[GridDay]) -> None: ...


class Outside:
    """Everybody's server, which answers everything with one document; and the readers of each document."""

    def __init__(self, settings: Any, session: Any, url: str) -> None:
        self.settings, self.session, self.url = settings, session, url
        cache = MemoryCache()
        self.directory = Directory(settings, session, cache)
        session.allow_hosts(lambda: frozenset({"member.example", "directory.example", "registry.example"}))
        self.upstream = Upstream(settings.member.application, session, cache)
        self.registry = Registry(settings, session, cache)
        self.data = ConsumptionData(session, url)
        self.intensity = Intensity(settings, session, cache, NoDays(), pause_s=0, retry_s=0)
        endpoints = dict.fromkeys(Metadata.__dataclass_fields__, url)
        self.metadata = Metadata(**{**endpoints, "issuer": url})

    def readers(self) -> dict[str, Callable[[], object]]:
        directory = self.settings.scheme.directory
        return {
            "member": lambda: self.directory.member(f"{directory}/m/abc"),
            "application": lambda: self.directory.application(f"{directory}/a/abc"),
            "allowlist": lambda: Directory(self.settings, self.session, MemoryCache()).server_allowlist(),
            "license": lambda: self.registry.license(self.settings.scheme.licenses[0]),
            "metadata": lambda: self.upstream.metadata(self.url),
            "tokens": lambda: self.upstream.refresh(self.metadata, "https://a/license", "refresh"),
            "permission record": lambda: self.upstream.permission_record(self.metadata, "refresh"),
            "data sources": lambda: self.data.datasources("token"),
            "readings": lambda: list(self.data.readings("token", "meter", "import", MARCH, MARCH + 86400)),
            "intensity": lambda: self.intensity.fetch(13, MARCH, MARCH + 86400),
            "keys": lambda: RemoteKeys(self.session, f"{self.url}/jwks")._load(),
            "status list": lambda: StatusListPoller(self.session, f"{self.url}/list", None)._load(),  # type: ignore[arg-type]
            "revocation list": lambda: RevocationLists(self.settings, self.session, MemoryCache()).refresh(),
        }


def sections(trust: Any, authority: Any, wire: Any) -> dict[str, dict[str, object]]:
    return {
        "clients": {"issuers": authority.client_issuer},
        "revocation_list": {"source": trust.url("/crl", wire.directory)},
        "collection": {"intensity": trust.url("/intensity")},
    }


REFUSALS = (Unreachable, NotTrusted, ValueError)  # a poller takes each of them for a failed attempt


@pytest.fixture
def outside(settings_of: Any, session_of: Any, trust: Any, authority: Any, wire: Any) -> Any:
    settings = settings_of(trust.port, **sections(trust, authority, wire))
    trust.routes.clear()
    session = session_of(settings, allowed=[wire.member], limits=Limits(20, 20, 20, MIB))
    return Outside(settings, session, trust.url())


@pytest.mark.parametrize("bomb", BOMBS)
def test_F03_a_bomb_is_refused_by_every_reader_and_nothing_else_is_fetched(
    outside: Outside, trust: Any, serve: Any, wire: Any, bomb: str
) -> None:
    evil = serve()
    kind, text = BOMBS[bomb]
    body = text.replace("{evil}", evil.url()).replace("{url}", outside.settings.scheme.licenses[0].url).encode()
    trust.routes["*"] = wire.answer(200, body, {"Content-Type": kind})
    for name, read in outside.readers().items():
        asked = len(trust.asked)
        try:
            found = read()
        except REFUSALS:
            pass
        else:
            # An object of lists is a JSON document as well: what can be passed over is, and nothing of it is taken.
            assert not found, f"{name} took {str(found)[:100]}"
        assert asked < len(trust.asked) <= asked + 4, name
    assert evil.asked == []


def test_F03_a_hundred_megabytes_of_turtle_are_not_waited_for(outside: Outside, trust: Any, wire: Any) -> None:
    sent: list[int] = []
    done = threading.Event()

    def turtle(wfile: Any) -> None:
        line = b"<https://a/b> <https://a/c> <https://a/d> .\n" * 1000
        wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/turtle\r\nContent-Length: 100000000\r\n\r\n")
        try:
            for _ in range(100_000_000 // len(line)):
                wfile.write(line)
                sent.append(len(line))
        except OSError:
            pass
        finally:
            done.set()

    trust.routes["*"] = wire.answer(raw=turtle)
    with pytest.raises(Unreachable) as refused:
        outside.registry.license(outside.settings.scheme.licenses[0])
    assert refused.value.kind == "too_large"
    assert done.wait(60)
    assert sum(sent) < 20_000_000, "what the socket's buffers took"


def test_F03_a_context_cannot_multiply_a_document() -> None:
    """50,000 terms of a prefix that stands for half a megabyte would be 25 GB."""
    document = {"@context": {"p": "https://" + "x" * 500_000}, "@id": "https://a/b", "@type": "ib1:License"}
    document |= {f"p:{number}": "" for number in range(50_000)}
    with pytest.raises(MalformedLicense, match="too long"):
        from_rdf(json.dumps(document).encode(), "https://a/b")


def test_F03_a_long_name_is_not_looked_at() -> None:
    with pytest.raises(ValueError, match="too long"):
        fields.text({"legalName": LONG}, "legalName")


@pytest.mark.long
def test_F04_no_reader_waits_for_an_endless_drip(
    settings_of: Any, session_of: Any, trust: Any, authority: Any, wire: Any
) -> None:
    ended = threading.Event()

    def drip(wfile: Any) -> None:
        wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(600):
                wfile.write(b" ")
                time.sleep(0.1)
            ended.set()

    settings = settings_of(trust.port, **sections(trust, authority, wire))
    trust.routes = {"*": wire.answer(raw=drip)}
    session = session_of(settings, allowed=[wire.member], limits=Limits(1.0, 0.5, 1.0, MIB))
    for name, read in Outside(settings, session, trust.url()).readers().items():
        with pytest.raises(Unreachable) as refused:
            read()
        assert refused.value.kind in ("time", "connection"), name
        assert not ended.is_set(), f"{name} waited for all of it: a minute"

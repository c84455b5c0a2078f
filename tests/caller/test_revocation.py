"""H18: a revocation list speaks for the CA that signed it alone; two issuers, one root, and what happens at a roll-over."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from consent_server.caller.arrival import Arrival
from consent_server.caller.trust import CertificateRevoked, RevocationListStale, Trust
from consent_server.outbound.cache import Cache, MemoryCache
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.revocation_list import RevocationLists
from consent_server.pki.crl import NotTrusted
from consent_server.pki.member_certificate import OID_MEMBER, encode_member
from consent_server.refusal import Unavailable
from consent_server.settings.clients import ClientsSettings, RevocationListSettings
from consent_server.store.fetched import StoredCache
from tests.database import new_database
from tests.pki.authorities import CA, DAY, HOUR, NOW, Signer, list_of, make_root, part

DIRECTORY = "https://directory.example"
SERIAL = 4711  # of a certificate of each issuer: serial numbers are an issuer's own


class Hierarchy:
    """A root, two issuers of different names, and one that has the first one's name and another key; a member of each."""

    def __init__(self) -> None:
        self.root = make_root()
        self.issuers = {
            "a": self.root.issue("A", CA),
            "b": self.root.issue("B", CA),
            "namesake": self.root.issue("A", CA),
        }
        self.members = {name: self._member(issuer) for name, issuer in self.issuers.items()}

    def _member(self, issuer: Signer) -> Signer:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"{DIRECTORY}/a/cap")])
        member = x509.UnrecognizedExtension(OID_MEMBER, encode_member(f"{DIRECTORY}/m/cap"))
        return issuer.issue("member", (names, False), (member, False), serial=SERIAL)

    def arrival(self, name: str, how: str) -> Arrival:
        """`tls`: the issuer comes with the certificate; `proxy`: the certificate comes alone."""
        member, issuer = (each[name].certificate.public_bytes(Encoding.DER) for each in (self.members, self.issuers))
        return Arrival(member, (issuer,) if how == "tls" else ())


@pytest.fixture(scope="module")
def hierarchy() -> Hierarchy:
    return Hierarchy()


class Door:
    """Who comes in where these lists are published, each a file of its own."""

    def __init__(
        self, hierarchy: Hierarchy, folder: Path, cache: Cache, *, polls: bool = False, **settings: Any
    ) -> None:
        self.hierarchy = hierarchy
        self.folder = folder
        (folder / "root.pem").write_bytes(hierarchy.root.certificate.public_bytes(Encoding.PEM))
        issuers = [each.certificate.public_bytes(Encoding.PEM) for each in hierarchy.issuers.values()]
        (folder / "issuers.pem").write_bytes(b"".join(issuers))
        sources = tuple(str(folder / f"{name}.crl") for name in (*hierarchy.issuers, "root"))
        self.settings: Any = SimpleNamespace(
            clients=ClientsSettings(root=folder / "root.pem", issuers=folder / "issuers.pem"),
            scheme=SimpleNamespace(directory=DIRECTORY),
            revocation_list=RevocationListSettings(source=sources, **settings),
            is_sandbox=False,
        )
        self.revocations = RevocationLists(self.settings, None, cache, polls=polls)  # type: ignore[arg-type]

    def publish(self, **lists: bytes) -> None:
        for name, content in lists.items():
            (self.folder / f"{name}.crl").write_bytes(content)

    def fetch(self) -> None:
        with contextlib.suppress(Unreachable, NotTrusted):  # not all are published
            self.revocations.refresh()

    def says(self, name: str, how: str = "tls", at: int = NOW) -> str:
        try:
            Trust(self.settings, self.revocations).caller(self.hierarchy.arrival(name, how), at)
        except CertificateRevoked:
            return "revoked"
        except RevocationListStale:
            return "unknown"
        return "good"


@pytest.fixture
def door(database_url: str, hierarchy: Hierarchy, tmp_path: Path, held_clock: Any) -> Iterator[Door]:
    held_clock.instant = NOW
    with new_database(database_url):
        yield Door(hierarchy, tmp_path, StoredCache())


# Which serial numbers each CA's list has -> the verdict on member A and on member B, who have the same serial number.
CASES: dict[str, tuple[dict[str, tuple[str | int, ...]], str, str]] = {
    "no list": ({}, "unknown", "unknown"),
    "A's alone, empty": ({"a": ()}, "good", "unknown"),
    "A's alone, with the number of both": ({"a": (SERIAL,)}, "revoked", "unknown"),
    "A's with it, B's without": ({"a": (SERIAL,), "b": ()}, "revoked", "good"),
    "B's with it, A's without": ({"a": (), "b": (SERIAL,)}, "good", "revoked"),
    "the root's alone": ({"root": ()}, "unknown", "unknown"),
    "the root's, with a member's number": ({"root": (SERIAL,), "a": (), "b": ()}, "good", "good"),
    "the root's, with issuer B": ({"root": ("b",), "a": (), "b": ()}, "good", "revoked"),
    "the root's, with issuer B, whose own list is gone": ({"root": ("b",), "a": ()}, "good", "revoked"),
    "A's, with issuer B": ({"a": ("b",), "b": ()}, "good", "good"),
    "of another key with A's name": ({"namesake": (SERIAL,), "b": ()}, "unknown", "good"),
}


@pytest.mark.parametrize(("lists", "of_a", "of_b"), CASES.values(), ids=CASES)
def test_H18_a_list_speaks_for_its_issuer_alone(
    hierarchy: Hierarchy, tmp_path: Path, lists: dict[str, tuple[str | int, ...]], of_a: str, of_b: str
) -> None:
    door = Door(hierarchy, tmp_path, MemoryCache())
    signers = {**door.hierarchy.issuers, "root": door.hierarchy.root}
    for name, named in lists.items():
        serials = [signers[each].certificate.serial_number if isinstance(each, str) else each for each in named]
        door.publish(**{name: list_of(signers[name], *serials)})
    door.fetch()
    for how in ("tls", "proxy"):
        assert (door.says("a", how), door.says("b", how)) == (of_a, of_b)
    door.settings.is_sandbox = True  # where the unknown is let pass, and the revoked is not
    assert [door.says(name) for name in "ab"] == [verdict.replace("unknown", "good") for verdict in (of_a, of_b)]


def test_H18_a_list_under_anothers_name_is_no_list(door: Door) -> None:
    stranger = make_root()
    forged = Signer(door.hierarchy.issuers["a"].certificate, door.hierarchy.issuers["b"].key)
    for signer in (forged, stranger, stranger.issue("A", CA)):
        door.publish(a=list_of(signer, SERIAL))
        with pytest.raises((NotTrusted, Unreachable)):
            door.revocations.refresh()
        assert door.revocations.lists() == ()
        with pytest.raises(Unavailable):
            door.revocations.ready()


def test_H18_issuers_roll_over(door: Door, held_clock: Any) -> None:
    """The same address first has the old issuer's list, then the new one's: the old one's counts until its next update."""
    old, new = door.hierarchy.issuers["a"], door.hierarchy.issuers["b"]
    door.publish(a=list_of(old, SERIAL, until=12 * HOUR))
    door.fetch()
    assert (door.says("a"), door.says("b")) == ("revoked", "unknown")
    held_clock.step(HOUR)
    door.publish(a=list_of(new, until=2 * DAY))
    door.fetch()
    assert (door.says("a", at=NOW + HOUR), door.says("b", at=NOW + HOUR)) == ("revoked", "good")
    door.publish(b=list_of(old, until=12 * HOUR, issued=-HOUR // 2))
    door.fetch()
    assert (door.says("a", at=NOW + HOUR), door.says("b", at=NOW + HOUR)) == ("good", "good")
    assert (door.says("a", at=NOW + 12 * HOUR), door.says("b", at=NOW + 12 * HOUR)) == ("unknown", "good")


def test_H18_one_list_that_fails_leaves_the_others(door: Door, held_clock: Any) -> None:
    a, b = door.hierarchy.issuers["a"], door.hierarchy.issuers["b"]
    door.publish(a=list_of(a), b=list_of(b))
    door.fetch()
    held_clock.step(HOUR)
    door.publish(a=b"<html>", b=list_of(b, SERIAL, issued=0))
    with pytest.raises(NotTrusted):
        door.revocations.refresh()
    assert (door.says("a"), door.says("b")) == ("good", "revoked")
    assert door.revocations.ready()["fetched"] == NOW, "the age of the list that is oldest"


@pytest.mark.parametrize("extensions", [(), (part(only_contains_ca_certs=True),)], ids=["whole", "of CAs only"])
def test_H18_once_the_root_has_a_list_it_must_be_in_force(door: Door, extensions: Any, held_clock: Any) -> None:
    root, a = door.hierarchy.root, door.hierarchy.issuers["a"]
    door.publish(a=list_of(a, until=2 * DAY))
    door.fetch()
    assert door.says("a") == "good"
    door.publish(root=list_of(root, until=HOUR, extensions=extensions))
    door.fetch()
    assert (door.says("a"), door.says("a", at=NOW + HOUR)) == ("good", "unknown")
    held_clock.step(HOUR)
    door.publish(root=list_of(root, a.certificate.serial_number, issued=0, extensions=extensions))
    door.fetch()
    assert door.says("a", at=NOW + HOUR) == "revoked"


def test_H18_where_the_roots_list_is_required_there_must_be_one(door: Door, tmp_path: Path) -> None:
    strict = Door(door.hierarchy, tmp_path, StoredCache(), of_issuers="require")
    strict.publish(a=list_of(door.hierarchy.issuers["a"]))
    strict.fetch()
    assert (door.says("a"), strict.says("a")) == ("good", "unknown")
    strict.publish(root=list_of(door.hierarchy.root))
    strict.fetch()
    assert strict.says("a") == "good"


@pytest.mark.parametrize(("signer", "only"), [("a", "only_contains_ca_certs"), ("root", "only_contains_user_certs")])
def test_H18_a_part_that_says_nothing_of_what_its_issuer_issued_is_no_list(door: Door, signer: str, only: str) -> None:
    ca = door.hierarchy.root if signer == "root" else door.hierarchy.issuers[signer]
    door.publish(**{signer: list_of(ca, extensions=(part(**{only: True}),))})
    door.fetch()
    assert door.revocations.lists() == ()


def test_H18_a_resource_server_elsewhere_polls_every_list(
    hierarchy: Hierarchy, tmp_path: Path, held_clock: Any
) -> None:
    held_clock.instant = NOW
    elsewhere = Door(hierarchy, tmp_path, MemoryCache(), polls=True)
    elsewhere.publish(a=list_of(hierarchy.issuers["a"], SERIAL), b=list_of(hierarchy.issuers["b"]))
    try:
        assert [elsewhere.says(name) for name in ("a", "b", "namesake")] == ["revoked", "good", "unknown"]
    finally:
        elsewhere.revocations.stop()

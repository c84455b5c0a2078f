"""The revocation list as every process of a party has it: the last good one, and how old it is."""

import datetime
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from consent_server.outbound.cache import Copy
from consent_server.outbound.errors import BadAnswer, Unreachable
from consent_server.outbound.revocation_list import NAME, RevocationLists
from consent_server.outbound.session import Response
from consent_server.pki.crl import NotTrusted, authority_of
from consent_server.refusal import Unavailable
from consent_server.sandbox.authority import Authority
from consent_server.settings.clients import RevocationListSettings
from consent_server.store.fetched import StoredCache
from tests.database import new_database

NOW = 1773307800
URL = "https://directory.example/revoked.crl"
REFRESH_S = 300
DAY = 86_400


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """Ours, and a stranger's."""
    folder = tmp_path_factory.mktemp("revocations")
    return Authority(folder / "ours").create(NOW), Authority(folder / "strangers").create(NOW)


class Published:
    """The Directory's server: what it answers, or raises."""

    def __init__(self, body: Any) -> None:
        self.body = body

    def get(self, url: str, **_: Any) -> Response:
        assert url == URL
        if isinstance(self.body, Exception):
            raise self.body
        return Response(200, {}, "directory.example", self.body)


class Party:
    """One party's list: `process()` is a new process on the same store."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.server = Published(authority.crl([7]))
        self.source = URL
        self.worker = self.process()

    def process(self, authority: Authority | None = None) -> RevocationLists:
        chosen = authority or self.authority
        settings: Any = SimpleNamespace(
            clients=SimpleNamespace(root=chosen.client_root, issuers=chosen.client_issuer),
            revocation_list=RevocationListSettings(source=self.source, refresh_s=REFRESH_S),
        )
        return RevocationLists(settings, self.server, StoredCache())  # type: ignore[arg-type]

    def refresh(self, worker: RevocationLists | None = None) -> None:
        (worker or self.worker).refresh()


@pytest.fixture
def party(database_url: str, held_clock: Any, authorities: tuple[Authority, Authority]) -> Iterator[Party]:
    with new_database(database_url):
        yield Party(authorities[0])


def test_what_the_worker_fetched_every_door_reads(party: Party, held_clock: Any) -> None:
    door = party.process()
    assert door.lists() == ()
    party.refresh()
    held_clock.step(1)
    [found] = door.lists()
    assert (found.serials, found.number, found.fetched) == (frozenset({7}), 1, NOW)
    assert party.process().lists() == (found,)


def test_a_newer_list_replaces_it(party: Party, held_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "consent_server.audit")
    party.refresh()
    held_clock.step(REFRESH_S)
    party.refresh()
    assert caplog.text.count("list_refreshed") == 1, "an unchanged list is no event"
    party.server.body = party.authority.crl([7, 8], number=2)
    held_clock.step(REFRESH_S)
    party.refresh()
    held_clock.step(1)
    [found] = party.process().lists()
    assert (found.serials, found.number, found.fetched) == (frozenset({7, 8}), 2, NOW + 2 * REFRESH_S)
    assert '"entries":2' in caplog.text


def test_a_fetch_of_the_same_list_makes_it_young_again(party: Party, held_clock: Any) -> None:
    party.refresh()
    held_clock.step(REFRESH_S)
    party.refresh()
    held_clock.step(1)
    [found] = party.worker.lists()
    assert found.fetched == NOW + REFRESH_S


def _flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def _partial(authority: Authority) -> bytes:
    """A genuine list that leaves something out (RFC 5280 section 5.2.5)."""
    issuer = x509.load_pem_x509_certificate(authority.client_issuer.read_bytes())
    key = serialization.load_pem_private_key((authority.directory / "client_issuer.key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    at = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    part = x509.IssuingDistributionPoint(None, None, False, True, None, False, False)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(at)
        .next_update(at + datetime.timedelta(days=1))
        .add_extension(part, critical=True)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        pytest.param(Unreachable, lambda ours, strangers: Unreachable("connect", "directory.example"), id="down"),
        pytest.param(BadAnswer, lambda ours, strangers: BadAnswer("status 500", "directory.example", 500), id="500"),
        pytest.param(NotTrusted, lambda ours, strangers: b"<html>", id="A08-not-a-list"),
        pytest.param(NotTrusted, lambda ours, strangers: b"", id="empty"),
        pytest.param(NotTrusted, lambda ours, strangers: strangers.crl([], 9), id="A08-strangers-signature"),
        pytest.param(NotTrusted, lambda ours, strangers: _flipped(ours.crl([], 9)), id="A08-signature-changed"),
        pytest.param(NotTrusted, lambda ours, strangers: _partial(ours), id="a-part-of-the-list"),
        pytest.param(NotTrusted, lambda ours, strangers: ours.crl([], 0), id="older-than-ours"),
        pytest.param(NotTrusted, lambda ours, strangers: ours.crl([], 500 * DAY), id="from-the-future"),
    ],
)
def test_the_last_good_list_stays_and_grows_old(
    party: Party,
    authorities: tuple[Authority, Authority],
    held_clock: Any,
    caplog: pytest.LogCaptureFixture,
    error: type[Exception],
    answer: Callable[[Authority, Authority], Any],
) -> None:
    caplog.set_level(logging.INFO, "consent_server.audit")
    party.refresh()
    party.server.body = answer(*authorities)
    held_clock.step(REFRESH_S)
    with pytest.raises(error):
        party.refresh()
    assert "list_refresh_failed" in caplog.text
    held_clock.step(1)
    [found] = party.process().lists()
    assert (found.serials, found.fetched) == (frozenset({7}), NOW), "its age is that of the last good fetch"


def test_a_list_from_the_future_that_an_earlier_version_kept_keeps_no_other_out(party: Party, held_clock: Any) -> None:
    issuer = x509.load_pem_x509_certificate(party.authority.client_issuer.read_bytes())
    kept = Copy(party.authority.crl([], 500 * DAY), {}, NOW, NOW)
    StoredCache().put(f"{NAME} {authority_of(issuer).hex()}", kept)
    assert party.worker.lists() == ()
    party.refresh()
    held_clock.step(1)
    [found] = party.process().lists()
    assert found.serials == {7}


def test_a_bad_first_list_is_no_list(party: Party, authorities: tuple[Authority, Authority], held_clock: Any) -> None:
    party.server.body = authorities[1].crl([])
    with pytest.raises(NotTrusted):
        party.refresh()
    held_clock.step(1)
    assert party.process().lists() == ()


def test_a_kept_list_is_read_once_and_looked_for_once_a_second(
    party: Party, held_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    party.refresh()
    looks = []
    get = StoredCache.get
    monkeypatch.setattr(StoredCache, "get", lambda self, name: looks.append(name) or get(self, name))
    door = party.process()
    [first] = door.lists()
    for _ in range(5):
        assert door.lists()[0] is first
    assert len(looks) == 2, "the root's and the issuer's"
    held_clock.step(1)
    assert door.lists()[0] is first
    assert len(looks) == 4
    assert len(set(looks)) == 2


def test_after_a_change_of_authority_the_old_list_is_none_and_a_new_one_is_taken(
    party: Party, authorities: tuple[Authority, Authority], held_clock: Any
) -> None:
    party.refresh()
    held_clock.step(1)
    moved = party.process(authorities[1])
    assert moved.lists() == ()
    party.server.body = authorities[1].crl([9])
    party.refresh(moved)
    held_clock.step(1)
    [found] = moved.lists()
    assert found.serials == {9}


def test_a_list_from_a_file(party: Party, held_clock: Any, tmp_path: Path) -> None:
    party.source = str(tmp_path / "revoked.crl")
    worker = party.process()
    with pytest.raises(Unreachable):
        party.refresh(worker)
    (tmp_path / "revoked.crl").write_bytes(party.authority.crl([1, 2]))
    party.refresh(worker)
    held_clock.step(1)
    [found] = worker.lists()
    assert found.serials == {1, 2}


def test_ready_says_which_list_we_go_by(party: Party, held_clock: Any) -> None:
    with pytest.raises(Unavailable) as refused:
        party.worker.ready()
    assert "no revocation list yet" in refused.value.sentence
    party.refresh()
    held_clock.step(1)
    assert party.worker.ready() == {"number": 1, "fetched": NOW}


def test_a_sandbox_without_a_list_is_ready_without_one(party: Party) -> None:
    party.source = ""
    worker = party.process()
    party.refresh(worker)
    assert worker.lists() == ()
    assert worker.ready() == {"number": None, "fetched": None}


def test_a_copy_that_was_damaged_in_the_store_is_not_believed(party: Party, held_clock: Any) -> None:
    party.refresh()
    issuer = x509.load_pem_x509_certificate(party.authority.client_issuer.read_bytes())
    StoredCache().put(f"{NAME} {authority_of(issuer).hex()}", Copy(b"damaged", {}, NOW + 1, NOW + 1))
    held_clock.step(1)
    assert party.process().lists() == ()

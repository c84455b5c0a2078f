"""Row A08 with production's settings: what becomes of callers while the revocation list's host has bad days."""

import datetime
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from flask import Flask

from consent_server import store
from consent_server.caller.arrival import Arrival
from consent_server.caller.trust import CertificateRevoked, RevocationListStale, Trust
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.revocation_list import RevocationLists
from consent_server.pki.crl import NotTrusted
from consent_server.refusal import Unavailable
from consent_server.sandbox.authority import Authority, IssuedCertificate
from consent_server.settings import load
from consent_server.store.database import db
from consent_server.store.fetched import StoredCache
from consent_server.store.schema import migrate
from tests.conftest import HeldClock

DIRECTORY = "https://directory.core.trust.ib1.org"
CONFIG = Path(__file__).resolve().parents[2] / "config" / "edp.toml"
HOUR, DAY = 3600, 86400
NO_SESSION: Any = None  # a list in a file is fetched without one


class Production:
    """A production EDP's trust, its list published as a file, its store a file; and two members' certificates."""

    def __init__(self, folder: Path, clock: HeldClock, **overrides: str) -> None:
        self.clock = clock
        self.authority = Authority(folder / "authority").create(clock.instant)
        self.published = folder / "client.crl"
        self.settings = load(
            CONFIG,
            {
                "clients.root": str(self.authority.client_root),
                "clients.issuers": str(self.authority.client_issuer),
                "revocation_list.source": str(self.published),
                "database.url": f"sqlite:///{folder / 'store.db'}",
                **overrides,
            },
        )
        assert not self.settings.is_sandbox
        self.issuer = x509.load_pem_x509_certificate(self.authority.client_issuer.read_bytes())
        self.good, self.bad = (
            self.authority.client(name, f"{DIRECTORY}/a/{name}", f"{DIRECTORY}/m/{name}", ["https://r.example/role"])
            for name in ("good", "bad")
        )
        self.process()

    def process(self) -> None:
        """A process that has just started: nothing in memory, the store as it is."""
        self.revocations = RevocationLists(self.settings, NO_SESSION, StoredCache())
        self.trust = Trust(self.settings, self.revocations)

    def call(self, who: IssuedCertificate) -> str:
        arrival = Arrival(who.der, (self.issuer.public_bytes(Encoding.DER),))
        return self.trust.caller(arrival, self.clock.instant).application

    def refresh(self) -> None:
        """The worker's turn, and the second after which every process has looked at the store again."""
        self.revocations.refresh()
        self.clock.step(1)

    def publish(self, *revoked: IssuedCertificate, **changes: Any) -> None:
        self.published.write_bytes(self.a_list(*revoked, **changes))

    def a_list(
        self,
        *revoked: IssuedCertificate,
        issued: int = 0,
        lasts: int = 2 * DAY,
        key: Any = None,
        extension: x509.ExtensionType | None = None,
    ) -> bytes:
        """A list of the client issuer, issued `issued` seconds from now."""
        moment = datetime.datetime.fromtimestamp(self.clock.instant + issued, datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.issuer.subject)
            .last_update(moment)
            .next_update(moment + datetime.timedelta(seconds=lasts))
        )
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each.serial).revocation_date(moment).build()
            builder = builder.add_revoked_certificate(entry)
        if extension is not None:
            builder = builder.add_extension(extension, critical=True)
        signer = key or self.authority._issuer("client").key
        return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.fixture
def production(tmp_path: Path, held_clock: HeldClock) -> Iterator[Production]:
    running = Production(tmp_path, held_clock)
    app = Flask("a08")
    store.init(app, running.settings.database.url)
    with app.app_context():
        migrate()
        yield running
        db.engine.dispose()


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(each.message) for each in caplog.records if each.name == "consent_server.audit"]
    return [line for line in lines if line["event"] == name]


def test_A08_never_fetched(production: Production, caplog: pytest.LogCaptureFixture) -> None:
    for who in (production.good, production.bad):
        with pytest.raises(RevocationListStale) as refused:
            production.call(who)
        assert (refused.value.status, refused.value.error) == (503, "temporarily_unavailable")
        assert refused.value.answer_headers["Retry-After"]
    assert "no revocation list: callers are refused" in caplog.text
    with pytest.raises(Unavailable):
        production.revocations.ready()


def no_file(production: Production) -> None:
    production.published.unlink()


def oversized(production: Production) -> None:
    with production.published.open("r+b") as file:
        file.truncate(16 * 1024 * 1024 + 1)


def rewritten(change: Callable[[Production], bytes]) -> Callable[[Production], None]:
    return lambda production: production.published.write_bytes(change(production)) and None


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


BAD_DAYS: dict[str, tuple[Callable[[Production], None], type[Exception], str]] = {
    "missing": (no_file, Unreachable, "file"),
    "oversized": (oversized, Unreachable, "too_large"),
    "empty": (rewritten(lambda _: b""), NotTrusted, "cannot be read"),
    "html": (rewritten(lambda _: b"<html>Service unavailable</html>"), NotTrusted, "cannot be read"),
    "cut-short": (rewritten(lambda p: p.a_list()[:-9]), NotTrusted, "cannot be read"),
    "wrong-signature": (rewritten(lambda p: flipped(p.a_list())), NotTrusted, "not signed"),
    "another-key-of-that-name": (
        rewritten(lambda p: p.a_list(key=ec.generate_private_key(ec.SECP256R1()))),
        NotTrusted,
        "not signed",
    ),
    "delta": (rewritten(lambda p: p.a_list(extension=x509.DeltaCRLIndicator(1))), NotTrusted, "critical"),
    "older-than-ours": (rewritten(lambda p: p.a_list(issued=-2 * HOUR)), NotTrusted, "older"),
}


@pytest.mark.parametrize(("spoil", "error", "says"), BAD_DAYS.values(), ids=BAD_DAYS.keys())
def test_A08_a_bad_day(
    production: Production,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Production], None],
    error: type[Exception],
    says: str,
) -> None:
    """The last good list goes on, until its next update or a day; then everybody is refused; a good list mends it."""
    caplog.set_level(logging.INFO)
    production.publish(production.bad, lasts=12 * HOUR)
    production.refresh()
    assert production.call(production.good).endswith("/a/good")
    with pytest.raises(CertificateRevoked):
        production.call(production.bad)

    spoil(production)
    with pytest.raises(error):
        production.refresh()
    assert [says in line["error"] for line in events(caplog, "list_refresh_failed")] == [True]
    production.clock.step(11 * HOUR - 60)
    assert production.call(production.good).endswith("/a/good")
    with pytest.raises(CertificateRevoked):
        production.call(production.bad)

    production.clock.step(HOUR + 60)
    caplog.clear()
    with pytest.raises(RevocationListStale):
        production.call(production.good)
    assert "the revocation list is too old: callers are refused" in caplog.text
    with pytest.raises(CertificateRevoked):  # what was known stays known
        production.call(production.bad)

    production.publish(lasts=12 * HOUR)
    production.refresh()
    assert production.call(production.good).endswith("/a/good")
    assert production.call(production.bad).endswith("/a/bad")


def test_A08_a_list_that_lasts_long_is_believed_for_a_day(production: Production) -> None:
    production.publish(lasts=400 * DAY)
    production.refresh()
    production.clock.step(DAY - 1)
    assert production.call(production.good)
    production.clock.step(1)
    with pytest.raises(RevocationListStale):
        production.call(production.good)


def test_A08_an_expired_list_is_none_although_it_was_fetched_just_now(production: Production) -> None:
    production.publish(issued=-2 * DAY, lasts=DAY)
    production.refresh()
    with pytest.raises(RevocationListStale):
        production.call(production.good)


def test_A08_a_restarted_process_goes_by_the_list_in_the_store(production: Production) -> None:
    production.publish(production.bad)
    production.refresh()
    production.published.unlink()
    production.process()
    assert production.call(production.good)
    with pytest.raises(CertificateRevoked):
        production.call(production.bad)


def test_A07_every_process_has_a_new_list_a_second_after_the_worker(production: Production) -> None:
    production.publish()
    production.refresh()
    door = Trust(production.settings, RevocationLists(production.settings, NO_SESSION, StoredCache()))
    arrival = Arrival(production.bad.der, (production.issuer.public_bytes(Encoding.DER),))
    assert door.caller(arrival, production.clock.instant)
    production.publish(production.bad)
    production.refresh()
    with pytest.raises(CertificateRevoked):
        door.caller(arrival, production.clock.instant)


def test_A08_another_root_in_the_settings_makes_the_kept_list_worthless_and_the_next_one_good(
    production: Production, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a change of authority the doors close, and open with its first list: no fault, and nothing to clear by hand."""
    production.publish(production.bad)
    production.refresh()
    successor = Production(tmp_path / "successor", production.clock)
    with pytest.raises(RevocationListStale):
        successor.call(successor.good)
    assert "no revocation list: callers are refused" in caplog.text
    successor.publish(successor.bad)
    successor.refresh()
    assert successor.call(successor.good)
    with pytest.raises(CertificateRevoked):
        successor.call(successor.bad)

"""What is polled: the status list, an issuer's keys, the revocation list."""

import os
import threading
import time

import pytest

from consent_server import clock
from consent_server.outbound import poller as pollers
from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.jwks import RemoteKeys
from consent_server.outbound.poller import Poller
from consent_server.outbound.revocation_list import RevocationLists
from consent_server.outbound.status_list import StatusListPoller, StatusListTooOld
from consent_server.sandbox.authority import Authority
from consent_server.tokens import keys, status
from tests.waiting import until


@pytest.fixture
def signing_keys(tmp_path):
    keys.make(tmp_path / "signing", clock.now() - 3600)
    return keys.SigningKeys(tmp_path / "signing")


@pytest.fixture
def poll(session, serve, wire, signing_keys):
    """poll(interval_s, max_age_s) -> (server, poller, listed); the poller stops with the test.

    `listed(indices)` is the answer of an issuer whose list has these.
    """
    made = []

    def start(interval_s=0.05, max_age_s=30):
        server = serve()
        uri = server.url("/list")

        def listed(*indices, signer=signing_keys, sub=uri, lifetime_s=3600):
            now = clock.now()
            return wire.answer(
                200, status.encode(signer, sub, status.with_ended(b"", 16, indices), now, 2, now + lifetime_s).encode()
            )

        server.routes["/list"] = listed(1, 5)
        made.append(StatusListPoller(session, uri, signing_keys, interval_s=interval_s, max_age_s=max_age_s))
        return server, made[-1], listed

    yield start
    for poller in made:
        poller.stop()


class TestStatusList:
    def test_nothing_is_started_before_the_first_question(self, poll):
        server, poller, _ = poll()
        time.sleep(0.15)
        assert server.asked == []
        assert (poller.withdrawn(5), poller.withdrawn(4)) == (True, False)
        assert server.asked[0].headers["accept"] == "application/statuslist+jwt"
        assert server.asked[0].certificate is None

    def test_a_withdrawal_arrives(self, poll, wire):
        server, poller, listed = poll()
        assert poller.withdrawn(9) is False
        server.routes["/list"] = listed(1, 5, 9)
        until(lambda: poller.withdrawn(9), "not polled again")

    def test_a_national_list_is_taken_whole(self, poll, wire, signing_keys):
        """4.8 million permissions, half of them ended: a list of more than a megabyte."""
        server, poller, _ = poll()
        bits = os.urandom(600_000)
        listed = status.encode(signing_keys, server.url("/list"), bits, clock.now(), 2, clock.now() + 45)
        server.routes["/list"] = wire.answer(200, listed.encode())
        assert len(listed) > 1 << 20
        assert poller.withdrawn(4_799_999) == bool(bits[-1] >> 7)

    def test_it_fails_closed_when_the_list_is_too_old_and_recovers(self, poll, wire, held_clock):
        server, poller, listed = poll(interval_s=0.05, max_age_s=10)
        assert poller.withdrawn(1) is True
        server.routes["/list"] = wire.answer(503)
        seen = len(server.asked)
        until(lambda: len(server.asked) > seen + 1, "not polled again")
        held_clock.step(10)
        assert poller.withdrawn(1) is True
        held_clock.step(1)
        with pytest.raises(StatusListTooOld):
            poller.withdrawn(2)
        server.routes["/list"] = listed(2)
        until(lambda: _answers(poller, 2), "not polled again")

    def test_a_list_does_not_outlive_its_exp(self, poll, held_clock):
        server, poller, listed = poll(interval_s=60, max_age_s=30)
        server.routes["/list"] = listed(1, lifetime_s=10)
        held_clock.step(5)
        assert poller.withdrawn(2) is False
        held_clock.step(4)
        assert poller.withdrawn(2) is False
        held_clock.step(1)
        with pytest.raises(StatusListTooOld):
            poller.withdrawn(2)

    def test_a_clock_stepped_back_fails_closed_until_the_next_list(self, poll, wire, held_clock):
        server, poller, _ = poll(interval_s=0.05)
        poller.withdrawn(1)
        server.routes["/list"] = wire.answer(503)
        seen = len(server.asked)
        until(lambda: len(server.asked) > seen + 1, "not polled again")
        held_clock.step(-5)
        with pytest.raises(StatusListTooOld):
            poller.withdrawn(1)

    @pytest.mark.parametrize("body", [b"", b"not a list", b"\xff\xfe", bytes(200_000)])
    def test_a_list_that_is_not_believed_is_no_list(self, poll, wire, body):
        server, poller, _ = poll(interval_s=60)
        server.routes["/list"] = wire.answer(200, body)
        with pytest.raises(StatusListTooOld):
            poller.withdrawn(1)

    @pytest.mark.parametrize("fault", ["another key", "another list"])
    def test_a_list_of_another_signer_or_place_is_no_list(self, poll, wire, tmp_path, fault):
        server, poller, listed = poll(interval_s=60)
        keys.make(tmp_path / "stranger", clock.now() - 3600)
        stranger = keys.SigningKeys(tmp_path / "stranger")
        server.routes["/list"] = (
            listed(1, signer=stranger) if fault == "another key" else listed(1, sub=server.url("/other"))
        )
        with pytest.raises(StatusListTooOld):
            poller.withdrawn(1)

    def test_the_audit_says_when_it_begins_to_fail_and_when_it_recovers(self, poll, wire, caplog):
        server, poller, listed = poll()
        server.routes["/list"] = wire.answer(503)
        with caplog.at_level("INFO", "consent_server.audit"):
            with pytest.raises(StatusListTooOld):
                poller.withdrawn(1)
            until(lambda: len(server.asked) > 3, "not polled again")
            server.routes["/list"] = listed(1)
            until(lambda: _answers(poller, 1), "not polled again")
        events = [record.message for record in caplog.records if record.name == "consent_server.audit"]
        assert [("failed" in event, "status 503" in event) for event in events] == [(True, True), (False, False)]


def _answers(poller, index) -> bool:
    try:
        return poller.withdrawn(index)
    except StatusListTooOld:
        return False


class TestPoller:
    def test_many_first_questions_are_one_load(self):
        loads = []

        def load() -> int:
            loads.append(1)
            time.sleep(0.1)
            return 7

        poller = Poller("numbers", load, 60.0)
        found: list[object] = []
        threads = [threading.Thread(target=lambda: found.append(poller.latest().value)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        poller.stop()
        assert (found, len(loads)) == ([7] * 8, 1)

    def test_a_first_load_that_does_not_end_is_waited_for_a_little_by_all_alike(self, monkeypatch):
        monkeypatch.setattr(pollers, "_FIRST_S", 0.05)
        over, loads = threading.Event(), []

        def load() -> int:
            loads.append(1)
            over.wait(30)
            return 7

        poller = Poller("numbers", load, 60.0)
        found: list[object] = []
        threads = [threading.Thread(target=lambda: found.append(poller.latest())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert (found, len(loads), over.is_set()) == ([None] * 8, 1, False)
        over.set()
        until(lambda: poller.latest() is not None, "not polled again")
        poller.stop()

    def test_a_forked_process_polls_for_itself(self):
        poller = Poller("process", os.getpid, 0.02)
        assert poller.latest().value == os.getpid()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, str(poller.latest().value).encode())
            os._exit(0)
        os.waitpid(child, 0)
        poller.stop()
        assert os.read(reader, 20) == str(child).encode()

    def test_a_load_that_breaks_in_an_unforeseen_way_does_not_end_the_polling(self, caplog):
        outcomes = iter([ZeroDivisionError("x"), ZeroDivisionError("x")])

        def load() -> int:
            for outcome in outcomes:
                raise outcome
            return 7

        poller = Poller("numbers", load, 0.02)
        until(lambda: poller.latest() is not None, "not polled again")
        poller.stop()
        assert "could not be loaded" in caplog.text


class TestKeys:
    @pytest.fixture
    def remote(self, session, serve, wire, signing_keys):
        server = serve()
        server.routes["/jwks"] = wire.json(signing_keys.jwks())
        remote = RemoteKeys(session, server.url("/jwks"), keep_s=600)
        yield server, remote
        remote.stop()

    def test_an_unknown_key_asks_once_a_minute(self, remote, wire, signing_keys, tmp_path, held_clock):
        server, remote = remote
        first, _ = signing_keys.current()
        assert remote.public(first) == signing_keys.public(first)
        second = keys.rotate(tmp_path / "signing", clock.now())
        server.routes["/jwks"] = wire.json(signing_keys.jwks())
        assert remote.public(second) == signing_keys.public(second) is not None
        for kid in ("c", "d", "e", "../../etc/passwd"):
            assert remote.public(kid) is None
        assert len(server.asked) == 2
        held_clock.step(60)
        assert remote.public("c") is None
        assert len(server.asked) == 3

    def test_old_keys_are_not_believed(self, remote, wire, signing_keys, held_clock):
        server, remote = remote
        kid, _ = signing_keys.current()
        remote.public(kid)
        server.routes["/jwks"] = wire.answer(503)
        held_clock.step(600)
        assert remote.public(kid) is not None
        held_clock.step(1)
        with pytest.raises(Unreachable):
            remote.public(kid)

    @pytest.mark.parametrize("document", [["x"], {"keys": "a"}, {}])
    def test_without_first_keys_there_are_none(self, remote, wire, document):
        server, remote = remote
        server.routes["/jwks"] = wire.json(document)
        with pytest.raises(Unreachable):
            remote.public("a")


class TestRevocationList:
    @pytest.fixture
    def list_of(self, settings_of, session_of, trust, authority):
        made = []

        def make(source):
            clients = {"issuers": authority.client_issuer}
            settings = settings_of(trust.port, clients=clients, revocation_list={"source": str(source)})
            made.append(RevocationLists(settings, session_of(settings), MemoryCache(), polls=True))
            return made[-1]

        yield make
        for revocations in made:
            revocations.stop()

    def test_from_a_url(self, list_of, trust, wire, authority):
        trust.routes["/crl"] = wire.answer(200, authority.crl([1, 2]))
        assert list_of(trust.url("/crl", wire.directory)).lists()[0].serials == {1, 2}

    def test_from_a_file(self, list_of, tmp_path, authority):
        (tmp_path / "list.crl").write_bytes(authority.crl([3]))
        assert list_of(tmp_path / "list.crl").lists()[0].serials == {3}

    @pytest.mark.parametrize("status", [404, 500])
    def test_without_a_first_list_there_is_none(self, list_of, trust, wire, tmp_path, status):
        trust.routes["/crl"] = wire.answer(status)
        assert list_of(trust.url("/crl", wire.directory)).lists() == ()
        assert list_of(tmp_path / "missing").lists() == ()

    def test_an_endless_list(self, list_of, trust, wire):
        trust.routes["/crl"] = wire.answer(200, bytes(17 << 20))
        assert list_of(trust.url("/crl", wire.directory)).lists() == ()

    def test_a_list_that_is_not_believed_is_no_list(self, list_of, tmp_path, caplog):
        (tmp_path / "list.crl").write_bytes(Authority(tmp_path / "strangers").create().crl([3]))
        with caplog.at_level("INFO", "consent_server.audit"):
            assert list_of(tmp_path / "list.crl").lists() == ()
        (failed,) = [line for line in caplog.messages if "list_refresh_failed" in line]
        assert '"error":"NotTrusted"' not in failed

    def test_the_log_says_which_host_failed(self, list_of, trust, wire, caplog):
        trust.routes["/crl"] = wire.answer(500)
        with caplog.at_level("INFO", "consent_server.audit"):
            list_of(trust.url("/crl", wire.directory)).lists()
        (failed,) = [line for line in caplog.messages if "list_refresh_failed" in line]
        assert f'"error":"status 500","host":"{wire.directory}' in failed

    def test_an_older_list_never_takes_the_place_of_a_newer_one(self, list_of, tmp_path, authority, held_clock):
        (tmp_path / "list.crl").write_bytes(authority.crl([3], number=2))
        polled = list_of(tmp_path / "list.crl")
        assert polled.lists()[0].serials == {3}
        for serials, number, in_force in (([], 0, {3}), ([3, 4], 3, {3, 4})):
            (tmp_path / "list.crl").write_bytes(authority.crl(serials, number=number))
            held_clock.step(1)
            polled._poller.again(0)
            held_clock.step(1)
            assert polled.lists()[0].serials == in_force

"""What is polled: the status list, an issuer's keys, the revocation list. D04, C20, C23, A08."""

import os
import threading
import time

import pytest

from consent_server.outbound.errors import Unreachable
from consent_server.outbound.jwks import RemoteKeys
from consent_server.outbound.poller import Poller
from consent_server.outbound.revocation_list import RevocationListPoller
from consent_server.outbound.status_list import StatusListPoller, StatusListTooOld


class Listed:
    """A decoded list: the indices in the token's text."""

    def __init__(self, text: str) -> None:
        self.indices = {int(part) for part in text.split(",")}

    def withdrawn(self, index: int) -> bool:
        return index in self.indices


def eventually(question, seconds=5.0):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if question():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def poll(session, serve, wire):
    """poll(interval_s, max_age_s) -> (server, poller); the poller stops with the test."""
    made = []

    def start(interval_s=0.05, max_age_s=30):
        server = serve()
        server.routes["/list"] = wire.answer(200, b"1,5")
        made.append(StatusListPoller(session, server.url("/list"), Listed, interval_s=interval_s, max_age_s=max_age_s))
        return server, made[-1]

    yield start
    for poller in made:
        poller.stop()


class TestStatusList:
    def test_nothing_is_started_before_the_first_question(self, poll):
        server, poller = poll()
        time.sleep(0.15)
        assert server.asked == []
        assert (poller.withdrawn(5), poller.withdrawn(4)) == (True, False)
        assert server.asked[0].headers["accept"] == "application/statuslist+jwt"
        assert server.asked[0].certificate is None

    def test_a_withdrawal_arrives(self, poll, wire):
        server, poller = poll()
        assert poller.withdrawn(9) is False
        server.routes["/list"] = wire.answer(200, b"1,5,9")
        assert eventually(lambda: poller.withdrawn(9))

    def test_it_fails_closed_when_the_list_is_too_old_and_recovers(self, poll, wire, held_clock):
        server, poller = poll(interval_s=0.05, max_age_s=10)
        assert poller.withdrawn(1) is True
        server.routes["/list"] = wire.answer(503)
        seen = len(server.asked)
        assert eventually(lambda: len(server.asked) > seen + 1)
        held_clock.step(10)
        assert poller.withdrawn(1) is True
        held_clock.step(1)
        with pytest.raises(StatusListTooOld):
            poller.withdrawn(2)
        server.routes["/list"] = wire.answer(200, b"2")
        assert eventually(lambda: _answers(poller, 2))

    def test_a_clock_stepped_back_fails_closed_until_the_next_list(self, poll, wire, held_clock):
        server, poller = poll(interval_s=0.05)
        poller.withdrawn(1)
        server.routes["/list"] = wire.answer(503)
        seen = len(server.asked)
        assert eventually(lambda: len(server.asked) > seen + 1)
        held_clock.step(-5)
        with pytest.raises(StatusListTooOld):
            poller.withdrawn(1)

    @pytest.mark.parametrize("body", [b"", b"not a list", b"\xff\xfe", bytes(200_000)])
    def test_a_list_that_is_not_believed_is_no_list(self, poll, wire, body):
        server, poller = poll(interval_s=60)
        server.routes["/list"] = wire.answer(200, body)
        with pytest.raises(StatusListTooOld):
            poller.withdrawn(1)

    def test_the_audit_says_when_it_begins_to_fail_and_when_it_recovers(self, poll, wire, caplog):
        server, poller = poll()
        server.routes["/list"] = wire.answer(503)
        with caplog.at_level("INFO", "consent_server.audit"):
            with pytest.raises(StatusListTooOld):
                poller.withdrawn(1)
            assert eventually(lambda: len(server.asked) > 3)
            server.routes["/list"] = wire.answer(200, b"1")
            assert eventually(lambda: _answers(poller, 1))
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
        assert eventually(lambda: poller.latest() is not None)
        poller.stop()
        assert "could not be loaded" in caplog.text


class TestKeys:
    @pytest.fixture
    def keys(self, session, serve, wire):
        server = serve()
        server.routes["/jwks"] = wire.json({"keys": ["a"]})

        class Read:
            def __init__(self, document) -> None:
                self.kids = document["keys"]

            def public(self, kid):
                return f"key {kid}" if kid in self.kids else None

        remote = RemoteKeys(session, server.url("/jwks"), Read, keep_s=600)
        yield server, remote
        remote.stop()

    def test_an_unknown_key_asks_once_a_minute(self, keys, wire, held_clock):
        server, remote = keys
        assert remote.public("a") == "key a"
        server.routes["/jwks"] = wire.json({"keys": ["a", "b"]})
        assert remote.public("b") == "key b"
        for kid in ("c", "d", "e", "../../etc/passwd"):
            assert remote.public(kid) is None
        assert len(server.asked) == 2
        held_clock.step(60)
        assert remote.public("c") is None
        assert len(server.asked) == 3

    def test_old_keys_are_not_believed(self, keys, wire, held_clock):
        server, remote = keys
        remote.public("a")
        server.routes["/jwks"] = wire.answer(503)
        held_clock.step(600)
        assert remote.public("a") == "key a"
        held_clock.step(1)
        with pytest.raises(Unreachable):
            remote.public("a")

    def test_no_keys_ever(self, keys, wire):
        server, remote = keys
        server.routes["/jwks"] = wire.json(["x"])
        with pytest.raises(Unreachable):
            remote.public("a")


class TestRevocationList:
    @pytest.fixture
    def list_of(self, settings_of, session_of, trust):
        made = []

        def make(source):
            settings = settings_of(trust.port, revocation_list={"source": str(source)})
            made.append(RevocationListPoller(settings, session_of(settings), bytes))
            return made[-1]

        yield make
        for poller in made:
            poller.stop()

    def test_from_a_url(self, list_of, trust, wire, authority):
        der = authority.crl([1, 2])
        trust.routes["/crl"] = wire.answer(200, der)
        assert list_of(trust.url("/crl", wire.directory))() == der

    def test_from_a_file(self, list_of, tmp_path, authority):
        der = authority.crl([3])
        (tmp_path / "list.crl").write_bytes(der)
        assert list_of(tmp_path / "list.crl")() == der

    @pytest.mark.parametrize("status", [404, 500])
    def test_none_was_ever_had(self, list_of, trust, wire, tmp_path, status):
        trust.routes["/crl"] = wire.answer(status)
        assert list_of(trust.url("/crl", wire.directory))() is None
        assert list_of(tmp_path / "missing")() is None

    def test_an_endless_list(self, list_of, trust, wire):
        trust.routes["/crl"] = wire.answer(200, bytes(17 << 20))
        assert list_of(trust.url("/crl", wire.directory))() is None

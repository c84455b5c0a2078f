"""Every call has one limit for all of it, whatever the other side does slowly: name, handshake, head, body, queue."""

import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from consent_server.outbound import page_time, tls_messages
from consent_server.outbound.deadline import Deadline
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.session import Limits
from tests.key_updates import Records
from tests.outbound.conftest import SHORT


class Stalled:
    """A look-up that does not end before the test does."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.asked = 0

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        self.over.wait(30)
        return ["127.0.0.1"]


def drip(head: bytes, over: threading.Event) -> Any:
    def send(wire: Any) -> None:
        wire.write(head)
        while not over.wait(0.02):
            wire.write(b"x")

    return send


@pytest.fixture
def over():
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n"],
    ids=["line", "head", "body"],
)
def test_H08_a_server_that_drips_is_cut_off(serve, settings, session_of, wire, over, head: bytes) -> None:
    server, began = serve(), time.process_time()
    server.routes["*"] = wire.answer(raw=drip(head, over))
    session = session_of(settings, allowed=[wire.member], limits=SHORT)
    with pytest.raises(Unreachable):
        session.get(server.url("/"))
    assert not over.is_set()
    assert time.process_time() - began < 5


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(("count", "is_taken"), [(tls_messages.MOST, True), (tls_messages.MOST + 1, False)])
def test_H08_a_server_that_sends_new_keys_and_no_data_is_cut_off(
    serve, settings, session_of, wire, tmp_path, count: int, is_taken: bool
) -> None:
    """OpenSSL reads key updates in C until data comes, and no deadline of a gevent worker ends that."""

    def send(file: Any) -> None:
        records = Records(tmp_path / "keys", "SERVER")
        socket.socket.sendall(file._sock, records.key_updates(count) + records.data(ANSWER))

    server = serve(keylog=tmp_path / "keys")
    server.routes["*"] = wire.answer(raw=send)
    session = session_of(settings, allowed=[wire.member])
    if is_taken:
        assert session.get(server.url("/")).object() == {}
    else:
        with pytest.raises(Unreachable, match="connection"):
            session.get(server.url("/"))


@pytest.mark.parametrize(("count", "lines"), [(tls_messages.MOST, 0), (tls_messages.MOST + 1, 1), (4095, 1)])
def test_H08_a_server_that_asks_for_hellos_without_end_is_cut_off(
    settings, session_of, wire, caplog, count: int, lines: int
) -> None:
    """A client skips such requests while it shakes hands (RFC 5246 section 7.4.1.1): in C, and before it has a certificate."""

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            body = b"\0" * 4 * count
            connection.sendall(b"\x16\x03\x03" + len(body).to_bytes(2) + body)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        answering = threading.Thread(target=serve)
        answering.start()
        with pytest.raises(Unreachable):
            session_of(settings, allowed=[wire.member]).get(f"https://{wire.member}:{listening.getsockname()[1]}/")
        answering.join()
    assert caplog.text.count("a TLS peer sends messages without end") == lines


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "records",
    [
        [b"HTTP/1.1 200 OK\r\nContent-Length: 320\r\n\r\n", *[b"x"] * 320],
        [CHUNKED + b"1\r\nx\r\n" * 320 + b"0\r\n\r\n"],
    ],
    ids=["records", "chunks"],
)
def test_H08_a_server_that_sends_its_answer_byte_by_byte_holds_up_nobody(
    serve, settings, session_of, wire, monkeypatch, records: list[bytes]
) -> None:
    """To read what has arrived switches to no other greenlet: each read would take the next piece at once."""
    turns: list[float] = []
    monkeypatch.setattr(time, "sleep", turns.append)

    def send(file: Any) -> None:
        for record in records:
            file.write(record)

    server = serve()
    server.routes["*"] = wire.answer(raw=send)
    session_of(settings, allowed=[wire.member]).get(server.url("/"))
    assert len(turns) >= 320 // 16
    assert set(turns) == {0}


UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import sys
from consent_server.outbound.errors import Unreachable
from consent_server.outbound.session import Limits, Session
from tests.deployments import layout, settings_of

session = Session(settings_of("cap", "sqlite://"), limits=Limits(connect_s=20, read_s=20, total_s=1.0))
session.allow_hosts(lambda: {"localhost"})
try:
    session.get(f"https://localhost:{sys.argv[1]}/")
except Unreachable as error:
    print(error.kind)
"""


def test_H08_under_gevent_a_server_that_drips_within_one_tls_record_is_cut_off(over) -> None:
    """gevent begins a time-out anew at each byte; a door's worker would wait as long as the server likes."""
    listening = socket.create_server(("127.0.0.1", 0))
    # The head of a handshake record that announces 16 KiB, and then a byte of it now and again.
    threading.Thread(target=drip_bytes, args=(listening, b"\x16\x03\x03\x40\x00\x02", over), daemon=True).start()
    command = [sys.executable, "-c", UNDER_GEVENT, str(listening.getsockname()[1])]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (asked.stdout, over.is_set()) == ("time\n", False), asked.stderr
    listening.close()


def drip_bytes(listening: socket.socket, head: bytes, over: threading.Event) -> None:
    connection, _ = listening.accept()
    try:
        connection.sendall(head)
        while not over.wait(0.2):
            connection.sendall(b"\0")
    except OSError:
        connection.close()


def test_H08_a_name_server_that_does_not_answer_is_cut_off_and_holds_one_thread(settings, session_of, wire) -> None:
    look_up = Stalled()
    session = session_of(settings, allowed=[wire.member], limits=SHORT, look_up=look_up)
    faults: list[str] = []

    def ask() -> None:
        try:
            session.get(f"https://{wire.member}/")
        except Unreachable as error:
            faults.append(error.kind)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert faults == ["time"] * 10
    assert look_up.asked == 1
    look_up.over.set()


def test_a_name_is_asked_for_again_once_its_look_up_has_ended(serve, settings, session_of, wire) -> None:
    server, asked = serve(), []
    server.routes["*"] = wire.answer(200, headers={"Connection": "close"})

    def look_up(host: str, port: int) -> list[str]:
        asked.append(host)
        if len(asked) == 1:
            raise OSError("no such name")
        return ["127.0.0.1"]

    session = session_of(settings, allowed=[wire.member], look_up=look_up)
    with pytest.raises(Unreachable) as fault:
        session.get(server.url("/"))
    assert fault.value.kind == "dns"
    for _ in range(2):
        session.get(server.url("/"))
    assert len(asked) >= 2


def test_waiting_for_a_connection_counts_too(serve, settings, session_of, wire, over) -> None:
    """More calls at once than a host may have connections: the last ones wait for theirs no longer than a call may take."""
    server = serve()
    server.routes["*"] = wire.answer(raw=drip(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n", over))
    session = session_of(settings, allowed=[wire.member], limits=SHORT)
    ended = threading.Semaphore(0)

    def ask() -> None:
        with pytest.raises(Unreachable):
            session.get(server.url("/"))
        ended.release()

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(24)]
    for thread in threads:
        thread.start()
    assert all(ended.acquire(timeout=10) for _ in threads)
    assert not over.is_set()


class TestAPage:
    @pytest.fixture(autouse=True)
    def page(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(page_time, "PAGE_S", 0.3)
        monkeypatch.setattr(page_time, "PAGE_CONFIGURED_S", 0.3)
        page_time.begin_page()
        yield
        page_time.end_page()

    @pytest.fixture
    def asks(self, serve, settings, session_of, wire, over):
        """(ask a dripping member's server, ask a well one): each returns how it ended."""
        dripping, well = serve(), serve()
        dripping.routes["*"] = wire.answer(raw=drip(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n", over))
        well.routes["*"] = wire.answer(200)
        session = session_of(settings, allowed=[wire.member], limits=Limits(connect_s=20, read_s=20, total_s=20))

        def outcome(server: Any, **how: Any) -> str:
            try:
                return str(session.get(server.url("/"), **how).status)
            except Unreachable as error:
                return error.kind

        return dripping, well, outcome

    @pytest.mark.parametrize("configured", [False, True])
    def test_H08_it_waits_for_one_server_once_and_not_at_each_call(self, asks, configured: bool) -> None:
        dripping, well, outcome = asks
        assert outcome(dripping, configured=configured) == "time"
        calls = len(dripping.asked)
        assert outcome(dripping, configured=configured) == "time"
        assert len(dripping.asked) == calls, "nothing is left for a second call"
        assert outcome(well, configured=configured) == "200"

    def test_H08_it_waits_for_several_servers_of_one_party_once(self, asks) -> None:
        dripping, well, outcome = asks
        with page_time.one_wait("https://issuer.example"):
            assert outcome(dripping) == "time"
            assert outcome(well) == outcome(well, configured=True) == "time"
        assert not well.asked
        assert outcome(well) == "200"

    def test_the_next_page_has_its_own_time(self, asks) -> None:
        dripping, _, outcome = asks
        outcome(dripping)
        page_time.begin_page()
        outcome(dripping)
        assert len(dripping.asked) == 2


def test_a_shorter_call_beside_a_longer_one_ends_at_its_own_time() -> None:
    deadline = Deadline()
    near, far = socket.socketpair()
    with near, far, deadline.of(3600):
        near.settimeout(20)
        with deadline.of(0.1):
            deadline.using(near)
            assert near.recv(1) == b"", "it is shut, and not waited for"


def test_a_call_that_is_broken_off_as_it_begins_leaves_nothing_behind(monkeypatch):
    deadline = Deadline()
    monkeypatch.setattr(deadline._watch, "add", lambda _: sys.exit())
    with pytest.raises(SystemExit), deadline.of(0):
        pytest.fail("it began")
    assert deadline.cut(None, "localhost") is None

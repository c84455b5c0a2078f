"""How long a client is waited for: in all, and not between two bytes."""

import contextlib
import json
import socket
import ssl
import struct
import time

import pytest

from consent_server.outbound import tls_messages
from tests.key_updates import Records
from tests.serving.test_doors import exchange, get

#: Seconds that the door of these tests gives for each thing.
SHORT = {"public.request_s": "1", "public.answer_s": "1", "public.keep_alive_s": "2"}
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def door(certificates, tmp_path_factory):
    from tests.serving.doors import Door

    door = Door(certificates, tmp_path_factory.mktemp("patience"), "public", overrides=SHORT)
    with door.connect() as connection:  # until it is up
        assert get(connection)[0] == 200
    yield door
    door.stop()


def plain(door):
    return socket.create_connection(("127.0.0.1", door.port), timeout=30)


def secure(door):
    connection = door.connect()
    connection.settimeout(30)
    return connection


#: how it connects, what it sends at once, what it then sends again and again, and what the log says it was waited for
DRIPS = {
    "nothing": (plain, b"", b"", "handshake"),
    "a handshake in drips": (plain, b"\x16\x03\x01\x02\x00\x01\x00", b"\x00", "handshake"),
    "a head in drips": (secure, b"GET / HTTP/1.1\r\nHost: localhost\r\nA: ", b"a", "request"),
    "half a head": (secure, b"GET / HTTP/1.1\r\nHost: loc", b"", "request"),
    "a body in drips": (secure, POST + b"Content-Length: 1000\r\n\r\n", b"a", "request"),
    "a long body that never comes": (secure, POST + b"Content-Length: 1000000\r\n\r\n", b"", "request"),
    "chunks of one byte": (secure, POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", "request"),
    "half a chunk": (secure, POST + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\nhalf", b"", "request"),
}


@pytest.mark.parametrize(("connect", "first", "drip", "waited_for"), DRIPS.values(), ids=DRIPS.keys())
def test_what_a_client_may_take_its_time_over(door, connect, first, drip, waited_for):
    before = len(door.lines("slow_client"))
    started = time.monotonic()  # the door's clock starts later
    with connect(door) as connection:
        connection.sendall(first)
        closed = b""
        connection.settimeout(0.3)
        for _ in range(60):
            try:
                closed += connection.recv(4096)
                break
            except TimeoutError:
                with_drip(connection, drip)
            except OSError:
                break
        else:
            pytest.fail("it is waited for still")
        assert time.monotonic() - started > 0.9
    assert not closed or closed.startswith(b"HTTP/1.1 400 "), closed
    lines = door.wait_for_lines("slow_client", before + 1)[before:]
    assert [line["waited_for"] for line in lines] == [waited_for]
    assert lines[0]["address"] == "127.0.0.1"
    with door.connect() as connection:
        assert get(connection)[0] == 200


def with_drip(connection, drip):
    with contextlib.suppress(OSError):  # closed: the next read says so
        connection.sendall(drip)


def test_a_client_that_was_told_to_go_on_has_no_more_time_for_it(door):
    before = len(door.lines("slow_client"))
    with secure(door) as connection:
        connection.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    lines = door.wait_for_lines("slow_client", before + 1)[before:]
    assert [line["waited_for"] for line in lines] == ["request"]


def test_an_answer_that_nobody_reads_is_given_up(door):
    before = len(door.lines("slow_client"))
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(10)
    raw.connect(("127.0.0.1", door.port))
    context = ssl.create_default_context(cafile=door.certificates.authority.server_root)
    with context.wrap_socket(raw, server_hostname="localhost") as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        lines = door.wait_for_lines("slow_client", before + 1)[before:]
        assert [line["waited_for"] for line in lines] == ["answer"]


def test_silence_is_kept_as_long_as_the_setting_says(door):
    with secure(door) as connection:
        for _ in range(5):
            time.sleep(0.5)
            started = time.monotonic()
            assert get(connection)[0] == 200
        assert connection.recv(1) == b""
        assert time.monotonic() - started > 1.8


def test_time_that_the_application_takes_does_not_count(door):
    """It takes as long as a request may, before and after it has read the body."""
    with secure(door) as connection:
        for _ in range(2):
            status, _, _ = exchange(connection, POST.replace(b" / ", b" /slow ") + b"Content-Length: 3\r\n\r\nabc")
            assert status == 200


MALFORMED = {
    "no number": b"zz\r\nabc\r\n0\r\n\r\n",
    "negative": b"-1\r\nabc\r\n0\r\n\r\n",
    "prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "empty": b"\r\nabc\r\n0\r\n\r\n",
    "extension": b"3;=\r\nabc\r\n0\r\n\r\n",
    "longer than it says": b"3\r\nabcd\r\n0\r\n\r\n",
    "bad trailer": b"3\r\nabc\r\n0\r\nContent-Length: 1\r\n\r\n",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_chunks_are_the_clients_fault_and_end_the_connection(door, body):
    with secure(door) as connection:
        status, _, _ = exchange(connection, POST + b"Transfer-Encoding: chunked\r\n\r\n" + body)
        assert status == 400
        with_drip(connection, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert connection.recv(1) == b""


@pytest.mark.parametrize("path", ["/to-the-end", "/at-once"])
def test_a_body_shorter_than_it_announced_is_not_acted_upon(door, path):
    """Whoever closes half way has not sent a request, however the application reads it."""
    connection = secure(door)
    connection.sendall(POST.replace(b"/", path.encode(), 1) + b"Content-Length: 10\r\n\r\nabc")
    time.sleep(0.2)
    connection.close()
    assert [line["status"] for line in door.wait_for_lines("request", 1, path)] == [400]


def test_refused_handshakes_have_ids_of_their_own(door):
    with secure(door) as connection:
        answered = [json.loads(exchange(connection, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")[2]) for _ in range(2)]
    assert len(answered) == 2
    for _ in range(2):
        with pytest.raises(ssl.SSLError):
            door.connect(newest=ssl.TLSVersion.TLSv1_2).close()
    lines = door.wait_for_lines("handshake_refused", 2)
    ids = [line["correlation_id"] for line in lines] + [line["correlation_id"] for line in door.lines("request")]
    assert len(set(ids[: len(lines)])) == len(lines)
    assert not set(ids[: len(lines)]) & set(ids[len(lines) :])
    assert "-" not in ids


def test_F08_a_client_that_has_gone_is_not_served_the_rest_of_what_it_sent(open_door):
    door = open_door("public")
    with door.connect() as connection:  # until it is up
        assert get(connection)[0] == 200
    connection = secure(door)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 30)
    assert connection.recv(12) == b"HTTP/1.1 200"
    # no time to linger: closing sends a reset
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    # the next answer fails, or the one after; served on, they would follow 0.2, 0.4, 0.6 and 0.8 s apart
    answered = len(door.lines("request"))
    time.sleep(3)
    assert len(door.lines("request")) < answered + 4


#: what a client sends after the handshake, as (key updates, data) one after another, and whether it is then answered
REKEYED = {
    "as many as it may": ([(tls_messages.MOST, GET)], True),
    "as many, and data between": ([(tls_messages.MOST // 2, GET[:9]), (tls_messages.MOST // 2, GET[9:])], True),
    "one more": ([(tls_messages.MOST + 1, GET)], False),
    "one more, and data between": ([(tls_messages.MOST, GET[:9]), (1, GET[9:])], False),
    "and nothing else": ([(2000, b"")], False),
    "empty records between": ([(8, b"")] * 100, False),
}


@pytest.mark.parametrize(("sent", "answered"), REKEYED.values(), ids=REKEYED.keys())
def test_F08_a_client_that_sends_new_keys_and_no_data_is_cut_off(public_door, tmp_path, sent, answered):
    """OpenSSL reads key updates in C until data comes: whoever sends nothing else would hold up every other request."""
    before = len(public_door.lines("too_many_tls_messages"))
    with public_door.connect(keylog=tmp_path / "keys") as connection:
        records = Records(tmp_path / "keys", "CLIENT")
        made = b"".join(records.key_updates(count) + records.data(data) for count, data in sent)
        socket.socket.sendall(connection, made)
        with contextlib.suppress(ConnectionError):
            assert connection.recv(12) == (b"HTTP/1.1 200" if answered else b"")
    assert len(public_door.lines("too_many_tls_messages")) == before + (not answered)
    with public_door.connect() as connection:
        assert get(connection)[0] == 200

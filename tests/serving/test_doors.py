"""The doors as gunicorn opens them: real TLS on loopback, config/gunicorn.conf.py, a tiny application behind it."""

import contextlib
import hashlib
import http.client
import json
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.waiting import until


def exchange(connection, request):
    connection.sendall(request)
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, answer.headers, answer.read()


def get(connection, path="/", *headers):
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]
    status, _, body = exchange(connection, "\r\n".join(lines).encode())
    return status, json.loads(body)


def refused(door, act):
    """The alert (or reset) that the client sees, and the one line that the log gains."""
    before = len(door.lines("handshake_refused"))
    with pytest.raises(ssl.SSLError) as seen, act() as connection:
        get(connection)  # TLS 1.3 tells the client at its first read
    lines = door.wait_for_lines("handshake_refused", before + 1)
    assert len(lines) == before + 1
    return seen.value, lines[-1]


def test_a_member_certificate_arrives_with_its_verified_chain(mutual_tls_door, certificates):
    with mutual_tls_door.connect(certificates.cap.chain, certificates.cap.key) as connection:
        status, seen = get(connection)
    assert status == 200
    assert seen["version"] == "TLSv1.3"
    assert seen["leaf"] == hashlib.sha256(certificates.cap.der).hexdigest()
    assert seen["intermediates"] == [hashlib.sha256(certificates.issuer_der).hexdigest()]
    assert seen["scheme"] == "https"


def test_A05_no_certificate_meets_an_alert(mutual_tls_door):
    error, line = refused(mutual_tls_door, mutual_tls_door.connect)
    assert "CERTIFICATE_REQUIRED" in str(error)
    assert line["reason"] == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    assert (line["door"], line["address"]) == ("mutual_tls", "127.0.0.1")


def test_A14_tls_1_2_is_refused(mutual_tls_door, public_door, certificates):
    for door, shown in [(mutual_tls_door, (certificates.cap.chain, certificates.cap.key)), (public_door, ())]:
        _, line = refused(door, lambda d=door, s=shown: d.connect(*s, newest=ssl.TLSVersion.TLSv1_2))
        assert line["reason"] == "UNSUPPORTED_PROTOCOL"


BAD = {
    "A06-expired": ({"expired": True}, "certificate has expired"),
    "A10-self-signed": ({"self_signed": True}, "self-signed certificate"),
    "A10-stranger-with-the-same-names": ({"wrong_ca": True}, "unable to get local issuer certificate"),
}


@pytest.mark.parametrize(("faults", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_certificate_meets_an_alert(mutual_tls_door, certificates, faults, reason):
    issued = certificates.client("bad", **faults)
    error, line = refused(mutual_tls_door, lambda: mutual_tls_door.connect(issued.chain, issued.key))
    assert "alert" in str(error).lower()
    assert line["reason"] == f"CERTIFICATE_VERIFY_FAILED: {reason}"


def test_A10_a_chain_without_its_intermediate_meets_an_alert(mutual_tls_door, certificates):
    alone = certificates.cap.certificate
    _, line = refused(mutual_tls_door, lambda: mutual_tls_door.connect(alone, certificates.cap.key))
    assert line["reason"] == "CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate"


@pytest.mark.parametrize("purpose", ["signing", "server"])
def test_A09_a_certificate_of_another_root_meets_an_alert(mutual_tls_door, certificates, purpose):
    issued = (
        certificates.server if purpose == "server" else certificates.authority.signing("s", "https://a.b/c", "m", [])
    )
    _, line = refused(mutual_tls_door, lambda: mutual_tls_door.connect(issued.chain, issued.key))
    assert line["reason"].startswith("CERTIFICATE_VERIFY_FAILED")


def test_a_connection_is_kept_and_one_context_serves_all(mutual_tls_door, certificates):
    contexts = set()
    for _ in range(3):
        with mutual_tls_door.connect(certificates.cap.chain, certificates.cap.key) as connection:
            for _ in range(3):
                status, seen = get(connection)
                assert status == 200
                contexts.add(seen["context"])
    assert len(contexts) == 1


def test_A15_no_session_is_resumed(mutual_tls_door, certificates):
    context = ssl.create_default_context(cafile=certificates.authority.server_root)
    context.load_cert_chain(certificates.cap.chain, certificates.cap.key)
    session = None
    for _ in range(2):
        raw = socket.create_connection(("127.0.0.1", mutual_tls_door.port), timeout=30)
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as connection:
            _, seen = get(connection)
            assert seen["reused"] is False
            session = connection.session


def test_the_public_door_asks_for_no_certificate(public_door):
    with public_door.connect() as connection:
        status, seen = get(connection)
    assert (status, seen["leaf"], seen["version"]) == (200, None, "TLSv1.3")


def test_a_door_behind_a_proxy_asks_for_no_certificate(open_door):
    door = open_door(overrides={"clients.arrival": "client-cert", "clients.proxies": ["127.0.0.1"]})
    with door.connect() as connection:
        status, seen = get(connection)
    assert (status, seen["leaf"]) == (200, None)


def test_A03_a_header_that_could_pass_for_another_is_dropped(mutual_tls_door, certificates):
    with mutual_tls_door.connect(certificates.cap.chain, certificates.cap.key) as connection:
        _, seen = get(connection, "/", "X_SSL_Client_Cert: forged", "Client_Cert: :AAAA:", "X-Forwarded-Proto: http")
    assert set(seen["headers"]) == {"HTTP_HOST", "HTTP_X_FORWARDED_PROTO"}
    assert seen["scheme"] == "https"


MALFORMED = {
    "A03-header-over-8190-bytes": (b"GET / HTTP/1.1\r\nHost: x\r\nClient-Cert: " + b"A" * 9000 + b"\r\n\r\n", 431),
    "too-many-headers": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 80 + b"\r\n", 431),
    "long-request-line": (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "head-without-end": (b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 600_000, 431),
    "A03-folded": (b"GET / HTTP/1.1\r\nHost: x\r\nClient-Cert: a\r\n b\r\n\r\n", 400),
    "F07-both-lengths": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "secret-in-the-line": (b"GET /authorize?code=s3cr3t-canary HTTP/9.9 x\r\nHost: x\r\n\r\n", 400),
}


@pytest.mark.parametrize(("request_bytes", "expected"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_http_gets_json_and_leaves_no_secret_in_the_log(public_door, request_bytes, expected):
    with public_door.connect() as connection:
        status, headers, body = exchange(connection, request_bytes)
    answer = json.loads(body)
    assert status == expected
    assert headers["Content-Type"] == "application/json"
    assert answer.keys() == {"error", "error_description", "error_uri", "correlation_id"}
    assert answer["correlation_id"] in public_door.log.read_text()
    assert "s3cr3t-canary" not in public_door.log.read_text()


def test_the_access_log_is_json_without_query_or_secret_segments(public_door):
    with public_door.connect() as connection:
        get(connection, "/evidence/AbCdEfGhIjKlMnOpQrStUvWx?mpan=1012345678901")
        get(connection, "/datasources/1012345678901/import")
    for path in ("/evidence/*", "/datasources/*/import"):
        assert [line["status"] for line in public_door.wait_for_lines("request", 1, path)] == [200]
    log = public_door.log.read_text()
    assert not any(secret in log for secret in ("AbCdEfGhIjKlMnOpQrStUvWx", "1012345678901", "mpan"))


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("X-Request-Id: 0f1e-2d3c", "0f1e-2d3c"),
        ("x-fapi-interaction-id: c770AEF3-6784", "c770AEF3-6784"),
        ('X-Request-Id: ","event":"forged" [31m', "eventforged31m"),
        ("X-Request-Id: " + "x" * 200, "x" * 48),
        ("X-Request-Id: ''", None),
        ("Accept: text/html", None),
    ],
)
def test_H16_the_callers_own_id_is_beside_ours_in_the_log(public_door, sent, kept):
    before = len(public_door.lines("request", "/named"))
    with public_door.connect() as connection:
        connection.sendall(f"GET /named HTTP/1.1\r\nHost: localhost\r\n{sent}\r\n\r\n".encode())
        connection.recv(100)
    line = public_door.wait_for_lines("request", before + 1, "/named")[-1]
    assert line.get("caller_id") == kept
    assert line["correlation_id"] != kept


def test_S21_whatever_is_logged_has_the_id_of_its_own_request_or_connection(mutual_tls_door, certificates):
    """Requests on one connection, what goes wrong on it afterwards, and refused handshakes in between."""
    seen = len(mutual_tls_door.log.read_text().splitlines())
    for _ in range(2):
        with mutual_tls_door.connect(certificates.cap.chain, certificates.cap.key) as connection:
            get(connection)
            refused(mutual_tls_door, mutual_tls_door.connect)
            get(connection)
            assert exchange(connection, b"GET / HTTP/9.9 x\r\nHost: x\r\n\r\n")[0] == 400
            refused(mutual_tls_door, mutual_tls_door.connect)
    written = [json.loads(line) for line in mutual_tls_door.log.read_text().splitlines()[seen:]]
    ids = [line["correlation_id"] for line in written]
    assert {line["event"] for line in written} >= {"request", "handshake_refused", "log"}
    assert len(set(ids)) == len(ids), "a line has another's id"
    assert not {"", "-"} & set(ids)


def test_a_body_is_read_whole_and_the_connection_goes_on(public_door):
    body = b"x" * 300_000
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with public_door.connect() as connection:
        for _ in range(2):
            status, _, answer = exchange(connection, head + body)
            assert (status, json.loads(answer)["body"]) == (200, len(body))


BAD_CHUNKS = {
    "no number": b"xyz\r\nabc\r\n0\r\n\r\n",
    "sign": b"+3\r\nabc\r\n0\r\n\r\n",
    "negative": b"-3\r\nabc\r\n0\r\n\r\n",
    "0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "underscore": b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n",
    "space before": b" 3\r\nabc\r\n0\r\n\r\n",
    "empty": b"\r\nabc\r\n0\r\n\r\n",
    "NUL": b"3\0\r\nabc\r\n0\r\n\r\n",
    "not ASCII": "٣\r\nabc\r\n0\r\n\r\n".encode(),
    "bare LF": b"3\nabc\n0\n\n\r\n",
    "extension with NUL": b"3;a=\0\r\nabc\r\n0\r\n\r\n",
    "no end of the chunk": b"3\r\nabcde\r\n0\r\n\r\n",
    "bad trailer": b"3\r\nabc\r\n0\r\na b: c\r\n\r\n",
}


@pytest.mark.parametrize("path", ["/", "/unread"])
@pytest.mark.parametrize("chunks", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_H14_malformed_chunks_are_no_fault(public_door, path, chunks):
    """400 where the body is read; where it is not, the answer, and then 400 or the end of the connection."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    log = len(public_door.log.read_text())
    with public_door.connect() as connection:
        status, _, _ = exchange(connection, head + chunks)
        assert status == (400 if path == "/" else 200)
        rest = b""
        with contextlib.suppress(ConnectionError):  # it reads on for two seconds, and then a reset ends it
            connection.sendall(b"GET /behind HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while more := connection.recv(4096):
                rest += more
    assert b" 500 " not in rest
    assert b" 200 " not in rest, "what follows a body that cannot be read is no request"
    assert '"level":"error"' not in public_door.log.read_text()[log:]


@pytest.mark.parametrize("size", [70_000, 2**20])
def test_a_body_that_nobody_read_does_not_cost_the_connection(public_door, size):
    """A 413 is answered before its body is read, and says keep-alive."""
    body = b"x" * size
    head = f"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with public_door.connect() as connection:
        for _ in range(3):
            status, headers, answer = exchange(connection, head + body)
            assert (status, json.loads(answer)["body"]) == (200, 0)
            assert headers["Connection"] != "close"


@pytest.mark.parametrize("size", [300_000, 3 * 2**20])
def test_a_client_that_sends_its_whole_body_first_gets_the_answer_before_the_connection_closes(public_door, size):
    """A reset, because of bytes that nobody read, would take the answer away from a client that is still sending."""
    head = f"POST /unread HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
    for _ in range(3):
        with public_door.connect() as connection:
            status, headers, answer = exchange(connection, head.encode() + b"x" * size)
            assert (status, headers["Connection"], json.loads(answer)["body"]) == (200, "close", 0)


def test_an_answer_is_one_record_and_a_fault_in_its_middle_is_none(public_door):
    with public_door.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert json.loads(connection.recv(65536).partition(b"\r\n\r\n")[2])["body"] == 0  # a read returns one record
        connection.sendall(b"GET /breaks HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.suppress(ssl.SSLEOFError):
            assert connection.recv(65536) == b""


def test_requests_sent_one_behind_the_other_are_all_answered(public_door):
    with public_door.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        for _ in range(3):
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert answer.status == 200
            answer.read()


def silent(door):
    return socket.create_connection(("127.0.0.1", door.port), timeout=30)


def half_a_hello(door):
    connection = silent(door)
    connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    return connection


def silent_after_the_handshake(door):
    return door.connect()


def half_a_head(door):
    connection = door.connect()
    connection.sendall(b"GET / HTTP/1.1\r\nHost: loc")
    return connection


@pytest.mark.parametrize("way", [silent, half_a_hello, silent_after_the_handshake, half_a_head])
def test_F08_slow_clients_hold_up_nobody(public_door, way):
    """Forty slow connections, and an honest client gets its answer before one of them is given up."""
    before = len(public_door.lines("slow_client"))
    held = [way(public_door) for _ in range(40)]
    try:
        with public_door.connect() as connection:
            assert get(connection)[0] == 200
        assert len(public_door.lines("slow_client")) == before, "all of them are waited for still"
    finally:
        for connection in held:
            connection.close()


def test_F08_clients_that_do_not_hang_up_do_not_hold_up_others(public_door):
    """Each of these is answered and closed by us, and stays."""
    held = []
    for _ in range(20):
        connection = public_door.connect()
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        held.append(connection)
    with public_door.connect() as connection:
        assert get(connection)[0] == 200
    for connection in held:
        connection.close()


def test_F08_whoever_keeps_all_connections_open_keeps_nobody_out(open_door):
    """The one that has been idle longest makes room for the next, and every other stays as it is."""
    door = open_door("public", overrides={"public.connections": "10"})
    with contextlib.ExitStack() as held:
        first, second, *others = [held.enter_context(silent_after_the_handshake(door)) for _ in range(9)]
        assert get(first)[0] == 200  # so that the second has now waited longest
        last = held.enter_context(door.connect())
        assert get(last)[0] == 200
        assert second.recv(1) == b""
        assert [get(each)[0] for each in (first, *others, last)] == [200] * 9
        for way in [silent] * 5 + [half_a_head] * 15:  # and neither does who keeps them open otherwise
            held.enter_context(way(door))
        with door.connect() as connection:
            assert get(connection)[0] == 200
    assert 1 <= len(door.lines("connections_full")) <= 2, "once a minute"


def test_F08_whoever_drips_makes_room_before_whoever_has_just_begun(open_door):
    """Neither another byte of a request nor a place among few that are idle counts."""
    door = open_door("public", overrides={"public.connections": "12", "public.request_s": "60"})
    with contextlib.ExitStack() as held:
        dripping = [held.enter_context(half_a_head(door)) for _ in range(12)]
        greeting = held.enter_context(silent(door))
        asking = held.enter_context(half_a_head(door))
        for each in dripping:
            with contextlib.suppress(OSError):  # those that made room already
                each.sendall(b"a")
        for _ in range(4):
            held.enter_context(half_a_head(door))
        asking.sendall(b"alhost\r\n\r\n")
        assert asking.recv(100).startswith(b"HTTP/1.1 200 ")
        with door.connect(over=greeting) as connection:
            assert get(connection)[0] == 200


LENGTH = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        LENGTH + b"half",
        LENGTH.replace(b"100", b"1000000") + b"half",
        CHUNKED + b"64\r\nhalf",
        CHUNKED + b"4\r\n\r\n\r\n\r\n",
        CHUNKED + b"0\r\n",
    ],
    ids=["length", "long", "chunk", "blank lines in a chunk", "last chunk"],
)
def test_F08_bodies_that_stop_half_way_hold_up_nobody(public_door, request_bytes):
    before = len(public_door.lines("slow_client"))
    held = [public_door.connect() for _ in range(40)]
    for connection in held:
        connection.sendall(request_bytes)
    with public_door.connect() as connection:
        assert get(connection)[0] == 200
    assert len(public_door.lines("slow_client")) == before, "all of them are waited for still"
    for connection in held:
        connection.close()


@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        pytest.param(LENGTH, [b"x" * 60, b"y" * 40], id="length"),
        pytest.param(
            CHUNKED, [b"32\r\n" + b"x" * 50, b"\r\n32\r", b"\n" + b"y" * 50 + b"\r\n0\r\n", b"\r\n"], id="chunks"
        ),
    ],
)
def test_a_half_finished_body_is_completed_later(public_door, head, pieces):
    with public_door.connect() as connection:
        connection.sendall(head)
        for piece in pieces[:-1]:
            time.sleep(0.1)
            connection.sendall(piece)
        time.sleep(0.1)
        for _ in range(2):
            status, _, answer = exchange(connection, pieces[-1])
            assert (status, json.loads(answer)["body"]) == (200, 100)
            connection.sendall(head + b"".join(pieces[:-1]))


def test_a_client_that_waits_to_be_told_sends_its_body(public_door):
    with public_door.connect() as connection:
        connection.sendall(LENGTH.replace(b"Host", b"Expect: 100-continue\r\nHost"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        status, _, answer = exchange(connection, b"x" * 100)
    assert (status, json.loads(answer)["body"]) == (200, 100)


def test_a_half_finished_head_is_completed_later(public_door):
    with half_a_head(public_door) as connection:
        time.sleep(0.3)
        status, _, _ = exchange(connection, b"alhost\r\n\r\n")
    assert status == 200


def test_many_clients_at_once(mutual_tls_door, certificates):
    def one(_):
        with mutual_tls_door.connect(certificates.cap.chain, certificates.cap.key) as connection:
            return {get(connection)[0] for _ in range(3)}

    with ThreadPoolExecutor(12) as pool:
        assert set().union(*pool.map(one, range(24))) == {200}


def test_G03_a_request_in_hand_is_answered_when_the_door_closes(open_door):
    door = open_door("public")
    idle = [door.connect() for _ in range(3)]
    with door.connect() as connection, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(get, connection, "/slow")
        until((door.config.parent / "slow").exists, "the request is not in hand")
        took = door.stop()
        assert answer.result()[0] == 200
    assert took < 8
    for connection in idle:
        connection.close()

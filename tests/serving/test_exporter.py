"""The exporter's port: one address, and clients that say nothing keep nobody else waiting for long."""

import socket
import threading
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from consent_server.serving import exporter
from consent_server.serving.exporter import MOST_CONNECTIONS, Exporter

SCRAPE = b"GET /metrics HTTP/1.0\r\n\r\n"


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(exporter, "PATIENCE_S", 2)
    registry = CollectorRegistry()
    Counter("of_test", "One.", registry=registry).inc()
    with Exporter(("127.0.0.1", 0), registry) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address
        server.shutdown()


def answered(connection: socket.socket, request: bytes = SCRAPE) -> bytes:
    """The whole answer; nothing where the connection is closed."""
    connection.settimeout(60)
    text = b""
    try:
        connection.sendall(request)
        while more := connection.recv(4096):
            text += more
    except ConnectionError:
        pass
    return text


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (SCRAPE, b"200"),
        (b"GET / HTTP/1.0\r\n\r\n", b"404"),
        (b"GET /metrics/../x HTTP/1.0\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.0\r\n\r\n", b"501"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.0\r\n\r\n", b"414"),
    ],
)
def test_there_is_one_address(address: tuple[str, int], request_: bytes, status: bytes) -> None:
    with socket.create_connection(address) as connection:
        assert answered(connection, request_).split(b" ")[1] == status


def test_silent_clients_are_cut_off_and_others_served(address: tuple[str, int]) -> None:
    silent = [socket.create_connection(address) for _ in range(MOST_CONNECTIONS)]
    silent[0].sendall(SCRAPE[:9])
    with socket.create_connection(address) as one_too_many:
        assert answered(one_too_many) == b""
    for connection in silent:
        assert answered(connection, b"") == b""
        connection.close()
    with socket.create_connection(address) as connection:
        assert b"of_test_total 1.0" in answered(connection)

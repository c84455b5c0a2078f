"""gunicorn for one door. `consent-server serve` starts it and says which door, in three environment variables:

CONSENT_CONFIG  the party's settings file
CONSENT_DOOR    public or mutual_tls
CONSENT_SET     overrides, as JSON: {"metadata.authorization_alias": "false"}

Both doors speak TLS 1.3 and nothing older. The mutual-TLS door asks for a client certificate below the client root,
unless a proxy ends TLS for it (clients.arrival); then it must be reachable by that proxy alone.

What gunicorn's threaded worker does by itself, and why it is changed here: it gives every new connection a thread at
once, which then waits up to five seconds for the first byte, and for ever inside a handshake, a request's head or a
body that stops half way; and it closes connections on the thread that accepts them, waiting up to two seconds for the
other side. A few silent clients are enough to stop it. `PatientWorker` keeps a connection with the poller until a whole
request head is there, so that a thread is only ever used on work; the rest is bounded by `PATIENCE`.
"""

import json
import logging
import os
import re
import resource
import secrets
import selectors
import socket
import ssl
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gunicorn.util
from gunicorn import http, sock
from gunicorn.glogging import Logger
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.workers import gthread

from consent_server import audit, clock
from consent_server.settings import load

if TYPE_CHECKING:
    import datetime

settings = load(Path(os.environ["CONSENT_CONFIG"]), json.loads(os.environ.get("CONSENT_SET", "{}")))
door = os.environ["CONSENT_DOOR"]
listener = {"public": settings.public, "mutual_tls": settings.mutual_tls}[door]

#: Seconds that a client may take, in all, over the handshake and its first request's head, and over each body.
PATIENCE = 10
#: Longest request head, in bytes; gunicorn's own limits below are for its parts.
HEAD = 64 * 1024
#: Open files: a silent connection costs one, and no thread.
_, _most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
OPEN_FILES = 16384 if _most_files == resource.RLIM_INFINITY else min(16384, _most_files)
resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, _most_files))

wsgi_app = "consent_server:application()"
proc_name = f"consent-server {settings.party} {door}"
bind = listener.bind
workers = listener.workers
threads = listener.threads
worker_connections = OPEN_FILES // 2
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - the heartbeat's file, made safely
keepalive = 20
timeout = 30
graceful_timeout = 8
control_socket_disable = True

# TLS
certfile = str(listener.certificate)
keyfile = str(listener.key)
asks_for_certificate = door == "mutual_tls" and settings.clients.arrival == "tls"
if asks_for_certificate:
    ca_certs = str(settings.clients.root)
    cert_reqs = ssl.CERT_REQUIRED

# HTTP: one parser, no header that another could be mistaken for, nothing believed about who forwarded what
http_parser = "python"
header_map = "drop"
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190


class DoorSocket(ssl.SSLSocket):
    """A connection that blocks for PATIENCE seconds at most while one request is read, counted over all its reads."""

    _until = 0.0

    def setblocking(self, flag: bool) -> None:
        self._until = time.monotonic() + PATIENCE
        self.settimeout(PATIENCE if flag else 0.0)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        if self.gettimeout() == 0.0:
            return super().recv(buflen, flags)
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the client is too slow")
        self.settimeout(left)
        try:
            return super().recv(buflen, flags)
        finally:
            self.settimeout(PATIENCE)


def _one_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certfile, keyfile)
    # No resumption: a session of one door must not stand in for a certificate at the other (CVE-2025-23419).
    context.num_tickets = 0
    context.sslsocket_class = DoorSocket
    if asks_for_certificate:
        # The root alone, so that a chain ends there and at no intermediate. OpenSSL's strict mode stays off: it would
        # refuse certificates without key identifiers, and the application reads every certificate strictly anyhow.
        context.load_verify_locations(ca_certs)
        context.verify_mode = cert_reqs
    return context


#: Built before the workers fork, so that a bad certificate stops the start; gunicorn would build one per connection.
_context = _one_context()


def ssl_context(config: Any, default_ssl_context_factory: Any) -> ssl.SSLContext:
    return _context


class Connection(gthread.TConn):
    """A connection that never makes a thread wait: each step does what it can and says whether it is done."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.until = time.monotonic() + PATIENCE
        self.lingering = False

    def shake_hands(self) -> bool:
        """Whether the TLS handshake is finished. Raises ssl.SSLError when it has failed."""
        if self.initialized:
            return True
        self.sock.setblocking(False)
        if not isinstance(self.sock, ssl.SSLSocket):
            self.sock = sock.ssl_wrap_socket(self.sock, self.cfg)
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            if time.monotonic() > self.until:
                raise ssl.SSLError("too slow") from None
            return False
        self.parser = http.get_parser(self.cfg, self.sock, self.client)
        self.initialized = True
        return True

    def has_head(self) -> bool:
        """Whether a whole request head, or the end of the stream, has been read.

        Raises OSError when the client is too slow or gone, LimitRequestHeaders when the head is too long.
        """
        self.sock.setblocking(False)
        unreader = self.parser.unreader
        head = unreader.take_buffered()
        if not head:
            self.until = time.monotonic() + PATIENCE
        try:
            while b"\r\n\r\n" not in head:
                if len(head) > HEAD:
                    raise LimitRequestHeaders("the head is too long")
                more = self.sock.recv(8192)
                if not more:
                    break
                head += more
        except ssl.SSLWantReadError:
            if time.monotonic() > self.until:
                raise TimeoutError("the client is too slow") from None
            return False
        finally:
            unreader.unread(head)
        return True

    def linger(self) -> bool:
        """Say goodbye, then read what is still coming, so that our last words are not lost. Whether that is done."""
        try:
            if not self.lingering:
                self.lingering = True
                self.until = time.monotonic() + PATIENCE
                self.sock.setblocking(False)
                self.sock.shutdown(socket.SHUT_WR)
            while time.monotonic() < self.until:
                if not self.sock.recv(8192):
                    return True
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def close(self, graceful: bool = False) -> None:
        gunicorn.util.close(self.sock)


class PatientWorker(gthread.ThreadWorker):
    """gthread whose threads only ever see whole request heads; see the top of this file."""

    def accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except OSError as error:
            # Whatever is wrong with one connection, the worker lives on.
            self.log.debug("accept: %s", error)
            return
        conn = Connection(self.cfg, client, address, listener.getsockname())
        self.nr_conns += 1
        conn.set_timeout()
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def handle(self, conn: Connection) -> Any:
        # The base class would close on the accepting thread, and wait there for the other side.
        served = False if conn.lingering else self._serve(conn)
        if served is False and not conn.linger():
            return gthread._DEFER
        return served

    def _serve(self, conn: Connection) -> Any:
        try:
            if not conn.shake_hands():
                return gthread._DEFER
        except OSError as error:
            self._note_refused_handshake(conn, error)
            return False
        try:
            if not conn.has_head():
                return gthread._DEFER
        except LimitRequestHeaders as error:
            conn.sock.setblocking(True)
            self.handle_error(None, conn.sock, conn.client, error)
            return False
        except OSError:
            return False
        return super().handle(conn)

    def _note_refused_handshake(self, conn: Connection, error: OSError) -> None:
        """One line for each refused handshake, for such a refusal never reaches the application."""
        if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError):
            self.log.debug("the client left during the handshake")
            return
        reason = error.reason or str(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = f"{reason}: {error.verify_message}"
        address = conn.client[0] if isinstance(conn.client, tuple) else ""
        self.log.warning(
            "handshake refused", extra={"fields": {"event": "handshake_refused", "address": address, "reason": reason}}
        )

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        audit.correlation_id.set(secrets.token_hex(12))
        super().handle_error(req, client, addr, exc)

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)


worker_class = PatientWorker


def _answer_in_json(client: socket.socket, status: int, reason: str, message: str) -> None:
    """What gunicorn says when no request reaches the application; like every answer of ours, and quoting nothing."""
    fault = status == 500
    body = json.dumps(
        {
            "error": "server_error" if fault else "invalid_request",
            "error_description": "The server met an error that it did not expect."
            if fault
            else "The request is not well-formed HTTP for this address.",
            "error_uri": f"{settings.public.origin}/errors/{'server_error' if fault else 'bad_http_request'}",
            "correlation_id": audit.correlation_id.get(),
        }
    )
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Cache-Control: no-store\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    client.sendall((head + body).encode("ascii"))


gunicorn.util.write_error = _answer_in_json


# Logs: JSON lines, audit lines as they are and everything else in the same shape; no query string, no header, no body.

#: Path segments that may be secret (an evidence page's address) and long numbers (a meter's) are not written down.
_SECRET_IN_PATH = re.compile(r"[^/]{20,}|[0-9]{6,}")


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        if record.name == audit.log.name:
            return record.getMessage()
        line = {
            "at": clock.now(),
            "event": "log",
            "correlation_id": audit.correlation_id.get(),
            "door": door,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["fault"] = record.exc_info[0].__name__
            line["where"] = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(record.exc_info[2])]
        return json.dumps(line, ensure_ascii=True, separators=(",", ":"))


class DoorLog(Logger):
    """gunicorn's logger, in our lines."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JsonLines())

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        malformed = sys.exc_info()[0]
        if malformed and "extra" not in kwargs:
            # gunicorn quotes the request line or the header here, and either may hold a secret
            msg, args = f"malformed request: {malformed.__name__}", ()
        super().warning(msg, *args, **kwargs)

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        super().exception("fault outside the application", **kwargs)

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: "datetime.timedelta") -> None:
        path = environ.get("PATH_INFO", "")
        sent = {name.lower(): value for name, value in resp.headers}
        line = {
            "at": clock.now(),
            "event": "request",
            "correlation_id": sent.get("x-request-id", audit.correlation_id.get()),
            "door": door,
            "address": environ.get("REMOTE_ADDR", ""),
            "method": environ.get("REQUEST_METHOD", ""),
            "path": _SECRET_IN_PATH.sub("*", path),
            "status": int(str(resp.status).split()[0]),
            "bytes": resp.sent,
            "ms": round(request_time.total_seconds() * 1000, 1),
        }
        self.access_log.info(json.dumps(line, ensure_ascii=True, separators=(",", ":")))


logger_class = DoorLog
accesslog = "-"
errorlog = "-"

_handler = logging.StreamHandler()
_handler.setFormatter(JsonLines())
logging.basicConfig(level=logging.INFO, handlers=[_handler], force=True)
# Their INFO and DEBUG lines hold URLs with queries, or tokens.
for _noisy in ("httpx", "httpcore", "authlib", "alembic"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)

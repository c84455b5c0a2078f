"""gunicorn for one door. `consent-server serve` starts it and says which door, in three environment variables:

CONSENT_CONFIG  the party's settings file
CONSENT_DOOR    public or mutual_tls
CONSENT_SET     overrides, as JSON: {"metadata.authorization_alias": "false"}

Both doors speak TLS 1.3 and nothing older. The mutual-TLS door asks for a client certificate below the client root,
unless a proxy ends TLS for it (clients.arrival); then it must be reachable by that proxy alone.
"""

import json
import os
import resource
import ssl
from pathlib import Path
from typing import Any

import gunicorn.util

from consent_server.serving import lines
from consent_server.serving.gunicorn_log import Answers, DoorLog
from consent_server.serving.worker import DoorSocket, PatientWorker
from consent_server.settings import load

settings = load(Path(os.environ["CONSENT_CONFIG"]), json.loads(os.environ.get("CONSENT_SET", "{}")))
door = os.environ["CONSENT_DOOR"]
listener = {"public": settings.public, "mutual_tls": settings.mutual_tls}[door]

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


worker_class = PatientWorker

DoorLog.door = door
logger_class = DoorLog
accesslog = "-"
errorlog = "-"
gunicorn.util.write_error = Answers(settings.public.origin).write_error
lines.install(door)

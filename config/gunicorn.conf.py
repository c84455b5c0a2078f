"""gunicorn for one door. `consent-server serve` starts it and says which door, in three environment variables:

CONSENT_CONFIG  the party's settings file
CONSENT_DOOR    public or mutual_tls
CONSENT_SET     overrides, as JSON: {"metadata.authorization_alias": "false"}

Both doors speak TLS 1.3 and nothing older. The mutual-TLS door asks for a client certificate below the client root,
unless a proxy ends TLS for it (clients.arrival); then it must be reachable by that proxy alone.

The worker is gunicorn's own for gevent: a connection costs a greenlet. What it does not bound, serving/connection.py does.
"""

import atexit
import gc
import importlib
import resource
import secrets
import signal
import ssl
from functools import partial
from typing import Any

import gevent
import gevent.thread  # before a module with a log handler: the interpreter ends modules in reverse order
import gunicorn.util
from gevent.hub import Hub
from gevent.server import StreamServer

from consent_server import audit, traces
from consent_server.serving import configuration, connection, log_stream, made_once, worker_counts
from consent_server.serving.gunicorn_log import Answers, DoorLog
from consent_server.serving.request_body import with_request_body
from consent_server.serving.traced import traced

serving = configuration.read()
listener = serving.listener

# A connection costs one open file; as many again are for calls out and the database.
_, _most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
_wanted = max(4096, 2 * listener.connections)
OPEN_FILES = _wanted if _most_files == resource.RLIM_INFINITY else min(_wanted, _most_files)
resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, _most_files))

wsgi_app = "consent_server:application()"
proc_name = f"consent-server {serving.settings.party} {serving.door}"
bind = listener.bind
workers = listener.workers
worker_class = "gevent"
worker_connections = min(listener.connections, OPEN_FILES // 2)
# One new connection for each turn of the loop, as gunicorn has it for several workers: a hundred handshakes at once would
# delay every other request.
StreamServer.max_accept = 1
# Threads in which a worker looks up names, started when they are needed. Each name whose name server does not answer holds one
# until the system's resolver gives up; with gevent's ten, ten such names would hold up the look-up of every other.
Hub.threadpool_size = 128
worker_tmp_dir = worker_counts.IN_MEMORY  # for the heartbeat's file, made safely
counts = worker_counts.of_door()
# gunicorn's bound on everything up to the end of a head; the bounds on the handshake, on silence and on each request are ours
keepalive = listener.keep_alive_s + 2 * listener.request_s
timeout = 30
graceful_timeout = 8
control_socket_disable = True

# TLS: for gunicorn's own checks; the context is ours, and its connections do their own handshake
certfile = str(listener.certificate)
keyfile = str(listener.key)
do_handshake_on_connect = True

# HTTP: one parser, no header that another could be mistaken for, nothing believed about who forwarded what
http_parser = "python"
header_map = "drop"
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190


def ssl_context(config: Any, default_ssl_context_factory: Any) -> ssl.SSLContext:
    return serving.tls


def when_ready(arbiter: Any) -> None:
    ours = arbiter.app.app_uri == wsgi_app  # and not a smaller application, as tests serve
    # `on_reload`, gunicorn's own hook, cannot refuse a reload.
    arbiter.handle_hup = partial(configuration.reload, arbiter.handle_hup, ours=ours)
    if ours:
        # What every door needs is in memory that its workers share: what is loaded here must keep nothing that gevent replaces.
        importlib.import_module("consent_server.web.door")
    # A worker that looked for garbage in what it shares would write into it, and have a copy of its own.
    gc.freeze()
    if counts is not None:
        counts.export()


def pre_fork(arbiter: Any, worker: Any) -> None:
    if counts is not None:
        counts.number(worker, arbiter.WORKERS.values())


def post_fork(arbiter: Any, worker: Any) -> None:
    # Until a worker has handlers of its own it has its parent's, which would note a SIGTERM and stop nothing: it would serve on
    # until it is killed, requests in hand included. It has none in hand yet.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.disable()


def post_worker_init(worker: Any) -> None:
    # Nothing that a worker loads is garbage. To look for some, while it starts and when it ends, took two fifths of both.
    gc.freeze()
    gc.enable()
    atexit.register(gc.freeze)
    if counts is not None:
        counts.begin(worker, worker.wsgi)
    application = worker.wsgi
    if serving.settings.traces.endpoint:
        traces.start(serving.settings.traces, serving.door)
        application = traced(application, serving.door)
    worker.wsgi = with_request_body(application)
    audit.out = log_stream.of(2).line
    # gunicorn looks up settings some fifty times for each request, through two functions; in a worker none changes.
    vars(worker.cfg).update({name: setting.get() for name, setting in worker.cfg.settings.items()})
    serving.tls.worker = worker
    gevent.spawn(connection.stop_gently, worker)


def pre_request(worker: Any, request: Any) -> None:
    """gunicorn's own would look whether its log takes a line of the level debug, which holds the path."""


def post_request(worker: Any, request: Any, environ: Any, response: Any) -> None:
    if "gunicorn.socket" in environ:
        environ["gunicorn.socket"].answered()
    # What is logged of this connection from now on is not that request's: malformed heads, for one.
    audit.correlation_id.set(secrets.token_hex(12))


DoorLog.door = serving.door
logger_class = DoorLog
accesslog = "-"
errorlog = "-"
made_once.install()
gunicorn.util.write_error = Answers(serving.settings.public.origin).write_error

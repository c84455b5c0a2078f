"""The exporter for Prometheus, on its own port: inside the jobs' process, and for a door in a process beside its workers."""

import contextlib
import errno
import json
import logging
import shutil
import signal
import socket
import socketserver
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from time import sleep
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.registry import Collector

log = logging.getLogger("consent_server.metrics")

PATH: Final = "/metrics"
#: Connections at once; more are closed. Seconds that one may take in all.
MOST_CONNECTIONS: Final = 8
PATIENCE_S: Final = 5
#: Seconds until a port is tried again that another process has, such as the door that this one takes the place of.
AGAIN_S: Final = 1.0


class SumOfWorkers(Collector):
    """The counters and histograms that the workers of a door have in the files of a folder, added up.

    It shows what `prometheus_client.multiprocess.MultiProcessCollector` shows. That one takes nearly twice as long,
    because it reads the labels of each series anew for each scrape.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._series = cache(json.loads)

    def collect(self) -> Iterable[Metric]:
        sums: defaultdict[tuple[str, str], float] = defaultdict(float)
        for file in self._folder.glob("*.db"):
            kind = file.name.partition("_")[0]
            for key, value, *_ in MmapedDict.read_all_values_from_file(file):  # type: ignore[no-untyped-call]
                sums[kind, key] += value
        families: dict[str, Metric] = {}
        counted: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for (kind, key), value in sums.items():
            name, sample, labels, says = self._series(key)
            family = families.get(name) or families.setdefault(name, Metric(name, says, kind))
            if "le" in labels:  # a bucket, the lowest first, in which Prometheus counts those below it too
                whole = {label: named for label, named in labels.items() if label != "le"}
                counted[name, *whole.values()] += value
                value = counted[name, *whole.values()]
                if labels["le"] == "+Inf":
                    family.add_sample(f"{name}_count", whole, value)
            family.add_sample(sample, labels, value)
        return families.values()


class Exporter(socketserver.ThreadingTCPServer):
    """Serves a registry at PATH, and nothing else."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 2 * MOST_CONNECTIONS

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.registry = registry
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(address, Scrape)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.info("a scrape was broken off: %s", type(sys.exc_info()[1]).__name__)


class Scrape(BaseHTTPRequestHandler):
    """One request of Prometheus."""

    server: Exporter

    def setup(self) -> None:
        super().setup()
        self._patience = threading.Timer(PATIENCE_S, self._cut)
        self._patience.start()

    def finish(self) -> None:
        self._patience.cancel()
        super().finish()

    def _cut(self) -> None:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        if self.path != PATH:
            self.send_error(404)
            return
        body = generate_latest(self.server.registry)
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "consent-server"

    def log_message(self, *_: Any) -> None:
        """Write no line for a scrape."""


def in_background(address: tuple[str, int], registry: CollectorRegistry) -> None:
    """Serve a registry on a thread of this process, for as long as it runs."""
    threading.Thread(target=_serve, args=(address, registry), name="metrics", daemon=True).start()


def _serve(address: tuple[str, int], registry: CollectorRegistry) -> None:
    said = False
    while True:
        try:
            with Exporter(address, registry) as server:
                server.serve_forever()
        except OSError as error:
            # What is measured must stop nothing that is served.
            if not said:
                log.warning("metrics: %s:%d: %s; trying again", *address, errno.errorcode.get(error.errno or 0, "?"))
            said = True
            sleep(AGAIN_S)


def main(host: str, port: str, folder: str) -> None:
    """Serve what the workers of a door have in `folder`, until the door's last process has ended; then remove it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    registry = CollectorRegistry()
    registry.register(SumOfWorkers(Path(folder)))
    in_background((host, int(port)), registry)
    with contextlib.suppress(OSError):
        sys.stdin.buffer.read()  # nothing comes, and its end when no process of the door holds the other end any more
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

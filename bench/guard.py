"""What the guard costs as a service beside a proxy: python -m bench.guard

One worker of `consent-server guard serve` has one core; eight kept-alive connections of proxies and the issuer have the other.
Each question is nginx's, about a request with a client's certificate and token. Tokens that were seen before are measured, and
new ones, whose signature has to be verified; every answer is looked at. The time is the worker's own processor time.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import quote

from bench.acts import CALLERS, PORT, cpu_s, processes_behind
from consent_server.sandbox.authority import Authority
from tests.resource.guarded import Issuer, Running, callers
from tests.resource.test_gate import guard_toml

BIND: Final = f"127.0.0.1:{PORT}"
KINDS: Final = ("a token that was seen before", "a new token")


@contextmanager
def guard(folder: Path) -> Iterator[tuple[Running, list[int]]]:
    """Serve the guard; yield what makes tokens, and the processes whose time counts."""
    authority = Authority(folder / "ca").create()
    issuer, certificates = Issuer(folder, authority), callers(authority, folder)
    settings, log = guard_toml(issuer, authority, folder, "escaped-pem"), folder / "log"
    command = [sys.executable, "-m", "consent_server", "guard", "serve", "--workers", "1", "--bind", BIND]
    with log.open("wb") as lines:
        process = subprocess.Popen(
            ["taskset", "-c", "0", *command, "--config", str(settings)], stdout=lines, stderr=lines
        )
    try:
        yield (
            Running(issuer, "", folder, certificates, authority.server_root, log),
            processes_behind(process, PORT, log, workers=1),
        )
    finally:
        process.terminate()
        process.wait(20)
        issuer.server.shutdown()


def ask(certificate: str, tokens: list[str], took: list[float]) -> None:
    connection = HTTPConnection("127.0.0.1", PORT, timeout=60)
    headers = {"X-SSL-Client-Cert": certificate, "X-Original-URI": "/my/data/meter.1?from=2026-03-01T00:00:00Z"}
    headers["X-Original-Method"] = "GET"
    for token in tokens:
        started = time.perf_counter()
        connection.request("GET", "/nginx", headers={**headers, "Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
        took.append(time.perf_counter() - started)
        if (answer.status, answer.getheader("X-Consent-Permission")) != (200, "account-1"):
            raise SystemExit(f"{answer.status} {answer.headers}")


def measured(running: Running, processes: list[int], tokens: list[str]) -> tuple[float, float, list[float]]:
    """Return the microseconds of processor time for one question, questions a second, and the seconds of each."""
    pem = "".join(running.certificates["cap"].chain.read_text().partition("-----END CERTIFICATE-----")[:2])
    took: list[float] = []
    shares = [tokens[number::CALLERS] for number in range(CALLERS)]
    threads = [threading.Thread(target=ask, args=(quote(pem + "\n", safe=""), share, took)) for share in shares]
    before, started = cpu_s(processes), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == len(tokens), "a question was not answered"
    return 1e6 * (cpu_s(processes) - before) / len(took), len(took) / (time.perf_counter() - started), sorted(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--questions", type=int, default=2000, help="of each kind in one round")
    how = parser.parse_args()
    os.sched_setaffinity(0, {1})
    found: dict[str, list[tuple[float, float, list[float]]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as name, guard(Path(name)) as (running, processes):
        one = running.token()
        measured(running, processes, [one] * 200)  # certificate, key set and list are fetched and remembered
        for number in range(how.rounds):
            new = [running.token(jti=f"{number}.{each}") for each in range(how.questions)]
            for kind, tokens in zip(KINDS, ([one] * how.questions, new), strict=True):
                found[kind].append(measured(running, processes, tokens))
    print("| a question about | CPU, µs | a second | median, ms | 99th percentile, ms |")
    print("|---|---:|---:|---:|---:|")
    for kind, rounds in found.items():
        cpu, rate = statistics.median(each[0] for each in rounds), statistics.median(each[1] for each in rounds)
        half, tail = (statistics.median(1000 * took[int(at * len(took))] for *_, took in rounds) for at in (0.5, 0.99))
        print(f"| {kind} | {cpu:.0f} | {rate:.0f} | {half:.1f} | {tail:.1f} |")


if __name__ == "__main__":
    main()

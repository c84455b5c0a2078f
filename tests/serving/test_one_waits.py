"""The mutual-TLS door as gunicorn runs it, with our application: what one client waits for holds up no other."""

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from flask import Flask, request
from werkzeug.serving import make_server

from consent_server import store
from consent_server.sandbox import directory, parties, publishing
from consent_server.sandbox.layout import Layout
from consent_server.store.database import db
from consent_server.store.schema import migrate
from tests.conftest import free_ports
from tests.database import make_tables
from tests.serving.doors import ROOT

#: First requests of one client at once.
AT_ONCE = 6


class SlowDirectory:
    """The sandbox's Directory, which says nothing of one application before `answers` is set."""

    def __init__(self, layout: Layout, slow: str) -> None:
        self.asked, self.answers = threading.Event(), threading.Event()
        self.questions: list[str] = []
        app = Flask("directory")
        publishing.install(app, layout, directory.routes)

        @app.before_request
        def wait() -> None:
            self.questions.append(request.base_url)
            if request.base_url == layout.application(slow):
                self.asked.set()
                self.answers.wait(20)

        files = (str(layout.server_certificate("chain")), str(layout.server_certificate("key")))
        self._server = make_server("127.0.0.1", layout.port("trust"), app, threaded=True, ssl_context=files)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    made = Layout(tmp_path_factory.mktemp("framework"), free_ports())
    parties.prepare(made)
    return made


@pytest.fixture
def slow_directory(layout: Layout) -> Iterator[SlowDirectory]:
    there = SlowDirectory(layout, "cap")
    yield there
    there.close()


@pytest.fixture
def door(layout: Layout, database_url: str, tmp_path: Path) -> Iterator[str]:
    """The origin of a door whose one worker has just started."""
    app = Flask("tables")
    store.init(app, database_url)
    with app.app_context():
        make_tables(migrate)
        db.engine.dispose()
    changes = {
        "database.url": database_url,
        "revocation_list.source": str(layout.revocation_list),
        "database.withdrawal_journal": str(tmp_path / "journal"),
    }
    environment = {
        "CONSENT_CONFIG": str(layout.settings("edp")),
        "CONSENT_DOOR": "mutual_tls",
        "CONSENT_SET": json.dumps(changes),
        "PYTHONPATH": str(ROOT),
    }
    log = tmp_path / "log"
    command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "config/gunicorn.conf.py")]
    with log.open("wb") as lines:
        process = subprocess.Popen(command, env={**os.environ, **environment}, cwd=tmp_path, stdout=lines, stderr=lines)
    until = time.monotonic() + 30
    while "Booting worker" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)
    yield layout.origin("edp_mutual_tls")
    process.send_signal(signal.SIGQUIT)  # without waiting for connections that are kept open
    process.wait(20)


class Caller:
    """A client of the manifest."""

    def __init__(self, layout: Layout, name: str, door: str) -> None:
        context = ssl.create_default_context(cafile=str(layout.authority / "server_root.pem"))
        context.load_cert_chain(layout.certificate(name, "chain"), layout.certificate(name, "key"))
        self._http = httpx.Client(verify=context, base_url=door, timeout=20, trust_env=False)
        self._form = {
            "response_type": "code",
            "client_id": layout.application(name),
            "redirect_uri": "https://client.example/callback",
            "scope": layout.license("electricity"),
            "code_challenge": "A" * 43,
            "code_challenge_method": "S256",
            "state": "s",
        }

    def push(self) -> int:
        return self._http.post("/par", data=self._form).status_code

    def health(self) -> int:
        return self._http.get("/health").status_code


@contextmanager
def kept_from_writing(database_url: str) -> Iterator[None]:
    """Hold what a push must have: SQLite's one lock, or on PostgreSQL its table."""
    options = {"isolation_level": "AUTOCOMMIT"}
    engine = sa.create_engine(database_url)
    with engine.connect().execution_options(**options) as other:
        begin = "BEGIN IMMEDIATE" if engine.dialect.name == "sqlite" else "BEGIN; LOCK TABLE pushed_request"
        other.exec_driver_sql(begin)
        yield
        other.exec_driver_sql("ROLLBACK")
    engine.dispose()


def test_S3_a_client_that_waits_for_the_directory_or_the_database_holds_up_no_other(
    layout: Layout, slow_directory: SlowDirectory, door: str, database_url: str
) -> None:
    other = Caller(layout, "cap2", door)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        first = [pool.submit(Caller(layout, "cap", door).push) for _ in range(AT_ONCE)]
        try:
            assert slow_directory.asked.wait(20)
            assert [other.push() for _ in range(2 * AT_ONCE)] == [201] * 2 * AT_ONCE
            assert not any(each.done() for each in first)
        finally:
            slow_directory.answers.set()
        assert [each.result() for each in first] == [201] * AT_ONCE
        assert slow_directory.questions.count(layout.application("cap")) == 1, "one of them asked, for all"

        with kept_from_writing(database_url):
            waiting = pool.submit(other.push)
            another = Caller(layout, "cap", door)
            assert [another.health() for _ in range(AT_ONCE)] == [200] * AT_ONCE
            assert not waiting.done()
        # 503 would say that the worker looked again only when PostgreSQL, after three seconds, had ended the wait.
        assert waiting.result() == 201

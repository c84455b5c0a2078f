"""What grows is found by an index: no request and no job reads a table from end to end."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from bench import growth
from consent_server.pki.member_certificate import MemberCertificate
from tests.deployments import START

#: Statements of one request or one job, at most, for one permission of one meter.
MOST_STATEMENTS = 15


@pytest.fixture
def empty(postgresql_server: str) -> Iterator[str]:
    """The URL of a database of its own: what a table takes is asked of the whole of it."""
    engine = sa.create_engine(postgresql_server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE grown")
        yield postgresql_server.replace("/postgres?", "/grown?")
        connection.exec_driver_sql("DROP DATABASE grown WITH (FORCE)")
    engine.dispose()


@pytest.fixture(autouse=True)
def _at_the_instant_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consent_server.clock.now", lambda: START)


def test_no_request_and_no_job_reads_a_table_from_end_to_end(
    empty: str, certificates: dict[str, MemberCertificate]
) -> None:
    costs = growth.measured(empty, certificates, 300, START, by_index=True)
    assert {name: cost.scanned for name, cost in costs.items() if cost.scanned} == {}
    del costs["job: retention"]  # a statement for each table, once an hour
    assert {name: cost.statements for name, cost in costs.items() if cost.statements > MOST_STATEMENTS} == {}

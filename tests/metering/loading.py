"""What the tests of loading share: a feed as CSV, a load of it, and everything that is then held."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from consent_server import store
from consent_server.metering.importing.load import How, load
from consent_server.metering.importing.report import LoadReport
from consent_server.store.database import db
from tests.metering.conftest import NOW

HEADER = "meter_id,from,value,unit,taken_at,cumulative,quality"


def loaded(path: Path, text: str | bytes, how: How | None = None) -> LoadReport:
    """Load a file with these bytes; return the report."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    report = LoadReport()
    load(path, how or How(), NOW, report, lambda _: None)
    return report


def csv(lines: Iterable[str], header: str = HEADER) -> str:
    return "\n".join((header, *lines, ""))


def held() -> dict[str, list[Any]]:
    """Return the day blocks, and what is set aside but for where it was read, which depends on how a feed was cut."""
    day_block, aside = (db.metadata.tables[name] for name in ("day_block", "set_aside"))
    columns = [column for column in aside.c if column.name not in ("file", "line")]
    with store.reading() as c:
        return {
            "day_block": sorted(tuple(row) for row in c.execute(sa.select(day_block))),
            "set_aside": sorted(tuple(row) for row in c.execute(sa.select(*columns))),
        }

"""Which permission or connection rests on which."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.store.datasources import insert_ignoring
from consent_server.store.models import Link, table

_link: Any = table(Link)


def add(c: Connection, support: str, dependent: str) -> None:
    c.execute(insert_ignoring(c, _link), {"support": support, "dependent": dependent})


def dependents(c: Connection, support: str) -> list[str]:
    return list(c.execute(sa.select(_link.c.dependent).where(_link.c.support == support)).scalars())


def supports(c: Connection, dependent: str) -> list[str]:
    return list(c.execute(sa.select(_link.c.support).where(_link.c.dependent == dependent)).scalars())

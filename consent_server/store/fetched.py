"""The last good copies of fetched documents, shared by all processes of a party."""

import sqlalchemy as sa

from consent_server.outbound.cache import Copy
from consent_server.store import rows
from consent_server.store.database import reading, writing
from consent_server.store.rows import table_of
from consent_server.store.tables.processes import FetchedCopy

_fetched = table_of(FetchedCopy)


class StoredCache:
    """The Cache of a party: copies in the store. Each call is a transaction of its own."""

    def get(self, name: str) -> Copy | None:
        with reading() as c:
            row = rows.one(c, FetchedCopy, sa.select(_fetched).where(_fetched.c.name == name))
        return None if row is None else Copy(row.body, row.headers, row.fetched, row.fresh_until)

    def put(self, name: str, copy: Copy) -> None:
        with writing() as c:
            rows.put(c, FetchedCopy(name, copy.body, dict(copy.headers), copy.fetched, copy.fresh_until))

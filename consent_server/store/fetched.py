"""The last good copy of what was fetched, shared by every process of a party. `StoredCache` is the client's Cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from consent_server.store.database import reading, writing
from consent_server.store.models import Fetched, table

_fetched: Any = table(Fetched)


class Copy(Protocol):
    @property
    def body(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def fetched(self) -> int: ...
    @property
    def fresh_until(self) -> int: ...


@dataclass(frozen=True)
class StoredCopy:
    """A copy as it lies in the store; instants as everywhere."""

    body: bytes
    headers: Mapping[str, str]
    fetched: int
    fresh_until: int


class StoredCache:
    """Copies by name (their URL). Each call is a transaction of its own."""

    def get(self, name: str) -> StoredCopy | None:
        with reading() as c:
            row = c.execute(sa.select(_fetched).where(_fetched.c.name == name)).one_or_none()
        return None if row is None else StoredCopy(bytes(row.body), row.headers, row.fetched, row.fresh_until)

    def put(self, name: str, cached: Copy) -> None:
        values = {
            "body": cached.body,
            "headers": dict(cached.headers),
            "fetched": cached.fetched,
            "fresh_until": cached.fresh_until,
        }
        with writing() as c:
            make = postgresql.insert if c.dialect.name == "postgresql" else sqlite.insert
            statement: Any = make(_fetched).values(name=name, **values)
            c.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))

"""What the processes of a party share: fetched copies, and what each says of itself."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import sqlalchemy as sa

from consent_server.store.rows import KEY, table
from consent_server.store.tables.columns import Instant
from consent_server.tokens.keyset import KeySet


@table("fetched")
class FetchedCopy(NamedTuple):
    """The last good copy of a fetched document: a list, a Directory entry, a permission text."""

    name: Annotated[str, KEY]
    body: bytes
    headers: Mapping[str, str]
    fetched: Instant
    fresh_until: Instant


@table("job_run")
class JobRun(NamedTuple):
    """How the last run of a job of `consent-server work` ended, and when one last succeeded and failed."""

    job: Annotated[str, sa.String(48), KEY]
    at: Instant
    ok: bool
    error: str
    succeeded: Instant | None = None
    failed: Instant | None = None


@table("node")
class Node(NamedTuple):
    """One machine's set of keys, as its processes say it of themselves. `since` is when it was last another."""

    name: Annotated[str, sa.String(300), KEY]
    keys: KeySet
    since: Instant
    seen: Instant

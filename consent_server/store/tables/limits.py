"""What is counted towards the limits."""

from typing import Annotated, NamedTuple

import sqlalchemy as sa

from consent_server.store.rows import INDEXED, KEY, table
from consent_server.store.tables.columns import Instant


@table("attempt")
class FailureCount(NamedTuple):
    """What was counted under one key in one window. The counts of some budgets are in several rows (store.limits)."""

    key: Annotated[str, sa.String(96), KEY]
    window: Annotated[Instant, KEY, INDEXED]
    count: int  # type: ignore[assignment]  # a tuple's method of that name is not used

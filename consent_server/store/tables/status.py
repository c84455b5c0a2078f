"""How well the service runs, as partners see it."""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import sqlalchemy as sa
from typing_extensions import TypedDict  # pydantic cannot validate that of typing before Python 3.12

from consent_server.store.rows import INDEXED, KEY, table
from consent_server.store.tables.columns import Instant


@table("probe")
class Probe(NamedTuple):
    """One look at a part of the service from outside. `measured` is the milliseconds until the answer; of messages the seconds
    for which the oldest is owed. `why` is one word, empty where it was answered.
    """

    part: Annotated[str, sa.String(16), KEY]
    at: Annotated[Instant, KEY, INDEXED]
    answered: bool
    measured: int
    why: Annotated[str, sa.String(32)]


@table("probe_day")
class ProbeDay(NamedTuple):
    """The sums of a day's probes of one part (status.measured). `planned_s` is downtime that was announced in time."""

    part: Annotated[str, sa.String(16), KEY]
    day: Annotated[Instant, KEY]
    asked: int
    answered: int
    measured_s: int
    down_s: int
    planned_s: int


class NoticeText(TypedDict):
    """What an operator wrote about an incident, and when."""

    at: int
    text: str


@table("notice")
class StatusNotice(NamedTuple):
    """An incident, or downtime that is planned, as an operator announced it.

    `effect` is "down" or "degraded". An incident ends when it is closed; until then `ends` is None. `in_time` says whether
    downtime was announced as early as the scheme asks.
    """

    id: Annotated[str, sa.String(16), KEY]
    kind: Annotated[Literal["incident", "downtime"], sa.String(16)]
    parts: Sequence[str]
    effect: Annotated[Literal["down", "degraded"], sa.String(16)]
    title: str
    begins: Annotated[Instant, INDEXED]
    ends: Instant | None
    announced: Instant
    in_time: bool
    texts: Sequence[NoticeText]
    cancelled: Instant | None = None


@table("served_hour")
class ServedHour(NamedTuple):
    """How one endpoint answered one client in an hour. `client` is an application URL, empty where nobody was identified.

    `failed` were answered by a fault of ours or by 503. The others are counted by the milliseconds that their answer took, each
    in the first of these columns in which it goes; `slower` has the rest.
    """

    hour: Annotated[Instant, KEY]
    endpoint: Annotated[str, sa.String(120), KEY]
    client: Annotated[str, KEY]
    asked: int
    failed: int
    ms_100: int
    ms_250: int
    ms_500: int
    ms_1000: int
    ms_1500: int
    ms_4000: int
    ms_6000: int
    slower: int

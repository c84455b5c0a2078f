"""The client of a consumption API: data sources, and readings in windows (standard energy-consumption-data)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic  # durations only: see deadline
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from consent_server.outbound import fields
from consent_server.outbound.errors import BadAnswer, NotReady, TokenRefused, Unreachable
from consent_server.outbound.session import MIB, Response, Session
from consent_server.scheme import instant

#: The scheme's own providers refuse more than 396 days.
WINDOW = 366 * instant.DAY
LONGEST_S = 300
_LARGEST = 32 * MIB  # 366 days of one meter are 6 MiB at the longest spelling seen
_RETRY_S = 60


@dataclass(frozen=True)
class DataSource:
    """One meter: `id` is opaque, `type` the fuel, `measures` of import and export."""

    id: str
    type: str
    outcode: str | None
    measures: tuple[str, ...]


@dataclass(frozen=True)
class FetchedWindow:
    """One response: start <= readings < end as requested, and its body, which scheme.readings.answer() reads."""

    start: int
    end: int
    body: bytes = field(repr=False)


class ConsumptionData:
    """The API at one `endpoint` (the catalogue's endpointURL), for one collection, which has LONGEST_S seconds in all.

    Each call has a limit of its own, but without one for all of them a slow provider could hold a worker for days.
    """

    def __init__(self, session: Session, endpoint: str) -> None:
        self._session = session
        self._endpoint = endpoint.rstrip("/")
        self._ends = monotonic() + LONGEST_S

    def datasources(self, access_token: str) -> list[DataSource]:
        """Return all meters of the token's permission. Raise Unreachable, TokenRefused, BadAnswer."""
        answer = self._get("/datasources", access_token)
        try:
            return [_data_source(each) for each in fields.objects(answer.object(), "data")]
        except ValueError:
            raise BadAnswer("data sources", answer.host, 200) from None

    def readings(
        self, access_token: str, source_id: str, measure: str, start: int, end: int
    ) -> Iterator[FetchedWindow]:
        """Yield the readings of [start, end) in windows of at most 366 days, oldest first, each fetched when it is needed.

        Raise NotReady while the data are being collected, and what `datasources` raises.
        """
        path = readings_address("", source_id, measure)
        for since in range(start, end, WINDOW):
            until = min(since + WINDOW, end)
            query = urlencode({"from": instant.text(since), "to": instant.text(until)}, safe=":")
            yield FetchedWindow(since, until, self._get(f"{path}?{query}", access_token).body)

    def _get(self, path: str, access_token: str) -> Response:
        if monotonic() > self._ends:
            raise Unreachable("time", urlsplit(self._endpoint).hostname or "-")
        answer = self._session.get(f"{self._endpoint}{path}", limit=_LARGEST, bearer=access_token)
        if answer.status == 202:
            raise NotReady(answer.host, answer.retry_after(_RETRY_S))
        if answer.status == 401:
            raise TokenRefused("status 401", answer.host, 401)
        return answer.must_be(200)


def readings_address(endpoint: str, source_id: str, measure: str) -> str:
    """Return the URL of one meter's readings, without a query."""
    # An id may hold a slash or a plus sign: it is one path segment.
    return f"{endpoint.rstrip('/')}/datasources/{quote(source_id, safe='')}/{quote(measure, safe='')}"


def _data_source(source: dict[str, Any]) -> DataSource:
    location = source.get("location")
    return DataSource(
        id=fields.opaque(source, "id"),
        type=fields.text(source, "type").lower(),  # the old demo writes `Electricity`
        outcode=fields.outcode(location, "ukPostcodeOutcode") if isinstance(location, dict) else None,
        measures=fields.texts(source, "availableMeasures"),
    )

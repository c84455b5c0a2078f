"""A source of readings as an EDP's own would be plugged in: our table, unless a test has something else to return."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from consent_server.metering.own import OwnReadings
from consent_server.metering.readings import Held, ReadingsRequest


@dataclass
class Source:
    """`asked` are the requests so far; `held` is returned in place of what our table has."""

    asked: list[ReadingsRequest] = field(default_factory=list)
    held: Held | None = None

    def half_hours(self, request: ReadingsRequest) -> Held:
        self.asked.append(request)
        return OwnReadings().half_hours(request) if self.held is None else self.held

    def begin(self, meters: Collection[str]) -> Mapping[str, int]:
        return OwnReadings().begin(meters)


#: The one source of this process: a fixture empties it before each test.
source = Source()

"""Source `http`: register and readings of a service of the EDP's own, by the contract docs/metering-service.json."""

from collections.abc import Sequence
from typing import Any

from consent_server.metering.readings import Held, ReadingsRequest
from consent_server.metering.rows import TENANCY, Columns, RowReadings, RowRegister, columns_of
from consent_server.metering.unavailable import SourceUnavailable
from consent_server.outbound import fields
from consent_server.outbound.errors import NotReady, Unreachable
from consent_server.outbound.metering_service import MeteringService
from consent_server.scheme import instant
from consent_server.scheme.readings import ReadingError
from consent_server.settings.metering import MeteringServiceSettings


class ServiceRegister(RowRegister):
    """POST /tenancies, by a number, by meters, by a business or by a customer."""

    def __init__(self, settings: MeteringServiceSettings, vouches: bool) -> None:
        """Raise BadSettings."""
        super().__init__(vouches)
        self._service = MeteringService(settings)

    def by_number(self, fuel: str, number: str) -> Columns:
        return self._tenancies({"fuel": fuel, "number": number})

    def of_meters(self, meters: Sequence[str]) -> Columns:
        return self._tenancies({"meters": list(meters)})

    def of_business(self, sme: str) -> Columns:
        return self._tenancies({"sme": sme})

    def by_customer(self, customer: str) -> Columns:
        return self._tenancies({"customer": customer})

    def _tenancies(self, question: dict[str, Any]) -> Columns:
        return _asked(self._service, "/tenancies", question, "tenancies", TENANCY)[1]


class ServiceReadings(RowReadings):
    """POST /half-hours and /extents."""

    def __init__(self, settings: MeteringServiceSettings) -> None:
        """Raise BadSettings."""
        self._service = MeteringService(settings)

    def half_hours(self, request: ReadingsRequest) -> Held:
        try:
            return super().half_hours(request)
        except NotReady as wait:
            return Held(retry_after=wait.retry_after)

    def rows_of(self, request: ReadingsRequest) -> Columns:
        question = {"meter": request.meter, "fuel": request.fuel, "measure": request.measure}
        window = {"from": instant.text(request.start), "to": instant.text(request.end)}
        names = ("from", "value", "takenAt", "cumulative", "estimated")
        told, rows = _asked(self._service, "/half-hours", question | window, "halfHours", names)
        if any(told.get(name) != said for name, said in question.items()):
            raise ReadingError("half-hours of another meter, measure or fuel")
        count = len(rows["from"])
        return {
            "start": rows["from"],
            "value": rows["value"],
            "taken_at": rows["takenAt"],
            "cumulative": rows["cumulative"],
            "estimated": rows["estimated"],
            "meter": [told["meter"]] * count,
            "unit": [told.get("unit")] * count,
        }

    def extents(self, meters: Sequence[str]) -> Columns:
        names = ("meter", "from", "to")
        _, rows = _asked(self._service, "/extents", {"meters": list(meters)}, "extents", names)
        return {"meter": rows["meter"], "first": rows["from"], "until": rows["to"]}


def _asked(
    service: MeteringService, path: str, question: dict[str, Any], listed: str, names: Sequence[str]
) -> tuple[dict[str, Any], Columns]:
    """Return an answer, and its list as columns. Raise SourceUnavailable, and NotReady where it may."""
    try:
        told = service.ask(path, question)
        if listed not in told:
            raise ValueError("the list is missing")
        return told, columns_of(fields.objects(told, listed), names)
    except NotReady:
        if path == "/half-hours":
            raise
        raise SourceUnavailable("http: not ready") from None
    except (Unreachable, ValueError) as error:
        raise SourceUnavailable(f"http: {error}") from None

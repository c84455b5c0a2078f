"""Source `sql`: a register or readings in a database of the EDP's own, by a few queries each."""

from collections.abc import Sequence

from consent_server.metering.readings import ReadingsRequest
from consent_server.metering.rows import (
    MOST_HALF_HOURS,
    MOST_HOLDERS,
    MOST_METERS,
    MOST_TENANCIES,
    Columns,
    RowReadings,
    RowRegister,
)
from consent_server.metering.unavailable import SourceUnavailable
from consent_server.settings.metering import SqlReadingsSettings, SqlRegisterSettings
from consent_server.store.foreign import ForeignDatabase, ForeignFault, ForeignQuery


class SqlRegister(RowRegister):
    """The queries `by_number`, `of_meters` and `of_business`, and `of_customer` where customers log in."""

    def __init__(self, settings: SqlRegisterSettings, vouches: bool) -> None:
        """Raise BadSettings."""
        super().__init__(vouches)
        section = "metering.sql_register"
        self._database = ForeignDatabase(f"{section}.url", settings.url, settings.longest_s)
        self._by_number = ForeignQuery(f"{section}.by_number", settings.by_number, ("fuel", "number"))
        self._of_meters = ForeignQuery(f"{section}.of_meters", settings.of_meters, ("meters",), lists=("meters",))
        self._of_business = ForeignQuery(f"{section}.of_business", settings.of_business, ("sme",))
        self._of_customer = None
        if settings.of_customer:
            self._of_customer = ForeignQuery(f"{section}.of_customer", settings.of_customer, ("customer",))

    def by_number(self, fuel: str, number: str) -> Columns:
        return _columns(self._database, self._by_number, MOST_HOLDERS, fuel=fuel, number=number)

    def of_meters(self, meters: Sequence[str]) -> Columns:
        return _columns(self._database, self._of_meters, MOST_TENANCIES, meters=list(meters))

    def of_business(self, sme: str) -> Columns:
        return _columns(self._database, self._of_business, MOST_TENANCIES, sme=sme)

    def by_customer(self, customer: str) -> Columns:
        if self._of_customer is None:
            raise SourceUnavailable("sql: metering.sql_register.of_customer is empty")
        return _columns(self._database, self._of_customer, MOST_TENANCIES, customer=customer)


class SqlReadings(RowReadings):
    """The queries `half_hours` and `extents`."""

    def __init__(self, settings: SqlReadingsSettings) -> None:
        """Raise BadSettings."""
        section = "metering.sql_readings"
        self._database = ForeignDatabase(f"{section}.url", settings.url, settings.longest_s)
        window = ("meter", "measure", "start", "end")
        self._half_hours = ForeignQuery(f"{section}.half_hours", settings.half_hours, window)
        self._extents_of = ForeignQuery(f"{section}.extents", settings.extents, ("meters",), lists=("meters",))

    def rows_of(self, request: ReadingsRequest) -> Columns:
        window = {"meter": request.meter, "measure": request.measure, "start": request.start, "end": request.end}
        return _columns(self._database, self._half_hours, MOST_HALF_HOURS, **window)

    def extents(self, meters: Sequence[str]) -> Columns:
        return _columns(self._database, self._extents_of, MOST_METERS, meters=list(meters))


def _columns(database: ForeignDatabase, query: ForeignQuery, most: int, **values: object) -> Columns:
    """Return the rows of a query by column. Raise SourceUnavailable."""
    try:
        names, rows = database.rows(query, most, **values)
    except ForeignFault as fault:
        raise SourceUnavailable(f"{query.setting}: {fault}", said=fault.said) from None
    columns = list(zip(*rows, strict=True)) or [() for _ in names]
    return dict(zip(names, columns, strict=True))

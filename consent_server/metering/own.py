"""Register and readings in our own tables, as two sources like any other."""

from collections.abc import Collection, Mapping, Sequence

from consent_server import store
from consent_server.metering.importing import day
from consent_server.metering.readings import Held, ReadingsRequest
from consent_server.metering.register import Identified, Tenancy
from consent_server.metering.rows import business_of, identified, tenancy_of
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.store import meters as meter_table
from consent_server.store import readings as day_blocks


class OwnRegister:
    """The table of meters. With `vouches` the business ids in it count as proof that sites belong together."""

    def __init__(self, vouches: bool) -> None:
        self.vouches = vouches

    def find(self, postcode: str, mpan: str | None, mprn: str | None, at: int) -> Identified | None:
        """Return the business, after the same look-ups whatever was wrong. Raise StoreUnavailable."""
        given = [(fuel, number) for fuel, number in (("electricity", mpan), ("gas", mprn)) if number]
        with store.reading() as c:
            found = [meter_table.by_number(c, fuel, number, postcode, at) for fuel, number in given]
        return identified(found, postcode)

    def of_customer(self, customer: str, at: int) -> Identified | None:
        """Return the business whose rows name the customer. Raise StoreUnavailable."""
        with store.reading() as c:
            return business_of(meter_table.of_customer(c, customer, at) if customer else [])

    def sites(self, sme: str, at: int) -> Sequence[Tenancy]:
        """Return the business's meters, if the table vouches for them. Raise StoreUnavailable."""
        if not self.vouches:
            return ()
        with store.reading() as c:
            return [tenancy_of(row) for row in meter_table.of_sme(c, sme, at)]

    def tenancies(self, sme: str, meters: Collection[str]) -> Mapping[str, Tenancy]:
        """Return the business's newest time at each. Raise StoreUnavailable."""
        with store.reading() as c:
            rows = meter_table.tenancies(c, sme, meters)
        return {row.id: tenancy_of(row) for row in rows}  # in the order in which they begin: the newest stays


class OwnReadings:
    """The table of day blocks."""

    def half_hours(self, request: ReadingsRequest) -> Held:
        """Return the readings in our own table. Raise StoreUnavailable."""
        meter, measure = request.meter, request.measure
        with store.reading() as c:
            first_day, last_day = instant.day_start(request.start), instant.day_start(request.end - 1)
            rows = day_blocks.days(c, day_blocks.EDP, meter, measure, first_day, request.end)
            if rows and (rows[0].day, rows[-1].day) == (first_day, last_day):
                first, last = request.start, request.end
            else:
                extent = day_blocks.extent(c, day_blocks.EDP, meter, measure) or (0, -DAY)
                first, last = max(request.start, extent[0]), min(request.end, extent[1] + DAY)
        if first >= last:
            return Held()
        estimates = any(day.has_estimates(row, first, last) for row in rows)
        counts = {row.day: len(row.marks) for row in rows if row.marks is not None}
        return Held.of_days({row.day: row.body for row in rows}, (first, last), estimates, counts=counts)

    def begin(self, meters: Collection[str]) -> Mapping[str, int]:
        """Return the first day that is held of each. Raise StoreUnavailable."""
        with store.reading() as c:
            return day_blocks.first_days(c, day_blocks.EDP, meters)

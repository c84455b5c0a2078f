"""Sources as an EDP would write them: a register and readings that keep nothing in our tables."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import SimpleNamespace

from consent_server.metering.readings import Held, ReadingsRequest
from consent_server.metering.register import Identified, Tenancy
from consent_server.scheme.instant import DAY, HALF_HOUR
from consent_server.scheme.provenance.steps import MeterOrigin
from consent_server.scheme.readings import HalfHour
from tests.metering.conftest import NOW

#: Readings of one business's two meters, from here on; the third half-hour is missing and the fourth estimated.
FIRST, LAST = NOW - NOW % DAY - 40 * DAY, NOW - NOW % DAY
ORIGIN = MeterOrigin("SubMeter", "https://edp.example/meters", "https://edp.example/terms", "Derived")
SHOP = Tenancy("shop", "electricity", ("import", "export"), "SW8", "••••••••• 8902", site="Shop", since=FIRST - DAY)
OVEN = Tenancy("oven", "gas", ("import",), "SW8", "•••••• 4403", site="Shop")
FARM = Tenancy("farm", "electricity", ("import",), "YO1", "••••••••• 0001", site="Farm")
NUMBERS = {"1212345678902": SHOP, "3938424403": OVEN}


class Customers:
    """A register."""

    def find(self, postcode: str, mpan: str | None, mprn: str | None, at: int) -> Identified | None:
        given = [number for number in (mpan, mprn) if number]
        found = [NUMBERS[number] for number in given if number in NUMBERS]
        if postcode != "SW8 1AA" or not found or len(found) < len(given) or not all(each.holds(at) for each in found):
            return None
        return Identified("customer-1", "Acme Widgets Ltd", found)

    def of_customer(self, customer: str, at: int) -> Identified | None:
        return Identified("customer-1", "Acme Widgets Ltd", [SHOP, OVEN, FARM]) if customer == "C-1" else None

    def sites(self, sme: str, at: int) -> Sequence[Tenancy]:
        return (SHOP, OVEN, FARM) if sme == "customer-1" else ()

    def tenancies(self, sme: str, meters: Collection[str]) -> Mapping[str, Tenancy]:
        return {each.meter: each for each in self.sites(sme, 0) if each.meter in meters}


class Archive:
    """Readings."""

    def half_hours(self, request: ReadingsRequest) -> Held:
        start, end = max(request.start, FIRST), min(request.end, LAST)
        if start >= end or request.meter not in {"shop", "oven", "farm"}:
            return Held()
        return Held.of(request, self._between(start, end), (start, end), ORIGIN)

    def begin(self, meters: Collection[str]) -> Mapping[str, int]:
        return {meter: FIRST for meter in meters if meter in {"shop", "oven", "farm"}}

    def _between(self, start: int, end: int) -> Iterable[HalfHour]:
        for each in range(start, end, HALF_HOUR):
            number = (each - FIRST) // HALF_HOUR
            if number != 2:
                yield HalfHour(each, 10.0 + number, each + 5000, 1000.0 + number, substituted=number == 3)


register = Customers()
archive = Archive()
#: One that does not look at what it is asked.
anybody = SimpleNamespace(
    find=lambda postcode, mpan, mprn, at: Identified("customer-1", "Acme Widgets Ltd", [SHOP]),
    of_customer=register.of_customer,
    sites=register.sites,
    tenancies=register.tenancies,
)
half_a_register = SimpleNamespace(find=register.find, of_customer=register.of_customer, sites=lambda sme: ())

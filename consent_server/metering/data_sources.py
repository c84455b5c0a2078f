"""From the id of a data source, as a token names it, to the meter behind it."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from consent_server import store
from consent_server.metering.register import Register, Tenancy
from consent_server.scheme import instant
from consent_server.store import data_sources


@dataclass(frozen=True)
class Source:
    """A data source and the meter behind it, in the hands of the business that gave the permission."""

    id: str
    sme: str
    tenancy: Tenancy = field(repr=False)

    def as_json(self) -> dict[str, object]:
        """Return what our own systems may know: the register's id of the meter, and the time in which it is the business's."""
        ends = self.tenancy.until
        return {
            "datasource": self.id,
            "meter": self.tenancy.meter,
            "fuel": self.tenancy.fuel,
            "measures": list(self.tenancy.measures),
            "since": instant.text(self.tenancy.since) if self.tenancy.since else None,
            "until": instant.text(ends) if ends is not None else None,
        }


def behind(ids: Iterable[str], register: Register) -> list[Source]:
    """Return each data source that there is and whose business has, or had, its meter, in the order of `ids`.

    Raise StoreUnavailable and SourceUnavailable.
    """
    wanted = list(ids)
    with store.reading() as c:
        known = {row.id: row for row in data_sources.find(c, wanted)}
    meters_of: dict[str, list[str]] = defaultdict(list)
    for row in known.values():
        meters_of[row.sme].append(row.meter)
    held = {sme: register.tenancies(sme, meters) for sme, meters in meters_of.items()}
    rows = (known[each] for each in wanted if each in known)
    return [Source(row.id, row.sme, held[row.sme][row.meter]) for row in rows if row.meter in held[row.sme]]

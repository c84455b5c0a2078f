"""The sandbox's small businesses: who they are, where their meters are, and which faults those meet on purpose.

Companies and the second halves of the postcodes are made up; the first halves are real, so that each business
sits in a grid region. Every meter number passes its check digits and belongs to nobody.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from consent_server.store.tables import metering

Fuel = Literal["electricity", "gas"]

#: What a participant's software can be made to meet: the name that POST /sandbox/scenario takes -> what happens then.
SCENARIOS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "normal": "Every meter answers, with every half-hour.",
        "electricity_only": "The business has an electricity meter and no gas meter.",
        "gas_only": "The business has a gas meter and no electricity meter.",
        "not_ready": "The first two calls of a grant get 202 with Retry-After 5; then the readings are there.",
        "gaps": "Readings are missing: in every other month some hours of the 9th and all of the 17th.",
        "export": "The electricity meter also has export readings, from solar panels.",
        "several_sites": "One business, two addresses in two grid regions, several meters: it ticks the second site.",
        "log_in": "The business logs in as the energy company's customer, and ticks its meters; a bill would do as well.",
        "unknown": "The register does not know the meters: identification is refused.",
    }
)
#: Those that any business can be made to meet while the sandbox runs; the others are what a business is.
APPLICABLE: Final = frozenset({"normal", "not_ready", "gaps", "unknown"})


@dataclass(frozen=True)
class Meter:
    """One meter: `number` is a 13-digit MPAN core (electricity) or an MPRN (gas)."""

    fuel: Fuel
    number: str
    measures: tuple[Literal["import", "export"], ...] = ("import",)


@dataclass(frozen=True)
class Site:
    """A postcode, with its space, the meters there, and the business's own name for the place where it has several."""

    postcode: str
    meters: tuple[Meter, ...]
    name: str = ""

    @property
    def outcode(self) -> str:
        return self.postcode.split()[0]


@dataclass(frozen=True)
class Sme:
    """A small business. `email` and the fixed `code` open its account at the CAP.

    It identifies itself with the numbers at its first site, and ticks the others. An unknown one is in no register. One that
    `logs_in` does so as the EDP's customer, with the same address and code, and ticks all its sites.
    """

    name: str
    scenario: str
    about: str
    company: str
    email: str
    code: str
    sites: tuple[Site, ...]

    @property
    def logs_in(self) -> bool:
        return self.scenario == "log_in"

    @property
    def known(self) -> bool:
        """Return whether the meter register has it, and so whether there are readings."""
        return self.scenario != "unknown"

    @property
    def meters(self) -> tuple[Meter, ...]:
        return tuple(meter for site in self.sites for meter in site.meters)

    @property
    def fuels(self) -> tuple[Fuel, ...]:
        held = {meter.fuel for meter in self.meters}
        return tuple(fuel for fuel in ("electricity", "gas") if fuel in held)

    def identification(self) -> dict[str, str]:
        """Return what the SME types at the EDP: the postcode and the numbers of its first site, by the ids of the inputs."""
        site = self.sites[0]
        numbers = {"mpan" if meter.fuel == "electricity" else "mprn": meter.number for meter in site.meters}
        return {"postcode": site.postcode, **numbers}


def _electricity(number: str, *, export: bool = False) -> Meter:
    return Meter("electricity", number, ("import", "export") if export else ("import",))


def _gas(number: str) -> Meter:
    return Meter("gas", number)


SMES: Final = (
    Sme(
        "normal",
        "normal",
        "A bakery in Sheffield with electricity and gas. Connected to the CAP when the sandbox says ready.",
        "Kelham Crumb Bakery Ltd",
        "office@kelham-crumb.example",
        "204816",
        (Site("S3 8ZQ", (_electricity("2300472819353"), _gas("4186273503"))),),
    ),
    Sme(
        "electricity_only",
        "electricity_only",
        "A print workshop in Norwich, all electric.",
        "Wensum Letterpress Ltd",
        "hello@wensum-letterpress.example",
        "317529",
        (Site("NR3 1ZX", (_electricity("1000837164200"),)),),
    ),
    Sme(
        "gas_only",
        "gas_only",
        "A laundry in Cardiff whose electricity is its landlord's: it identifies itself with its gas meter alone.",
        "Taff Street Laundry Ltd",
        "post@taff-laundry.example",
        "428630",
        (Site("CF10 5ZT", (_gas("5273816408"),)),),
    ),
    Sme(
        "not_ready",
        "not_ready",
        "A café in Glasgow whose supplier takes a while: the first two calls of a grant are answered with 202.",
        "Garnethill Coffee Ltd",
        "books@garnethill-coffee.example",
        "539741",
        (Site("G4 9ZW", (_electricity("1800529046175"), _gas("6041728309"))),),
    ),
    Sme(
        "gaps",
        "gaps",
        "A boatyard in Plymouth whose meters miss half-hours now and then.",
        "Sutton Pool Boatyard Ltd",
        "yard@sutton-boatyard.example",
        "640852",
        (Site("PL4 0ZY", (_electricity("2200615382943"), _gas("7182536401"))),),
    ),
    Sme(
        "export",
        "export",
        "A joinery in Brighton with solar panels: its electricity meter counts export as well.",
        "Lanes Joinery Ltd",
        "workshop@lanes-joinery.example",
        "751963",
        (Site("BN1 4ZU", (_electricity("1900274650834", export=True), _gas("8364917209"))),),
    ),
    Sme(
        "several_sites",
        "several_sites",
        "A bicycle maker with a workshop in Manchester and a shop in Liverpool, two grid regions and three meters.",
        "Irwell Cycles Ltd",
        "accounts@irwell-cycles.example",
        "862074",
        (
            Site("M4 6ZR", (_electricity("1600395718462"), _gas("2957381601")), "Workshop, Jersey Street"),
            Site("L3 9ZD", (_electricity("1300746281057"),), "Shop, Tithebarn Street"),
        ),
    ),
    Sme(
        "log_in",
        "log_in",
        "A tannery in Leeds with two sites: it logs in as the energy company's customer, and ticks what it shares.",
        "Kirkstall Tannery Ltd",
        "office@kirkstall-tannery.example",
        "185274",
        (
            Site("LS5 3ZQ", (_electricity("2300582047130"), _gas("6471928308")), "Tannery, Abbey Road"),
            Site("LS1 9ZX", (_electricity("2300719362843"),), "Shop, Swinegate"),
        ),
    ),
    Sme(
        "unknown",
        "unknown",
        "A florist in Leicester whose meters are in no register: identification is refused and the journey stays put.",
        "Clarendon Blooms Ltd",
        "flowers@clarendon-blooms.example",
        "973185",
        (Site("LE2 3ZN", (_electricity("1100568392743"), _gas("3582641708"))),),
    ),
)

#: name -> SME
BY_NAME: Final[Mapping[str, Sme]] = MappingProxyType({sme.name: sme for sme in SMES})


def register_rows() -> list[metering.Meter]:
    """Return the rows of the meter register: every meter of every business that it knows."""
    return [
        metering.Meter(
            id=hashlib.sha256(f"sandbox meter {meter.number}".encode("ascii")).hexdigest()[:20],
            sme=sme.name,
            business=sme.company,
            fuel=meter.fuel,
            number=meter.number,
            postcode=site.postcode,
            outcode=site.outcode,
            measures=list(meter.measures),
            site=site.name,
            customer=sme.name if sme.logs_in else None,
        )
        for sme in SMES
        if sme.known
        for site in sme.sites
        for meter in site.meters
    ]

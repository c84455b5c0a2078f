"""The meter register: which business a meter belongs to, since when and until when, and how strong the proof of that is.

`Register` is the interface. Our own table is one (`own.OwnRegister`); the setting `metering.register_source` names another.
docs/metering.md says how to write one, and `consent-server metering check` tries it.

What is typed from a bill proves knowledge: whoever has the bill knows the numbers, with or without the authority to act
for the business. `method` and `strength` say so in the evidence.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from consent_server.scheme.instant import HALF_HOUR
from consent_server.scheme.meters import MaskedMeter
from consent_server.web.language import N_

METHOD: Final = N_("postcode and meter number")
STRENGTH: Final = N_("knowledge, not authority")

#: How a meter came into a permission.
TYPED: Final = N_("its number was typed")
LINKED: Final = N_("the business ticked it, and our records link it to the business")
LOGGED_IN: Final = N_("the business ticked it, and our records link it to its log-in")


@dataclass(frozen=True)
class Tenancy:
    """One business's time at one meter: from `since` to before `until`, in seconds since 1970-01-01T00:00Z.

    `since` is 0 where no beginning is known, and then every reading before `until` is the business's; `until` is None where
    no end is known. `meter` is the register's own id for the meter, at most 48 characters; it stays inside, and the
    readings are asked for by it. `masked` is its number with all but the last four digits hidden
    (scheme.meters.masked). `outcode` is the first half of its postcode, the only part of an address that leaves with
    data. `site` is the business's own words for the place, such as a street; pages show them to whoever proved
    any of the business's meters, so leave it empty where that would say too much. `place` is the register's own key of the
    premises, which stays inside: meters of one place are chosen together. `measures` are of import and export.
    """

    meter: str = field(repr=False)
    fuel: str
    measures: tuple[str, ...]
    outcode: str
    masked: str
    site: str = ""
    place: str = field(default="", repr=False)
    since: int = 0
    until: int | None = None

    def holds(self, at: int) -> bool:
        """Return whether the meter is the business's at an instant."""
        return self.since <= at and (self.until is None or at < self.until)

    def clamp(self, start: int, end: int) -> tuple[int, int]:
        """Return the part of a window whose half-hours are wholly the business's: none where its end is not after its start."""
        first = -(-self.since // HALF_HOUR) * HALF_HOUR
        return max(start, first), end if self.until is None else min(end, self.until // HALF_HOUR * HALF_HOUR)

    def as_kept(self, proof: str) -> MaskedMeter:
        """Return the meter as journeys, permissions and evidence keep it."""
        return {
            "id": self.meter,
            "fuel": self.fuel,
            "measures": list(self.measures),
            "outcode": self.outcode,
            "masked": self.masked,
            "site": self.site,
            "proof": proof,
        }


@dataclass(frozen=True)
class Identified:
    """A business, the meters by which it was found, and how that was proven.

    `sme` is the register's own id of the business and stays inside; `business` is its name. `method` says in a few words how
    the business was found and `strength` what that shows; both are in the evidence.
    """

    sme: str
    business: str
    meters: Sequence[Tenancy]
    method: str = METHOD
    strength: str = STRENGTH


class Register(Protocol):
    """Whose meters these are. Each method may raise SourceUnavailable: the page then says to try again later."""

    def find(self, postcode: str, mpan: str | None, mprn: str | None, at: int) -> Identified | None:
        """Return the business at whose meters these numbers are at the instant `at`, and those meters alone.

        `postcode` is in the form "SW8 1AA", `mpan` an MPAN core of 13 digits, `mprn` an MPRN of 6 to 10 digits; at least
        one of the two is there. Every number given must be at that postcode, in that business's hands at `at`, and the
        two must be of one business. Otherwise return None, which does not say what was wrong, and take as long.
        """

    def of_customer(self, customer: str, at: int) -> Identified | None:
        """Return the business that the EDP's own log-in calls `customer`, and all its meters at the instant `at`.

        `customer` is the claim `login.customer_claim` of the provider's ID token, which may be anything; compare it exactly.
        Return None where no meter belongs to it, or where its meters are not one business's. An EDP without a log-in
        returns None.
        """

    def sites(self, sme: str, at: int) -> Sequence[Tenancy]:
        """Return every meter of a business at the instant `at`, where the register vouches that they are one business's.

        Whoever proved one of them reads of the others by `site`, outcode and last four digits, and may tick them.
        Return nothing where the register cannot vouch for the link; a permission then covers what was typed and no more.
        """

    def tenancies(self, sme: str, meters: Collection[str]) -> Mapping[str, Tenancy]:
        """Return meter -> the business's newest time at it, for those of `meters` where it has or had one.

        This is asked at each release of data, for one meter or for thousands. Only half-hours of the tenancy leave. A meter
        whose tenancy has ended keeps its entry, with `until`: its past half-hours are still the business's. A
        register that leaves it out stops those as well.
        """

"""The data-quality score that a bank gives a borrower's figure, after PCAF.

The Global GHG Accounting and Reporting Standard Part A: Financed Emissions, second edition (December 2022), section 5.2
"Business loans and unlisted equity", Table 5-7; the data that each option needs are in Annex 10.1, Table 10.1-2. Scores run
from 1 (best) to 5. What this product calculates is option 2a: the company's own metered energy use, times factors for that
energy. Its score is 2. A better score would need a verifier's opinion on the company's own inventory (option 1a).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.scheme.provenance.steps import COMPLETE

STANDARD: Final = (
    "PCAF (2022), The Global GHG Accounting and Reporting Standard Part A: Financed Emissions, second edition, "
    "section 5.2 (pages 66 to 78), Table 5-7"
)
STANDARD_PAGE: Final = "https://carbonaccountingfinancials.com/standard"

METERED_OPTION: Final = "2a"
METERED_SCORE: Final = 2
#: Table 5-7 has no row for energy use that is in part an estimate; the next score keeps it apart from metered use.
ESTIMATED_SCORE: Final = 3

#: Scopes of the GHG Protocol: gas is burned by the company, electricity is bought by it.
SCOPES: Final = {ELECTRICITY: 2, GAS: 1}

_OF_METERS: Final = "It holds for the connected meters; the company's other emissions are not in the figure."


@dataclass(frozen=True, slots=True)
class DataQuality:
    """The score of one fuel's figure, or of all of them (`fuel` is then empty and `scope` None), and the reason in words."""

    fuel: str
    scope: int | None
    option: str
    score: int
    reason: str


def of_fuel(fuel: str, missing_data: str) -> DataQuality:
    """Return the score of a fuel's whole months, of whose readings the provenance record says `missing_data`.

    A record says that there are gaps or estimates and not how many, nor in which months. Where it says so, a score for metered
    energy could not be defended.
    """
    if missing_data == COMPLETE:
        metered = f"Option {METERED_OPTION}: half-hourly {fuel} as metered, times an emission factor for {fuel}."
        return DataQuality(fuel, SCOPES[fuel], METERED_OPTION, METERED_SCORE, f"{metered} {_OF_METERS}")
    reason = (
        f"Option {METERED_OPTION}, but the record says of readings behind {fuel}: {missing_data.lower()}. "
        f"Table 5-7 has no row for them, so the score is {ESTIMATED_SCORE} and not {METERED_SCORE}."
    )
    return DataQuality(fuel, SCOPES[fuel], METERED_OPTION, ESTIMATED_SCORE, f"{reason} {_OF_METERS}")


def of_all(scores: Sequence[DataQuality]) -> DataQuality | None:
    """Return the score of several fuels together: the worst of theirs. None where there is no figure to be scored."""
    if not scores:
        return None
    worst = max(scores, key=lambda each: each.score)
    named = " and ".join(each.fuel for each in scores)
    return DataQuality("", None, worst.option, worst.score, f"The worst score of {named}. {_OF_METERS}")

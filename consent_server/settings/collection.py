"""What a CAP collects, and the banks that its portal offers."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from consent_server.settings.scheme import LicenseSettings
from consent_server.settings.section import Section
from consent_server.settings.values import HttpsUrl, PageUrl


class CollectionSettings(Section):
    """What a CAP fetches and calculates."""

    license: LicenseSettings | None = Field(
        None, description="The license that the portal requests from EDPs; a table like scheme.licenses."
    )
    combined_license: LicenseSettings | None = Field(
        None,
        description=(
            "The license that it asks for instead where a bank sent the business: its text names that bank too, so nothing is "
            "read a second time. Put it into scheme.licenses as well. Without it a bank asks under a license of its own."
        ),
    )
    intensity: str = Field("", description="Base URL of the grid intensity API (Carbon Intensity API).")
    months: int = Field(13, ge=1, le=24, description="Months of readings fetched on the first collection.")
    retry_s: int = Field(
        60, ge=1, description="Seconds before a failed collection is tried again, doubled with each failure in a row."
    )
    revision_days: int = Field(
        40,
        ge=7,
        le=400,
        description="Days after its end for which a month may be revised; its readings are kept as long, and then deleted.",
    )
    gas_factors: Literal["latest-published", "calendar-year"] = Field(
        "latest-published",
        description=(
            "Which of the government's sets of conversion factors a half-hour of gas takes. latest-published: the one most "
            "recently published at that time, as the Registry words it. calendar-year: the one of that year, as the "
            "publication advises."
        ),
    )
    fill_gaps: bool = Field(
        False,
        description=(
            "Fill up to 48 missing half-hours in a month of a meter with the mean of the same half-hour a week before and a "
            "week after, as far as they lie in that month; the report and its provenance say Substituted. Otherwise such a "
            "month is left out. It applies to months that are calculated from then on."
        ),
    )
    timestamp_authority: PageUrl = Field(
        "",
        description="https URL of the authority (RFC 3161) that stamps the signature of a report's PDF; empty for none.",
    )
    timestamp_roots: Path | None = Field(
        None, description="PEM of the roots for its timestamps. A timestamp that does not chain to them is not used."
    )

    @model_validator(mode="after")
    def _has_roots(self) -> "CollectionSettings":
        if bool(self.timestamp_authority) != (self.timestamp_roots is not None):
            raise ValueError("timestamp_authority and timestamp_roots belong together")
        return self


class OfferedBankSettings(Section):
    """A bank that a CAP works with."""

    member: HttpsUrl = Field(description="The bank's member URL in the Directory.")
    start: HttpsUrl = Field(
        description=(
            "The bank's page where its request to us begins. A browser sent there carries iss (our "
            "issuer), scope (the license to ask for) and, after “Share” was clicked here, login_hint, which the bank pushes."
        )
    )


class PortalSettings(Section):
    """What a CAP's portal offers."""

    banks: tuple[OfferedBankSettings, ...] = Field(
        default=(), description="The banks to which the portal links; tables with member and start."
    )

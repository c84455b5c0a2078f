"""The meter register and the readings of an EDP, with a section for each source."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from consent_server.settings.section import Section
from consent_server.settings.values import OptionalSecretFile, plain_https

_LONGEST_S = "Seconds after which a call to it is abandoned."


class SqlRegisterSettings(Section):
    """Source `sql` of the register: any database that SQLAlchemy supports. docs/metering.md has the columns."""

    url: str = Field(default="", repr=False, description="SQLAlchemy URL, with an account that can only read.")
    by_number: str = Field(default="", description="Query: every tenancy of the meter with a :number and :fuel.")
    of_meters: str = Field(default="", description="Query: every tenancy of each of :meters.")
    of_business: str = Field(default="", description="Query: every tenancy of the business :sme.")
    of_customer: str = Field(
        default="", description="Query: every tenancy of the business that the customer log-in calls :customer."
    )
    longest_s: int = Field(default=2, ge=1, le=30, description=_LONGEST_S)


class SqlReadingsSettings(Section):
    """Source `sql` of the readings: any database that SQLAlchemy supports. docs/metering.md has the columns."""

    url: str = Field(default="", repr=False, description="SQLAlchemy URL, with an account that can only read.")
    half_hours: str = Field(
        default="",
        description="Query: half-hours of a :meter and :measure from :start to before :end (seconds since 1970).",
    )
    extents: str = Field(
        default="", description="Query: for each of :meters its first half-hour, and the end of its last."
    )
    longest_s: int = Field(default=10, ge=1, le=30, description=_LONGEST_S)


class ParquetSettings(Section):
    """Source `parquet`: files in folders, here or in an object store. docs/metering.md has folders and columns."""

    register_folder: str = Field(
        default="", description="Folder of the register; s3://bucket/folder in an object store."
    )
    readings_folder: str = Field(default="", description="Folder of the readings, likewise.")
    endpoint: str = Field(default="", description="https URL of the object store; Amazon's own when empty.")
    region: str = Field(default="", description="The object store's region.")
    roots: Path | None = Field(
        default=None, description="PEM of the roots of the object store's certificate; the system's when absent."
    )
    prefix: int = Field(
        default=2, ge=1, le=8, description="How many characters of a meter's id name the folder of its readings."
    )
    longest_s: int = Field(default=10, ge=1, le=30, description=_LONGEST_S)


class MeteringServiceSettings(Section):
    """Source `http`: the EDP's own service, at any address, that implements docs/metering-service.json."""

    url: str = Field(default="", description="https URL of the service, without a final slash.")
    roots: Path | None = Field(
        default=None, description="PEM of the roots of its certificate; the system's when absent."
    )
    certificate: Path | None = Field(default=None, description="PEM chain of our client certificate there, leaf first.")
    key: OptionalSecretFile = Field(default=None, description="PEM key of that certificate.")
    token: OptionalSecretFile = Field(
        default=None, description="File with the bearer token that is sent; read at each call."
    )
    longest_s: int = Field(default=10, ge=1, le=30, description=_LONGEST_S)

    @model_validator(mode="after")
    def _whole(self) -> "MeteringServiceSettings":
        if self.url:
            plain_https(self.url)
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


class MeteringSettings(Section):
    """What an EDP holds: its meter register and its readings. docs/metering.md says how to write a plug-in."""

    register_source: str = Field(
        "table", description="The meter register: table, sql, parquet, http, or a plug-in as module:name."
    )
    readings_source: str = Field(
        "day-blocks", description="The readings: day-blocks, sql, parquet, http, or a plug-in as module:name."
    )
    vouches_for_sites: bool = Field(
        False,
        description=(
            "Meters under one business id in the register (not a plug-in's) certainly belong to one business: "
            "whoever proves one of them is shown the others (site, outcode, last four digits) and may tick them."
        ),
    )
    gas: bool = Field(True, description="Release gas (MTQ) under licenses that cover it.")
    source_type: Literal["Meter", "SubMeter", "VirtualMeter"] = Field(
        "Meter", description="The kind of meter, where the source of the readings does not say."
    )
    origin: str = Field(
        "",
        description="URL of the service that read the meters, where the source does not say; member.url when empty. "
        "Name the DCC (https://www.smartdcc.co.uk/) only for readings that came through it.",
    )
    origin_license: str = Field(
        "",
        description="URL of the license under which that service gave them; the permission's own license when empty.",
    )
    origin_method: Literal["", "SmartDCCOtherUser", "Exact", "Derived"] = Field(
        "", description="How the readings came to be, where the source does not say; left out when empty."
    )
    sql_register: SqlRegisterSettings = SqlRegisterSettings()
    sql_readings: SqlReadingsSettings = SqlReadingsSettings()
    parquet: ParquetSettings = ParquetSettings()
    http: MeteringServiceSettings = MeteringServiceSettings()

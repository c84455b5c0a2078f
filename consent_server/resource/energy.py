"""An EDP's data API: the data sources of a permission, and their half-hours with signed provenance."""

from typing import Any

import orjson

from consent_server import audit
from consent_server.refusal import Refusal
from consent_server.resource.answer import Answer, not_yet
from consent_server.resource.guard import NoSuchDataSource, Release
from consent_server.resource.parts import Ask, EnergyParts, Readings, Source
from consent_server.resource.window import Window
from consent_server.scheme.provenance.container import SignedRecord
from consent_server.scheme.provenance.steps import COMPLETE, MISSING, Grant, MeterRelease, edp_record


class NoSuchMeasure(Refusal):
    """This meter is not read for that."""

    code = "no_such_measure"
    error = "not_found"
    status = 404
    public = "This data source has no such measure; availableMeasures in GET /datasources lists what it has."
    help = "Ask for a measure that GET /datasources lists for this data source: import, or export where there is one."
    clause = "consumption data API 2026-03-12"


def datasources(parts: EnergyParts, release: Release) -> Answer:
    """The meters whose data the caller may read now. Always at hand, also while readings are still being collected."""
    found = (parts.source(datasource) for datasource in release.token.datasources)
    listed = [_described(source) for source in found if source is not None and source.fuel in release.fuels]
    return Answer([orjson.dumps({"data": listed})])


def source_for(parts: EnergyParts, release: Release, datasource: str, measure: str) -> Source:
    """The meter behind an id in the URL. Raises NoSuchDataSource, FuelNotCovered or NoSuchMeasure, in that order."""
    release.require_datasource(datasource)
    source = parts.source(datasource)
    if source is None:
        raise NoSuchDataSource("the token's data source has no meter any more")
    release.require_fuel(source.fuel)
    if measure not in source.measures:
        raise NoSuchMeasure("the meter has no such measure")
    return source


def readings(parts: EnergyParts, release: Release, source: Source, measure: str, window: Window, at: int) -> Answer:
    """Half-hours with their provenance; the stored day blocks leave as they are, nothing is decoded or encoded again."""
    expires = release.token.permission.expires
    held = parts.readings(Ask(source, measure, window.start, window.end, release.account, expires))
    if held.retry_after is not None:
        return not_yet(held.retry_after)
    record = _record(parts, release, source, measure, window, held, at)
    audit.event(
        "data_released",
        client_id=release.token.client_id,
        permission=release.account,
        resource=f"/datasources/{source.id}/{measure}",
        readings=held.count,
    )
    # The array is joined once and never copied again: a year of it is 3.6 MB, and each copy costs milliseconds.
    array = b",".join(filter(None, held.blocks))
    rest = orjson.dumps({"location": _location(source), "provenance": record})
    return Answer([b'{"data":[', array, b"],", rest[1:]])


def _record(
    parts: EnergyParts, release: Release, source: Source, measure: str, window: Window, held: Readings, at: int
) -> SignedRecord:
    token = release.token
    grant = Grant(
        account=release.account,
        license=token.scope,
        granted=token.permission.granted,
        expires=token.permission.expires,
        fuels=sorted(release.fuels),
    )
    transfer = MeterRelease(
        registry=parts.registry,
        grant=grant,
        to=release.caller.member,
        service=parts.service,
        measure=measure,
        start=window.start,
        end=window.end,
        outcode=source.outcode,
        missing_data=COMPLETE if held.complete else MISSING,
        at=at,
        metered=held.metered,
    )
    return edp_record(transfer, parts.signer)


def _described(source: Source) -> dict[str, Any]:
    return {
        "id": source.id,
        "type": source.fuel,
        "location": _location(source),
        "availableMeasures": list(source.measures),
    }


def _location(source: Source) -> dict[str, str]:
    return {"ukPostcodeOutcode": source.outcode}

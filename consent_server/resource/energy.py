"""An EDP's data API: the data sources of a permission, and their half-hours with signed provenance."""

import orjson

from consent_server import audit
from consent_server.deployment import current
from consent_server.metering.readings import Held, ReadingsRequest, Source, find, readings_source
from consent_server.refusal import Refusal
from consent_server.resource.answer import Answer, not_yet
from consent_server.resource.guard import NoSuchDataSource, Release
from consent_server.resource.window import Window
from consent_server.scheme.provenance.container import SignedRecord
from consent_server.scheme.provenance.steps import COMPLETE, MISSING, GrantedPermission, MeterRelease, edp_record


class NoSuchMeasure(Refusal):
    code = "no_such_measure"
    error = "not_found"
    status = 404
    public = "This data source has no such measure; availableMeasures in GET /datasources lists what it has."
    help = "Ask for a measure that GET /datasources lists for this data source: import, or export where there is one."
    clause = "consumption data API 2026-03-12"


def datasources(release: Release) -> Answer:
    """Return the meters whose data the caller may read now. Available also while readings are still being collected."""
    found = (find(datasource) for datasource in release.token.datasources)
    listed = [_described(source) for source in found if source is not None and source.fuel in release.fuels]
    return Answer([orjson.dumps({"data": listed})])


def source_for(release: Release, datasource: str, measure: str) -> Source:
    """Return the meter behind an id in the URL. Raise NoSuchDataSource, FuelNotCovered or NoSuchMeasure, in that order."""
    release.require_datasource(datasource)
    source = find(datasource)
    if source is None:
        raise NoSuchDataSource("the token's data source has no meter any more")
    release.require_fuel(source.fuel)
    if measure not in source.measures:
        raise NoSuchMeasure("the meter has no such measure")
    return source


def readings(release: Release, source: Source, measure: str, window: Window, at: int) -> Answer:
    """Return half-hours with their provenance; the stored day blocks leave as they are, not decoded and encoded again."""
    token = release.token
    held = readings_source(current().settings.metering.readings_source)(
        ReadingsRequest(
            meter=source.meter,
            fuel=source.fuel,
            measure=measure,
            start=window.start,
            end=window.end,
            account=release.account,
            expires=token.permission.expires,
        )
    )
    if held.retry_after is not None:
        return not_yet(held.retry_after)
    record = _record(release, source, measure, window, held, at)
    audit.event(
        "data_released",
        client_id=token.client_id,
        permission=release.account,
        resource=f"/datasources/{source.id}/{measure}",
        readings=held.count,
    )
    # The array is joined once and never copied again: a year of it is 3.6 MB, and each copy costs milliseconds.
    array = b",".join(filter(None, held.blocks))
    rest = orjson.dumps({"location": {"ukPostcodeOutcode": source.outcode}, "provenance": record})
    return Answer([b'{"data":[', array, b"],", rest[1:]])


def _record(release: Release, source: Source, measure: str, window: Window, held: Held, at: int) -> SignedRecord:
    here, token = current(), release.token
    grant = GrantedPermission(
        account=release.account,
        license=token.scope,
        granted=token.permission.granted,
        expires=token.permission.expires,
        fuels=sorted(release.fuels),
    )
    transfer = MeterRelease(
        registry=here.settings.scheme.registry,
        grant=grant,
        to=release.caller.member,
        service=here.settings.member.data_service,
        measure=measure,
        start=window.start,
        end=window.end,
        outcode=source.outcode,
        missing_data=COMPLETE if held.complete else MISSING,
        at=at,
        metered=held.metered,
    )
    return edp_record(transfer, here.signer)


def _described(source: Source) -> dict[str, object]:
    return {
        "id": source.id,
        "type": source.fuel,
        "location": {"ukPostcodeOutcode": source.outcode},
        "availableMeasures": list(source.measures),
    }

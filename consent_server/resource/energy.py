"""An EDP's data API: the data sources of a permission, and their half-hours with signed provenance."""

import orjson

from consent_server import audit, store
from consent_server.deployment import current
from consent_server.issuer.presented import active_access_token
from consent_server.metering import data_sources, sources
from consent_server.metering.data_sources import Source
from consent_server.metering.readings import Held, ReadingsRequest
from consent_server.refusal import Refusal
from consent_server.resource import meters
from consent_server.resource.answer import Answer, not_yet
from consent_server.resource.guard import Release
from consent_server.resource.window import Window
from consent_server.scheme import instant
from consent_server.scheme.packed import require_whole
from consent_server.scheme.provenance.container import SignedRecord
from consent_server.scheme.provenance.steps import GrantedPermission, MeterOrigin, MeterRelease, edp_record
from consent_server.scheme.readings import ReadingError
from consent_server.store import audit_events
from consent_server.store import released as released_data


class NoSuchMeasure(Refusal):
    code = "no_such_measure"
    error = "not_found"
    status = 404
    public = "This data source has no such measure; availableMeasures in GET /datasources lists what it has."
    help = "Ask for a measure that GET /datasources lists for this data source: import, and export if it has one."
    clause = "consumption data API 2026-03-12"


def datasources(release: Release) -> Answer:
    """Return the meters whose data the caller may read now. Available also while readings are still being collected."""
    listed = [_described(source) for source in meters.behind(release, sources.register())]
    return Answer([orjson.dumps({"data": listed})])


def meters_behind(token: str, at: int) -> Answer:
    """Return the meters that an access token releases, or that it is not active; for systems of our own."""
    claims = active_access_token(token, at)
    if claims is None:
        return Answer([orjson.dumps({"active": False})])
    license_ = current().released_licenses.get(claims.scope)
    fuels = frozenset(claims.fuels) & (license_.fuels if license_ is not None else frozenset())
    found = data_sources.behind(claims.datasources, sources.register())
    told = [source.as_json() for source in found if source.tenancy.fuel in fuels]
    audit.event("meters_looked_up", client_id=claims.client_id, permission=claims.sub, meters=len(told))
    return Answer([orjson.dumps({"active": True, "account": claims.sub, "meters": told})])


def source_for(release: Release, datasource: str, measure: str) -> Source:
    """Return the meter behind an id in the URL. Raise NoSuchDataSource, FuelNotCovered or NoSuchMeasure, in that order."""
    source = meters.covered(release, datasource, sources.register())
    if measure not in source.tenancy.measures:
        raise NoSuchMeasure("the meter has no such measure")
    return source


def readings(release: Release, source: Source, measure: str, window: Window, at: int) -> Answer:
    """Return half-hours with their provenance; the day blocks leave as they are kept, not decoded and encoded again.

    Raise SourceUnavailable before anything is recorded as released.
    """
    token = release.token
    held = _held(release, source, measure, window)
    if held.retry_after is not None:
        return not_yet(held.retry_after)
    record = _record(release, source, measure, window, held, at)
    released = audit.event(
        "data_released",
        client_id=token.client_id,
        permission=release.account,
        resource=f"/datasources/{source.id}/{measure}",
        fuels=[source.tenancy.fuel],
        window=instant.interval(window.start, window.end),
        readings=held.count,
    )
    with store.writing() as c:
        audit_events.keep(c, released)
        if held.count:
            released_data.note(c, release.account, window.start, min(window.end, at), at)
    blocks = [piece for block in held.days.values() if block for piece in (b",", block)]
    rest = orjson.dumps({"location": {"ukPostcodeOutcode": source.tenancy.outcode}, "provenance": record})
    return Answer([b'{"data":[', *blocks[1:], b"],", rest[1:]])


def _held(release: Release, source: Source, measure: str, window: Window) -> Held:
    """Return what the source has of a window, cut to the business's time at the meter.

    Raise SourceUnavailable.
    """
    start, end = source.tenancy.clamp(window.start, window.end)
    if start >= end:
        return Held()
    request = ReadingsRequest(
        meter=source.tenancy.meter,
        fuel=source.tenancy.fuel,
        measure=measure,
        start=start,
        end=end,
        account=release.account,
        expires=release.token.permission.expires,
    )
    try:
        held = sources.readings().half_hours(request)
        for day, block in held.days.items():
            require_whole(block, day)
    except ReadingError as error:
        # A source gives what no meter can have read, or a block of ours is damaged.
        raise sources.SourceUnavailable(f"readings: {source.id}, {measure}: {error}") from None
    if held.metered is not None and not start <= held.metered[0] <= held.metered[1] <= end:
        raise sources.SourceUnavailable("readings: more than was asked for")
    return held


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
        origin=held.origin or _usual_origin(grant.license),
        to=release.caller.member,
        service=here.settings.member.data_service,
        measure=measure,
        start=window.start,
        end=window.end,
        outcode=source.tenancy.outcode,
        missing_data=held.missing_data,
        at=at,
        metered=held.metered,
    )
    return edp_record(transfer, here.valid_signer(at))


def _usual_origin(license_url: str) -> MeterOrigin:
    """Return what the settings say of readings whose source says nothing."""
    settings = current().settings
    metering = settings.metering
    service, license_ = metering.origin or settings.member.url, metering.origin_license or license_url
    return MeterOrigin(metering.source_type, service, license_, metering.origin_method or None)


def _described(source: Source) -> dict[str, object]:
    tenancy = source.tenancy
    described: dict[str, object] = {
        "id": source.id,
        "type": tenancy.fuel,
        "location": {"ukPostcodeOutcode": tenancy.outcode},
        "availableMeasures": list(tenancy.measures),
    }
    # Beyond the standard, and so only where a client would otherwise wait for readings that never come.
    if tenancy.until is not None:
        described["dataAvailableTo"] = instant.text(tenancy.clamp(0, tenancy.until)[1])
        if tenancy.since:
            described["dataAvailableFrom"] = instant.text(tenancy.clamp(0, tenancy.until)[0])
    return described

"""The meters that a release covers, for a data API that shares the issuer's store: ours, or one of the provider's own.

    settings = load(Path("edp.toml"))
    store.init(app, settings.database.url)
    register = sources.register_of(settings.metering)

    @app.get("/my/data/<meter>")
    @guard.protect(datasource="meter")
    def data(meter):
        source = meters.covered(guard.permission, meter, register)
        start, end = source.tenancy.clamp(start, end)
        ...

`source.tenancy.meter` is the register's own id, and `clamp` leaves the half-hours that are the business's.
"""

from consent_server.metering import data_sources
from consent_server.metering.data_sources import Source
from consent_server.metering.register import Register
from consent_server.resource.guard import NoSuchDataSource, Release


def behind(release: Release, register: Register) -> list[Source]:
    """Return the meters whose data the caller may read now: those of the fuels that it was granted."""
    found = data_sources.behind(release.token.datasources, register)
    return [source for source in found if source.tenancy.fuel in release.fuels]


def covered(release: Release, datasource: str, register: Register) -> Source:
    """Return the meter behind one id. Raise NoSuchDataSource and FuelNotCovered, in that order."""
    release.require_datasource(datasource)
    source = next(iter(data_sources.behind([datasource], register)), None)
    if source is None:
        raise NoSuchDataSource("the business has and had no such meter")
    release.require_fuel(source.tenancy.fuel)
    return source

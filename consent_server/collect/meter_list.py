"""Which meters a connection has: those of its provider's list."""

from typing import Final

from consent_server import clock, store
from consent_server.collect.calls import IMPORT, NotUsable, ProviderCalls, hold
from consent_server.collect.period import first_month
from consent_server.outbound.data import DataSource
from consent_server.scheme.licenses import ELECTRICITY, GAS
from consent_server.store import collecting, connections
from consent_server.store.tables.collecting import CollectedMeter

#: Meters of one connection, as many as our own access tokens can name. It bounds what a provider can make us keep.
MOST_METERS: Final = 10_000


def update(calls: ProviderCalls) -> None:
    """Bring the connection's meters in line with its provider's list. Raise NotUsable, Unreachable, ConnectionEnded."""
    at, row = clock.now(), calls.row
    wanted = {
        each.id: each
        for each in _told_apart(calls.api.datasources(calls.token))
        if IMPORT in each.measures and each.type in (ELECTRICITY, GAS)
    }
    with store.writing() as c:
        hold(c, row)
        if row.listed is None:
            connections.begin(c, row.id)
        known = {meter.datasource: meter for meter in collecting.meters(c, row.id)}
        changed = [
            CollectedMeter(row.id, each.id, each.type, each.outcode or "", at)
            for each in wanted.values()
            if each.id not in known or (known[each.id].fuel, known[each.id].outcode) != (each.type, each.outcode or "")
        ]
        gone = known.keys() - wanted.keys()
        if changed or gone:
            collecting.drop_meters(c, row.id, gone | {meter.datasource for meter in changed})
            collecting.put_meters(c, *changed)
        collecting.forget_before(c, row.id, first_month(at))
        connections.listed(c, row.id, at)


def _told_apart(sources: list[DataSource]) -> list[DataSource]:
    """Return the sources. Raise NotUsable for too many of them, and for one that is listed twice and would count twice."""
    if len(sources) > MOST_METERS:
        raise NotUsable(f"data sources: more than {MOST_METERS}")
    if len({source.id for source in sources}) < len(sources):
        raise NotUsable("data sources: one is listed twice")
    return sources

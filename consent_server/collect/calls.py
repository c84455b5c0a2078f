"""How the provider behind one connection is asked, for one turn, and what ends a collection or makes it useless."""

from dataclasses import dataclass

from consent_server import clock, store
from consent_server.collect import provider
from consent_server.deployment import current
from consent_server.outbound.data import ConsumptionData
from consent_server.outbound.directory import DataService
from consent_server.store import connections
from consent_server.store.tables.collecting import ProviderConnection

IMPORT = "import"  # export is not consumption: no emissions are worked out from it


class NotUsable(Exception):
    """What was fetched may not be used; the message says why, without any reading or meter in it."""


class ConnectionEnded(Exception):
    """The SME has withdrawn while we were fetching, or another worker has begun this collection anew."""


@dataclass(frozen=True)
class ProviderCalls:
    """How the provider of one connection is asked, for one turn."""

    row: ProviderConnection
    token: str
    service: DataService
    api: ConsumptionData


def opened(row: ProviderConnection) -> ProviderCalls:
    """Return how a connection's provider is asked. Raise Unreachable, SigningCertificateNotValid."""
    current().valid_signer(clock.now())  # what we cannot sign for is not asked for
    token = provider.access_token(row)
    service = provider.service_of(row)
    return ProviderCalls(row, token, service, provider.consumption_data(service))


def hold(c: store.Connection, row: ProviderConnection) -> None:
    """Lock the business of a connection. Raise ConnectionEnded."""
    newest = connections.hold(c, row.id)
    if newest is None or newest.ended is not None or newest.leased != row.leased:
        raise ConnectionEnded

"""The sets of conversion factors that this CAP works with, and loading one from the government's flat file."""

from consent_server import store
from consent_server.deployment import current
from consent_server.scheme import factors
from consent_server.scheme.factors import FactorPeriod
from consent_server.store import factors as kept


def periods(c: store.Connection) -> list[FactorPeriod]:
    """Return which set applies to which half-hours, by the rule of the settings."""
    return factors.in_force(kept.sets(c), current().settings.collection.gas_factors)

"""The sets of conversion factors that this CAP works with, and what becomes of a new one."""

from dataclasses import dataclass
from pathlib import Path

from consent_server import audit, clock, store
from consent_server.collect import flat_file
from consent_server.deployment import current
from consent_server.scheme import factors
from consent_server.scheme.factors import FactorChange, FactorPeriod, FactorRule, FactorSet
from consent_server.scheme.licenses import GAS
from consent_server.store import connections
from consent_server.store import factors as kept


@dataclass(frozen=True)
class LoadedSet:
    """A set that was read, the stretches to which another factor applies with it, and how many connections are due for that."""

    found: FactorSet
    changes: list[FactorChange]
    due: int


def periods(c: store.Connection) -> list[FactorPeriod]:
    """Return which set applies to which half-hours, by the rule of the settings."""
    return factors.in_force(kept.sets(c), current().settings.collection.gas_factors)


def load(path: Path, rule: FactorRule, published: int | None, dry_run: bool) -> LoadedSet:
    """Keep the set of a flat file in place of that of its year, unless it is a dry run.

    Where the rule gives a half-hour that is past another factor, gas is due for being worked out again, and months that rest on
    the factor of before are left out until then. Raise FlatFileFault, FactorError.
    """
    at = clock.now()
    with store.reading() as c:
        found = flat_file.read(path, published, kept.sets(c))
    with store.writing() as c:
        before = kept.sets(c)
        after = factors.merged(before, [found])
        factors.check(after)
        changes = factors.changes(factors.in_force(before, rule), factors.in_force(after, rule))
        due = 0
        if not dry_run:
            kept.put(c, found, at)
            if any(each.start < at for each in changes):
                due = connections.work_out_anew(c, GAS, at)
    if not dry_run:
        audit.event("factors_loaded", year=found.year, file_sha256=found.file_sha256)
    return LoadedSet(found, changes, due)

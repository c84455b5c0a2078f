"""Collect through one connection: meter by meter and month by month, what is missing or may still be revised.

Each response is checked against its provenance and stored in its own transaction, and only if the SME has not withdrawn
meanwhile. An interrupted collection therefore continues where it stopped, and a failure of one meter or month does not affect
the others. Gas is worked out at once; electricity waits for the grid's figures (collect.weigh), which another party has.
"""

import logging
from functools import partial
from typing import Final

from consent_server import audit, clock, store
from consent_server.collect import factor_sets, meter_list, months, period, provider
from consent_server.collect.calls import ConnectionEnded, NotUsable, ProviderCalls, opened
from consent_server.collect.fetch import collect_run
from consent_server.collect.period import NEXT_S
from consent_server.deployment import SigningCertificateNotValid, current
from consent_server.outbound.back_off import back_off
from consent_server.outbound.errors import BadAnswer, NotReady, OAuthRefused, TokenRefused, Unreachable
from consent_server.outbound.fair_pool import FairPool, Tally
from consent_server.store import collecting, connections
from consent_server.store.tables.collecting import CollectedMeter, ProviderConnection
from consent_server.web.language import N_

log = logging.getLogger("consent_server.collect")

LEASE_S: Final = 600
RUN_S: Final = 30
#: Seconds after which a turn begins no further meter: other customers of the provider have the next one.
TURN_S: Final = 40
LONGEST_RETRY_S: Final = 21600
#: Meters in a row that cannot be reached before the provider as a whole counts as unreachable.
STRIKES: Final = 2
NOT_READY: Final = N_("The provider is still collecting the readings.")
UNSIGNED: Final = N_("We cannot sign for what we receive until our own certificate is renewed.")


def pool() -> FairPool:
    """Return the pool of a collector. A window may be 32 MiB, and several times that in memory, so there are few at once."""
    return FairPool(most=4, most_unreliable=2, each=2, slow_s=60)


def collect_due(shared: FairPool | None = None) -> Tally:
    """Collect through connections that are due, for RUN_S seconds at most; return for how many it succeeded and failed."""
    tally = Tally()
    (shared or pool()).serve(_issuers, partial(_turn, tally), RUN_S)
    return tally


def _issuers() -> list[str]:
    with store.reading() as c:
        return connections.issuers_due(c, clock.now())


def _turn(tally: Tally, issuer: str, _failures: int) -> int:
    """Collect through one connection to an issuer. Return 0 always: each connection has its own next attempt."""
    with store.writing() as c:
        row = connections.lease_due(c, issuer, clock.now(), LEASE_S)
    if row is None:
        return 0
    succeeded = False
    try:
        succeeded = collect(row)
    finally:
        tally.add(succeeded)
    return 0


def collect(row: ProviderConnection) -> bool:
    """Collect through one connection what is due; return whether nothing failed.

    What fails is kept as the connection's `trouble`, or as that of a meter, and tried again after a while of its own.
    """
    try:
        calls = opened(row)
        if row.listed is None or not 0 <= clock.now() - row.listed < NEXT_S:
            meter_list.update(calls)
        return _settle(row, *_collect_meters(calls))
    except ConnectionEnded:
        return False
    except (Unreachable, NotUsable, SigningCertificateNotValid) as fault:
        return _fail(row, fault)


def trouble_of(fault: Exception) -> str:
    """Return what the SME reads of a provider's failure; the log says more."""
    if isinstance(fault, NotReady):
        return NOT_READY
    if isinstance(fault, SigningCertificateNotValid):
        return UNSIGNED
    return provider.trouble(fault) if isinstance(fault, Unreachable) else provider.WRONG


def _wait_s(fault: Exception, failures: int) -> int:
    """Return the seconds before the next attempt."""
    if isinstance(fault, NotReady):
        return fault.retry_after
    asked = fault.retry_after if isinstance(fault, Unreachable) else 0
    return max(asked, back_off(failures, current().settings.collection.retry_s, LONGEST_RETRY_S))


def _fail(row: ProviderConnection, fault: Exception) -> bool:
    trouble, wait_s = trouble_of(fault), _wait_s(fault, row.failures)
    log.warning("connection %s: %s (%s) We try again in %s s.", row.id, trouble, fault, wait_s)
    with store.writing() as c:
        due = clock.now() + wait_s
        connections.settle(c, row, due=due, trouble=trouble, failures=row.failures + 1)
    # Only after a second refusal: during a renewal the issuer has ended the old permission before we have.
    if isinstance(fault, OAuthRefused) and fault.error == "invalid_grant" and row.trouble == provider.REFUSED:
        provider.end_if_revoked(row)
    return False


def _settle(row: ProviderConnection, read: int, finished: bool) -> bool:
    """Keep what has become of a turn. Meters that failed are due again by themselves, and the others in a day."""
    at = clock.now()
    with store.writing() as c:
        meters = collecting.meters(c, row.id)
        troubles = [meter.trouble for meter in meters if meter.trouble]
        due = at if not finished else min([meter.due for meter in meters] + [at + NEXT_S])
        came = read or len(troubles) < len(meters) or not meters
        collected = at if finished and came else None
        trouble = troubles[0] if troubles else None
        if not connections.settle(c, row, due=due, collected=collected, trouble=trouble, failures=0):
            raise ConnectionEnded
        forms = connections.deployed_forms(c, row.id)
    if read:
        audit.event("readings_collected", connection=row.id, readings=read, deployed_forms=forms)
    return not troubles


def _collect_meters(calls: ProviderCalls) -> tuple[int, bool]:
    """Collect the meters that are due, for TURN_S seconds; return how many readings came, and whether no meter is left.

    Raise Unreachable when several meters in a row say that the provider is.
    """
    began = clock.now()
    with store.reading() as c:
        due = [meter for meter in collecting.meters(c, calls.row.id) if meter.due <= began]
    read = strikes = 0
    for meter in due:
        if clock.now() - began >= TURN_S:
            return read, False
        fault, count = _collect_meter(calls, meter)
        read += count
        strikes = strikes + 1 if isinstance(fault, Unreachable) and not isinstance(fault, BadAnswer) else 0
        if fault is not None and (strikes == STRIKES or isinstance(fault, TokenRefused)):
            raise fault
    return read, True


def _collect_meter(calls: ProviderCalls, meter: CollectedMeter) -> tuple[Exception | None, int]:
    """Collect the months of one meter that are wanted; return what failed last, and how many readings came."""
    at, read = clock.now(), 0
    with store.reading() as c:
        known = collecting.months_of(c, meter.connection, meter.datasource)
        periods = factor_sets.periods(c)
    known |= months.worked_out_again(calls, known, periods, at)
    fault: Exception | None = None
    for run in period.wanted(known, periods, at):
        try:
            read += collect_run(calls, meter, run)
        except NotUsable as unusable:
            fault = unusable
        except Unreachable as unreachable:
            fault = unreachable
            if not isinstance(fault, BadAnswer) or isinstance(fault, NotReady | TokenRefused):
                break  # it is not about these months
    if fault is None:
        settled = meter._replace(due=at + NEXT_S, failures=0, trouble=None)
    else:
        trouble, wait_s = trouble_of(fault), _wait_s(fault, meter.failures)
        log.warning("connection %s: a meter: %s (%s) We try again in %s s.", meter.connection, trouble, fault, wait_s)
        settled = meter._replace(due=clock.now() + wait_s, failures=meter.failures + 1, trouble=trouble)
    with store.writing() as c:
        collecting.settle_meter(c, settled)
    return fault, read

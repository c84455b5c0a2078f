"""Whether this party keeps the scheme's policies: a report for the operator and for whoever audits it.

Each line is a finding, as the doctor's: FAIL where a policy was not kept, warn where something is to be done.
"""

import itertools
from collections.abc import Iterator
from typing import Final, NamedTuple

from consent_server import store
from consent_server.parties.operator import retention
from consent_server.parties.operator.doctor import certificates, scheme
from consent_server.parties.operator.doctor.finding import Finding, doubtful, failing, fine
from consent_server.parties.operator.doctor.outside import Outside
from consent_server.scheme import instant
from consent_server.scheme.registry_document import MalformedLicense, from_rdf
from consent_server.settings import Settings
from consent_server.store import policy
from consent_server.store.fetched import StoredCache

#: Within which the other party must get the message of a withdrawal.
WITHIN_S: Final = 3600
#: An answer that was under way when its permission ended may be written down so much later.
GRACE_S: Final = 10
_MOST: Final = 100


class PolicyLine(NamedTuple):
    """A finding under the name of its policy."""

    policy: str
    finding: Finding


def lines(settings: Settings, since: int, at: int) -> Iterator[PolicyLine]:
    """Yield the report on what happened from an instant on, and on the present state. Raise StoreUnavailable."""
    for name, findings in (
        ("licenses in use", _licenses(at)),
        ("answers after an end", _answers(since)),
        ("withdrawals", _withdrawals(since, at)),
        ("deletions", _deletions(settings)),
        ("certificates", _certificates(settings, at)),
        ("agreements", _agreements(settings, at)),
    ):
        for each in findings:
            yield PolicyLine(name, each)


def _licenses(at: int) -> Iterator[Finding]:
    with store.reading() as c:
        found = policy.licenses(c, at)
    if not found:
        yield fine("no permission is live")
    for each in found:
        what = f"{each.license}: {each.permissions} permissions given, {each.connections} held"
        what += f", the last until {instant.date(each.last_end)}"
        state = _state(each.license, at)
        if state == "in force":
            yield fine(f"{what}; {state}")
        else:
            yield doubtful(f"{what}; {state}", "docs/operator.md, licenses that the Registry ends")


def _state(license_url: str, at: int) -> str:
    """Return what the Registry's copy here says of a license."""
    copy = StoredCache().get(license_url)
    try:
        published = from_rdf(copy.body, license_url) if copy else None
    except MalformedLicense:
        published = None
    if published is None:
        return "not known: there is no copy of it here"
    if published.is_prohibited(at):
        return "prohibited: nothing is granted under it any more"
    return "deprecated: it will be prohibited" if published.is_deprecated(at) else "in force"


def _answers(since: int) -> Iterator[Finding]:
    with store.reading() as c:
        late = policy.answered_after_end(c, since, GRACE_S, _MOST)
    for each in late:
        when = f"{each.event} at {instant.text(each.at)}, ended {instant.text(each.ended)}"
        yield failing(f"{each.subject}: {when}", "report it: `consent-server audit show` has its history")
    if not late:
        yield fine("none")


def _withdrawals(since: int, at: int) -> Iterator[Finding]:
    with store.reading() as c:
        found = policy.withdrawals(c, since, at, WITHIN_S)
    yield fine(f"{found.withdrawals} withdrawn, {found.in_time} messages delivered within the hour")
    if found.late:
        yield failing(f"{found.late} messages delivered after more than an hour", "look at `work` and its log")
    if found.waiting:
        yield failing(f"{found.waiting} messages waiting for more than an hour", "`consent-server outbox waiting`")
    if found.given_up:
        yield failing(f"{found.given_up} messages given up", "`consent-server outbox given-up`")


def _deletions(settings: Settings) -> Iterator[Finding]:
    due = [each for each in retention.tables(settings.retention) if each.due]
    for each in due:
        what = f"{each.table}: {each.due} rows are due ({each.rule})"
        yield doubtful(what, "`work` deletes them within jobs.retention_s, unless a message about them is owed")
    if not due:
        yield fine("none is due")


def _certificates(settings: Settings, at: int) -> Iterator[Finding]:
    every = itertools.chain(
        certificates.client(settings, at), certificates.signing(settings, at), certificates.servers(settings, at)
    )
    yield from (each for each in every if each.level != "ok" or "days left" in each.what)


def _agreements(settings: Settings, at: int) -> Iterator[Finding]:
    """Ask the Directory, as the doctor does."""
    try:
        outside = Outside(settings)
    except OSError as error:  # an ssl.SSLError is one
        yield failing(f"server roots {settings.keys.server_roots}: {type(error).__name__}", "name a PEM file of roots")
        return
    every = itertools.chain(scheme.member(settings, outside, at), scheme.agreements(settings, outside, at))
    yield from (each for each in every if each.level != "ok" or "agreement" in each.what)

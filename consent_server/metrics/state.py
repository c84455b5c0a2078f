"""Figures from the store and from files, which `consent-server work` reads every 15 seconds; a scrape returns the latest."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from consent_server import clock, store
from consent_server.deployment import current
from consent_server.metrics.counts import OTHERS
from consent_server.pki.member_certificate import MalformedCertificate, load_certificates
from consent_server.scheme.instant import DAY
from consent_server.store import connections, job_runs, mails, outbox, permissions
from consent_server.store.due import Waiting
from consent_server.store.fetched import StoredCache

#: Recipients and issuers that are told apart: those for which something waits longest. The rest are added together.
MOST_PARTIES: Final = 100
#: Days ahead for which ends are counted, and the seconds for which a count is used again: it looks at every one of them.
AHEAD_DAYS: Final = (7, 30)
ENDS_S: Final = 900

Family = GaugeMetricFamily
Row = tuple[tuple[str, ...], float]


class FoundState(Collector):
    """What was found last, as gauges. There are none before the first look."""

    def __init__(self) -> None:
        self._found: tuple[Family, ...] = ()
        self._ends: Family | None = None
        self._ends_at = 0

    def collect(self) -> Iterable[Family]:
        return self._found

    def look(self) -> None:
        """Look anew. What was found before stays until all of it is there. Raise StoreUnavailable."""
        at = clock.now()
        self._found = (
            _family("looked_timestamp_seconds", "When the store was last looked at.", (), [((), at)]),
            *_owed(at),
            *_jobs(),
            self._ends_ahead(at),
            *(_collections(at) if current().settings.party == "cap" else ()),
            _certificates(),
            _keys(at),
            _lists(),
        )

    def _ends_ahead(self, at: int) -> Family:
        if self._ends is None or not 0 <= at - self._ends_at < ENDS_S:
            self._ends, self._ends_at = _ends(at), at
        return self._ends


#: Of this process.
state: Final = FoundState()


def _family(name: str, says: str, labels: tuple[str, ...], rows: Iterable[Row]) -> Family:
    family = GaugeMetricFamily(f"consent_{name}", says, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _owed(at: int) -> Iterator[Family]:
    with store.reading() as c:
        owed = _bounded([*outbox.owed(c), *mails.owed(c)])
    labels = ("kind", "recipient")
    yield _family("owed", "Messages, revocations and mails that wait.", labels, [(k, n) for k, n, _ in owed])
    yield _family("owed_oldest_seconds", "Age of the oldest of them.", labels, [(k, at - t) for k, _, t in owed])


def _collections(at: int) -> Iterator[Family]:
    with store.reading() as c:
        due = _bounded(connections.overdue(c, at))
    labels = ("kind", "issuer")
    yield _family("collections_due", "Collections that are due.", labels, [(k, n) for k, n, _ in due])
    yield _family(
        "collection_due_seconds", "How long the first of them is due.", labels, [(k, at - t) for k, _, t in due]
    )


def _bounded(waiting: list[Waiting]) -> list[tuple[tuple[str, str], int, int]]:
    """Return ((kind, party), how many, since when), the oldest first, with the parties beyond MOST_PARTIES as one."""
    waiting.sort(key=lambda each: each.since)
    rows: dict[tuple[str, str], tuple[int, int]] = {}
    for index, each in enumerate(waiting):
        party = (each.kind, each.party if index < MOST_PARTIES else OTHERS)
        count, since = rows.get(party, (0, each.since))
        rows[party] = (count + each.count, since)
    return [(party, count, since) for party, (count, since) in rows.items()]


def _jobs() -> Iterator[Family]:
    with store.reading() as c:
        runs = job_runs.last(c)
    succeeded = [((name,), run.succeeded) for name, run in runs.items() if run.succeeded is not None]
    failing = [((name,), float(not run.ok)) for name, run in runs.items()]
    yield _family("job_success_timestamp_seconds", "When a job last succeeded.", ("name",), succeeded)
    yield _family("job_failing", "1 where a job's last run failed.", ("name",), failing)


def _ends(at: int) -> Family:
    rows: list[Row] = []
    with store.reading() as c:
        for days in AHEAD_DAYS:
            for kind, ending in (("permission", permissions.ending_within), ("connection", connections.ending_within)):
                rows.append(((kind, str(days)), ending(c, at, at + days * DAY)))
    says = "Permissions at our issuer, and connections of ours at others, that end within so many days."
    return _family("ends_ahead", says, ("kind", "days"), rows)


def _certificates() -> Family:
    settings = current().settings
    files = {
        "keys.signing_certificate": settings.keys.signing_certificate,
        "keys.client_certificate": settings.keys.client_certificate,
        "public.certificate": settings.public.certificate,
        "mutual_tls.certificate": settings.mutual_tls.certificate,
    }
    rows = [((name,), end) for name, path in files.items() if (end := _end(path)) is not None]
    says = "When a certificate's file, or the first of the issuers in it, ends. A file that is not here has none."
    return _family("certificate_end_timestamp_seconds", says, ("certificate",), rows)


def _end(path: Path) -> int | None:
    try:
        chain = load_certificates(path.read_bytes())
    except (OSError, MalformedCertificate):
        return None
    return min(int(each.not_valid_after_utc.timestamp()) for each in chain)


def _keys(at: int) -> Family:
    here = current()
    kinds = {"signing": here.signing_keys.in_order(), "refresh": here.refresh_keys.in_order()}
    rows = [((kind,), max((t for t, _ in keys if t <= at), default=0)) for kind, keys in kinds.items()]
    return _family("key_used_since_timestamp_seconds", "Since when the newest key is in use.", ("key",), rows)


def _lists() -> Family:
    fetched = [each.fetched for each in current().revocations.lists()]
    rows: list[Row] = [(("revocation-list",), min(fetched))] if fetched else []
    allowlist = StoredCache().get(current().settings.scheme.allowlist_url)
    if allowlist is not None:
        rows.append((("server-allowlist",), allowlist.fetched))
    return _family("list_fetched_timestamp_seconds", "When the oldest list was fetched.", ("list",), rows)

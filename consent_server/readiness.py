"""Whether a process can serve: each part is tried, and reported in words that are safe to publish; the log has the details."""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from consent_server import audit, clock, store
from consent_server.refusal import Refusal
from consent_server.settings import Settings
from consent_server.store import job_runs, nodes, schema, withdrawal_journal
from consent_server.store.tables.processes import Node
from consent_server.tokens.keys import KeysUnusable, SigningKeys
from consent_server.tokens.keyset import KeySet, differences
from consent_server.tokens.refresh_token import RefreshKeys
from consent_server.tokens.sealing import Sealer

log = logging.getLogger("consent_server.ready")

#: Seconds between two reports of a process, which show that it can write, and with which keys it works.
REPORT_S: Final = 5
#: Seconds for which a node counts as running after it was last heard of, and jobs as running after the last of them ran.
LIVE_S: Final = 60
WORK_LIVE_S: Final = 120
#: Seconds that a clock may be behind another's: a token may be dated so far ahead (FAPI 2.0 5.3.2.1-13).
APART_S: Final = 10
_UNUSABLE: Final = "The keys of this node cannot be used: its operator finds the reason in the log."
_UNSEEN: Final = "unknown while the database fails"


class PartFailing(Exception):
    """A part that a process needs does not work. `sentence` is for anybody; the message is for the log."""

    def __init__(self, sentence: str, private: str = "") -> None:
        super().__init__(private or sentence)
        self.sentence = sentence


class PartDegraded(PartFailing):
    """A part does not work, and the process can serve without it."""


@dataclass(frozen=True)
class Readiness:
    """The state of each part, by name, with the names of those that fail and of those that the process can serve without."""

    failing: tuple[str, ...]
    degraded: tuple[str, ...]
    found: Mapping[str, object]


Checks = Mapping[str, Callable[[], object]]


class Watch:
    """What one process last found of itself. It looks once in each second, however often it is asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = -1
        self._looks = 0
        self._latest = Readiness((), (), {})
        self._said: Mapping[str, str] = {}

    def readiness(self, checks: Checks) -> Readiness:
        """Return what each check finds: details, or why it fails."""
        looks = self._looks
        with self._lock:
            at = clock.now()
            # Whoever has waited for a look takes what it found. A look of each would be done one after the other, and with
            # a slow database a load balancer would wait for those of all strangers before it.
            if at != self._at and looks == self._looks:
                self._latest = self._look(checks)
                self._at = at
                self._looks += 1
            return self._latest

    def _look(self, checks: Checks) -> Readiness:
        failing: list[str] = []
        degraded: list[str] = []
        found: dict[str, object] = {}
        wrong: dict[str, str] = {}
        for name, check in checks.items():
            try:
                found[name] = check() or "ok"
            except (Refusal, PartFailing, KeysUnusable) as error:
                if isinstance(error, store.StoreUnavailable) and failing:
                    found[name] = _UNSEEN
                    continue
                (degraded if isinstance(error, PartDegraded) else failing).append(name)
                found[name] = _UNUSABLE if isinstance(error, KeysUnusable) else error.sentence
                wrong[name] = str(error)
        for name in wrong.keys() | self._said.keys():
            if wrong.get(name) != self._said.get(name):
                log.warning("%s: %s", name, wrong.get(name, "works again"))
        self._said = wrong
        return Readiness(tuple(failing), tuple(degraded), found)


class NodeReport:
    """What a process writes of its node: that it runs and can write, and its keys for the other nodes to compare."""

    def __init__(self, settings: Settings, signing: SigningKeys, refresh: RefreshKeys, sealer: Sealer) -> None:
        self._signing, self._refresh, self._sealer = signing, refresh, sealer
        self._name = node_name(settings)
        self._latest: Node | None = None

    def keys(self) -> KeySet:
        """Return the fingerprints of our keys. Raise KeysUnusable."""
        return fingerprints(self._signing, self._refresh, self._sealer)

    def database(self) -> None:
        """Raise StoreUnavailable unless the schema is current and something can be written."""
        schema.require_current()
        self.write()

    def write(self) -> None:
        """Write that this node runs, and with which keys, unless it did so a moment ago. Raise StoreUnavailable."""
        at, latest = clock.now(), self._latest
        if latest is None or latest.keys != self.keys() or not 0 <= at - latest.seen < REPORT_S:
            with store.writing() as c:
                self._latest = self._keep(c, Node(self._name, self.keys(), since=at, seen=at))

    def _keep(self, c: store.Connection, node: Node) -> Node:
        """Keep this node's row; return it with the instant from which its keys have been these."""
        before = nodes.find(c, node.name)
        if before is not None and before.seen - node.seen > APART_S:
            audit.event("clock_stepped_back", seconds=before.seen - node.seen)
        if before is not None and "apart" in differences(node.keys, before.keys, node.seen).values():
            audit.event("keys_changed", key="all of a kind", change="replaced by others since this node last ran")
        if before is not None and before.keys == node.keys:
            node = node._replace(since=before.since)
        nodes.put(c, node)
        return node

    def clock(self) -> None:
        """Raise PartDegraded where the clock of another node is ahead of ours."""
        at = clock.now()
        ahead = {other.name: other.seen - at for other in self._others(at) if other.seen - at > APART_S}
        if ahead:
            private = ", ".join(f"{seconds} s behind node {name}" for name, seconds in ahead.items())
            raise PartDegraded("The clocks of the nodes differ: synchronise them (NTP).", private)

    def _others(self, at: int) -> list[Node]:
        with store.reading() as c:
            return [node for node in nodes.seen_since(c, at - LIVE_S) if node.name != self._name]

    def agree(self) -> None:
        """Raise PartFailing where this node lacks keys that the other nodes use, PartDegraded where another lacks ours."""
        at, keys = clock.now(), self.keys()
        others = self._others(at)
        differing = {other.name: differences(keys, other.keys, at) for other in others}
        if not any(differing.values()):
            return
        private = "; ".join(
            f"{kind} keys: {how} of node {name}" for name, kinds in differing.items() for kind, how in kinds.items()
        )
        since = self._latest.since if self._latest else at
        ours_are_wrong = any(
            how == "behind" or (how == "apart" and (since, self._name) > (other.since, other.name))
            for other in others
            for how in differing[other.name].values()
        )
        if ours_are_wrong:
            raise PartFailing("This node lacks keys that the other nodes use: copy their key directories.", private)
        raise PartDegraded("The keys of the nodes differ: copy the key directories.", private)


def fingerprints(signing: SigningKeys, refresh: RefreshKeys, sealer: Sealer) -> KeySet:
    """Return the fingerprints of keys. Raise KeysUnusable."""
    return KeySet(
        signing=[list(key) for key in signing.in_order()],
        refresh=[list(key) for key in refresh.fingerprints()],
        sealing=sealer.fingerprint(),
    )


def node_name(settings: Settings) -> str:
    """Return the name of this machine, with a digest of where its keys are: one machine may run a party twice."""
    keys = settings.keys
    where = sha256("\n".join(str(path) for path in (keys.tokens, keys.refresh, keys.sealing)).encode()).hexdigest()
    return f"{os.uname().nodename}:{where[:8]}"


def journal() -> None:
    """Raise PartFailing where a withdrawal would be refused, because it cannot be written down."""
    path = store.journal()
    if path is not None and not withdrawal_journal.is_writable(path):
        raise PartFailing("Withdrawals cannot be written to the journal.", f"{path} cannot be written")


def worker() -> None:
    """Raise PartDegraded unless the jobs have run lately, and well."""
    with store.reading() as c:
        runs = job_runs.last(c)
    at = clock.now()
    if not any(at - run.at <= WORK_LIVE_S for run in runs.values()):
        raise PartDegraded(f"No job has run for {WORK_LIVE_S} seconds: consent-server work must be started.")
    if failed := [run.job for run in runs.values() if not run.ok]:
        raise PartDegraded(f"Jobs that failed when they last ran: {', '.join(failed)}.")

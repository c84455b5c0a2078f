"""A database of three members loses its primary while clients are at work: nothing that was acknowledged is lost (H24)."""

import contextlib
import itertools
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from consent_server.pki.member_certificate import MemberCertificate
from consent_server.store.tables.journeys import PushedRequest
from consent_server.store.tables.permissions import Permission
from deploy.ha.database import Database, Member, binaries, patroni
from deploy.ha.processes import CannotStart, Processes, program, send
from deploy.ha.up import Trial
from tests.conftest import free_ports, missing
from tests.issuer import conftest as issuing
from tests.several_machines.witness import Load, Relay

#: Seconds after which service must be back.
BACK_S = 30
#: How often the long set takes the primary away, in the three ways in turn.
FAILOVERS = 20


def need_everything() -> None:
    try:
        binaries()
        for name in ("etcd", "haproxy", "pgbouncer"):
            program(name)
        patroni()
    except CannotStart as lacking:
        missing(str(lacking))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's own folder, which is closed to the database's user."""
    need_everything()
    made = Path(tempfile.mkdtemp(prefix="consent-server-machines-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def kill(database: Database) -> None:
    """End every program at once, what Patroni has started too: nobody needs its files any more."""
    processes = database.processes
    postmasters = [pid for member in database.members for pid in database.postmaster(member)]
    send(signal.SIGKILL, *(process.pid for process in processes.running.values()), *postmasters)
    for process in processes.running.values():
        process.wait()


@pytest.fixture
def cluster(folder: Path) -> Iterator[Database]:
    running = Database(Processes(folder), free_ports(Database.PORTS), ("edp",), members=2)
    try:
        running.start()
        yield running
    finally:
        kill(running)


def test_H24_a_primary_that_dies_costs_nothing_that_was_acknowledged(
    cluster: Database, certificates: dict[str, MemberCertificate], held_clock: Any
) -> None:
    """Two nodes in this process, each behind its own pgbouncer and haproxy; PostgreSQL is killed, its machine lives."""
    nodes = [issuing.Issuer(issuing.settings_for(cluster.url(node, "edp")), certificates) for node in (1, 2)]
    with nodes[0].public.app_context():
        issuing.db.create_all()
    grants = [nodes[0].grant(sme=f"sme-{number}") for number in range(24)]
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def until_taken(act: Callable[[], Any]) -> Any:
        while True:
            answer = act()
            statuses[answer.status_code] += 1
            if answer.status_code != 503:
                return answer
            assert answer.headers["Retry-After"]
            stop.wait(0.1)

    def client(number: int) -> tuple[set[str], set[str]]:
        """Pushes all the time; meanwhile redeems a sixth of the grants and withdraws every other."""
        redeemed, ended = set(), set()
        for granted, turn in zip(grants[number::6], itertools.count(number), strict=False):
            here, there = nodes[turn % 2], nodes[(turn + 1) % 2]
            answer = until_taken(lambda here=here, granted=granted: here.redeem(granted))
            if answer.status_code == 200:
                token = answer.get_json()["refresh_token"]
                redeemed.add(token)
                if len(redeemed) % 2:
                    form = {"token": token, "client_id": here.cap.application}
                    assert until_taken(lambda there=there, form=form: there.post("/revoke", form)).status_code == 200
                    ended.add(token)
                    assert until_taken(lambda here=here, token=token: here.refresh(token)).status_code == 400
            for _ in range(8):
                assert until_taken(lambda there=there: there.post("/par", there.good_push())).status_code == 201
                stop.wait(0.1)
        return redeemed, ended

    old = cluster.primary()
    assert old is not None
    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(client, number) for number in range(6)]
        time.sleep(0.5)
        send(signal.SIGKILL, *cluster.postmaster(old))
        killed = time.monotonic()
        at_work = [one for one in clients if not one.done()]
        results = [one.result() for one in clients]
    assert time.monotonic() - killed < BACK_S
    assert at_work
    # A 503 is not asked for: where another takes over within three seconds, pgbouncer lets everybody wait for it.
    assert set(statuses) <= {200, 201, 400, 503}
    rows = {row.refresh_id: row for row in nodes[1].rows(Permission)}
    assert len(rows) == len(grants)
    assert all(rows[token.split(".")[1]].redeemed for redeemed, _ in results for token in redeemed)
    assert all(rows[token.split(".")[1]].ended for _, ended in results for token in ended)
    assert len(nodes[0].rows(PushedRequest)) >= len(grants) + statuses[201]
    assert cluster.primary() != old
    for node in nodes:
        node.close()


class Cabled(Database):
    """The same, with cables between each member and etcd, and between the members, that a test may cut.

    A member whose cables are cut is still there for haproxy and our nodes: the worst case.
    """

    #: How many ports come after those of a trial.
    CABLES = 9

    def start(self) -> None:
        first = self.etcd - Trial.BEFORE_DATABASE + Trial.PORTS
        self.cables: dict[Member, list[Relay]] = {}
        for number, member in enumerate(self.members):
            ends = (self.etcd, member.rest, member.port)
            self.cables[member] = [Relay(first + 3 * number + each, end) for each, end in enumerate(ends)]
        super().start()

    def environment(self, member: Member) -> dict[str, str]:
        etcd, rest, port = (f"127.0.0.1:{cable.port}" for cable in self.cables[member])
        return {
            "PATRONI_ETCD3_HOSTS": etcd,
            # otherwise Patroni goes to the addresses that etcd itself names
            "PATRONI_ETCD3_USE_PROXIES": "true",
            "PATRONI_RESTAPI_CONNECT_ADDRESS": rest,
            "PATRONI_POSTGRESQL_CONNECT_ADDRESS": port,
        }

    def cut_off(self, member: Member) -> None:
        for cable in self.cables[member]:
            cable.cut()

    def reach(self, member: Member) -> None:
        for cable in self.cables[member]:
            cable.mend()


class Failing:
    """A trial of two nodes, whose primary is taken away in one of three ways and given back."""

    def __init__(self, folder: Path) -> None:
        self.trial = Trial(folder, free_ports(Trial.PORTS + Cabled.CABLES), Cabled)
        self.database: Any = self.trial.database
        self.silences: dict[str, list[float]] = {"killed": [], "paused": [], "cut off": []}

    def start(self) -> None:
        self.trial.start()
        self.trial.processes.wait("the whole cluster", self.database.healthy)

    def take(self, how: str, member: Member) -> None:
        if how == "cut off":
            self.database.cut_off(member)
            return
        self.database.signal(member, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        if how == "killed":
            self.trial.processes.running.pop(member.name).wait()

    def give_back(self, how: str, member: Member) -> None:
        if how == "killed":
            self.database.start_member(member)
        elif how == "paused":
            self.database.signal(member, signal.SIGCONT)
        else:
            self.database.reach(member)

    def moved_from(self, old: Member) -> bool:
        return self.database.primary() not in (None, old)

    def each_says(self, query: str) -> list[str]:
        """What each member answers, those that do not left out."""
        said = []
        for member in self.database.members:
            with contextlib.suppress(CannotStart):
                said.append(self.database.sql(member, query))
        return said

    def faults(self) -> str:
        """What the nodes logged as an error."""
        logs = sorted((self.trial.processes.folder / "logs").glob("node*.log"))
        lines = (line for log in logs for line in log.read_text(encoding="utf-8").splitlines())
        return "\n".join(line for line in lines if '"level":"error"' in line)

    def close(self) -> None:
        kill(self.database)
        for cable in itertools.chain.from_iterable(self.database.cables.values()):
            cable.close()


@pytest.fixture(scope="module")
def failing() -> Iterator[Failing]:
    need_everything()
    made = Path(tempfile.mkdtemp(prefix="consent-server-machines-"))
    running = Failing(made)
    try:
        running.start()
        yield running
    finally:
        running.close()
        shutil.rmtree(made, ignore_errors=True)
    for how, silences in running.silences.items():
        print(
            f"primary {how}: {len(silences)} times, nothing taken for {sorted(round(each, 1) for each in silences)} s"
        )


def assert_it_takes_nothing(database: Database, member: Member, number: int) -> None:
    """A member that was deposed acknowledges no write, in the moment in which it still believes in itself or later."""
    for attempt in range(3):
        with pytest.raises(CannotStart):
            database.sql(member, f"CREATE TABLE split_{number}_{attempt} (id int)", within_s=1)


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.xdist_group("machines")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", range(FAILOVERS))
def test_H24_a_primary_is_taken_away_under_load(failing: Failing, number: int) -> None:
    """Two nodes behind haproxy, with their own doors; in turn killed, paused, cut off from etcd and replicas."""
    how = ("killed", "paused", "cut off")[number % 3]
    trial, database = failing.trial, failing.database
    with Load(trial.layout) as load:
        load.wait_for_flows(3)
        old = database.primary()
        failing.take(how, old)
        try:
            silence = load.longest_silence(lambda: failing.moved_from(old))
            if how == "cut off":
                assert_it_takes_nothing(database, old, number)
        finally:
            failing.give_back(how, old)
        if how == "paused":
            assert_it_takes_nothing(database, old, number)
        trial.processes.wait("the whole cluster", database.healthy, 120)
        load.wait_for_flows(3)
    failing.silences[how].append(silence)
    assert not load.kept.worse, failing.faults()
    assert not load.kept.lost(database.url(1, "edp"))
    assert set(load.kept.statuses) <= {200, 201, 302, 303, 400, 503}
    assert silence < BACK_S
    # One history: whatever the deposed primary kept to itself is nowhere. It may restart once more to find its way back.
    query = f"SELECT pg_is_in_recovery(), count(*) FROM pg_class WHERE relname LIKE 'split_{number}_%'"
    history = ["f|0", "t|0", "t|0"]
    trial.processes.wait("one history", lambda: sorted(failing.each_says(query)) == history)

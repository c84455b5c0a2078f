"""The database behind a real pgbouncer in transaction mode: connections change hands, and the bouncer itself may go."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from consent_server import store
from consent_server.store.tables.journeys import PushedRequest

FLOWS = 48
THREADS = 12


class Attempts:
    """Requests by status. What is refused must be a 503 with Retry-After; it is then tried again, as a client would."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()

    def until_taken(self, act: Callable[[], Any]) -> Any:
        for _ in range(100):
            answer = act()
            self.statuses[answer.status_code] += 1
            if answer.status_code != 503:
                return answer
            assert answer.headers["Retry-After"]
        raise AssertionError("refused a hundred times")


def flow(nodes: list[Any], number: int) -> list[int]:
    """Push, decide, redeem, refresh and revoke, each at the other node; the statuses."""
    here, there = nodes[number % 2], nodes[(number + 1) % 2]
    granted = here.grant(sme=f"sme-{number}")
    redeemed = there.redeem(granted)
    token = redeemed.get_json()["refresh_token"]
    answers = [
        redeemed,
        here.refresh(token),
        there.refresh(token),
        here.post("/permission", {"token": token}),
        there.post("/revoke", {"token": token, "client_id": there.cap.application}),
        here.refresh(token),
    ]
    return [answer.status_code for answer in answers]


def test_H20_whole_flows_in_parallel_meet_no_error(nodes: list[Any]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        statuses = Counter(tuple(found) for found in pool.map(lambda number: flow(nodes, number), range(FLOWS)))
    assert statuses == {(200, 200, 200, 200, 200, 400): FLOWS}
    # Here the four server connections would soon have been told to run what another has prepared.
    with nodes[0].public.app_context(), store.reading() as c:
        raw: Any = c.connection.driver_connection
        assert raw.prepare_threshold is None


def test_H20_a_bouncer_that_is_restarted_costs_503_at_worst(nodes: list[Any], bouncer: Any) -> None:
    tokens = [nodes[0].tokens(sme=f"sme-{number}")["refresh_token"] for number in range(THREADS)]
    attempts, stop = Attempts(), threading.Event()

    def keep_asking(number: int) -> None:
        node = nodes[number % 2]
        while not stop.is_set():
            assert attempts.until_taken(lambda: node.refresh(tokens[number])).status_code == 200
            assert attempts.until_taken(lambda: node.post("/par", node.good_push())).status_code == 201

    with ThreadPoolExecutor(THREADS) as pool:
        asking = [pool.submit(keep_asking, number) for number in range(THREADS)]
        try:
            for _ in range(3):
                bouncer.kill()
                bouncer.start()
                taken = attempts.statuses[201]
                while attempts.statuses[201] < taken + THREADS and not any(each.done() for each in asking):
                    stop.wait(0.01)
        finally:
            stop.set()
    for each in asking:
        each.result()
    assert set(attempts.statuses) <= {200, 201, 503}
    # Every push that was acknowledged is there. One whose connection broke at its end may be there as well.
    assert len(nodes[0].rows(PushedRequest)) >= attempts.statuses[201] + THREADS
    # Nobody asks in between: the first request of each node after the restart finds its connections dead, and makes new ones.
    bouncer.kill()
    bouncer.start()
    assert [node.refresh(tokens[0]).status_code for node in nodes] == [200, 200]

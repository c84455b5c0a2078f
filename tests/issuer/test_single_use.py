"""Single use, held by the database: whoever comes at once, one wins; and what a newer permission ends."""

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import jwt
import psycopg
import pytest
import sqlalchemy as sa

from consent_server import store
from consent_server.issuer import code
from consent_server.scheme.permission import Act
from consent_server.store import codes, permissions
from consent_server.store.database import db
from consent_server.store.statement import Statement
from consent_server.store.tables.owed import OwedCall
from consent_server.store.tables.permissions import Evidence, Permission
from consent_server.withdrawal.withdraw import Withdrawal, withdraw
from tests.issuer.conftest import ELECTRICITY


def at_once(act: Callable[[int], Any], callers: int) -> list[Any]:
    """What `act` answers to each of several threads that start together."""
    barrier = threading.Barrier(callers)
    answers: list[Any] = [None] * callers

    def run(number: int) -> None:
        barrier.wait()
        answers[number] = act(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize("callers", [2, 8])
def test_one_of_many_redemptions_wins(issuer: Any, changed: Any, callers: int) -> None:
    nodes = [issuer, changed()]  # two machines on one database
    for _ in range(5):
        granted = issuer.grant()
        answers = at_once(lambda number, granted=granted: nodes[number % 2].redeem(granted), callers)
        assert Counter(answer.status_code for answer in answers) == {200: 1, 400: callers - 1}
        assert {answer.get_json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
        tokens = next(answer.get_json() for answer in answers if answer.status_code == 200)
        # Used twice is used twice: the losers have ended what the winner was given.
        assert issuer.permission(tokens["refresh_token"]).ended_as == "withdrawn"
        assert issuer.refresh(tokens["refresh_token"]).status_code == 400


def test_the_race_is_lost_in_the_database_and_not_in_the_check(issuer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check that reads `redeemed`, the conditional UPDATE alone still lets one through."""
    monkeypatch.setattr(code, "CHECKS", tuple(check for check in code.CHECKS if check is not code.code_is_unused))
    granted = issuer.grant()
    assert Counter(answer.status_code for answer in at_once(lambda _: issuer.redeem(granted), 6)) == {200: 1, 400: 5}
    assert issuer.row(Permission).ended_as == "withdrawn"


class Breaking:
    """A statement of store.codes that runs, or not, and whose outcome the database then does not say."""

    def __init__(self, statement: Statement, kept: bool) -> None:
        self._statement = statement
        self._kept = kept
        self._tried: list[Any] = []

    def row(self, c: Any, values: Any) -> Any:
        """On PostgreSQL, where it is a transaction by itself: the connection is lost, also at the second attempt."""
        if c.dialect.name == "sqlite":
            return self._noted(c, self._statement.row(c, values))
        if self._kept and not self._tried:
            self._statement.row(c, values)
        self._tried.append(c)
        raise sa.exc.OperationalError("", {}, psycopg.OperationalError("the server closed the connection unexpectedly"))

    def run(self, c: Any, values: Any) -> int:
        return self._noted(c, self._statement.run(c, values))

    def _noted(self, c: Any, found: Any) -> Any:
        self._tried.append(c.connection.dbapi_connection)
        return found

    def commit(self, dialect: Any) -> Callable[[Any], None]:
        """The COMMIT of SQLite that fails after this statement."""
        commit = dialect.do_commit

        def do_commit(raw: Any) -> None:
            if raw.dbapi_connection not in self._tried:
                return commit(raw)
            (commit if self._kept else dialect.do_rollback)(raw)
            fault = sqlite3.OperationalError("disk I/O error")
            fault.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise fault

        return do_commit


def break_write(patch: pytest.MonkeyPatch, node: Any, write: str, *, kept: bool) -> None:
    """Let the database fail while the node commits a redemption ("redeem"), or that its tokens may be sent ("answer")."""
    with node.mutual_tls.app_context():
        dialect = db.engine.dialect
    if write == "answer":
        breaking = Breaking(codes._ANSWER, kept)
        patch.setattr(codes, "_ANSWER", breaking)
    elif dialect.name == "sqlite":
        breaking = Breaking(codes._REDEEM, kept)
        patch.setattr(codes, "_REDEEM", breaking)
    else:
        breaking = Breaking(codes._redeem_at_once(), kept)
        patch.setattr(codes, "_redeem_at_once", lambda: breaking)
    patch.setattr(dialect, "do_commit", breaking.commit(dialect))


@pytest.mark.parametrize("kept", [True, False])
def test_G02_after_an_uncertain_redemption_the_client_gets_its_tokens(
    issuer: Any, changed: Any, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """The replay rule applies once tokens can have been sent, and not before."""
    granted = issuer.grant()
    with monkeypatch.context() as patch:
        break_write(patch, issuer, "redeem", kept=kept)
        answer = issuer.redeem(granted)
    assert (answer.status_code, answer.get_json()["error_uri"].rpartition("/")[2]) == (503, "outcome_unknown")
    assert (issuer.code(granted).redeemed is not None) == kept
    other = changed()
    tokens = other.redeem(granted).get_json()
    assert other.refresh(tokens["refresh_token"]).status_code == 200
    assert other.redeem(granted).status_code == 400
    assert other.refresh(tokens["refresh_token"]).status_code == 400, "used twice"


def test_G02_a_redemption_that_is_kept_but_not_answered_is_not_called_nothing(
    issuer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is gone between the two writes: the code may be sent again, and its permission is redeemed."""

    def gone(*_: object) -> bool:
        raise store.StoreUnavailable("the database is gone")

    granted = issuer.grant()
    with monkeypatch.context() as patch:
        patch.setattr(codes, "answer", gone)
        answer = issuer.redeem(granted)
    assert (answer.status_code, answer.get_json()["error_uri"].rpartition("/")[2]) == (503, "outcome_unknown")
    assert issuer.row(Permission).redeemed is not None
    assert issuer.refresh(issuer.redeem(granted).get_json()["refresh_token"]).status_code == 200


@pytest.mark.parametrize("kept", [True, False])
def test_G02_tokens_are_sent_when_the_redemption_is_kept_and_the_rest_is_uncertain(
    issuer: Any, changed: Any, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    granted = issuer.grant()
    with monkeypatch.context() as patch:
        break_write(patch, issuer, "answer", kept=kept)
        tokens = issuer.redeem(granted).get_json()
    assert changed().refresh(tokens["refresh_token"]).status_code == 200


@pytest.mark.parametrize("fault", [store.StoreUnavailable, store.OutcomeUnknown])
def test_G02_whoever_lost_sends_nothing_also_when_the_rest_is_uncertain(
    issuer: Any, monkeypatch: pytest.MonkeyPatch, fault: type[store.StoreUnavailable]
) -> None:
    def broken(*_: object) -> None:
        raise fault("the database is gone")

    granted = issuer.grant()
    monkeypatch.setattr(codes, "answer", lambda _: False)
    monkeypatch.setattr(code, "_end_what_it_issued", broken)
    answer = issuer.redeem(granted)
    assert (answer.status_code, answer.get_json()["error_uri"].rpartition("/")[2]) == (503, "outcome_unknown")


def test_G02_an_expired_code_is_not_tried_again(
    issuer: Any, changed: Any, held_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = issuer.grant()
    with monkeypatch.context() as patch:
        break_write(patch, issuer, "redeem", kept=True)
        issuer.redeem(granted)
    held_clock.step(60)
    other = changed()
    assert other.redeem(granted).get_json()["error"] == "invalid_grant"
    assert other.row(Permission).ended is None, "nothing was used twice"


def test_one_of_many_decisions_wins(issuer: Any) -> None:
    request_uri = issuer.push()
    journeys = [issuer.open(request_uri) for _ in range(3)] * 2

    def decide(number: int) -> str:
        location = issuer.decide(journeys[number])
        return "answered before" if location is None else "granted" if "code=" in location else location

    assert Counter(at_once(decide, 6)) == {"granted": 1, "answered before": 5}
    assert len(issuer.rows(Permission)) == len(issuer.rows(Evidence)) == 1


def test_parallel_refreshes_all_succeed_and_write_nothing(issuer: Any) -> None:
    token = issuer.tokens()["refresh_token"]
    before = issuer.everything()
    answers = at_once(lambda _: [issuer.refresh(token).status_code for _ in range(5)], 8)
    assert {status for statuses in answers for status in statuses} == {200}
    assert issuer.everything() == before


def test_no_token_is_dated_after_the_withdrawal_that_should_have_stopped_it(issuer: Any, held_clock: Any) -> None:
    """Every refresh that began before the withdrawal carries an earlier or equal iat; later ones are refused."""
    token = issuer.tokens()["refresh_token"]
    permission = issuer.permission(token)
    answers: list[Any] = []

    def act(number: int) -> None:
        if number == 0:
            issuer.end(permission.id, held_clock.instant)
        else:
            answers.append(issuer.refresh(token))

    at_once(act, 8)
    held_clock.step(1)
    assert issuer.refresh(token).status_code == 400
    assert {answer.status_code for answer in answers} <= {200, 400}


def test_D15_a_withdrawal_in_the_middle_of_a_redemption_comes_before_it_or_after_it(
    issuer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older permission makes the redemption a transaction on PostgreSQL, too."""
    issuer.tokens(license_=ELECTRICITY)
    granted, redeem = issuer.grant(), codes.redeem
    permission = issuer.code(granted).permission

    def withdraw_now() -> None:
        with issuer.public.app_context():
            withdraw(permission, Withdrawal(by="sme", where="here", why="asked"))

    withdrawing = threading.Thread(target=withdraw_now)

    def redeem_meanwhile(*args: Any) -> bool:
        withdrawing.start()
        withdrawing.join(0.5)
        return redeem(*args)

    monkeypatch.setattr(codes, "redeem", redeem_meanwhile)
    assert issuer.redeem(granted).status_code == 200
    withdrawing.join()
    assert issuer.row(Permission, id=permission).ended_as == "withdrawn"
    (owed,) = issuer.rows(OwedCall)
    assert owed.subject == permission, "the client that has tokens is told"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("what", ["a withdrawal", "a wrong verifier", "another redemption"])
def test_D15_what_commits_while_a_redemption_waits_for_its_turn_came_first(issuer: Any, what: str) -> None:
    """The one statement of a redemption began before, and judges the rows as they have become."""
    granted = issuer.grant()
    row = issuer.code(granted)
    with issuer.mutual_tls.app_context(), store.writing() as c:
        permission = permissions.hold(c, row.permission)
        redeeming = threading.Thread(target=lambda: answers.append(issuer.redeem(granted)))
        answers: list[Any] = []
        redeeming.start()
        _until_one_waits(c)
        if what == "a withdrawal":
            permissions.end(c, permission, Act.WITHDRAW, at=1, by="sme", where="a page", why="a test")
        elif what == "a wrong verifier":
            codes.wrong_verifier(c, granted.code)
        else:
            codes.redeem(c, granted.code, 1)
            permissions.redeem(c, row.permission, 1)
    redeeming.join(60)
    now = issuer.row(Permission)
    assert answers[0].status_code == (400 if what == "a withdrawal" else 200)
    assert (now.redeemed, now.ended_as) == {
        "a withdrawal": (None, "withdrawn"),
        "a wrong verifier": (now.granted, None),
        "another redemption": (1, None),
    }[what]


def _until_one_waits(c: Any) -> None:
    """Wait until another session waits for an advisory lock."""
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    for _ in range(6000):
        if c.execute(waiting).scalar_one():
            return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


@pytest.mark.parametrize("behind_s", [1, 90, 3600])
def test_G12_a_node_whose_clock_is_behind_the_grants_issues_tokens_of_the_grants_instant(
    issuer: Any, held_clock: Any, behind_s: int
) -> None:
    granted = issuer.grant()
    held_clock.step(-behind_s)
    tokens = issuer.redeem(granted).get_json()
    for body in (tokens, issuer.refresh(tokens["refresh_token"]).get_json()):
        claims = jwt.decode(body["access_token"], options={"verify_signature": False})
        assert claims["iat"] == claims["permission"]["granted"] == held_clock.instant + behind_s
        assert claims["exp"] - claims["iat"] == body["expires_in"] == 600


# What a newer permission ends


def ended_as(issuer: Any, *tokens: dict[str, Any]) -> list[str | None]:
    return [issuer.permission(token["refresh_token"]).ended_as for token in tokens]


@pytest.mark.parametrize(
    ("older", "newer", "ends"),
    [
        ("BOTH", "BOTH", True),
        ("ELECTRICITY", "BOTH", True),
        ("BOTH", "COMBINED", True),
        ("ELECTRICITY", "COMBINED", True),
        ("BOTH", "ELECTRICITY", False),
        ("COMBINED", "BOTH", False),
    ],
)
def test_the_same_or_a_wider_license_ends_the_older_permission(
    issuer: Any, shared: Any, older: str, newer: str, ends: bool
) -> None:
    first = issuer.tokens(license_=getattr(shared, older))
    second = issuer.tokens(license_=getattr(shared, newer))
    assert ended_as(issuer, first, second) == ["superseded" if ends else None, None]
    assert issuer.refresh(first["refresh_token"]).status_code == (400 if ends else 200)
    assert issuer.refresh(second["refresh_token"]).status_code == 200
    assert not issuer.rows(OwedCall)


def test_the_older_lives_until_the_newer_is_redeemed(issuer: Any) -> None:
    first = issuer.tokens()
    granted = issuer.grant()
    assert ended_as(issuer, first) == [None]
    second = issuer.redeem(granted).get_json()
    assert ended_as(issuer, first, second) == ["superseded", None]
    record = issuer.post("/permission", {"token": first["refresh_token"]}).get_json()["permission"]
    assert record["revoked"] == "2026-03-12T09:30:00Z"


def test_a_newer_one_is_not_ended_by_an_older_one_redeemed_later(issuer: Any) -> None:
    old, new = issuer.grant(), issuer.grant()
    tokens = issuer.redeem(new).get_json()
    # The newer one has ended the older before it was redeemed.
    assert issuer.redeem(old).get_json()["error"] == "invalid_grant"
    assert ended_as(issuer, tokens) == [None]


def test_other_clients_and_other_smes_keep_theirs(issuer: Any) -> None:
    cap2 = issuer.clients["cap2"]
    others = issuer.tokens(cap2), issuer.tokens(sme="bolts")
    issuer.tokens()
    assert ended_as(issuer, *others) == [None, None]


def test_what_rests_on_a_superseded_permission_is_left_standing(issuer: Any, changed: Any) -> None:
    first = issuer.tokens()
    supporting = issuer.permission(first["refresh_token"]).id
    resting = changed(resting_on=(supporting,)).tokens(sme="bolts")
    issuer.tokens()
    assert ended_as(issuer, first, resting) == ["superseded", None]

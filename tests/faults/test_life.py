"""A permission's life at random, at an EDP and at the CAP that holds it, against a model of what each act should do.

Clocks are set forward and back, and the database fails in the middle of an act. The store must hold what the model says, and
tokens must open what the model says and nothing else.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from consent_server import store
from consent_server.portal import connecting
from consent_server.scheme import licenses
from consent_server.scheme.licenses import License
from consent_server.store import evidence, meters, outbox
from consent_server.store.digests import new_id
from consent_server.store.tables.metering import Meter
from consent_server.store.tables.permissions import Evidence
from consent_server.withdrawal import inbox
from consent_server.withdrawal import outbox as dispatching
from consent_server.withdrawal.withdraw import withdraw
from tests.deployments import START
from tests.faults import edp
from tests.faults.crashing import broken_at
from tests.faults.portal import ASKED, Portal
from tests.faults.seeds import SEED, many
from tests.issuer.conftest import BOTH, COMBINED, ELECTRICITY, PUBLIC, Granted, Issuer

DAY = 86400
CODE_S, TOKEN_S, AHEAD_S = 60, 600, 10
COVERS = {ELECTRICITY.url: {ELECTRICITY.url}, BOTH.url: {ELECTRICITY.url, BOTH.url}}
COVERS[COMBINED.url] = {*COVERS[BOTH.url], COMBINED.url}
STEPS = [1, 59, 60, 600, 3600, 30 * DAY, 366 * DAY, -1, -90, -3600, -40 * DAY]


@dataclass(eq=False)
class Held:
    """A permission, by whichever side: what the model knows of it."""

    expires: int
    ended: str | None = None

    def lives(self, at: int) -> bool:
        return self.ended is None and self.expires > at

    def end(self, how: str, at: int) -> bool:
        """Whether it ends now: what has expired can still be withdrawn, and not superseded."""
        if self.ended is not None or (how == "superseded" and not self.lives(at)):
            return False
        self.ended = how
        return True


@dataclass(eq=False)
class Grant(Held):
    """A permission at the EDP."""

    client: str = "cap"
    license: License = BOTH
    code: Granted | None = None
    granted: int = 0
    id: str = ""
    redeemed: bool = False
    refresh: str = ""  # empty until tokens were sent
    unanswered: bool = False  # the database failed when it was to keep that they were: they may be asked for once more
    access: list[tuple[str, int]] = field(default_factory=list)  # with iat
    told: bool = False  # a message about its withdrawal is owed or was sent


@dataclass(eq=False)
class Connection(Held):
    """A permission at the CAP, held as a client."""

    id: str = ""
    issuer: str = ""
    grant: Grant | None = None


@dataclass(eq=False)
class Report(Held):
    """A permission at the CAP, given to a bank."""

    id: str = ""
    supports: list[Connection] = field(default_factory=list)


class Life(RuleBasedStateMachine):
    """One SME, its EDP, two CAPs of which one is ours, and a bank."""

    def __init__(self, issuer: Issuer, portal: Portal, clock: Any) -> None:
        super().__init__()
        self.issuer, self.portal, self.clock = issuer, portal, clock
        self.grants: list[Grant] = []
        self.connections: list[Connection] = []
        self.reports: list[Report] = []
        self.messages: list[tuple[int, Grant]] = []  # (due, about)
        self.revocations: list[tuple[int, Connection]] = []
        self.break_at: int | None = None
        self.failed = False  # the database, in the last act
        self.latest = START

    @initialize()
    def begin(self) -> None:
        self.clock.instant = START
        self.sme, self.account = edp.new_sme(), self.portal.sme()
        with self.issuer.public.app_context(), store.writing() as c:
            for number, fuel in enumerate(("electricity", "gas")):
                meters.add(c, Meter(f"{self.sme}-{number}", self.sme, "", fuel, "1", "SW8 1AA", "SW8", ["import"]))

    @property
    def now(self) -> int:
        return int(self.clock.instant)

    def act(self, do: Callable[[], Any]) -> tuple[bool, Any]:
        """Whether the act came to its end, and what it returned: the database may fail in its middle, and then it did not.

        Where it fails after what was done is kept, and that is known, the answer says that it is done. Where what it failed at
        was asked again, the answer is that of a database that did not fail.
        """
        self.failed = False
        if self.break_at is None:
            return True, do()
        with broken_at(self.break_at) as happened:
            try:
                result = do()
            except store.StoreUnavailable:
                assert happened
                result = None
        self.break_at = None
        self.failed = bool(happened)
        if not happened or result is None:
            return not happened, result
        assert result.status_code in (200, 400, 503)
        return result.status_code != 503, result

    # the world

    @rule(seconds=st.sampled_from(STEPS))
    def step(self, seconds: int) -> None:
        """Keys and certificates are as old as the test, and refresh keys are kept for two years."""
        self.clock.instant = min(max(START, self.now + seconds), START + 700 * DAY)
        self.latest = max(self.latest, self.now)

    @rule(point=st.integers(1, 14))
    def break_next(self, point: int) -> None:
        self.break_at = point

    # the SME and the clients at the EDP

    @rule(license_=st.sampled_from([ELECTRICITY, BOTH, COMBINED]), client=st.sampled_from(["cap", "cap2"]))
    def grant(self, license_: License, client: str) -> None:
        ask = edp.asked(self.issuer, license_, client=self.issuer.clients[client])
        (journey,) = ask.journeys
        decided = ask.decided(journey, self.sme)
        for number, meter in enumerate(decided.meters):
            meter["id"] = f"{self.sme}-{number}"
        done, location = self.act(lambda: self.issuer.decide(journey, decided))
        if not done:  # a second click
            location = self.issuer.decide(journey, decided)
        code = edp.granted_by(location, ask.verifier)
        expires = licenses.expiry("1 year", self.now)
        self.grants.append(Grant(expires, client=client, license=license_, code=code, granted=self.now))
        self.grants[-1].id = self.issuer.code(code).permission

    @precondition(lambda self: self.grants)
    @rule(data=st.data())
    def redeem(self, data: st.DataObject) -> None:
        new = self.one_of(data, self.grants)
        assert new.code is not None
        done, answer = self.act(lambda: self.issuer.redeem(new.code, self.issuer.clients[new.client]))
        at = self.now
        if not done:
            if not new.redeemed and self.issuer.code(new.code).redeemed is not None:
                assert answer.get_json()["error_uri"].endswith("/outcome_unknown")
                self.redeemed(new, at)
            return
        used = new.refresh and not new.unanswered
        if used:  # RFC 6749 section 4.1.2: used twice
            new.end("withdrawn", at)
        if used or at >= new.granted + CODE_S or not new.lives(at):
            assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_grant")
            return
        assert answer.status_code == 200, answer.text
        body = answer.get_json()
        new.unanswered = self.failed and bool(self.issuer.code(new.code).unanswered)
        if not new.redeemed:
            self.redeemed(new, at)
        again = bool(new.refresh)  # a client that got this refresh token before has connected with it
        assert not again or new.refresh == body["refresh_token"]
        new.refresh = body["refresh_token"]
        new.access.append((body["access_token"], at))
        if new.client == "cap" and not again:
            self.connect(PUBLIC, new.refresh, new)

    def redeemed(self, new: Grant, at: int) -> None:
        new.redeemed = True
        for old in itertools.takewhile(lambda each: each is not new, self.grants):
            if old.client == new.client and old.license.url in COVERS[new.license.url]:
                old.end("superseded", at)

    @precondition(lambda self: any(each.refresh for each in self.grants))
    @rule(data=st.data())
    def refresh(self, data: st.DataObject) -> None:
        grant = self.one_of(data, [each for each in self.grants if each.refresh])
        done, answer = self.act(lambda: self.issuer.refresh(grant.refresh, self.issuer.clients[grant.client]))
        if done:
            assert answer.status_code == (200 if grant.lives(self.now) else 400), answer.text
            if answer.status_code == 200:
                grant.access.append((answer.get_json()["access_token"], self.now))

    @precondition(lambda self: self.grants)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        grant = self.one_of(data, self.grants)
        done, fallen = self.act(lambda: edp.withdrawn(self.issuer, grant.id))
        if done:
            ended = grant.end("withdrawn", self.now)
            assert fallen == [grant.id] * ended
            if ended and grant.redeemed:
                grant.told = True
                self.messages.append((self.now, grant))

    @precondition(lambda self: any(each.refresh for each in self.grants))
    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        grant = self.one_of(data, [each for each in self.grants if each.refresh])
        client = self.issuer.clients[grant.client]
        done, answer = self.act(lambda: self.issuer.post("/revoke", {"token": grant.refresh}, client))
        if done:
            assert answer.status_code == 200
            grant.end("withdrawn", self.now)

    @precondition(lambda self: any(each.access for each in self.grants))
    @rule(data=st.data())
    def use(self, data: st.DataObject) -> None:
        """An access token opens its own fuels while its permission lives, until it expires."""
        grant = self.one_of(data, [each for each in self.grants if each.access])
        token, iat = self.one_of(data, grant.access)
        client = self.issuer.clients[grant.client]
        answer = self.issuer.call("GET", "/datasources", client, headers={"Authorization": f"Bearer {token}"})
        iat = max(iat, grant.granted)
        good = grant.ended is None and iat - AHEAD_S <= self.now < min(iat + TOKEN_S, grant.expires)
        assert answer.status_code == (200 if good else 401), answer.text
        if good:
            fuels = {source["type"] for source in answer.get_json()["data"]}
            assert fuels == set(grant.license.fuels)

    # our CAP and the bank

    def connect(self, issuer: str, refresh: str, grant: Grant | None) -> None:
        """What the portal does with the tokens that it got."""
        provider: Any = SimpleNamespace(issuer=issuer, service=issuer, member=issuer, application=issuer)
        pending: Any = {"id": new_id(), "account": self.account, "fsp": None}
        shown: tuple[Any, ...] = ("license", "text", "", "", "us", {}, {"account": self.account}, [], "", "", "-")
        with store.writing() as c:
            evidence.add(c, Evidence(new_id(), pending["id"], self.now, *shown))
        assert connecting._keep(pending, provider, refresh, None)
        new = Connection(licenses.expiry("1 year", self.now), id=pending["id"], issuer=issuer, grant=grant)
        for old in self.connections:
            if old.issuer == issuer and old.end("superseded", self.now):
                self.revocations.append((self.now, old))
                for report in self.reports:
                    if old in report.supports:
                        report.supports.append(new)
        self.connections.append(new)

    @rule()
    def connect_elsewhere(self) -> None:
        """An EDP that is not modelled."""
        self.connect("https://another.example", new_id(), None)

    @rule()
    def report(self) -> None:
        journey = self.portal.asked()
        done, location = self.act(lambda: self.portal.grant(self.account, journey))
        supports = [each for each in self.connections if each.lives(self.now)]
        if done:
            assert (location is not None) == bool(supports)
        if done and supports:
            row = self.portal.permissions(self.account)
            known = {each.id for each in self.reports}
            (new,) = (each.id for each in row if each.id not in known)
            self.reports.append(Report(licenses.expiry("1 year", self.now), id=new, supports=supports))

    @precondition(lambda self: self.connections)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        connection = self.one_of(data, self.connections)
        done, _ = self.act(lambda: withdraw(connection.id, ASKED))
        if done and connection.end("withdrawn", self.now):
            self.revocations.append((self.now, connection))
            self.fall(connection)

    def fall(self, connection: Connection) -> None:
        for report in self.reports:
            stays = any(each.lives(self.now) for each in report.supports)
            if connection in report.supports and report.lives(self.now) and not stays:
                report.end("withdrawn", self.now)

    @rule()
    def send_messages(self) -> None:
        """The EDP's worker; our CAP's inbox receives."""
        sent: list[Any] = []
        with self.issuer.mutual_tls.app_context(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(dispatching, "address_of", lambda _directory, to: to)
            patch.setattr(dispatching, "deliver", lambda _s, to, message: sent.append((to, message)))
            while dispatching.dispatch().done:
                pass
        sender: Any = SimpleNamespace(member=PUBLIC, application=PUBLIC)
        subject = self.portal.cap.deployment.settings.scheme.withdrawal_subjects[0]
        effects = [
            inbox.receive(sender, {**message, "subject": subject})
            for to, message in sent
            if to == self.issuer.cap.application
        ]
        due = [grant for due, grant in self.messages if due <= self.now]
        self.messages = [(due, grant) for due, grant in self.messages if due > self.now]
        assert set(effects) <= {"withdrawn", "nothing"}
        for connection in [each for each in self.connections if each.grant in due]:
            if connection.end("withdrawn", self.now):
                self.fall(connection)

    @rule()
    def send_revocations(self) -> None:
        """Our CAP's worker; the EDP's revocation endpoint receives."""
        upstream = SimpleNamespace(
            metadata=lambda issuer: issuer,
            revoke=lambda issuer, token: issuer == PUBLIC and self.issuer.post("/revoke", {"token": token}),
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.portal.cap.deployment, "upstream", upstream)
            while dispatching.dispatch().done:
                pass
        due = [connection for due, connection in self.revocations if due <= self.now]
        self.revocations = [(due, connection) for due, connection in self.revocations if due > self.now]
        for connection in due:
            if connection.grant is not None:
                connection.grant.end("withdrawn", self.now)

    # what must hold

    @invariant()
    def the_store_holds_what_the_model_says(self) -> None:
        if not hasattr(self, "sme"):
            return
        STEPS_TAKEN[0] += 1
        with self.issuer.public.app_context(), store.reading() as c:
            kept = {row.id: row for row in edp.permissions.of_sme(c, self.sme)}
        held = {each.id: (each.redeemed, each.ended) for each in self.grants}
        assert {id_: (row.redeemed is not None, row.ended_as) for id_, row in kept.items()} == held
        rows = {each.id: self.portal.cap.row(each.id).ended_as for each in self.connections}
        assert rows == {each.id: each.ended for each in self.connections}
        given = {row.id: row.ended_as for row in self.portal.permissions(self.account)}
        assert given == {each.id: each.ended for each in self.reports}

    def teardown(self) -> None:
        if not self.grants:
            return
        models = {model.id: model for model in self.grants}
        for each in edp.consistent(self.issuer, self.sme, self.latest):
            model = models[each.permission.id]
            assert each.permission.license == model.license.url
            assert (each.permission.granted, each.permission.expires) == (model.granted, model.expires)
            assert bool(each.owed) == model.told
            assert all(
                (call.delivered is None) == any(model is about for _, about in self.messages) for call in each.owed
            )
        for connection in self.connections:
            with store.reading() as c:
                owed = [call.kind for call in outbox.of_subject(c, connection.id)]
            assert len(owed) <= 1

    @staticmethod
    def one_of(data: st.DataObject, choices: list[Any]) -> Any:
        return choices[data.draw(st.integers(0, len(choices) - 1))]


STEPS_TAKEN = [0]


@pytest.mark.parametrize("examples", [20, many(1_200)])
def test_G01_a_permissions_life(issuer: Issuer, portal: Portal, held_clock: Any, examples: int) -> None:
    """Fifty steps an example."""
    print(f"CONSENT_FAULTS_SEED={SEED}")
    STEPS_TAKEN[0] = 0

    @hypothesis.seed(SEED)
    def life() -> Life:
        return Life(issuer, portal, held_clock)

    how = settings(
        max_examples=examples,
        stateful_step_count=50,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # a failure's fifty steps are read sooner than they are made fewer
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(life, settings=how)
    print(f"{STEPS_TAKEN[0]} steps")

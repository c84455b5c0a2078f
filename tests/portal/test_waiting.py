"""A slow provider: its visitors soon read whom they wait for, nothing is lost or done twice, and nobody else waits."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from consent_server import store
from consent_server.outbound import page_time
from consent_server.outbound.cache import MemoryCache
from consent_server.outbound.errors import OAuthRefused, Unreachable
from consent_server.outbound.fair_pool import FairPool
from consent_server.outbound.session import Session
from consent_server.outbound.upstream import Metadata, Pushed, Tokens, Upstream
from consent_server.portal import providers
from consent_server.store import rows
from consent_server.store import waiting as store_waiting
from consent_server.store.tables.sessions import SessionRow
from consent_server.web import background
from tests.deployments import layout
from tests.outbound.conftest import Answer, WireServer, json_answer, server_context
from tests.waiting import until

LEAVING, RETURNING = "/connect/leaving", "/connect/returning"


class Gate:
    """Holds what passes until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = 0

    def wait(self) -> None:
        self.reached += 1
        self.opened.wait(60)


class SlowUpstream:
    """Another upstream, at whose issuers pushes and redemptions wait; those of northmoor do not."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.push_gate, self.redeem_gate = Gate(), Gate()
        self.callback = inner.callback
        self.metadata = inner.metadata
        self.late: Exception | None = None

    def push(self, metadata: Metadata, *rest: Any) -> Pushed:
        self._pass(metadata, self.push_gate)
        return self.inner.push(metadata, *rest)

    def redeem(self, metadata: Metadata, *rest: Any) -> Tokens:
        self._pass(metadata, self.redeem_gate)
        return self.inner.redeem(metadata, *rest)

    def _pass(self, metadata: Metadata, gate: Gate) -> None:
        if "northmoor" not in metadata.issuer:
            gate.wait()
            if self.late:
                raise self.late


@pytest.fixture
def slow(portal: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowUpstream]:
    monkeypatch.setattr(background, "WAIT_S", 0.05)
    portal.deployment.upstream = found = SlowUpstream(portal.upstream)
    yield found
    for gate in (found.push_gate, found.redeem_gate):
        gate.opened.set()
    idle()


def idle() -> None:
    """Wait until no task is under way."""
    for thread in threading.enumerate():
        if thread.name == "background task":
            thread.join(60)


def is_waiting(browser: Any, path: str) -> None:
    assert (browser.status, browser.path) == (200, path)
    assert "Hartlebury Meters" in browser.html
    seconds, _, url = browser.response.headers["Refresh"].partition(";url=")
    assert (int(seconds) >= 30, url) == (True, f"{path}?look=1#waiting")
    assert "refresh" in browser.page.ids(), "a link, for whoever does not wait for that"


def test_H08_S7_a_slow_push(portal: Any, slow: SlowUpstream) -> None:
    browser = portal.sent_off()
    is_waiting(browser, LEAVING)
    is_waiting(browser.open(LEAVING), LEAVING)
    slow.push_gate.opened.set()
    idle()
    assert browser.open(LEAVING).location.startswith("https://login.hartlebury.example/authorize?")
    slow.redeem_gate.opened.set()
    portal.back(browser)
    assert browser.path in {"/connected", RETURNING}
    idle()
    assert browser.open(RETURNING).path == "/connected"
    assert len(portal.connections()) == slow.push_gate.reached == 1


def test_H08_S7_a_slow_redemption_is_kept_going_once_however_often_the_browser_comes_back(
    portal: Any, slow: SlowUpstream
) -> None:
    slow.push_gate.opened.set()
    browser = portal.sent_off()
    if browser.path == LEAVING:
        idle()
        browser.open(LEAVING)
    for _ in range(3):
        is_waiting(portal.back(browser), RETURNING)
    assert portal.connections() == []
    slow.redeem_gate.opened.set()
    idle()
    assert browser.open(RETURNING).path == "/connected"
    assert portal.back(browser).path == "/connected"
    assert (len(portal.connections()), slow.redeem_gate.reached) == (1, 1)


@pytest.mark.parametrize(
    ("late", "status"),
    [
        pytest.param(OAuthRefused("invalid_grant", "hartlebury.example", 400), 502, id="refused"),
        pytest.param(Unreachable("time", "hartlebury.example"), 503, id="never"),
        pytest.param(KeyError("key-canary"), 500, id="our own fault"),
    ],
)
def test_what_ends_badly_behind_the_waiting_page_is_said_there(
    portal: Any, slow: SlowUpstream, late: Exception, status: int
) -> None:
    browser = portal.sent_off()
    slow.late = late
    slow.push_gate.opened.set()
    idle()
    assert browser.open(LEAVING).status == status
    slow.late = None
    browser.open("/connect/permission").click("continue", agree="yes")
    idle()
    browser.open(LEAVING)
    slow.late = late
    is_waiting(portal.back(browser), RETURNING)
    slow.redeem_gate.opened.set()
    idle()
    assert browser.open(RETURNING).status == status
    assert portal.back(browser).path == "/connect", "it is not tried again"
    assert (portal.connections(), slow.redeem_gate.reached) == ([], 1)


def test_H08_the_visitors_of_one_provider_are_bounded_and_nobody_elses_wait(
    portal: Any, slow: SlowUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(background.MOST):
        is_waiting(portal.sent_off(email=f"office-{number}@else.example", business="Else Ltd"), LEAVING)
    late = portal.at_permission()
    assert late.click("continue", agree="yes").status == 503
    assert int(late.response.headers["Retry-After"]) >= 30
    until(lambda: slow.push_gate.reached == background.MOST, "not all of them are under way")
    monkeypatch.setattr(background, "WAIT_S", 20)
    assert portal.connected("northmoor").path == "/connected"
    slow.push_gate.opened.set()
    idle()
    late.open("/connect/permission").click("continue", agree="yes")
    idle()
    assert late.open(LEAVING).location.startswith("https://login.hartlebury.example/")
    assert not background._under_way.total()


def test_H08_one_account_leaves_places_for_others_however_many_browsers_it_has(portal: Any, slow: SlowUpstream) -> None:
    for _ in range(background.MOST_OF_ONE):
        is_waiting(portal.sent_off(), LEAVING)
    assert [portal.sent_off().status for _ in range(3)] == [503] * 3
    is_waiting(portal.sent_off(email="office@else.example", business="Else Ltd"), LEAVING)
    until(lambda: slow.push_gate.reached == background.MOST_OF_ONE + 1, "not all of them are under way")
    slow.push_gate.opened.set()
    idle()
    assert portal.sent_off().status != 503
    idle()
    assert not background._under_way


def test_H08_a_return_that_finds_no_place_loses_nothing(
    portal: Any, slow: SlowUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.push_gate.opened.set()
    browser = portal.sent_off()
    idle()
    monkeypatch.setattr(background, "MOST", 0)
    assert portal.back(browser).status == 503
    monkeypatch.setattr(background, "MOST", 1)
    slow.redeem_gate.opened.set()
    portal.back(browser)
    idle()
    assert len(portal.connections()) == 1


def test_a_task_whose_process_has_ended_is_not_waited_for_for_ever(
    portal: Any, slow: SlowUpstream, held_clock: Any
) -> None:
    browser = portal.sent_off()
    held_clock.step(background.LONGEST_S)
    assert browser.open(LEAVING).status == 503


def test_G14_a_session_of_the_version_before_goes_on(portal: Any) -> None:
    browser = portal.sent_off()
    session = rows.table_of(SessionRow)
    with store.writing() as c:
        for digest, data in c.execute(sa.select(session.c.digest, session.c.data)).all():
            returned = {"state": "an-earlier-one", "at": 1, "to": "/connected"}
            older = {name: value for name, value in data.items() if name != "leaving"} | {"returned": returned}
            c.execute(sa.update(session).where(session.c.digest == digest).values(data=older))
    assert portal.back(browser).path == "/connected"


def test_G7_an_errand_leads_to_what_it_began_after_the_clock_was_set_back(
    portal: Any, slow: SlowUpstream, held_clock: Any
) -> None:
    first = portal.sent_off()
    slow.push_gate.opened.set()
    idle()
    held_clock.step(-7200)
    slow.push_gate.opened.clear()
    is_waiting(first.open("/connect/permission").click("continue", agree="yes"), LEAVING)
    is_waiting(first.open(LEAVING), LEAVING)


@pytest.mark.parametrize("path", [LEAVING, RETURNING])
def test_a_waiting_page_without_a_task_leads_on(portal: Any, path: str) -> None:
    assert portal.signed_in().open(path).path == "/connect"
    assert portal.browser().open(path).path == "/sign-in"


def test_a_task_waits_for_a_busy_store_by_itself(portal: Any) -> None:
    """What was redeemed at the provider must be kept, also when the page behind it would have given up."""
    found: list[store_waiting.LockWait] = []

    def act(_begun: None) -> str:
        found.append(store_waiting.lock_wait_of_this_request())
        return "/connected"

    with portal.app.test_request_context("/callback"):
        pages = store_waiting.lock_wait_of_this_request()
        pages.left_s = 0
        assert background.run("https://hartlebury.example", "kelham", lambda: None, act) == "/connected"
        assert store_waiting.lock_wait_of_this_request() is pages
    assert [(each.left_s, each.stuck_s) for each in found] == [(store_waiting.LOCK_WAIT_S, store_waiting.LOCK_WAIT_S)]


class DrippingProvider:
    """A real server whose issuer drips at one of its endpoints, until the test ends."""

    def __init__(self) -> None:
        files = layout()
        self.server = WireServer(server_context(files.server_certificate("chain"), files.server_certificate("key")))
        self.issuer = self.server.url("", "localhost")
        self.over = threading.Event()
        names = ("authorization", "token", "pushed_authorization_request", "revocation")
        metadata = {f"{name}_endpoint": f"{self.issuer}/{name}" for name in names}
        self.server.routes = {
            "/.well-known/oauth-authorization-server": json_answer(
                {
                    **metadata,
                    "issuer": self.issuer,
                    "ib1_permission_endpoint": f"{self.issuer}/record",
                    "code_challenge_methods_supported": ["S256"],
                }
            ),
            "/pushed_authorization_request": json_answer({"request_uri": "urn:x", "expires_in": 90}, 201),
            "/token": json_answer({"access_token": "access", "refresh_token": "refresh", "token_type": "Bearer"}),
        }

    def drip_at(self, path: str) -> None:
        self.server.routes[path] = Answer(raw=self._drip)

    def _drip(self, wire: Any) -> None:
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90000\r\n\r\n")
        while not self.over.wait(0.05):
            wire.write(b" ")


@pytest.fixture
def dripping(portal: Any) -> Iterator[DrippingProvider]:
    found = DrippingProvider()
    session = Session(portal.deployment.settings)
    session.allow_hosts(lambda: {"localhost"})
    real = Upstream(portal.deployment.settings.member.application, session, MemoryCache())
    listed = portal.directory._honest

    def honest() -> list[Any]:
        return [replace(each, issuer=found.issuer) if "hartlebury" in each.id else each for each in listed()]

    class Both:
        """The real client at the dripping provider, the played one elsewhere."""

        def __getattr__(self, name: str) -> Any:
            def call(first: Any, *rest: Any) -> Any:
                issuer = first if isinstance(first, str) else first.issuer
                return getattr(real if issuer == found.issuer else portal.upstream, name)(first, *rest)

            return call

    portal.directory._honest, portal.deployment.upstream = honest, Both()
    yield found
    found.over.set()
    idle()
    found.server.stop()
    session.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_H08_the_worker_fetches_what_takes_too_long_for_a_page(portal: Any, dripping: DrippingProvider) -> None:
    """Once it has, visitors find the copy; a provider that drips delays no other's."""
    kept = dripping.server.routes["/.well-known/oauth-authorization-server"]
    looked: list[str] = []
    dripping.server.routes["/.well-known/oauth-authorization-server"] = lambda _: looked.append("once") or kept
    found = providers.fetch_metadata(FairPool(most=4, most_unreliable=1, slow_s=5))
    assert (found.done, found.failed, len(looked)) == (2, 0, 1)
    dripping.drip_at("/.well-known/oauth-authorization-server")
    assert "continue" in portal.at_permission().page.ids()
    portal.directory.down = True
    assert providers.fetch_metadata(FairPool(most=4, most_unreliable=1, slow_s=5)).failed == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("/.well-known/oauth-authorization-server", "/connect/permission"),
        ("/pushed_authorization_request", LEAVING),
        ("/token", RETURNING),
    ],
    ids=["metadata", "push", "token"],
)
def test_H08_a_provider_that_drips(
    portal: Any, dripping: DrippingProvider, monkeypatch: pytest.MonkeyPatch, endpoint: str, path: str
) -> None:
    monkeypatch.setattr(background, "WAIT_S", 0.3)
    monkeypatch.setattr(page_time, "PAGE_S", 0.3 if path == "/connect/permission" else 20)
    dripping.drip_at(endpoint)
    browser = portal.at_permission()
    if browser.path != path or "continue" in browser.page.ids():
        browser.click("continue", agree="yes")
    if path == RETURNING:
        idle()
        state = next(asked.form()["state"] for asked in dripping.server.asked if asked.path.endswith("request"))
        browser.open(f"/callback?code=c&state={state}&iss={dripping.issuer}")
    is_waiting(browser, path)
    monkeypatch.setattr(background, "WAIT_S", 20)
    assert portal.connected("northmoor").path == "/connected", "others are not held up"
    assert not dripping.over.is_set()

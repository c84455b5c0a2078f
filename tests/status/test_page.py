"""What partners are told: the page, its JSON, its feed and the heartbeat, from one source."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.etree import ElementTree

import pytest
from flask import Flask

from consent_server import store
from consent_server.parties.operator import notices as operator
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.status import probing
from consent_server.status import state as status_state
from consent_server.store import notices, probes
from consent_server.store.tables.status import Probe, ProbeDay, StatusNotice
from tests.conftest import HeldClock
from tests.deployments import START, deploy, in_new_database, opened, settings_of

HOSTILE = "<script>alert(1)</script> ]]> &lt; \" onload='x' \u202e"
ATOM = {"a": "http://www.w3.org/2005/Atom"}


def look(at: int, answered: bool, part: str = "data") -> Probe:
    return Probe(part, at, answered, 1, "" if answered else "time")


def notice(kind: Any = "incident", effect: Any = "down", begins: int = START, ends: int | None = None) -> StatusNotice:
    return StatusNotice("0a1b2c3d", kind, ["data"], effect, "Title", begins, ends, begins, in_time=True, texts=[])


@pytest.mark.parametrize(
    ("looks", "held", "state"),
    [
        pytest.param([], None, "unknown", id="nobody asked"),
        pytest.param([(-180, True)], None, "unknown", id="nobody asked lately"),
        pytest.param([(-179, True)], None, "ok", id="asked lately"),
        pytest.param([(-70, True), (-10, False)], None, "degraded", id="not answered once"),
        pytest.param([(-9, False)] * 4, None, "degraded", id="four in a row"),
        pytest.param([(-9, False)] * 5, None, "down", id="five in a row"),
        pytest.param([(-9, True)], notice(), "down", id="an incident"),
        pytest.param([(-9, True)], notice(effect="degraded"), "degraded", id="a smaller one"),
        pytest.param([(-9, False)] * 5, notice(effect="degraded"), "down", id="probes say worse"),
        pytest.param([(-9, False)] * 5, notice("downtime", ends=START + 9), "planned", id="planned"),
        pytest.param([(-9, True)], notice("downtime", ends=START), "ok", id="planned, over"),
        pytest.param([(-9, True)], notice("downtime", begins=START + 1, ends=START + 9), "ok", id="planned, to come"),
        pytest.param([(-9, True)], notice()._replace(cancelled=START), "ok", id="cancelled"),
        pytest.param([(-9, True)], notice()._replace(parts=["issuer"]), "ok", id="of another part"),
    ],
)
def test_the_state_of_a_part(looks: list[tuple[int, bool]], held: StatusNotice | None, state: str) -> None:
    newest_first = [look(START + at, answered) for at, answered in reversed(looks)]
    assert status_state.state_at("data", newest_first, [held] if held else [], START) == state


@pytest.mark.parametrize(
    ("sums", "state"),
    [
        ((0, 0, 0, 0, 0), "unknown"),
        ((9, 9, 540, 0, 0), "ok"),
        ((9, 8, 540, 0, 0), "degraded"),
        ((9, 4, 540, 200, 30), "down"),
        ((9, 4, 540, 0, 200), "planned"),
    ],
)
def test_the_state_of_a_day(sums: tuple[int, ...], state: str) -> None:
    assert status_state.Day(ProbeDay("data", 0, *sums)).state == state


def test_the_page_has_each_part_and_day_and_every_notice(app: Flask, browser: Any, held_clock: HeldClock) -> None:
    today = instant.day_start(START)
    with store.writing() as c:
        for part in probing.PARTS:
            probes.add(c, look(START - 60, True, part))
            probes.add(c, look(START, True, part))
        probes.put_days(c, [ProbeDay("data", today - 3 * DAY, 1440, 1400, DAY, 864, 0)])
    opened_ = operator.open_incident(["issuer"], "degraded", "Slow", "Pushed requests take long.", START - 600)
    operator.update_incident(opened_.id, "They are fast again.", close=True)
    planned = operator.plan_downtime(
        ["data"], "New disks", START + 30 * DAY, START + 30 * DAY + 60, short_notice=False, keep=True
    )
    page = browser.get("/status")
    assert page.status_code == 200
    assert page.headers["Cache-Control"] == "public, max-age=60"
    for said in ("Pushed requests take long.", "They are fast again.", "New disks", "99.001 %", "down for 14 minutes"):
        assert said in page.text
    told = browser.get("/status.json").get_json()
    assert told["state"] == "ok"
    data = next(part for part in told["parts"] if part["part"] == "data")
    assert [part["part"] for part in told["parts"]] == list(probing.PARTS)
    assert [len(data["days"]), data["days"][-1]["day"], data["days"][-1]["asked"]] == [90, "2026-03-12", 2]
    assert data["days"][-4] == {
        "day": "2026-03-09", "state": "down", "asked": 1440, "answered": 1400,
        "measured_s": DAY, "down_s": 864, "planned_s": 0,
    }  # fmt: skip
    assert [each["ends"] for each in told["incidents"]] == [instant.text(START)]
    assert [each["id"] for each in told["downtime"]] == [planned.id]
    feed = ElementTree.fromstring(browser.get("/status.atom").data)
    assert [entry.findtext("a:title", namespaces=ATOM) for entry in feed.findall("a:entry", ATOM)] == [
        "New disks",
        "Slow",
    ]
    assert feed.findtext("a:updated", namespaces=ATOM) == instant.text(START)
    known = {"If-None-Match": browser.get("/status.atom").headers["ETag"]}
    assert browser.get("/status.atom", headers=known).status_code == 304


def test_hostile_text_in_a_notice_is_inert(app: Flask, browser: Any) -> None:
    """As if another program had written it: the command refuses what is not printable."""
    with store.writing() as c:
        notices.put(c, notice()._replace(title=HOSTILE, texts=[{"at": START, "text": HOSTILE}]))
    page = browser.get("/status")
    assert "<script" not in page.text
    assert "\u202e" not in page.text
    assert page.text.count("&lt;script&gt;alert(1)&lt;/script&gt; ]]&gt; &amp;lt;") == 2
    assert "script-src" not in page.headers["Content-Security-Policy"]
    entry = ElementTree.fromstring(browser.get("/status.atom").data).find("a:entry", ATOM)
    assert entry is not None
    assert entry.findtext("a:title", namespaces=ATOM) == HOSTILE
    assert list(entry.find("a:content", ATOM) or []) == []
    assert browser.get("/status.json").get_json()["incidents"][0]["title"] == HOSTILE


def test_the_status_page_without_probes(app: Flask, browser: Any) -> None:
    assert "Not known" in browser.get("/status").text
    assert browser.get("/status.json").get_json()["state"] == "unknown"
    assert ElementTree.fromstring(browser.get("/status.atom").data).find("a:entry", ATOM) is None


def test_strangers_make_it_work_it_out_once_in_a_while(
    app: Flask, held_clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none of them waits for another."""
    recent, worked_out = status_state.Recent(), []
    work_out = status_state.now

    def counted() -> status_state.ServiceStatus:
        worked_out.append(held_clock.instant)
        if len(worked_out) == 2:
            assert recent.now() is first, "while it is worked out anew"
        return work_out()

    monkeypatch.setattr(status_state, "now", counted)
    first = recent.now()
    held_clock.step(status_state.KEPT_S - 1)
    assert recent.now() is first
    held_clock.step(1)
    assert recent.now().at == held_clock.instant
    held_clock.step(-5)
    assert recent.now().at == held_clock.instant, "a clock that was set back"
    assert len(worked_out) == 3


@pytest.mark.parametrize("fails", [False, True])
def test_who_asks_while_it_is_worked_out_for_the_first_time_gets_what_is_found(
    monkeypatch: pytest.MonkeyPatch, held_clock: HeldClock, fails: bool
) -> None:
    recent, looks, others_wait = status_state.Recent(), [], threading.Event()
    found = status_state.ServiceStatus(held_clock.instant, (), ())

    def slowly() -> status_state.ServiceStatus:
        looks.append("look")
        assert others_wait.wait(60)
        if fails:
            raise store.StoreUnavailable("slow")
        return found

    def ask(_: int) -> Any:
        try:
            return recent.now()
        except store.StoreUnavailable as unavailable:
            return unavailable.private

    def waiting() -> int:
        return [frame.f_code for frame in sys._current_frames().values()].count(status_state.Recent.now.__code__)

    monkeypatch.setattr(status_state, "now", slowly)
    with ThreadPoolExecutor(4) as strangers:
        answers = strangers.map(ask, range(4))
        for _ in range(1000):
            if waiting() == 3:
                break
            time.sleep(0.01)
        others_wait.set()
        assert list(answers) == ["slow" if fails else found] * 4
    assert looks == ["look"]


def test_the_heartbeat_says_what_the_page_says(database_url: str, held_clock: HeldClock) -> None:
    cases = [
        (notice()._replace(cancelled=START), 200, None),
        (notice("downtime", ends=START), 200, None),
        (notice("downtime", begins=START + 1, ends=START + 9), 200, None),
        (notice(effect="degraded"), 200, None),
        (notice()._replace(parts=["issuer", "messages"]), 200, None),
        (notice("downtime", ends=START + 1000), 503, "1000"),
        (notice(), 503, "300"),
    ]
    with in_new_database(opened(deploy(settings_of("edp", database_url)), "mutual_tls")) as app:
        for held, status, retry in cases:
            with store.writing() as c:
                notices.put(c, held)  # each in the place of the one before
            answer = app.test_client().get("/heartbeat", environ_overrides={"test.client": object()})
            assert (answer.status_code, answer.headers.get("Retry-After")) == (status, retry), held
            said = answer.get_json()
            assert said.get("status", said.get("error")) == ("ok" if status == 200 else "temporarily_unavailable")

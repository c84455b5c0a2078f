"""Service levels: what doors count, how it is written, and the report of a month."""

import csv
import io
from collections import Counter
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from flask import Flask

from consent_server import clock, store
from consent_server.caller.identify import identified
from consent_server.jobs import retention
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.settings.storage import RetentionSettings
from consent_server.status import levels
from consent_server.status.levels import Hour, Levels
from consent_server.store import probes, served
from consent_server.store.tables.status import ProbeDay, ServedHour
from consent_server.web.served import ServedCounts, write
from tests.conftest import HeldClock
from tests.deployments import deploy, opened, settings_of

MARCH = instant.parse("2026-03-01T00:00:00Z")
CLIENT = "https://directory.example/a/<b>&"


def hour(endpoint: str, *counts: int, client: str = CLIENT, at: int = MARCH) -> ServedHour:
    return ServedHour(at, endpoint, client, *counts)


def kept() -> list[ServedHour]:
    with store.reading() as c:
        return served.between(c, 0, 1 << 40)


def test_a_door_counts_by_endpoint_outcome_and_time_and_writes_sums(
    app: Flask, browser: Any, held_clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    took = (0.1, 0.1001, 6.1)
    ticks = chain((each for seconds in took for each in (0.0, seconds)), repeat(0.0))
    monkeypatch.setattr(clock, "ticks", lambda: next(ticks))
    for path in ("/health", "/health", "/health", "/status.json"):
        assert browser.get(path).status_code == 200
    assert browser.get("/nowhere-and-never").status_code == 404
    begun = held_clock.instant - held_clock.instant % 3600
    write(app)
    write(app)  # there is nothing more
    assert kept() == [
        hour("GET /health", 3, 0, 1, 1, 0, 0, 0, 0, 0, 1, client="-", at=begun),
        hour("GET /status.json", 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, client="-", at=begun),
    ]
    with store.writing() as c:
        served.add(c, kept())
    assert [each.asked for each in kept()] == [6, 2]
    for seconds, left in ((0, 2), (1, 0)):
        held_clock.instant = instant.months_later(begun, 13) + seconds
        retention.apply(RetentionSettings())
        assert len(kept()) == left


def test_a_failure_is_counted_as_one_and_a_client_by_who_was_identified(app: Flask) -> None:
    @app.get("/fails")
    def fails() -> str:
        identified.set(CLIENT)
        raise KeyError

    for _ in range(2):
        assert app.test_client().get("/fails").status_code == 500
    app.test_client().get("/health")
    write(app)
    assert [(each.endpoint, each.client, each.asked, each.failed) for each in kept()] == [
        ("GET /fails", CLIENT, 2, 2),
        ("GET /health", "-", 1, 0),
    ]


def test_what_cannot_be_written_is_written_later(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = ServedCounts()
    counts.add((MARCH, "GET /x", ""), Counter(asked=1, slower=1))

    def unavailable() -> Any:
        raise store.StoreUnavailable("down")

    with monkeypatch.context() as down:
        down.setattr(store, "writing", unavailable)
        counts.write()
    counts.add((MARCH, "GET /x", ""), Counter(asked=1, failed=1))
    counts.write()
    assert kept() == [hour("GET /x", 2, 1, 0, 0, 0, 0, 0, 0, 0, 1, client="")]


@pytest.mark.parametrize(
    ("endpoint", "counts", "within", "is_met"),
    [
        ("POST /token", (100, 0, 95, 0, 0, 0, 5, 0, 0, 0), 95, True),
        ("POST /token", (100, 0, 90, 1, 1, 2, 6, 0, 0, 0), 94, False),
        ("POST /token", (100, 6, 94, 0, 0, 0, 0, 0, 0, 0), 94, False),
        ("GET /jwks", (1, 0, 0, 0, 0, 0, 1, 0, 0, 0), 1, True),
        ("GET /emissions", (1, 0, 0, 0, 0, 0, 0, 1, 0, 0), 1, True),
        ("GET /emissions", (1, 0, 0, 0, 0, 0, 0, 0, 1, 0), 0, False),
        ("GET /datasources/<path:datasource>/<measure>", (1, 0, 0, 0, 0, 0, 0, 0, 1, 0), 1, True),
        ("GET /datasources/<path:datasource>/<measure>", (1, 0, 0, 0, 0, 0, 0, 0, 0, 1), 0, False),
    ],
)
def test_95_percent_within_the_threshold(endpoint: str, counts: tuple[int, ...], within: int, is_met: bool) -> None:
    found = Hour(hour(endpoint, *counts))
    assert (found.within, found.is_met) == (within, is_met)


def test_every_threshold_is_of_an_endpoint_that_there_is(tmp_path: Path) -> None:
    routed = {
        f"{method} {rule.rule}"
        for party in ("edp", "cap")
        for rule in opened(
            deploy(settings_of(party, f"sqlite:///{tmp_path / party}")), "mutual_tls"
        ).url_map.iter_rules()
        for method in rule.methods or ()
    }
    assert levels._THRESHOLDS.keys() <= routed


def day(start: int, measured_s: int, down_s: int, planned_s: int = 0, part: str = "issuer") -> ProbeDay:
    return ProbeDay(part, start, 9, 9, measured_s, down_s, planned_s)


@pytest.mark.parametrize(
    ("days", "share", "met"),
    [
        ([], "", ""),
        ([day(0, 1000, 5)], "0.99500", "yes"),
        ([day(0, 1000, 5), day(DAY, 1000, 6)], "0.99450", "no"),
        ([day(0, 1000, 4, planned_s=200)], "0.99500", "yes"),
        ([day(0, 1000, 5, planned_s=200)], "0.99375", "no"),
        ([day(0, 1000, 0, planned_s=1000)], "", ""),
        ([day(0, 1000, 900, part="data")], "", ""),
    ],
)
def test_99_and_a_half_percent_of_a_month(days: list[ProbeDay], share: str, met: str) -> None:
    issuer = next(row for row in levels.rows(Levels(0, days, [])) if row[2] == "issuer")
    assert issuer[6:8] == (share, met)


def test_the_report_has_the_month_with_its_raw_figures(app: Flask) -> None:
    with store.writing() as c:
        probes.put_days(c, [day(MARCH, DAY, 864), day(MARCH, DAY, 0, part="registry"), day(MARCH - DAY, DAY, 9)])
        served.add(
            c,
            [
                hour("POST /token", 100, 0, 90, 5, 5, 0, 0, 0, 0, 0),
                hour("POST /token", 10, 1, 9, 0, 0, 0, 0, 0, 0, 0, at=MARCH + 3600),
                hour("POST /token", 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, at=MARCH - 1),
            ],
        )
    found = levels.of_month(MARCH)
    head, *table = csv.reader(io.StringIO(levels.as_csv(found)))
    assert [dict(zip(head, row, strict=True)) for row in table] == [
        dict(zip(head, [*row, *[""] * (len(head) - len(row))], strict=True))
        for row in (
            ["month, seconds", "2026-03-01T00:00:00Z", "issuer", "", "86400", "85536", "0.99000", "no", "", "0"],
            ["month, seconds", "2026-03-01T00:00:00Z", "data", "", "0", "0", "", "", "", "0"],
            ["month, hours", "2026-03-01T00:00:00Z", "POST /token", CLIENT, "2", "1", "0.50000", "no", "1000", "", "1"],
            ["day, seconds", "2026-03-01T00:00:00Z", "issuer", "", "86400", "85536", "0.99000", "", "", "0"],
            ["hour, requests", "2026-03-01T00:00:00Z", "POST /token", CLIENT, "100", "100", "1.00000", "yes", "1000", "",
             "0", "90", "5", "5", "0", "0", "0", "0", "0"],
            ["hour, requests", "2026-03-01T01:00:00Z", "POST /token", CLIENT, "10", "9", "0.90000", "no", "1000", "",
             "1", "9", "0", "0", "0", "0", "0", "0", "0"],
        )
    ]  # fmt: skip
    page = levels.as_html(found, "<script>x</script>")
    assert "<script" not in page
    body = ElementTree.fromstring(page.split("\n", 1)[1].replace('<meta charset="utf-8">', "")).find("body")
    assert body is not None
    assert [[cell.text or "" for cell in line] for line in body.iter("tr")] == [head, *table]

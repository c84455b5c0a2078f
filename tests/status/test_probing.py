"""Parts are asked when they are due, what was found is kept, and days that are over are summed up."""

from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from flask import Flask

from consent_server import store
from consent_server.jobs import retention
from consent_server.outbound.probes import ProbeAnswer, Probes
from consent_server.outbound.session import Response
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY
from consent_server.settings.storage import RetentionSettings
from consent_server.status import probing
from consent_server.status.measured import Span
from consent_server.store import probes, rows
from consent_server.store.tables.owed import OwedCall
from consent_server.store.tables.status import ProbeDay, StatusNotice
from tests.conftest import HeldClock
from tests.deployments import settings_of


class Played:
    """Probes of a test; `down` are the parts that do not answer."""

    parts = ("issuer", "data", "directory", "registry")

    def __init__(self, *down: str) -> None:
        self.down = set(down)
        self.asked: list[str] = []

    def ask(self, part: str) -> ProbeAnswer:
        self.asked.append(part)
        return (
            ProbeAnswer(4000, "status 503, and more words than fit there") if part in self.down else ProbeAnswer(12, "")
        )


def latest(at: int) -> dict[str, tuple[bool, int, str]]:
    with store.reading() as c:
        return {part: each[-1][2:] for part, each in probes.between(c, at - DAY, at + 1).items()}


def test_each_part_is_asked_each_minute_and_a_failing_one_sooner(app: Flask, held_clock: HeldClock) -> None:
    calls: Any = Played("data")
    for _ in range(61):
        probing.ask_due(calls)
        held_clock.step(1)
    assert {part: calls.asked.count(part) for part in calls.parts} == {
        "issuer": 2, "data": 5, "directory": 2, "registry": 2,
    }  # fmt: skip
    assert latest(held_clock.instant) == {
        "issuer": (True, 12, ""),
        "data": (False, 4000, "status 503, and more words than "),
        "messages": (True, 0, ""),
        "directory": (True, 12, ""),
        "registry": (True, 12, ""),
    }


def test_messages_are_late_where_we_are(app: Flask, held_clock: HeldClock) -> None:
    """What a recipient does not take says nothing about us, nor what waits behind it."""
    cases = [
        ([("a", 900, 0)], 900, True),
        ([("a", 901, 0)], 901, False),
        ([("a", 9000, 3)], 0, True),
        ([("a", 9000, 3), ("a", 8000, 0)], 0, True),
        ([("a", 9000, 3), ("b", 1000, 0)], 1000, False),
        ([], 0, True),
    ]
    for calls, age, answered in cases:
        held_clock.step(60)
        with store.writing() as c:
            c.execute(sa.delete(rows.table_of(OwedCall)))
            for number, (recipient, seconds, attempts) in enumerate(calls, 1):
                created = held_clock.instant - seconds
                rows.add(c, OwedCall("message", f"s{number}", recipient, created, created, number, attempts=attempts))
        probing.ask_due(Played())  # type: ignore[arg-type]
        assert latest(held_clock.instant)["messages"] == (answered, age, "" if answered else "late"), calls


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"in_time": False}, False),
        ({"cancelled": 3}, False),
        ({"kind": "incident"}, False),
    ],
)
def test_downtime_that_was_announced_in_time_is_no_failure(changes: dict[str, Any], counts: bool) -> None:
    planned = StatusNotice("a", "downtime", ["data"], "down", "Title", 10, 20, 1, in_time=True, texts=[])
    found = probing.planned_spans([planned._replace(**changes)])
    assert found == ({"data": [Span(10, 20)]} if counts else {})


def test_a_day_that_is_over_is_summed_up_and_its_probes_go(app: Flask, held_clock: HeldClock) -> None:
    calls: Any = Played()
    today = instant.day_start(held_clock.instant)
    for day, hours in ((today - DAY, 9), (today, 1), (today, 2)):
        held_clock.instant = day + hours * 3600
        probing.ask_due(calls)
    probing.sum_up()
    assert latest(held_clock.instant), "yesterday has not been over for a day"
    held_clock.instant = today + DAY
    probing.sum_up()
    probing.sum_up()  # again changes nothing
    with store.reading() as c:
        assert probes.days(c, 0, today + DAY) == [
            ProbeDay(part, today - DAY, 1, 1, 180, 0, 0) for part in sorted(probing.PARTS)
        ]
        assert {each.at for found in probes.between(c, 0, today + DAY).values() for each in found} == {
            today + 3600, today + 7200,
        }  # fmt: skip
    held_clock.instant = instant.months_later(today - DAY, 13)
    retention.apply(RetentionSettings())
    with store.reading() as c:
        assert probes.days(c, 0, today + DAY)
    held_clock.step(1)
    retention.apply(RetentionSettings())
    with store.reading() as c:
        assert not probes.days(c, 0, today + DAY)


@pytest.mark.parametrize(
    ("part", "status", "body", "why"),
    [
        ("issuer", 200, {"issuer": "ours"}, ""),
        ("issuer", 200, {"issuer": "https://another.example"}, "issuer"),
        ("issuer", 200, ["no object"], "json"),
        ("issuer", 500, {}, "status 500"),
        ("data", 200, {"status": "ok"}, ""),
        ("data", 200, {"status": "bad"}, "heartbeat"),
        ("data", 503, {"error": "temporarily_unavailable"}, "status 503"),
        ("directory", 200, {}, ""),
        ("directory", 404, {}, "status 404"),
        ("registry", 200, {}, ""),
        ("registry", 302, {}, "status 302"),
    ],
)
def test_what_counts_as_an_answer(part: str, status: int, body: Any, why: str) -> None:
    settings = settings_of("edp", "sqlite://")
    asked = []

    class Session:
        def get(self, url: str, **_: object) -> Response:
            asked.append(url)
            said = {"issuer": settings.issuer} if body == {"issuer": "ours"} else body
            return Response(status, {}, "host.example", orjson.dumps(said))

    calls = Probes(settings)
    calls._session = Session()  # type: ignore[assignment]
    assert calls.ask(part).why == why
    assert asked == [
        {
            "issuer": f"{settings.public.origin}/.well-known/oauth-authorization-server",
            "data": f"{settings.mutual_tls.origin}/heartbeat",
            "directory": settings.member.application,
            "registry": settings.scheme.licenses[0].url,
        }[part]
    ]

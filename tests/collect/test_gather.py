"""What is believed and kept of a provider's readings, and what becomes of each trouble on the way."""

import logging
import re
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from flask import current_app

from consent_server import store
from consent_server.collect import gather
from consent_server.collect.provider import REFUSED, UNREACHABLE, WRONG
from consent_server.deployment import current
from consent_server.outbound.errors import BadAnswer, NotReady, OAuthRefused, TokenRefused, Unreachable
from consent_server.scheme import instant
from consent_server.scheme.month_readings import unpacked
from consent_server.scheme.provenance.container import verify
from consent_server.scheme.provenance.steps import MISSING, trust_framework_url
from consent_server.store import connections
from consent_server.store.database import db
from consent_server.withdrawal.withdraw import Withdrawal, withdraw
from tests.collect.conftest import (
    FEBRUARY,
    LICENSE,
    MARCH,
    RETRY_S,
    TODAY,
    Cap,
    Meter,
    Provider,
    reading,
    report_on_acme,
)
from tests.scheme.signing import (
    CAP_ROLE,
    DIRECTORY,
    EDP_ROLE,
    NOW,
    REGISTRY,
    SigningAuthority,
    member_signer,
    signing_authority,
)

DAY = 86400
HALF_HOUR = 1800


def test_keeping_an_answer_reads_no_other_meter(cap: Cap) -> None:
    """Only the statements of a turn, as many for six meters as for two, are about a connection's meters together."""
    together: list[list[str]] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        condition = statement.partition("WHERE")[2].partition("ORDER BY")[0]
        kept = re.search(r"\b(FROM|JOIN|UPDATE) (meter_month|collected|collected_meter)\b", statement)
        if kept and "VALUES" not in statement and "datasource" not in condition:
            together[-1].append(statement)

    sa.event.listen(db.engine, "before_cursor_execute", note)
    for meters in (2, 6):
        together.append([])
        provider = cap.provider(f"edp-{meters}", *(Meter(f"m-{number}", "gas") for number in range(meters)))
        cap.collected(provider, provider.name)
        assert len(cap.kept(provider.name).windows) == meters
    sa.event.remove(db.engine, "before_cursor_execute", note)
    assert together[0]
    assert together[0] == together[1]


def test_readings_records_and_months_are_kept_together(cap: Cap, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "consent_server")
    provider = cap.provider("edp", Meter("electric"), Meter("gas", "gas", amount=lambda start: 2.0))
    cap.collected(provider)
    kept = cap.kept()
    assert [(row.datasource, row.window_start, row.window_end, row.complete) for row in kept.windows] == [
        ("electric", FEBRUARY, MARCH, True),
        ("gas", FEBRUARY, MARCH, True),
    ]
    # 1344 half-hours of 1 kWh at 100 g/kWh; 1344 of 2 m3 at 2.06672 kg/m3
    assert [(row.fuel, row.start, row.complete) for row in kept.months] == [
        ("electricity", FEBRUARY, True),
        ("gas", FEBRUARY, True),
    ]
    assert [row.kilograms for row in kept.months] == [pytest.approx(134.4), pytest.approx(5555.34336)]
    assert [row.amount for row in kept.months] == [pytest.approx(1344.0), pytest.approx(2688.0)]
    row = cap.row()
    assert (row.collected, row.collect_due, row.leased, row.trouble) == (NOW, NOW + DAY, None, None)
    assert '"event":"readings_collected"' in caplog.text
    assert f'"readings":{2 * 28 * 48}' in caplog.text


def test_what_was_collected_is_reported(cap: Cap) -> None:
    cap.collected(cap.provider("one", Meter("e"), Meter("g", "gas")), "c1")
    cap.collected(cap.provider("two", Meter("e", outcode="EH1")), "c2")
    found = report_on_acme(FEBRUARY, TODAY)
    assert [(month.fuel, month.start) for month in found.months] == [("electricity", FEBRUARY), ("gas", FEBRUARY)]
    assert found.months[0].figure.kilograms == pytest.approx(268.8)


def test_half_hours_are_kept_as_they_were_read(cap: Cap) -> None:
    provider = cap.provider("edp", Meter("m", amount=lambda start: None if start % DAY < 6 * 3600 else start % 7 + 0.5))
    cap.collected(provider)
    month = cap.kept().of["m"][FEBRUARY]
    kept = [start for start in range(FEBRUARY, MARCH, HALF_HOUR) if start % DAY >= 6 * 3600]
    assert unpacked(FEBRUARY, month.readings) == (kept, [start % 7 + 0.5 for start in kept])


def test_kilowatt_hours_count_as_watt_hours(cap: Cap) -> None:
    provider = cap.provider()

    def in_kilowatt_hours(body: Any) -> None:
        for each in body["data"]:
            each["energy"] = {"value": 1.0, "unitCode": "KWH"}

    provider.answers = in_kilowatt_hours
    cap.collected(provider)
    assert cap.kept().months[0].kilograms == pytest.approx(134.4)


def test_the_record_is_kept_with_our_receipt_around_it(cap: Cap) -> None:
    provider = cap.provider()
    cap.collected(provider)
    (window,) = cap.kept().windows
    steps = verify(orjson.loads(window.record), trust_framework_url(REGISTRY), signing_authority().root)
    assert [step["type"] for step in steps] == ["permission", "origin", "transfer", "receipt"]
    assert steps[-1]["transfer"] == steps[-2]["id"]
    assert steps[-1]["_signature"]["signed"]["member"] == f"{DIRECTORY}/m/cap"
    assert steps[-2]["_signature"]["signed"]["member"] == provider.member


@pytest.mark.parametrize("ends", ["before", "meanwhile"])
def test_nothing_is_kept_that_our_ended_certificate_would_sign_for(
    cap: Cap, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    provider, signer = cap.provider(), current().signer

    def end(_: Any = None) -> None:
        monkeypatch.setattr(signer, "not_after", NOW - 1)

    provider.answers = end
    if ends == "before":
        end()
    cap.connect(provider)
    assert cap.collect() == 0
    assert nothing_kept(cap)
    assert bool(cap.presented) == (ends == "meanwhile")
    assert cap.row().trouble == gather.UNSIGNED
    assert "renew keys.signing_certificate" in caplog.text


def test_a_record_that_admits_gaps_is_kept_as_incomplete(cap: Cap) -> None:
    provider = cap.provider()
    provider.releases = {"missing_data": MISSING}
    cap.collected(provider)
    assert [row.complete for row in cap.kept().windows] == [False]


@pytest.mark.parametrize(
    ("fuel", "code"), [("gas", 16_777.215), ("electricity", 4_294_967_295.0)], ids=["gas", "electricity"]
)
def test_D1_a_meters_error_code_is_a_missing_half_hour(cap: Cap, fuel: str, code: float) -> None:
    at = FEBRUARY + 5 * DAY
    cap.collected(cap.provider("edp", Meter("m", fuel, amount=lambda start: code if start == at else 2.0)))
    kept = cap.kept()
    assert [(row.start, row.complete) for row in kept.months] == [(FEBRUARY, False)]
    assert kept.months[0].kilograms < 6000, "the code counts for nothing"
    assert [row.complete for row in kept.windows] == [False], "what we release in turn says that data are missing"
    assert kept.of["m"][FEBRUARY].half_hours == 28 * 48 - 1
    assert report_on_acme(FEBRUARY, TODAY).months == ()


def test_long_stretches_come_in_several_windows(cap: Cap) -> None:
    provider = cap.provider()
    provider.cut = MARCH - 5 * DAY
    cap.collected(provider)
    kept = cap.kept()
    assert [(row.window_start, row.window_end) for row in kept.windows] == [
        (FEBRUARY, MARCH - 5 * DAY),
        (MARCH - 5 * DAY, MARCH),
    ]
    assert kept.months[0].complete
    assert kept.months[0].kilograms == pytest.approx(134.4)


@pytest.mark.parametrize(
    ("meter", "complete"),
    [
        (Meter("m", amount=lambda start: None if start == FEBRUARY + 5 * DAY else 1000.0), False),
        (Meter("m", amount=lambda start: None if start < FEBRUARY + HALF_HOUR else 1000.0), False),
        (Meter("m", amount=lambda start: 0.0), True),
    ],
    ids=["one half-hour missing", "the first missing", "nothing used"],
)
def test_a_month_is_complete_only_with_every_half_hour(cap: Cap, meter: Meter, complete: bool) -> None:
    cap.collected(cap.provider("edp", meter))
    assert cap.kept().months[0].complete is complete


def test_a_month_without_its_intensity_is_incomplete(cap: Cap) -> None:
    cap.intensity = lambda start, outcode: None if start == FEBRUARY + DAY else 100.0
    cap.collected(cap.provider())
    february = cap.kept().months[0]
    assert not february.complete
    assert february.kilograms == pytest.approx(134.3)


def test_a_meter_without_readings_leaves_the_sum_incomplete(cap: Cap) -> None:
    cap.collected(cap.provider("edp", Meter("read"), Meter("silent", amount=lambda start: None)))
    assert [row.complete for row in cap.kept().months] == [False]
    assert {row.datasource for row in cap.kept().windows} == {"read", "silent"}


def test_only_import_of_known_fuels_is_collected(cap: Cap) -> None:
    both = Meter("both", measures=("import", "export"))
    provider = cap.provider("edp", both, Meter("export", measures=("export",)), Meter("water", "water"))
    cap.collected(provider)
    assert provider.measures == {"import"}
    assert {row.datasource for row in cap.kept().windows} == {"both"}


def test_an_opaque_id_may_be_long_and_strange(cap: Cap) -> None:
    name = "urn:meter:" + "a/b+c=é" * 40
    cap.collected(cap.provider("edp", Meter(name)))
    assert list(cap.kept().of) == [name]


# what is not believed

Spoil = Callable[[Provider], Any]


def _set(**changes: Any) -> Spoil:
    return lambda provider: [setattr(provider, name, value) for name, value in changes.items()]


def _body(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    return _set(answers=change)


def _signed_by(*member: str) -> Spoil:
    return lambda provider: setattr(provider, "signs", member_signer(*member))


def _stranger(provider: Provider) -> None:
    provider.signs = SigningAuthority("Stranger").signer("edp", EDP_ROLE)


def _first(**changes: Any) -> Spoil:
    return _body(lambda body: body["data"][0].update(changes))


PROVENANCE = {
    "none at all": ("a record has exactly", _body(lambda body: body.update(provenance={}))),
    "changed after signing": ("does not fit what it signs", _body(lambda body: body["provenance"]["steps"].pop(1))),
    "another framework": (
        "trust framework's URL",
        _body(lambda body: body["provenance"].update({"ib1:provenance": "https://other.example"})),
    ),
    "a stranger's root": ("no valid chain leads to the root", _stranger),
    "another member's": ("the member that we called", _signed_by("mallory", EDP_ROLE)),
    "without the role": ("hold the provider's role", _signed_by("edp", CAP_ROLE)),
    "to another recipient": ("to must be our member URL", _set(releases={"to": f"{DIRECTORY}/m/other"})),
    "of another service": ("service must be", _set(releases={"service": f"{DIRECTORY}/s/other"})),
    "of another window": ("parameters must be", _set(releases={"end": MARCH - DAY})),
    "of another measure": ("parameters must be", _set(releases={"measure": "export"})),
    "dated in the future": ("in the future", _set(releases={"at": NOW + 3600})),
    "two days old": ("must be recent", _set(releases={"at": NOW - 2 * DAY})),
    "under another license": (
        "license must be",
        _set(grants={"license": f"{LICENSE}/other"}),
    ),
    "permission expired": ("must not have expired", _set(grants={"expires": NOW})),
    "permission of tomorrow": ("permission: timestamp", _set(grants={"granted": NOW + DAY})),
    "without an account": ("account must be there", _set(grants={"account": ""})),
}
READINGS = {
    "not a list": ("Expected `array`", _body(lambda body: body.update(data={}))),
    "below zero": ("energy.value", _first(energy={"value": -1, "unitCode": "WHR"})),
    "in another unit": ("unitCode", _first(energy={"value": 1, "unitCode": "MTQ"})),
    "an hour long": ("half an hour after from", _first(to="2026-02-01T01:00:00Z")),
    "off the half-hour": (
        "on the hour or the half-hour",
        _first(**{"from": "2026-02-01T00:10:00Z"}),
    ),
    "taken before it ended": ("takenAt", _first(takenAt="2026-02-01T00:00:00Z")),
    "given twice": ("given before", _body(lambda body: body["data"].append(body["data"][0]))),
    "one of another fuel": ("type", _body(lambda body: body["data"].append(reading(FEBRUARY, 1.0, "gas")))),
    "of another fuel": ("another fuel", _body(lambda body: body.update(data=[reading(FEBRUARY, 1.0, "gas")]))),
    "before the window": (
        "outside the window",
        _body(lambda body: body["data"].append(reading(FEBRUARY - HALF_HOUR, 1.0))),
    ),
    "after the window": ("outside the window", _body(lambda body: body["data"].append(reading(MARCH, 1.0)))),
    "meters without end": (
        "more than 10000",
        lambda provider: provider.meters.extend(Meter(f"m-{n}") for n in range(10_000)),
    ),
    "a meter listed twice": ("listed twice", lambda provider: provider.meters.append(provider.meters[0])),
}


def months_before(end: int, count: int) -> list[int]:
    return [instant.months_later(end, -number) for number in range(count, 0, -1)]


def nothing_kept(cap: Cap) -> bool:
    kept = cap.kept()
    return not (kept.windows or kept.months or any(kept.of.values()) or cap.row().collected)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("reason", "spoil"), [*PROVENANCE.values(), *READINGS.values()], ids=[*PROVENANCE, *READINGS])
def test_what_is_not_believed_is_not_kept(
    cap: Cap, reason: str, spoil: Spoil, caplog: pytest.LogCaptureFixture
) -> None:
    provider = cap.provider("edp", Meter("meter-canary"))
    spoil(provider)
    cap.connect(provider)
    assert cap.collect() == 0
    row = cap.row()
    assert row.trouble == WRONG
    assert reason in caplog.text, "for the operator"
    assert (row.collect_due, row.leased) == (NOW + RETRY_S, None)
    assert nothing_kept(cap)
    assert "meter-canary" not in caplog.text + row.trouble
    assert "access-" not in caplog.text


@pytest.mark.parametrize("fuel", ["gas", "electricity"])
def test_D8_one_spoiled_meter_leaves_the_others(cap: Cap, fuel: str) -> None:
    """A sum without one meter would be wrong, so its fuel's month is left out; the other fuel's is not."""
    provider = cap.provider("edp", Meter("good"), Meter("bad", fuel))
    provider.answers = lambda body: body["data"][0].update({"from": "soon"}) if provider.windows[-1][0] == "bad" else 0
    cap.connect(provider)
    assert cap.collect() == 0
    row, kept = cap.row(), cap.kept()
    assert (row.collected, row.collect_due, row.failures) == (NOW, NOW + RETRY_S, 0)
    assert row.trouble == WRONG
    assert kept.troubles == [(fuel, row.trouble, 1)]
    assert [(month.fuel, month.complete) for month in kept.months] == [("electricity", fuel == "gas")]
    # It alone is asked for again.
    cap.clock.step(RETRY_S)
    provider.windows.clear()
    provider.answers = lambda body: None
    assert cap.collect() == 1
    assert provider.windows == [("bad", FEBRUARY, MARCH)]
    assert (cap.row().trouble, cap.row().collect_due) == (None, NOW + DAY)
    assert {month.complete for month in cap.kept().months} == {True}


def test_D8_one_spoiled_month_leaves_the_others(cap: Cap) -> None:
    cap.configure(months=6)
    bad = instant.parse("2025-11-01T00:00:00Z")
    provider = cap.provider()

    def spoil(body: dict[str, Any]) -> None:
        if provider.windows[-1][1] <= bad < provider.windows[-1][2]:
            body["data"].pop().update({"from": "soon"})
            body["data"].append({})

    provider.answers = spoil
    cap.connect(provider)
    assert cap.collect() == 0
    assert [month.start for month in cap.kept().months] == [m for m in months_before(MARCH, 6) if m != bad]
    assert cap.row().trouble == WRONG
    assert len(report_on_acme(0, MARCH).months) == 5
    provider.answers = lambda body: None
    provider.windows.clear()
    cap.clock.step(RETRY_S)
    assert cap.collect() == 1
    assert provider.windows == [("meter-1", bad, instant.next_month(bad))]
    assert len(report_on_acme(0, MARCH).months) == 6


@pytest.mark.parametrize(
    ("fault", "trouble", "wait"),
    [
        (NotReady("edp.example", 1234), "The provider is still collecting the readings.", 1234),
        (Unreachable("time", "edp.example"), UNREACHABLE, RETRY_S),
        (BadAnswer("status 500", "edp.example", 500), UNREACHABLE, RETRY_S),
        (TokenRefused("status 401", "edp.example", 401), UNREACHABLE, RETRY_S),
        (OAuthRefused("invalid_client", "edp.example", 401), REFUSED, RETRY_S),
    ],
    ids=["not-ready", "unreachable", "broken", "token-refused", "oauth-refused"],
)
def test_each_trouble_is_noted_and_tried_again(cap: Cap, fault: Exception, trouble: str, wait: int) -> None:
    provider = cap.provider()

    def fails() -> None:
        raise fault

    provider.asked = fails
    cap.connect(provider)
    assert cap.collect() == 0
    row = cap.row()
    assert (row.trouble, row.collect_due, row.leased, row.collected) == (trouble, NOW + wait, None, None)
    assert cap.collect() == 0, "not before it is due again"
    assert provider.fetched == 1
    provider.asked = lambda: None
    cap.clock.step(wait)
    assert cap.collect() == 1
    assert cap.row().trouble is None


def test_a_fault_later_leaves_the_last_good_collection(cap: Cap) -> None:
    provider = cap.provider()
    cap.collected(provider)
    before = cap.kept()
    cap.clock.step(7 * DAY)
    provider.releases = {"to": f"{DIRECTORY}/m/other"}
    assert cap.collect() == 0
    row, after = cap.row(), cap.kept()
    assert (row.collected, row.trouble is not None) == (NOW, True)
    assert (after.windows, after.months, after.of) == (before.windows, before.months, before.of)


def test_a_later_collection_replaces_the_earlier(cap: Cap) -> None:
    provider = cap.provider("edp", Meter("old"))
    cap.collected(provider)
    provider.meters = [Meter("new", amount=lambda start: 500.0)]
    cap.clock.step(DAY)
    assert cap.collect() == 1
    kept = cap.kept()
    assert list(kept.of) == ["new"]
    assert [row.datasource for row in kept.windows] == ["new"]
    assert kept.months[0].kilograms == pytest.approx(67.2)


def refused(error: str) -> OAuthRefused:
    return OAuthRefused(error, "edp.example", 400)


@pytest.mark.parametrize(
    ("refusals", "ended"),
    [
        (["invalid_grant"], []),
        (["invalid_grant", "invalid_grant"], ["c"]),
        (["invalid_client", "invalid_client"], []),
        (["invalid_grant", "temporarily_unavailable"], []),
    ],
    ids=["once", "twice", "another-error", "another-error-afterwards"],
)
def test_the_permission_record_is_looked_at_when_the_token_is_refused_twice(
    cap: Cap, refusals: list[str], ended: list[str]
) -> None:
    cap.connect(cap.provider())
    cap.refusals = [refused(error) for error in refusals]
    cap.revoked = True
    for _ in refusals:
        assert cap.collect() == 0
        cap.clock.step(RETRY_S)
    assert cap.records == [f"refresh-{connection}" for connection in ended]
    assert cap.row().ended_as == ("withdrawn" if ended else None)


def test_a_collection_between_two_refusals_forgets_the_first(cap: Cap) -> None:
    cap.connect(cap.provider())
    for refusals in (["invalid_grant"], [], ["invalid_grant"]):
        cap.refusals = [refused(error) for error in refusals]
        cap.collect()
        cap.clock.step(DAY)
    assert cap.records == []


# what happens at the same time


def test_withdrawn_while_fetching_leaves_nothing_behind(cap: Cap) -> None:
    provider = cap.provider()
    told = Withdrawal(by="sme", where="here", why="asked")
    provider.asked = lambda: withdraw("c", told)
    cap.connect(provider)
    assert cap.collect() == 0
    row = cap.row()
    assert (row.ended_as, row.collect_due, row.trouble) == ("withdrawn", None, None)
    assert nothing_kept(cap)
    cap.clock.step(DAY)
    assert cap.collect() == 0
    assert provider.fetched == 1


def test_a_trouble_after_the_withdrawal_is_not_noted(cap: Cap) -> None:
    provider = cap.provider()

    def withdrawn_and_broken() -> None:
        withdraw("c", Withdrawal(by="sme", where="here", why="asked"))
        raise Unreachable("time", "edp.example")

    provider.asked = withdrawn_and_broken
    cap.connect(provider)
    assert cap.collect() == 0
    assert (cap.row().collect_due, cap.row().trouble) == (None, None)


def test_a_connection_that_is_being_collected_is_left_alone(cap: Cap) -> None:
    provider = cap.provider()
    meanwhile: list[int] = []
    provider.asked = lambda: meanwhile.append(cap.collect()) if not meanwhile else None
    cap.collected(provider)
    assert (meanwhile, provider.fetched) == ([0], 1)


def test_a_worker_that_died_leaves_a_lease_that_runs_out(cap: Cap) -> None:
    provider = cap.provider()
    cap.connect(provider)
    with store.writing() as c:
        assert connections.lease_due(c, provider.issuer, NOW, gather.LEASE_S) is not None
    cap.clock.step(gather.LEASE_S - 1)
    assert cap.collect() == 0
    cap.clock.step(1)
    assert cap.collect() == 1


def test_what_a_slow_worker_collected_replaces_nothing_of_a_faster_ones(cap: Cap) -> None:
    provider = cap.provider()
    cap.connect(provider)
    with store.writing() as c:
        slow = connections.lease_due(c, provider.issuer, NOW, gather.LEASE_S)
    assert slow is not None
    cap.clock.step(gather.LEASE_S)
    assert cap.collect() == 1
    decided = cap.row()
    cap.clock.step(60)
    assert not gather.collect(slow)

    def unreachable() -> None:
        raise Unreachable("time", "edp.example")

    provider.asked = unreachable  # nor is the slow one's trouble written
    assert not gather.collect(slow)
    assert cap.row() == decided


def test_H08_a_provider_that_does_not_answer_costs_its_own_customers_alone(cap: Cap) -> None:
    slow, well = cap.provider("slow"), cap.provider("well")
    answers, collected = threading.Event(), threading.Event()
    slow.asked = lambda: answers.wait(60)
    well.answers = lambda _: collected.set() if well.fetched == 6 else None
    for number in range(6):
        cap.connect(slow, f"slow-{number}")
        cap.connect(well, f"well-{number}")
    working = threading.Thread(target=copy_context().run, args=(cap.collect,), daemon=True)
    working.start()
    assert collected.wait(60)
    assert slow.fetched <= 2, "it holds two threads at most"
    answers.set()
    working.join(60)
    assert all(cap.row(f"{name}-{number}").collected for name in ("slow", "well") for number in range(6))


def test_two_workers_share_the_connections_and_take_each_once(cap: Cap) -> None:
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    names = ["edp-a", "edp-b", "edp-c", "edp-d"]
    for name in names:
        provider = cap.provider(name, Meter(name, amount=lambda start: None))
        cap.connect(provider, name)
    both, done = threading.Barrier(2), []

    def worker() -> None:
        with app.app_context():
            both.wait(60)
            done.append(cap.collect())

    threads = [threading.Thread(target=worker) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(done) == len(names)
    assert [cap.providers[name].fetched for name in names] == [1] * len(names)


def test_one_failing_connection_does_not_hold_up_the_next(cap: Cap) -> None:
    bad, good = cap.provider("bad"), cap.provider("good")
    bad.answers = lambda body: body.update(provenance={})
    cap.connect(bad, "first", collect_due=NOW - 60)
    cap.connect(good, "second")
    assert cap.collect() == 1
    assert cap.row("second").collected == NOW


@pytest.mark.parametrize(
    "changes",
    [{"collect_due": NOW + 1}, {"expires": NOW}, {"ended": NOW, "ended_as": "withdrawn"}, {"collect_due": None}],
    ids=["not-yet-due", "expired", "ended", "never-due"],
)
def test_what_is_not_to_be_collected(cap: Cap, changes: dict[str, Any]) -> None:
    provider = cap.provider()
    cap.connect(provider, **changes)
    assert cap.collect() == 0
    assert provider.fetched == 0


@pytest.mark.parametrize(
    ("months", "at", "start"),
    [
        (1, "2026-03-12T09:30:00Z", "2026-02-01T00:00:00Z"),
        (13, "2026-03-12T09:30:00Z", "2025-02-01T00:00:00Z"),
        (13, "2027-01-01T00:00:00Z", "2025-12-01T00:00:00Z"),
        (24, "2026-03-31T23:59:59Z", "2024-03-01T00:00:00Z"),
    ],
)
def test_whole_months_that_are_over(cap: Cap, months: int, at: str, start: str) -> None:
    asked: list[tuple[int, int]] = []
    now = instant.parse(at)
    cap.clock.instant = now
    provider = cap.provider("edp", Meter("m", "gas", amount=lambda start: None))
    provider.readings = lambda *call: asked.append(call[-2:]) or iter(())  # type: ignore[method-assign,assignment,func-returns-value]
    cap.configure(months=months)
    cap.connect(provider)
    assert cap.collect() == 1
    assert (min(asked)[0], max(asked)[1]) == (instant.parse(start), instant.month_start(now))
    assert all(end <= instant.months_later(start, 12) for start, end in asked)

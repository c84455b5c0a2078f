"""What the report on policies counts, on both databases."""

from typing import Any

from flask import Flask

from consent_server import audit, store
from consent_server.store import accounts, audit_events, connections, outbox, permissions, policy
from consent_server.store.policy import LateAnswer, LicenseUse, ToldWithdrawals
from consent_server.store.tables.accounts import SmeAccount
from consent_server.store.tables.collecting import ProviderConnection
from consent_server.store.tables.permissions import Permission

NOW, DAY, HOUR = 1773307800, 86400, 3600
CLIENT, MEMBER, ISSUER = "https://directory.example/a/c", "https://directory.example/m/c", "https://edp.example"


def permission(c: Any, name: str, expires: int, *, ended: int | None = None, license_: str = "l/1") -> None:
    row = Permission(
        *(name, f"account-{name}", CLIENT, MEMBER, license_, ["gas"], "0" * 64, "sme", [], []),
        *(NOW - 400 * DAY, expires, f"refresh-{name}", 1),
        ended=ended,
        ended_as=None if ended is None else "withdrawn",
    )
    permissions.add(c, row)


def connection(c: Any, name: str, expires: int, *, ended: int | None = None, license_: str = "l/1") -> None:
    row = ProviderConnection(
        *(name, "sme", ISSUER, ISSUER, MEMBER, "a", license_, b"s", f"mac-{name}", NOW - 400 * DAY, expires),
        ended=ended,
        ended_as=None if ended is None else "withdrawn",
    )
    connections.add(c, row)


def test_licenses_are_those_of_what_is_live(app: Flask) -> None:
    with store.writing() as c:
        accounts.add(c, SmeAccount("sme", "owner@acme.example", "Acme", NOW))
        assert policy.licenses(c, NOW) == []
        permission(c, "a", NOW + DAY)
        permission(c, "b", NOW + 2 * DAY)
        permission(c, "over", NOW)
        permission(c, "withdrawn", NOW + DAY, ended=NOW - 1, license_="l/2")
        connection(c, "d", NOW + 3 * DAY)
        connection(c, "e", NOW + DAY, license_="l/3")
        assert policy.licenses(c, NOW) == [
            LicenseUse("l/1", 2, 1, NOW + 3 * DAY),
            LicenseUse("l/3", 0, 1, NOW + DAY),
        ]


def test_an_answer_after_the_end_is_found_and_one_before_is_not(app: Flask, held_clock: Any) -> None:
    released = {"client_id": CLIENT, "resource": ISSUER, "fuels": ["gas"], "window": "w", "readings": 1}
    with store.writing() as c:
        accounts.add(c, SmeAccount("sme", "owner@acme.example", "Acme", NOW))
        permission(c, "ended", NOW + 9 * DAY, ended=NOW)
        permission(c, "expired", NOW)
        permission(c, "live", NOW + 9 * DAY)
        connection(c, "held", NOW + 9 * DAY, ended=NOW)

        def answered() -> None:
            for name in ("ended", "expired", "live"):
                audit_events.keep(c, audit.event("data_released", permission=f"account-{name}", **released))
            audit_events.keep(c, audit.event("readings_collected", connection="held", readings=1, deployed_forms=[]))
            audit_events.keep(c, audit.event("permission_read", client_id=CLIENT, permission="ended"))

        for step in (0, 10, 1):  # until ten seconds after the end it may have been under way
            held_clock.step(step)
            answered()
        at = NOW + 11
        assert sorted(policy.answered_after_end(c, NOW, 10, 100)) == [
            LateAnswer("data_released", at, "ended", NOW),
            LateAnswer("data_released", at, "expired", NOW),
            LateAnswer("readings_collected", at, "held", NOW),
        ]
        assert policy.answered_after_end(c, at + 1, 10, 100) == []


def test_messages_are_in_time_late_waiting_or_given_up(app: Flask) -> None:
    def owed(c: Any, created: int, **settled: int) -> None:
        outbox.add(c, kind="message", subject="a", recipient=CLIENT, at=created)
        if settled:
            (call,) = outbox.lease(c, CLIENT, NOW, 60, 1)
            if "delivered" in settled:
                outbox.delivered(c, [call], settled["delivered"])
            else:
                outbox.give_up(c, call, settled["given_up"], "host: connect")

    with store.writing() as c:
        accounts.add(c, SmeAccount("sme", "owner@acme.example", "Acme", NOW))
        permission(c, "a", NOW + DAY, ended=NOW - DAY)
        connection(c, "b", NOW + DAY, ended=NOW - DAY)
        permission(c, "before", NOW + DAY, ended=NOW - DAY - 1)
        for created, delivered in (
            (NOW - DAY, NOW - DAY + HOUR),
            (NOW - DAY, NOW - DAY + HOUR + 1),
            (NOW - DAY - 1, NOW),
        ):
            owed(c, created, delivered=delivered)
        owed(c, NOW - DAY, given_up=NOW)
        owed(c, NOW - HOUR)
        owed(c, NOW - HOUR - 1)
        assert policy.withdrawals(c, NOW - DAY, NOW, HOUR) == ToldWithdrawals(2, 1, 1, 1, 1)

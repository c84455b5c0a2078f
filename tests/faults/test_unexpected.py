"""A statement that fails for a reason that nobody expected: one 500 for that request, at once, and nothing for the next."""

import itertools
import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from consent_server.store.database import db
from tests.faults.crashing import broken_at
from tests.faults.edp import new_sme
from tests.issuer.conftest import Issuer
from tests.journey.conftest import GOOD, World, with_meters

CANARY = "canary-91c4"
Act = Callable[[Issuer], Callable[[], TestResponse]]


def push(issuer: Issuer) -> Callable[[], TestResponse]:
    return lambda: issuer.post("/par", issuer.good_push())


def visit(issuer: Issuer) -> Callable[[], TestResponse]:
    pushed = issuer.push()
    return lambda: issuer.visit(pushed)


def redeem(issuer: Issuer) -> Callable[[], TestResponse]:
    granted = issuer.grant(sme=new_sme())
    return lambda: issuer.redeem(granted)


def refresh(issuer: Issuer) -> Callable[[], TestResponse]:
    token = issuer.tokens(sme=new_sme())["refresh_token"]
    return lambda: issuer.refresh(token)


def of_token(path: str) -> Act:
    def act(issuer: Issuer) -> Callable[[], TestResponse]:
        token = issuer.tokens(sme=new_sme())["refresh_token"]
        return lambda: issuer.post(
            path, {"token": token}, issuer.clients["edp_data"] if path == "/introspect" else None
        )

    return act


def identify(world: World) -> Callable[[], TestResponse]:
    browser = world.begun()
    return lambda: browser.click("continue", **GOOD, name="Ada Smith", capacity="Director").response


def allow(world: World) -> Callable[[], TestResponse]:
    browser = world.begun().click("continue", **GOOD, name="Ada Smith", capacity="Director")
    return lambda: browser.click("allow", agree="yes").response


def withdraw(world: World) -> Callable[[], TestResponse]:
    browser = world.begun().click("continue", **GOOD, name="Ada Smith", capacity="Director").click("allow", agree="yes")
    browser.open("/manage").click("continue", **GOOD).click("withdraw")
    return lambda: browser.click("confirm").response


def fails_at_each_point(app: Flask, act: Callable[[], Callable[[], TestResponse]], logged: Callable[[], str]) -> None:
    """Let each statement and commit of an act fail in turn, until none is left and it succeeds."""
    app.config["PROPAGATE_EXCEPTIONS"] = False
    with app.app_context():
        driver = sqlite3 if db.engine.dialect.name == "sqlite" else psycopg
    for point in itertools.count(1):
        do = act()
        with broken_at(point, driver.ProgrammingError(CANARY)) as happened:
            answer = do()
        if not happened:
            break
        assert answer.status_code in {500, 503}  # a register that cannot be read is unavailable, whatever the reason
        assert CANARY not in answer.text + logged()
        assert answer.headers["X-Request-Id"] in answer.text
    assert point > 1
    assert answer.status_code < 400


@pytest.mark.parametrize(
    "act",
    [push, visit, redeem, refresh, of_token("/introspect"), of_token("/permission"), of_token("/revoke")],
    ids=["push", "visit", "redeem", "refresh", "introspect", "permission", "revoke"],
)
def test_G04_an_error_that_nobody_expects_is_one_500(
    issuer: Issuer, act: Act, caplog: pytest.LogCaptureFixture
) -> None:
    app = issuer.public if act is visit else issuer.mutual_tls
    fails_at_each_point(app, lambda: act(issuer), lambda: caplog.text)


@pytest.mark.parametrize("act", [identify, allow, withdraw])
def test_G04_an_error_that_nobody_expects_is_one_page(
    database_url: str,
    held_clock: Any,
    act: Callable[[World], Callable[[], TestResponse]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = with_meters(World("edp", database_url, "https://edp.example", "sandbox", {}))
    fails_at_each_point(world.app, lambda: act(world), lambda: caplog.text)
    world.close()

"""What an agreement would change stands first, and saying no leaves the permission that there is as it was."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from consent_server import clock, store
from consent_server.scheme import licenses
from consent_server.store.database import db
from tests.deployments import layout
from tests.journey.conftest import ELECTRICITY, GAS, GOOD, World, with_meters


@pytest.fixture
def world(database_url: str, held_clock: Any) -> Iterator[World]:
    made = with_meters(World("edp", database_url, "https://edp.example", "sandbox", {}))
    yield made
    made.close()


def rows_of(world: World) -> dict[str, list[Any]]:
    """Everything in the store but journeys, and the events that record what was looked at and declined."""
    beside = {"journey", "pushed_request", "audit_event", "attempt", "job_run", "node"}
    with world.app.app_context(), store.reading() as c:
        tables = [table for table in db.metadata.sorted_tables if table.name not in beside]
        return {table.name: sorted(map(repr, c.execute(sa.select(table)))) for table in tables}


ELECTRICITY_ALONE = {"license": layout().license("electricity"), "fuels": ["electricity"], "meters": [ELECTRICITY]}
BOTH: dict[str, Any] = {}
NO_GAS = {**GOOD, "mprn": ""}


@pytest.mark.parametrize(
    ("had", "asked", "typed", "heading", "said", "button"),
    [
        (BOTH, "electricity_and_gas", GOOD, "Renew", ["renews what you have allowed", "2027"], "decline"),
        (ELECTRICITY_ALONE, "electricity_and_gas", GOOD, "Change", ["your use of <strong>gas", "New meters"], "decline"),
        (BOTH, "electricity_and_gas", NO_GAS, "Change", ["No longer: <strong>gas", "No longer these meters"], "decline"),
        (BOTH, "one_permission", GOOD, "Change", ["gets the emissions"], "decline"),
        ({"fuels": ["electricity"], "meters": [ELECTRICITY, GAS]}, "electricity_and_gas", NO_GAS, "Renew", [], "decline"),
    ],
    ids=["renewal", "upgrade", "narrower", "with a bank", "a meter that was not shared"],
)  # fmt: skip
def test_no_leaves_the_old_as_it_was(
    world: World, had: Any, asked: str, typed: Any, heading: str, said: list[str], button: str
) -> None:
    world.keep_grant(**had)
    before = rows_of(world)
    start = world.journey(license=layout().license(asked))
    browser = world.browser(start).open(start.path).click("continue", **typed)
    first = browser.html.partition("In short")[0]
    assert f"<h1>{heading} your permission for" in first
    for words in (*said, "6 January 2027", "instead of", "If you say no, all stays as it is."):
        assert words in first
    assert browser.click(button).landed["error"] == "access_denied"
    assert rows_of(world) == before


@pytest.mark.parametrize("had", [None, {"ended": 5, "ended_as": "withdrawn"}, {"expires": 5}, {"redeemed": None}])
def test_a_first_request_changes_nothing(edp: Any, had: Any) -> None:
    if had is not None:
        edp.keep_grant(**had)
    assert "instead of" not in edp.begun().click("continue", **GOOD).html


def test_a_renewal_that_ends_on_the_same_day_says_so(edp: Any) -> None:
    edp.keep_grant(expires=licenses.expiry("1 year", clock.now()))
    changes = edp.begun().click("continue", **GOOD).html.partition("In short")[0]
    assert ("as before" in changes, "instead of" in changes) == (True, False)

"""What a page may ask of its store, however fast the machine is: `python -m bench.pages` has the times."""

from pathlib import Path
from typing import Any

import pytest

from bench import pages
from consent_server.store.database import db
from tests.journey.conftest import GOOD, with_meters

#: At most so many transactions, of which so many write; and so many statements.
MOST = (2, 1)
STATEMENTS = 24
#: A withdrawal deletes what was collected, in each table that has some of it.
AT_CAP_STATEMENTS = 48
BYTES = 40_000


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return pages.walked(f"sqlite:///{tmp_path_factory.mktemp('pages') / 'store.db'}", 3)


def over(found: dict[str, pages.Page]) -> dict[str, tuple[int, int]]:
    """The pages with more transactions than they may make, or more that write."""
    asked = {name: (page.asked.transactions, page.asked.writing) for name, page in found.items()}
    return {name: each for name, each in asked.items() if any(map(int.__gt__, each, MOST))}


def test_a_page_makes_two_transactions_at_most_and_writes_in_one(walked: Any) -> None:
    assert len(walked) > 12
    assert not over(walked)


def test_a_page_asks_few_statements_and_is_small(walked: Any) -> None:
    assert not {name: page.asked.statements for name, page in walked.items() if page.asked.statements > STATEMENTS}
    assert not {name: page.size for name, page in walked.items() if page.size > BYTES}


def test_a_page_of_an_account_keeps_to_the_same(tmp_path: Path) -> None:
    found = pages.walked_at_cap(f"sqlite:///{tmp_path / 'store.db'}", 3)
    assert {"GET /permissions/record", "GET /report"} <= found.keys()
    assert not over(found)
    assert max(page.asked.statements for page in found.values()) <= AT_CAP_STATEMENTS
    assert max(page.size for page in found.values()) <= BYTES


def test_a_wrong_try_counts_with_its_page_and_one_that_must_wait_counts_nowhere(build_party: Any) -> None:
    """docs/guessing.md: a try is counted in one transaction with what the journey keeps of it."""
    changes = {"limits.own_tries_per_day": "1", "limits.tries_per_meter_per_day": "1"}
    edp = with_meters(build_party("edp", changes=changes))
    browser, tries = edp.begun(), []
    action, fields, _ = browser.form_of("continue", **{**GOOD, "postcode": "SW8 2BB"})
    with edp.app.app_context():
        engine = db.engine
    for _ in range(4):
        with pages.counted(engine) as asked:
            browser.post(action, fields)
        tries.append((browser.status, edp.failures()["postcode"], asked.transactions, asked.writing))
    # An error leads to the page, which reads the journey once more. The second is beyond the budget and is accepted, since
    # nobody had one in this minute; the third has to wait.
    assert tries == [(422, 1, 3, 1), (422, 2, 3, 1), (429, 2, 2, 1), (429, 2, 2, 1)]

"""Guesses that arrive at the same instant: each is counted before it is judged, so that no volley gets past a limit (E11).

Sign-in codes: tests/accounts.
"""

from typing import Any

import pytest

from consent_server.journey.steps import bill
from consent_server.metering.register import Identified
from consent_server.web import budgets

TYPED = bill.Typed("SW8 1AA", "1200000000013", None)
ADDRESS, JOURNEY = "192.0.2.7", "j"


@pytest.mark.parametrize("known", [True, False])
def test_an_identification_is_counted_before_the_register_is_asked(
    edp: Any, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    counted: dict[str, int] = {}

    def register(*_typed: Any) -> Identified | None:
        counted.update(edp.failures())
        return Identified("s", "Acme Widgets Ltd", []) if known else None

    monkeypatch.setattr(bill, "register", lambda _source: register)
    with edp.app.app_context():
        budgets.address().failed(ADDRESS)
        budgets.journey().failed(JOURNEY)
        budgets.meter().failed(*TYPED.subjects())
        bill.match(TYPED, ADDRESS, JOURNEY)
    assert counted == {"address": 2, "journey": 2, "meter": 2}
    # The address and the journey keep the failures that they had: one known meter is no licence to guess at others.
    assert edp.failures() == ({"address": 1, "journey": 1} if known else counted)

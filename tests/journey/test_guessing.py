"""Guesses that arrive at the same instant: each is counted before it is judged, so that no volley gets past a limit (E11)."""

from types import SimpleNamespace
from typing import Any

import pytest

from consent_server.journey import identify, sign_in
from consent_server.journey.step import Onward

MPAN = "1200000000013"


class Counted:
    """One limit that writes down what is done to it."""

    def __init__(self, name: str, said: list[str]) -> None:
        self.name, self.said = name, said

    def __getattr__(self, act: str) -> Any:
        return lambda _subject: self.said.append(f"{act} {self.name}")


def limits(said: list[str]) -> Any:
    return SimpleNamespace(**{name: Counted(name, said) for name in ("meter", "journey", "address", "account", "mail")})


@pytest.mark.parametrize("known", [True, False])
def test_an_identification_is_counted_before_the_register_is_asked(known: bool) -> None:
    said: list[str] = []

    def register(*_typed: Any) -> Any:
        said.append("asked")
        return SimpleNamespace(sme="s") if known else None

    parts: Any = SimpleNamespace(limits=limits(said), identify=register)
    identify.match(parts, identify.Typed("SW8 1AA", MPAN, None), "192.0.2.7", "j")
    before, after = said[: said.index("asked")], said[said.index("asked") + 1 :]
    assert before == ["take address", "take journey", "take meter"]
    # The address and the journey keep the failures that they had: one known meter is no licence to guess at others.
    assert after == (["give_back address", "give_back journey", "clear meter"] if known else [])


@pytest.mark.parametrize("right", [True, False])
def test_a_sign_in_code_is_counted_before_it_is_checked(right: bool) -> None:
    said: list[str] = []

    def check_code(_email: str, _code: str) -> Any:
        said.append("checked")
        return SimpleNamespace(sme="s", business="b") if right else None

    visit: Any = SimpleNamespace(
        parts=SimpleNamespace(limits=limits(said), accounts=SimpleNamespace(check_code=check_code)),
        progress={"email": "a@b.example"},
        journey=SimpleNamespace(client_id="https://client.example"),
        address="192.0.2.7",
    )
    outcome = sign_in.take_code(visit, {"code": "123456"})
    assert isinstance(outcome, Onward) is right
    assert said[: said.index("checked")] == ["take address", "take account"]
    assert "clear address" not in said

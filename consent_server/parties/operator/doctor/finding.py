"""One line of the report: how serious it is, what it is about, and what to do."""

from dataclasses import dataclass
from typing import Final, Literal

FAIL: Final = "FAIL"


@dataclass(frozen=True)
class Finding:
    level: Literal["ok", "warn", "FAIL"]
    what: str
    todo: str = ""

    def __str__(self) -> str:
        return f"{self.level:<4}  {self.what}" + (f"  — {self.todo}" if self.todo else "")


def fine(what: str) -> Finding:
    return Finding("ok", what)


def doubtful(what: str, todo: str) -> Finding:
    return Finding("warn", what, todo)


def failing(what: str, todo: str) -> Finding:
    return Finding(FAIL, what, todo)


def either(good: bool, what: str, todo: str, bad: str = "") -> Finding:
    """Return that `what` is fine, or that it fails (in the words of `bad`, where there are any)."""
    return fine(what) if good else failing(bad or what, todo)

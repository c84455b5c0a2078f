"""One line of the doctor's: how grave, what, and what to do."""

from dataclasses import dataclass
from typing import Final, Literal

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "FAIL"


@dataclass(frozen=True)
class Finding:
    level: Literal["ok", "warn", "FAIL"]
    what: str
    todo: str = ""

    def __str__(self) -> str:
        return f"{self.level:<4}  {self.what}" + (f"  — {self.todo}" if self.todo else "")


def fine(what: str) -> Finding:
    return Finding(OK, what)


def doubtful(what: str, todo: str) -> Finding:
    return Finding(WARN, what, todo)


def failing(what: str, todo: str) -> Finding:
    return Finding(FAIL, what, todo)


def either(good: bool, what: str, todo: str, bad: str = "") -> Finding:
    """`what` is fine, or it fails (as `bad`, where that reads better)."""
    return fine(what) if good else failing(bad or what, todo)

"""What became of the lines of a file: taken, noted, set aside, refused, each with its reason and line numbers."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_LINES_SHOWN: Final = 10


class LineRefused(Exception):
    """A line that cannot be taken; str() is the reason, in words that do not repeat what is in the line."""


class FileFault(Exception):
    """A file that cannot be read any further; str() says why, and where."""


@dataclass
class Noted:
    """How many lines have one reason, and the first of them."""

    count: int = 0
    lines: list[int] = field(default_factory=list)

    def add(self, line: int) -> None:
        self.count += 1
        if len(self.lines) < _LINES_SHOWN:
            self.lines.append(line)

    def __str__(self) -> str:
        lines = ", ".join(map(str, self.lines))
        more = f" and {self.count - len(self.lines)} more" if self.count > len(self.lines) else ""
        return f"line{'s' if self.count > 1 else ''} {lines}{more}"


@dataclass
class LoadReport:
    """What became of the lines of some files."""

    taken: int = 0
    empty: int = 0
    disputed: int = 0
    noted: dict[str, Noted] = field(default_factory=lambda: defaultdict(Noted))
    aside: dict[str, Noted] = field(default_factory=lambda: defaultdict(Noted))
    refused: dict[str, Noted] = field(default_factory=lambda: defaultdict(Noted))

    @property
    def refused_lines(self) -> int:
        return _sum(self.refused)

    @property
    def status(self) -> int:
        """Return the exit status: 0 where every line was taken, 3 where some were refused, 1 where none was taken."""
        if not self.taken:
            return 1
        return 3 if self.refused else 0

    def lines(self) -> Iterator[str]:
        """Yield the summary, a line for each reason."""
        yield f"{self.taken} taken, {self.empty} without a value, {_sum(self.aside)} set aside, {self.refused_lines} refused"
        if self.disputed:
            yield f"{self.disputed} half-hours have two values that were taken at the same time: neither is released"
        for title, reasons in (("noted", self.noted), ("set aside", self.aside), ("refused", self.refused)):
            for reason, noted in reasons.items():
                yield f"{title}: {reason}: {noted}"


def _sum(reasons: dict[str, Noted]) -> int:
    return sum(noted.count for noted in reasons.values())

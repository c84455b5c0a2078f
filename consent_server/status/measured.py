"""What the probes of one part say: whether it is down, and how much of a day it was."""

from collections.abc import Collection, Sequence
from itertools import groupby, takewhile
from typing import Final, NamedTuple

from consent_server.scheme.instant import DAY
from consent_server.store.tables.status import Probe, ProbeDay

#: Seconds between two probes of a part, and between two where the one before was not answered.
ASK_S: Final = 60
AGAIN_S: Final = 6
#: A part is down from the first of so many probes in a row that were not answered. They take 30 seconds (Commission Delegated
#: Regulation (EU) 2018/389, article 33(1), from which Open Banking has the rule).
IN_A_ROW: Final = 5
#: Seconds after a probe for which it still says how a part is. Time for which nobody asked is not counted.
HOLDS_S: Final = 3 * ASK_S


class Span(NamedTuple):
    """Time from `start` to before `end`."""

    start: int
    end: int

    def shared_with(self, others: Collection["Span"]) -> int:
        """Return the seconds that are in one of others, which may overlap."""
        seconds, reached = 0, self.start
        for start, end in sorted(others):
            seconds += max(0, min(end, self.end) - max(start, reached))
            reached = max(reached, end)
        return seconds


def failures(newest_first: Sequence[Probe]) -> int:
    """Return how many of the latest probes in a row were not answered."""
    return len(list(takewhile(lambda probe: not probe.answered, newest_first)))


def is_due(newest_first: Sequence[Probe], at: int) -> bool:
    """Return whether a part is to be asked again."""
    if not newest_first:
        return True
    pause_s = AGAIN_S if 0 < failures(newest_first) < IN_A_ROW else ASK_S
    return not 0 <= at - newest_first[0].at < pause_s


def day(part: str, start: int, oldest_first: Sequence[Probe], planned: Collection[Span], until: int) -> ProbeDay:
    """Return the sums of the day that begins at `start`, so far as it lies before `until`.

    `planned` is downtime that was announced in time: it is no failure. Of `oldest_first` those shortly before and after the day
    matter where a failure passes midnight.
    """
    whole = Span(start, min(start + DAY, until))
    asked = answered = measured_s = down_s = planned_s = 0
    ends = [*(probe.at for probe in oldest_first[1:]), until]
    for was_answered, run in groupby(zip(oldest_first, ends, strict=False), lambda pair: pair[0].answered):
        stretch = list(run)
        is_down = not was_answered and len(stretch) >= IN_A_ROW
        for probe, end in stretch:
            is_of_day = start <= probe.at < start + DAY
            asked += is_of_day
            answered += is_of_day and was_answered
            span = Span(max(probe.at, whole.start), min(end, probe.at + HOLDS_S, whole.end))
            seconds = max(0, span.end - span.start)
            announced = span.shared_with(planned) if seconds else 0
            measured_s += seconds
            planned_s += announced
            down_s += (seconds - announced) * is_down
    return ProbeDay(part, start, asked, answered, measured_s, down_s, planned_s)

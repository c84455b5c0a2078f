"""`from` and `to` of a data call: read, or refused as the registered API refuses (422 with `detail`)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from consent_server.refusal import Refusal
from consent_server.scheme import instant
from consent_server.scheme.instant import DAY, HALF_HOUR

MOST_DAYS: Final = 400

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_FORM: Final = "must be a date-time with a zone, such as 2026-03-12T09:30:00Z (write + as %2B in a URL), or a date"


class BadWindow(Refusal):
    """The window that was asked for cannot be read, is reversed or is too long. `detail` names each parameter at fault."""

    code = "bad_window"
    error = "invalid_request"
    status = 422
    public = "The window cannot be used; detail names each parameter and what to change."
    help = (
        "`from` is inclusive, `to` is exclusive and not before `from`; a window covers at most 400 days. Each is an "
        "RFC 3339 date-time with a zone, or a date, which means midnight UTC. Emissions are returned for whole months "
        "inside the window."
    )
    clause = "consumption data API 2026-03-12; emissions data API 2026-03-12"


@dataclass(frozen=True)
class Window:
    """start <= time < end."""

    start: int
    end: int


#: The parameters of a URL in order, doubled ones and all.
Query = Sequence[tuple[str, str]]


def half_hours(query: Query, now: int) -> Window:
    """Return the window of a call for readings; `to` is now where it is left out. An edge within a half-hour moves to its
    start.

    Raise BadWindow.
    """
    window = _window(query, now)
    return Window(window.start - window.start % HALF_HOUR, window.end - window.end % HALF_HOUR)


def months(query: Query, now: int) -> Window:
    """Return the whole months inside the window of a call for emissions; `to` is this month where it is left out.

    Raise BadWindow.
    """
    window = _window(query, instant.month_start(now))
    start, end = instant.month_start(window.start), instant.month_start(window.end)
    if start < window.start < end:
        start = instant.next_month(window.start)
    return Window(start, end) if window.start < end else Window(end, end)


def _instant(value: str) -> int:
    # The scheme's own CAP sends dates alone to its providers.
    return instant.parse(f"{value}T00:00:00Z" if _DATE.fullmatch(value) else value)


def _window(query: Query, default_end: int) -> Window:
    found: dict[str, int] = {}
    faults: list[dict[str, object]] = []
    for name in ("from", "to"):
        given = [value for key, value in query if key == name]
        if len(given) > 1:
            faults.append(_fault(name, "must be given once", "doubled"))
        elif given:
            try:
                found[name] = _instant(given[0])
            except ValueError:
                faults.append(_fault(name, _FORM, "date-time"))
        elif name == "from":
            faults.append(_fault(name, "is required", "missing"))
    if faults:
        raise _refusal(*faults)
    start, end = found["from"], found.get("to", default_end)
    if end < start and "to" in found:
        raise _refusal(_fault("to", "must not be before from", "reversed"))
    if end < start:
        raise _refusal(_fault("from", "must not be in the future when to is left out", "reversed"))
    if end - start > MOST_DAYS * DAY:
        raise _refusal(_fault("from", f"must be at most {MOST_DAYS} days before to", "too_long"))
    return Window(start, end)


def _fault(name: str, message: str, kind: str) -> dict[str, object]:
    return {"loc": ["query", name], "msg": f"{name} {message}", "type": kind}


def _refusal(*faults: dict[str, object]) -> BadWindow:
    return BadWindow(", ".join(str(fault["type"]) for fault in faults), detail=[*faults])

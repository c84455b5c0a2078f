"""What an operator may see and decide of readings that are set aside: released, or deleted, one at a time.

A value has an id derived from its row, for the command line only. It is never logged: a meter's id may be its number, of which
there are so few that the digest would reveal it. The audit trail has the last four characters of the meter's id.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import partial

from consent_server import audit, store
from consent_server.metering.importing import keep
from consent_server.metering.importing.day import TWO_VALUES
from consent_server.metering.importing.report import FileFault
from consent_server.parties.operator.records import CommandFailed, reason_of
from consent_server.scheme import instant
from consent_server.scheme.meters import masked
from consent_server.scheme.readings import UNIT, HalfHour
from consent_server.store import Connection, audit_events, meters, readings
from consent_server.store.tables.metering import SetAside

#: A meter's number in a file's name; a date is shorter.
_LONG_NUMBER = re.compile(r"\d{9,}")


def listed(limit: int) -> list[dict[str, object]]:
    """Return the first `limit` values that are set aside, by meter, measure and half-hour. Units are WHR and MTQ.

    `line` is the number of a line, of an object or of a row of the file. Numbers of meters are hidden in its name.
    """
    with store.reading() as c:
        return _told(c, readings.all_aside(c, limit))


def one(id_: str) -> dict[str, object]:
    """Return one of them. Raise CommandFailed."""
    row = _found(id_)
    with store.reading() as c:
        return _told(c, [row])[0]


def _told(c: Connection, found: Sequence[SetAside]) -> list[dict[str, object]]:
    fuels = {row.id: row.fuel for row in meters.described(c, {row.meter for row in found})}
    return [
        {
            "id": _id(row),
            "meter": masked(row.meter),
            "measure": row.measure,
            "from": instant.text(row.start),
            "value": row.value,
            "unit": UNIT.get(fuels.get(row.meter, "")),
            "estimate": row.estimate,
            "takenAt": instant.text(row.taken_at),
            "reason": row.reason,
            "file": _LONG_NUMBER.sub(lambda found: masked(found[0]), row.file.replace(row.meter, masked(row.meter))),
            "line": row.line,
        }
        for row in found
    ]


def release(id_: str, why: str, by: str) -> None:
    """Make a value a reading like any other. Raise CommandFailed."""
    row = _found(id_)
    if row.reason == TWO_VALUES:
        raise CommandFailed("two values are in dispute: load the right one again, with a later --taken-at")
    with store.reading() as c:
        known = meters.described(c, [row.meter])
    if not known:
        raise CommandFailed("the meter is not in our own table of meters, which says what its readings are of")
    piece = keep.Piece(row.meter, row.measure, known[-1].fuel)
    piece.add(HalfHour(row.start, row.value, row.taken_at, None, row.estimate))
    try:
        _decide("reading_released", row, why, by, partial(keep.merge, [piece]))
    except FileFault as fault:
        raise CommandFailed(str(fault)) from None


def discard(id_: str, why: str, by: str) -> None:
    """Delete a value; the half-hour stays missing. Raise CommandFailed."""
    _decide("reading_discarded", _found(id_), why, by, lambda c: None)


def _decide(event: str, row: SetAside, why: str, by: str, act: Callable[[Connection], object]) -> None:
    why, by = reason_of(why, "say why"), reason_of(by, "say who you are")

    def decide(c: Connection) -> None:
        act(c)
        readings.drop_aside(c, [row])
        at, meter = instant.text(row.start), masked(row.meter)
        line = audit.event(event, meter=meter, half_hour=at, reason=row.reason, by=by, why=why)
        audit_events.keep(c, line)

    store.write_with_retry(decide)


def _found(id_: str) -> SetAside:
    with store.reading() as c:
        found = [row for row in readings.all_aside(c) if _id(row) == id_]
    if not found:
        raise CommandFailed(f"nothing is set aside as {id_}: `consent-server readings set-aside` lists what is")
    return found[0]


def _id(row: SetAside) -> str:
    named = f"{row.meter}\n{row.measure}\n{row.start}\n{row.reason}\n{row.value}"
    return hashlib.sha256(named.encode()).hexdigest()[:16]

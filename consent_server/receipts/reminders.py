"""Mails that no act causes but time: before and at the end of a permission, and when a first result is there."""

from typing import Final

from consent_server import clock, store
from consent_server.receipts.mails import Kind
from consent_server.scheme.instant import DAY
from consent_server.store import mails

#: A reminder, from how many days before the end it is owed, and until how many, when the next one takes its place.
REMINDERS: Final = ((Kind.IN_30_DAYS, 30, 7), (Kind.IN_7_DAYS, 7, 1), (Kind.TOMORROW, 1, 0))
#: An end that is longer ago gets no mail: it was before mails were sent, or the jobs stood still.
LATEST_DAYS: Final = 7


def owe() -> None:
    """Owe the mails that are due by now. Safe to repeat, whatever the clock did: each is owed once.

    Of the reminders that a pause of the jobs left out the last one is owed alone, and none before the time in which a
    permission was given.
    """
    at = clock.now()
    with store.writing() as c:
        mails.owe_of_permissions(c, Kind.EXPIRED, at - LATEST_DAYS * DAY, at, 0, at)
        for kind, first, last in REMINDERS:
            mails.owe_of_permissions(c, kind, at + last * DAY, at + first * DAY, first * DAY, at)
        mails.owe_of_results(c, Kind.READY, (Kind.GRANTED, Kind.RENEWED), at)

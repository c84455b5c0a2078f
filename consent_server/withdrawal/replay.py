"""Replay the journals of withdrawals after a back-up was restored: end again what they name, and send the messages again."""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Literal

from consent_server import clock, store
from consent_server.store import links
from consent_server.store.withdrawal_journal import JournalEntry
from consent_server.withdrawal.withdraw import Withdrawal, end_with_all

Effect = Literal["ended", "had ended", "unknown"]


def replay(entries: Iterable[JournalEntry]) -> Counter[Effect]:
    """End everything that the entries name; return how many of it ended, had ended before, or is not in the database.

    Safe to repeat, and to run while doors and jobs run. Each entry is one transaction. Raise StoreUnavailable.
    """
    effects: Counter[Effect] = Counter()
    for entry in entries:
        effects += store.write_with_retry(partial(_again, entry=entry))
    return effects


def _again(c: store.Connection, entry: JournalEntry) -> Counter[Effect]:
    """End what an entry names, with what rests on it in the back-up, at the instant of the entry."""
    effects: Counter[Effect] = Counter()
    ended: list[str] = []
    subject, *_ = entry.fell
    at = min(entry.at, clock.now())
    for each in entry.fell:
        first = each == subject
        withdrawal = Withdrawal(
            by=entry.by,
            where=entry.where,
            why=entry.why if first else f"rested on {subject}",
            already_told=entry.already_told if first else "",
        )
        ended += end_with_all(c, each, withdrawal, at)
        if each not in ended:
            effects["had ended" if links.find(c, each) else "unknown"] += 1
    effects["ended"] = len(ended)
    return effects

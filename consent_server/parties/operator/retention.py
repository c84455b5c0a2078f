"""What an operator may ask about retention: what each table holds, under which rule, and how much of it is due."""

from typing import NamedTuple

from consent_server import clock, store
from consent_server.jobs.retention import limit_of
from consent_server.settings.storage import RetentionSettings
from consent_server.store import retention
from consent_server.store.retention import RULES, RuleName

_WITHOUT_LIMIT = {
    "register": "the operator's own register of meters",
    "none": "says nothing about a business",
}


class KeptTable(NamedTuple):
    """A table, the setting that limits it or why none does, its rows, the oldest instant that counts, and what is due."""

    table: str
    rule: str
    rows: int
    oldest: int | None
    due: int


def tables(kept: RetentionSettings) -> list[KeptTable]:
    """Return every table, by name. Raise StoreUnavailable."""
    at = clock.now()
    found = []
    with store.reading() as c:
        for table, rule in sorted(RULES.items()):
            limit = limit_of(rule.name, kept, at)
            age = retention.age(c, table, at if limit is None else limit)
            found.append(KeptTable(table, rule_in_words(rule.name, kept), age.rows, age.oldest, age.due))
    return found


def rule_in_words(rule: RuleName, kept: RetentionSettings) -> str:
    """Return a rule as an operator reads it: the setting with its value, or why there is none."""
    if rule in _WITHOUT_LIMIT:
        return _WITHOUT_LIMIT[rule]
    return f"retention.{rule} = {getattr(kept, rule)}"

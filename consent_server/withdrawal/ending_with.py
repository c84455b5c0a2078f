"""What ends with a permission. The withdrawal ends it, and the page before the withdrawal shows it."""

from collections import deque

from consent_server.store import Connection, links


def ending_with(c: Connection, subject: str, at: int) -> dict[str, str]:
    """Return what ends with a permission or connection, the nearest first, each with the support by which it ends.

    That is everything that rests on the subject and on nothing else that stays live: emissions worked out from two providers
    stay permitted while one of them still is. Members of a cycle that only rest on each other end together. The result
    is the same before and after the subject has ended.
    """
    below: dict[str, str] = {}
    waiting = deque([subject])
    while waiting:
        support = waiting.popleft()
        for dependent in links.dependents(c, support):
            if dependent != subject and dependent not in below and _lives(c, dependent, at):
                below[dependent] = support
                waiting.append(dependent)
    staying = deque(dependent for dependent in below if _stays(c, dependent, subject, below, at))
    while staying:
        stays = staying.popleft()
        if below.pop(stays, None) is not None:
            staying.extend(links.dependents(c, stays))
    return below


def _stays(c: Connection, dependent: str, subject: str, below: dict[str, str], at: int) -> bool:
    others = (other for other in links.supports(c, dependent) if other != subject and other not in below)
    return any(_lives(c, other, at) for other in others)


def _lives(c: Connection, subject: str, at: int) -> bool:
    row = links.find(c, subject)
    return row is not None and row.is_live(at)

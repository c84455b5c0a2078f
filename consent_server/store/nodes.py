"""The nodes of a party with the fingerprints of their keys: each door writes its own and compares the others."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.scheme.instant import DAY
from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables.processes import Node

_node = table_of(Node)


def find(c: Connection, name: str) -> Node | None:
    return rows.one(c, Node, sa.select(_node).where(_node.c.name == name))


def put(c: Connection, node: Node) -> None:
    """Keep what a node says of itself now, and forget those of which nothing was heard for a day."""
    rows.put(c, node)
    # Where an instant is a day ahead, the clock of that node was wrong and has not been corrected since.
    c.execute(sa.delete(_node).where(sa.or_(_node.c.seen < node.seen - DAY, _node.c.seen > node.seen + DAY)))


def seen_since(c: Connection, since: int) -> list[Node]:
    """Return the nodes that have said something since an instant."""
    return rows.every(c, Node, sa.select(_node).where(_node.c.seen >= since).order_by(_node.c.name))

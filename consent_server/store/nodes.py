"""The nodes of a party, each with what its keys are known by: written by each door, compared by every other."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from consent_server.scheme.instant import DAY
from consent_server.store import rows
from consent_server.store.rows import table_of
from consent_server.store.tables import Node

_node = table_of(Node)


def put(c: Connection, node: Node) -> Node:
    """Keep what a node says of itself now; return it with the instant from which its keys have been the same."""
    before = rows.one(c, Node, sa.select(_node).where(_node.c.name == node.name))
    if before is not None and before.keys == node.keys:
        node = node._replace(since=before.since)
    rows.put(c, node)
    c.execute(sa.delete(_node).where(_node.c.seen < node.seen - DAY))
    return node


def seen_since(c: Connection, since: int) -> list[Node]:
    """Return the nodes that have said something since an instant."""
    return rows.every(c, Node, sa.select(_node).where(_node.c.seen >= since).order_by(_node.c.name))

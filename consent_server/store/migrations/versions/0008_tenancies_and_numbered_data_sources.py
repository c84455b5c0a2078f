"""A meter has tenancies, each with its dates; data source ids are numbered within a series of their client and SME"""

import secrets
from collections import defaultdict

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_alias = sa.table("datasource", *(sa.column(name) for name in ("id", "client_id", "sme", "meter")))
_permission = sa.table("permission", sa.column("id"), sa.column("datasources", sa.JSON))


def upgrade() -> None:
    with op.batch_alter_table("meter", schema=None) as batch_op:
        batch_op.add_column(sa.Column("since", sa.BigInteger(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("until", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("site", sa.Text(), nullable=False, server_default=""))
        batch_op.drop_constraint("pk_meter", type_="primary")
        batch_op.create_primary_key("pk_meter", ["id", "since"])
    _number_data_sources(op.get_bind())


def downgrade() -> None:
    with op.batch_alter_table("meter", schema=None) as batch_op:
        batch_op.drop_constraint("pk_meter", type_="primary")
        batch_op.create_primary_key("pk_meter", ["id"])
        for name in ("site", "until", "since"):
            batch_op.drop_column(name)


def _number_data_sources(c: sa.Connection) -> None:
    groups = defaultdict(list)
    for row in c.execute(sa.select(_alias).order_by(_alias.c.id)):
        groups[row.client_id, row.sme].append(row.id)
    renamed = {
        old: f"{series}.{number}"
        for ids in groups.values()
        for series in (secrets.token_urlsafe(18),)
        for number, old in enumerate(ids)
    }
    for old, new in renamed.items():
        c.execute(sa.update(_alias).where(_alias.c.id == old).values(id=new))
    for row in c.execute(sa.select(_permission)).all():
        kept = [
            {"id": renamed[each["id"]], "meter": each["meter"]} for each in row.datasources if each["id"] in renamed
        ]
        if kept:
            c.execute(sa.update(_permission).where(_permission.c.id == row.id).values(datasources=kept))

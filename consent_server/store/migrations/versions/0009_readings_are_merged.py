"""What is known of each half-hour, values that are set aside, and what a supply can carry"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("meter", schema=None) as batch_op:
        batch_op.add_column(sa.Column("capacity", sa.Float(), nullable=True))
    with op.batch_alter_table("day_block", schema=None) as batch_op:
        batch_op.add_column(sa.Column("marks", sa.String(length=48), nullable=True))
    op.create_table(
        "set_aside",
        sa.Column("meter", sa.String(length=48), nullable=False),
        sa.Column("measure", sa.String(length=8), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.Column("estimate", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("meter", "measure", "start", "reason", name=op.f("pk_set_aside")),
    )

"""What was collected, meter by meter and month by month, and the grid's figures by region and day"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("connection", schema=None) as batch_op:
        batch_op.add_column(sa.Column("listed", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("failures", sa.Integer(), server_default="0", nullable=False))
    op.create_table(
        "collected_meter",
        sa.Column("connection", sa.String(length=32), nullable=False),
        sa.Column("datasource", sa.String(length=300), nullable=False),
        sa.Column("fuel", sa.String(length=16), nullable=False),
        sa.Column("outcode", sa.String(length=4), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["connection"], ["connection.id"], name=op.f("fk_collected_meter_connection")),
        sa.PrimaryKeyConstraint("connection", "datasource", name=op.f("pk_collected_meter")),
    )
    op.create_table(
        "meter_month",
        sa.Column("connection", sa.String(length=32), nullable=False),
        sa.Column("datasource", sa.String(length=300), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("fuel", sa.String(length=16), nullable=False),
        sa.Column("outcode", sa.String(length=4), nullable=False),
        sa.Column("readings", sa.LargeBinary(), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("half_hours", sa.Integer(), nullable=False),
        sa.Column("amount", sa.Float(), nullable=False),
        sa.Column("kilograms", sa.Float(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("fetched", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("revised", sa.BigInteger(), nullable=True),
        sa.Column("region", sa.Integer(), nullable=True),
        sa.Column("region_by", sa.String(length=16), nullable=True),
        sa.Column("weigh_due", sa.BigInteger(), nullable=True),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["connection"], ["connection.id"], name=op.f("fk_meter_month_connection")),
        sa.PrimaryKeyConstraint("connection", "datasource", "start", name=op.f("pk_meter_month")),
    )
    waiting = sa.text("weigh_due IS NOT NULL")
    op.create_index("ix_meter_month_of_fuel", "meter_month", ["connection", "fuel", "start"])
    op.create_index("ix_meter_month_start", "meter_month", ["start"])
    op.create_index(
        "ix_meter_month_weigh", "meter_month", ["weigh_due"], sqlite_where=waiting, postgresql_where=waiting
    )
    op.create_table(
        "grid_day",
        sa.Column("region", sa.Integer(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("fetched", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("region", "day", name=op.f("pk_grid_day")),
    )


def downgrade() -> None:
    for table in ("grid_day", "meter_month", "collected_meter"):
        op.drop_table(table)
    with op.batch_alter_table("connection", schema=None) as batch_op:
        batch_op.drop_column("failures")
        batch_op.drop_column("listed")

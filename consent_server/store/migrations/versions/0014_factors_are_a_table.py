"""Factors are a table, and a meter's month says what its figures were made of"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "factor_set",
        sa.Column("region", sa.String(length=16), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("published", sa.BigInteger(), nullable=False),
        sa.Column("kg_per_m3", sa.Float(), nullable=False),
        sa.Column("kg_per_kwh", sa.Float(), nullable=False),
        sa.Column("mineral_kg_per_m3", sa.Float(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("license", sa.Text(), nullable=False),
        sa.Column("file_sha256", sa.String(length=64), nullable=False),
        sa.Column("loaded", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("region", "year", name=op.f("pk_factor_set")),
    )
    with op.batch_alter_table("meter_month", schema=None) as batch_op:
        batch_op.add_column(sa.Column("unknown", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("filled", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("by_set", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("basis", sa.Text(), server_default="", nullable=False))
    # Earlier months do not say what they were made of, and are not reported: each live connection is collected anew.
    op.execute("UPDATE connection SET listed = NULL, collect_due = 0 WHERE ended IS NULL AND collected IS NOT NULL")

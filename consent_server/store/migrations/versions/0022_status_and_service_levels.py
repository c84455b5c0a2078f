"""What probes measured, what was announced, and how requests were served"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "probe",
        sa.Column("part", sa.String(16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("answered", sa.Boolean(), nullable=False),
        sa.Column("measured", sa.Integer(), nullable=False),
        sa.Column("why", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("part", "at"),
    )
    op.create_index("ix_probe_at", "probe", ["at"])
    op.create_table(
        "probe_day",
        sa.Column("part", sa.String(16), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("measured_s", sa.Integer(), nullable=False),
        sa.Column("down_s", sa.Integer(), nullable=False),
        sa.Column("planned_s", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("part", "day"),
    )
    op.create_table(
        "notice",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("parts", sa.JSON(), nullable=False),
        sa.Column("effect", sa.String(16), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("begins", sa.BigInteger(), nullable=False),
        sa.Column("ends", sa.BigInteger(), nullable=True),
        sa.Column("announced", sa.BigInteger(), nullable=False),
        sa.Column("in_time", sa.Boolean(), nullable=False),
        sa.Column("texts", sa.JSON(), nullable=False),
        sa.Column("cancelled", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_notice_begins", "notice", ["begins"])
    counts = ("asked", "failed", *(f"ms_{most}" for most in (100, 250, 500, 1000, 1500, 4000, 6000)), "slower")
    op.create_table(
        "served_hour",
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("endpoint", sa.String(120), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in counts),
        sa.PrimaryKeyConstraint("hour", "endpoint", "client"),
    )


def downgrade() -> None:
    for name in ("served_hour", "notice", "probe_day", "probe"):
        op.drop_table(name)

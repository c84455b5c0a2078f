"""A code that was redeemed has been answered or not; status indexes come from a sequence; journeys are found by
their request"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("code", schema=None) as batch_op:
        batch_op.add_column(sa.Column("unanswered", sa.Boolean(), nullable=True))
    with op.batch_alter_table("journey", schema=None) as batch_op:
        batch_op.create_index("ix_journey_request", ["request"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE SEQUENCE permission_status_index MINVALUE 0")
        op.execute(
            "SELECT setval('permission_status_index', (SELECT coalesce(max(status_index), -1) + 1 FROM permission), false)"
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP SEQUENCE permission_status_index")
    with op.batch_alter_table("journey", schema=None) as batch_op:
        batch_op.drop_index("ix_journey_request")
    with op.batch_alter_table("code", schema=None) as batch_op:
        batch_op.drop_column("unanswered")

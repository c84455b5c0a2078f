"""A meter's business may have a customer log-in at the EDP"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("meter", schema=None) as batch_op:
        batch_op.add_column(sa.Column("customer", sa.Text(), nullable=True))
        batch_op.create_index("ix_meter_customer", ["customer"])


def downgrade() -> None:
    with op.batch_alter_table("meter", schema=None) as batch_op:
        batch_op.drop_index("ix_meter_customer")
        batch_op.drop_column("customer")

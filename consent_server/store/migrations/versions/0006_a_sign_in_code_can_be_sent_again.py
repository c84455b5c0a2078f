"""A sign-in code can be sent again, and the second half of a double click gets the answer of the first"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("sign_in_code", schema=None) as batch_op:
        batch_op.add_column(sa.Column("seed", sa.String(length=64), server_default="", nullable=False))
        batch_op.add_column(sa.Column("used_by", sa.String(length=64), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("sign_in_code", schema=None) as batch_op:
        batch_op.drop_column("used_by")
        batch_op.drop_column("seed")

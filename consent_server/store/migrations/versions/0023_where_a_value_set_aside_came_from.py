"""File and line of a value that is set aside"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("set_aside", schema=None) as batch_op:
        batch_op.add_column(sa.Column("file", sa.Text(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("line", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("set_aside", schema=None) as batch_op:
        batch_op.drop_column("line")
        batch_op.drop_column("file")

"""A pushed request names the bank that it is for, and the text that was read at the client"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("pushed_request", "journey"):
        op.add_column(table, sa.Column("fsp", sa.Text(), nullable=True))
        op.add_column(table, sa.Column("text_read", sa.String(length=64), nullable=True))
        op.add_column(table, sa.Column("hint", sa.String(length=48), nullable=True))

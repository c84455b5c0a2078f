"""Indexes for two questions that read a whole table: a code by its challenge, and what was collected long ago"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_code_code_challenge", "code", ["code_challenge"])
    op.create_index("ix_collected_at", "collected", ["at"])


def downgrade() -> None:
    op.drop_index("ix_collected_at", table_name="collected")
    op.drop_index("ix_code_code_challenge", table_name="code")

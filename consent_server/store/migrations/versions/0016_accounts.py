"""Where the receipts of a business without an account go"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "receipt_address",
        sa.Column("subject", sa.String(length=32), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_receipt_address")),
    )


def downgrade() -> None:
    op.drop_table("receipt_address")

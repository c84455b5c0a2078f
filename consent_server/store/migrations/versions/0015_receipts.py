"""Receipts: mails that are owed to businesses, and links by which they withdraw"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "owed_mail",
        sa.Column("subject", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("leased", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("delivered", sa.BigInteger(), nullable=True),
        sa.Column("given_up", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("subject", "kind", name=op.f("pk_owed_mail")),
    )
    still_owed = sa.text("delivered IS NULL AND given_up IS NULL")
    op.create_index("ix_owed_mail_due", "owed_mail", ["due"], sqlite_where=still_owed, postgresql_where=still_owed)
    op.create_table(
        "receipt_link",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_receipt_link")),
    )
    op.create_index("ix_receipt_link_subject", "receipt_link", ["subject"])
    op.create_index("ix_connection_expires", "connection", ["expires"])


def downgrade() -> None:
    op.drop_index("ix_connection_expires", "connection")
    op.drop_table("receipt_link")
    op.drop_table("owed_mail")

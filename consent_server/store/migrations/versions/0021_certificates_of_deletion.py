"""The signed certificates of what was erased for a business"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deletion_certificate",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("signed", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deletion_certificate")),
    )
    op.create_index("ix_sign_in_code_expires", "sign_in_code", ["expires"])


def downgrade() -> None:
    op.drop_index("ix_sign_in_code_expires", "sign_in_code")
    op.drop_table("deletion_certificate")

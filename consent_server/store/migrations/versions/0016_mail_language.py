"""The language of a mail: the one in which the business acted"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("owed_mail", sa.Column("language", sa.String(length=8), nullable=True))


def downgrade() -> None:
    op.drop_column("owed_mail", "language")

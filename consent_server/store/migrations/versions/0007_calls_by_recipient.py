"""An index by recipient for calls that are owed, and by issuer for collections"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_OPEN_CALLS = sa.text("delivered IS NULL AND given_up IS NULL")
_LIVE = sa.text("ended IS NULL")


def upgrade() -> None:
    op.create_index(
        "ix_outbox_by_recipient",
        "outbox",
        ["recipient", "due", "id"],
        sqlite_where=_OPEN_CALLS,
        postgresql_where=_OPEN_CALLS,
    )
    op.create_index(
        "ix_connection_by_issuer", "connection", ["issuer", "collect_due"], sqlite_where=_LIVE, postgresql_where=_LIVE
    )


def downgrade() -> None:
    op.drop_index("ix_connection_by_issuer", table_name="connection")
    op.drop_index("ix_outbox_by_recipient", table_name="outbox")

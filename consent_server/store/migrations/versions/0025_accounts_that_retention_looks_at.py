"""What retention looks for by an index: accounts, their sessions, and the oldest grant"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # No row is written anew: where it is 0, retention looks at the account, a thousand of them in one run.
    op.add_column("account", sa.Column("seen", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("ix_account_seen", "account", ["seen"])
    op.create_index("ix_session_account", "session", [sa.text("(CAST(data ->> 'account' AS TEXT))")])
    op.create_index("ix_permission_granted", "permission", ["granted"])
    op.create_index("ix_connection_granted", "connection", ["granted"])


def downgrade() -> None:
    op.drop_index("ix_connection_granted", table_name="connection")
    op.drop_index("ix_permission_granted", table_name="permission")
    op.drop_index("ix_session_account", table_name="session")
    op.drop_index("ix_account_seen", table_name="account")
    op.drop_column("account", "seen")

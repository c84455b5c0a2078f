"""An index by which the evidence of connections that an account agreed to is found"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_evidence_account", "evidence", [sa.text("(CAST(who ->> 'account' AS TEXT))")])


def downgrade() -> None:
    op.drop_index("ix_evidence_account", table_name="evidence")

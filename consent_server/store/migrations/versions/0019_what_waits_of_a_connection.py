"""An index for what waits for the grid's figures, connection by connection"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    waiting = sa.text("weigh_due IS NOT NULL")
    op.create_index(
        "ix_meter_month_weigh_of_connection",
        "meter_month",
        ["connection", "weigh_due"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )


def downgrade() -> None:
    op.drop_index("ix_meter_month_weigh_of_connection", table_name="meter_month")

"""The deployed forms that were accepted in a record stand beside it"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("collected", schema=None) as batch_op:
        batch_op.add_column(sa.Column("deployed_forms", sa.JSON(), nullable=True))

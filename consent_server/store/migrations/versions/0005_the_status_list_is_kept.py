"""The status list is kept as it was signed, and each permission says whether the list has its end"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NOT_LISTED = sa.text("ended IS NOT NULL AND listed IS NULL")


def upgrade() -> None:
    op.create_table(
        "status_list",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("bits", sa.LargeBinary(), nullable=False),
        sa.Column("signed_by", sa.Text(), nullable=False),
        sa.Column("issued", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_status_list")),
    )
    op.add_column("permission", sa.Column("listed", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_permission_not_listed",
        "permission",
        ["listed"],
        sqlite_where=NOT_LISTED,
        postgresql_where=NOT_LISTED,
    )


def downgrade() -> None:
    op.drop_index("ix_permission_not_listed", table_name="permission")
    with op.batch_alter_table("permission", schema=None) as batch_op:
        batch_op.drop_column("listed")
    op.drop_table("status_list")

"""The audit trail is a chain: events have digests once they are sealed, and are neither changed nor deleted afterwards"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

NOT_SEALED = sa.text("position IS NULL")
#: Two years of a permission's life, a month, and the thirteen months that its record is kept: until then nothing is deleted.
KEPT_S = 38 * 31 * 86400
FIELDS = ("id", "at", "event", "correlation_id", "fields")

_SQLITE = (
    """CREATE TRIGGER audit_event_is_not_changed BEFORE UPDATE ON audit_event
       WHEN OLD.position IS NOT NULL OR {changed}
       BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END""".format(
        changed=" OR ".join(f"NEW.{name} IS NOT OLD.{name}" for name in FIELDS)
    ),
    f"""CREATE TRIGGER audit_event_is_not_deleted BEFORE DELETE ON audit_event
       WHEN OLD.at > strftime('%s', 'now') - {KEPT_S}
       BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END""",
)
_POSTGRESQL = (
    f"""CREATE FUNCTION audit_event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN
         IF TG_OP = 'TRUNCATE' THEN RAISE EXCEPTION 'audit_event is append-only'; END IF;
         IF TG_OP = 'DELETE' AND OLD.at <= extract(epoch FROM now()) - {KEPT_S} THEN RETURN OLD; END IF;
         IF TG_OP = 'UPDATE' AND OLD.position IS NULL AND {{same}} THEN RETURN NEW; END IF;
         RAISE EXCEPTION 'audit_event is append-only';
       END $$""".format(
        same=" AND ".join(f"NEW.{name}::text IS NOT DISTINCT FROM OLD.{name}::text" for name in FIELDS)
    ),
    """CREATE TRIGGER audit_event_is_append_only BEFORE UPDATE OR DELETE ON audit_event
       FOR EACH ROW EXECUTE FUNCTION audit_event_is_append_only()""",
    """CREATE TRIGGER audit_event_is_not_emptied BEFORE TRUNCATE ON audit_event
       EXECUTE FUNCTION audit_event_is_append_only()""",
)


def upgrade() -> None:
    op.add_column("audit_event", sa.Column("position", sa.BigInteger(), nullable=True))
    op.add_column("audit_event", sa.Column("contents", sa.String(length=64), nullable=True))
    op.add_column("audit_event", sa.Column("digest", sa.String(length=64), nullable=True))
    op.create_index("ix_audit_event_position", "audit_event", ["position"], unique=True)
    op.create_index(
        "ix_audit_event_not_sealed", "audit_event", ["id"], sqlite_where=NOT_SEALED, postgresql_where=NOT_SEALED
    )
    op.create_table(
        "audit_checkpoint",
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("signed", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_audit_checkpoint")),
    )
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER audit_event_is_append_only ON audit_event")
        op.execute("DROP TRIGGER audit_event_is_not_emptied ON audit_event")
        op.execute("DROP FUNCTION audit_event_is_append_only()")
    else:
        op.execute("DROP TRIGGER audit_event_is_not_changed")
        op.execute("DROP TRIGGER audit_event_is_not_deleted")
    op.drop_table("audit_checkpoint")
    op.drop_index("ix_audit_event_not_sealed", "audit_event")
    op.drop_index("ix_audit_event_position", "audit_event")
    with op.batch_alter_table("audit_event", schema=None) as batch_op:
        batch_op.drop_column("digest")
        batch_op.drop_column("contents")
        batch_op.drop_column("position")

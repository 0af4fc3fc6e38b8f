"""Add captions of events, and the state of the job that asks for them.

The previous version ignores the columns. Its events have no caption yet.
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_1100"
down_revision = "20261127_1010"
branch_labels = None
depends_on = None

_INDEX = "ix_events_caption_status_id"


def upgrade() -> None:
    """Add the columns, their index and the table."""
    for name, kind in (
        ("caption_status", sa.String(20)),
        ("caption", sa.Text()),
        ("caption_reason", sa.Text()),
        ("caption_owner", sa.Uuid()),
        ("caption_due", sa.DateTime(timezone=True)),
    ):
        op.add_column("events", sa.Column(name, kind, nullable=True))
    errors = sa.Column("caption_errors", sa.Integer(), nullable=False, server_default="0")
    op.add_column("events", errors)
    op.create_index(op.f(_INDEX), "events", ["caption_status", "id"])
    op.create_table(
        "caption_job",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_caption_job")),
    )


def downgrade() -> None:
    """Drop the captions; a later upgrade asks for them anew."""
    op.drop_table("caption_job")
    op.drop_index(op.f(_INDEX), "events")
    for name in ("errors", "due", "owner", "reason", "status"):
        op.drop_column("events", f"caption_{name}")
    op.drop_column("events", "caption")

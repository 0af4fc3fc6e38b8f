"""Add who has signed in to sessions, and the table of sign-ins in progress.

The previous version ignores both: for it, a session without a key does not exist.
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_1110"
down_revision = "20261127_1100"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table."""
    for name in ("address", "domain"):
        op.add_column("sessions", sa.Column(name, sa.String(254), nullable=True))
    op.create_table(
        "sign_in_attempts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_attempts")),
        sa.UniqueConstraint("hash", name=op.f("uq_sign_in_attempts_hash")),
    )
    op.create_index(op.f("ix_sign_in_attempts_expires_at"), "sign_in_attempts", ["expires_at"])


def downgrade() -> None:
    """Drop the columns and the table; sessions of people who have signed in end."""
    op.drop_table("sign_in_attempts")
    op.execute("DELETE FROM sessions WHERE key_id IS NULL")
    for name in ("domain", "address"):
        op.drop_column("sessions", name)

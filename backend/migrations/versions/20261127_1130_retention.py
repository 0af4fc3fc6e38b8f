"""Add what retention needs: pins, since when a video's age counts, and the state of its runs.

The previous version ignores all of it. Its rows are not pinned, and their age counts from the day
on which they were stored.
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_1130"
down_revision = "20261127_1120"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column(
        "videos", sa.Column("pinned", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("videos", sa.Column("retained_from", _TIME, nullable=True))
    op.create_table(
        "retention",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("lease_owner", sa.Uuid(), nullable=True),
        sa.Column("lease_until", _TIME, nullable=True),
        sa.Column("checked_at", _TIME, nullable=False),
        sa.Column("trusted_at", _TIME, nullable=False),
        sa.Column("doubted_at", _TIME, nullable=True),
        *(
            sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
            for name in ("removed_by_age", "removed_by_size", "removed_bytes")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retention")),
    )


def downgrade() -> None:
    """Drop the table and the columns."""
    op.drop_table("retention")
    for name in ("retained_from", "pinned"):
        op.drop_column("videos", name)

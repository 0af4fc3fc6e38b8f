"""Add an index for lists sorted by duration.

The previous version does not use it.
"""

import sqlalchemy as sa
from alembic import op

revision = "20261125_0500"
down_revision = "20261125_0100"
branch_labels = None
depends_on = None

_NAME = "ix_videos_duration_id"


def upgrade() -> None:
    """Create the index."""
    op.create_index(
        op.f(_NAME), "videos", [sa.text("coalesce(duration, -1.0)"), "id"], if_not_exists=True
    )


def downgrade() -> None:
    """Drop the index."""
    op.drop_index(op.f(_NAME), "videos", if_exists=True)

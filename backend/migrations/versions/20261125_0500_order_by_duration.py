"""An index for lists sorted by duration.

Only adds what the version before this one does not look at.
"""

import sqlalchemy as sa
from alembic import op

revision = "20261125_0500"
down_revision = "20261125_0100"
branch_labels = None
depends_on = None

_NAME = "ix_videos_duration_id"


def upgrade() -> None:
    """Add it."""
    op.create_index(
        op.f(_NAME), "videos", [sa.text("coalesce(duration, -1.0)"), "id"], if_not_exists=True
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_index(op.f(_NAME), "videos", if_exists=True)

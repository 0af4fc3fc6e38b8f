"""Add what the clock of a file needs, its size as shown, previews, and warnings of analyses.

The previous version ignores these columns. Rows without facts are probed when they are next used.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "20261127_0300"
down_revision = "20261125_0500"
branch_labels = None
depends_on = None

_VIDEO_COLUMNS: tuple[tuple[str, sa.types.TypeEngine[Any]], ...] = (
    ("display_width", sa.Integer()),
    ("display_height", sa.Integer()),
    ("playable", sa.Boolean()),
    ("recorded_at", sa.DateTime(timezone=True)),
    ("facts", sa.JSON()),
)
_ANALYSIS_COLUMNS = ("warning", "detail")


def upgrade() -> None:
    """Add the columns."""
    for name, kind in _VIDEO_COLUMNS:
        op.add_column("videos", sa.Column(name, kind, nullable=True))
    op.add_column(
        "videos", sa.Column("has_preview", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    for name in _ANALYSIS_COLUMNS:
        op.add_column("analyses", sa.Column(name, sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop the columns; parameters keep only the first rectangle, which the old version knows."""
    for name in _ANALYSIS_COLUMNS:
        op.drop_column("analyses", name)
    for name in (*(name for name, _ in _VIDEO_COLUMNS), "has_preview"):
        op.drop_column("videos", name)
    analyses = sa.table("analyses", sa.column("id", sa.Uuid()), sa.column("parameters", sa.JSON()))
    connection = op.get_bind()
    for row in connection.execute(sa.select(analyses)).all():
        if row.parameters is not None and "region" not in row.parameters:
            stored = dict(row.parameters)
            zones = [zone for zone in stored.pop("zones", []) if "points" not in zone]
            stored.pop("masks", None)
            connection.execute(
                sa.update(analyses)
                .where(analyses.c.id == row.id)
                .values(parameters=stored | {"region": zones[0] if zones else None})
            )

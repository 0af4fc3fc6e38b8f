"""Add events, API keys, video metadata, and parameters, progress and cancellation of analyses.

The changes are additive: columns are nullable or have a server default, and the status check is
widened, so the previous version can keep reading and writing.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "20261125_0100"
down_revision = "20261122_0100"
branch_labels = None
depends_on = None

_CHECK = "ck_analyses_status_known"
_BEFORE = "status IN ('queued', 'running', 'done', 'failed')"
_AFTER = "status IN ('queued', 'running', 'done', 'failed', 'cancelled')"

_VIDEO_COLUMNS: tuple[tuple[str, sa.types.TypeEngine[Any]], ...] = (
    ("codec", sa.String(100)),
    ("width", sa.Integer()),
    ("height", sa.Integer()),
    ("rotation", sa.Integer()),
    ("duration", sa.Double()),
    ("frame_rate", sa.String(40)),
    ("has_audio", sa.Boolean()),
)
_ANALYSIS_COLUMNS: tuple[tuple[str, sa.types.TypeEngine[Any]], ...] = (
    ("parameters", sa.JSON()),
    ("progress", sa.Double()),
    ("event_count", sa.Integer()),
    ("timeline", sa.JSON()),
)


def _analyses(check: str, *more: sa.Column[object]) -> sa.Table:
    """Return the table definition: SQLite can change a check only by rebuilding the table."""
    return sa.Table(
        "analyses",
        sa.MetaData(),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("video_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        *more,
        sa.CheckConstraint(check, name=op.f(_CHECK)),
        sa.ForeignKeyConstraint(
            ["video_id"],
            ["videos.id"],
            name=op.f("fk_analyses_video_id_videos"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_analyses")),
    )


def _status_check(old: sa.Table, *, condition: str) -> None:
    with op.batch_alter_table("analyses", copy_from=old) as table:
        table.drop_constraint(op.f(_CHECK), type_="check")
        table.create_check_constraint(op.f(_CHECK), condition)


def upgrade() -> None:
    """Widen the status check, add the columns, create the tables."""
    _status_check(_analyses(_BEFORE), condition=_AFTER)
    for name, kind in _ANALYSIS_COLUMNS:
        op.add_column("analyses", sa.Column(name, kind, nullable=True))
    op.add_column(
        "analyses", sa.Column("revision", sa.Integer(), server_default="0", nullable=False)
    )
    # On SQLite the batch above has rebuilt the table without its indexes.
    op.execute("DROP INDEX IF EXISTS ix_analyses_video_id")
    op.create_index(op.f("ix_analyses_status_id"), "analyses", ["status", "id"], if_not_exists=True)
    op.create_index(op.f("ix_analyses_video_id_id"), "analyses", ["video_id", "id"])

    for name, kind in _VIDEO_COLUMNS:
        op.add_column("videos", sa.Column(name, kind, nullable=True))
    op.add_column(
        "videos", sa.Column("source", sa.String(20), server_default="upload", nullable=False)
    )
    op.create_index(op.f("ix_videos_filename_id"), "videos", ["filename", "id"])
    op.create_index(op.f("ix_videos_size_id"), "videos", ["size", "id"])

    op.create_table(
        "events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("analysis_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("start_time", sa.Double(), nullable=False),
        sa.Column("end_time", sa.Double(), nullable=False),
        sa.Column("peak_time", sa.Double(), nullable=False),
        sa.Column("peak_score", sa.Double(), nullable=False),
        sa.Column("boxes", sa.JSON(), nullable=False),
        sa.CheckConstraint("end_time >= start_time", name=op.f("ck_events_order")),
        sa.ForeignKeyConstraint(
            ["analysis_id"],
            ["analyses.id"],
            name=op.f("fk_events_analysis_id_analyses"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("analysis_id", "position", name=op.f("uq_events_analysis_id_position")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_keys_prefix")),
    )


def downgrade() -> None:
    """Revert everything; cancelled analyses become failed, a status the old version knows."""
    op.drop_table("api_keys")
    op.drop_table("events")
    op.drop_index(op.f("ix_videos_size_id"), "videos")
    op.drop_index(op.f("ix_videos_filename_id"), "videos")
    for name in (*(name for name, _ in _VIDEO_COLUMNS), "source"):
        op.drop_column("videos", name)
    op.execute(
        "UPDATE analyses SET status = 'failed', reason = 'cancelled' WHERE status = 'cancelled'"
    )
    for name in (*(name for name, _ in _ANALYSIS_COLUMNS), "revision"):
        op.drop_column("analyses", name)
    _status_check(_analyses(_AFTER), condition=_BEFORE)
    op.execute("DROP INDEX IF EXISTS ix_analyses_video_id_id")
    op.create_index(op.f("ix_analyses_status_id"), "analyses", ["status", "id"], if_not_exists=True)
    op.create_index(op.f("ix_analyses_video_id"), "analyses", ["video_id"])

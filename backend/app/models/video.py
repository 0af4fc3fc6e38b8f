"""The table of stored videos."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, Index, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, utc_now

UNKNOWN_DURATION = -1.0
"""Sort key of videos without a duration."""


class Video(Base):
    """One stored video: `sha256` is unique, and the file on disk is named after the row's id."""

    __tablename__ = "videos"
    __table_args__ = (
        CheckConstraint("size > 0", name="size_positive"),
        Index(None, "client"),
        Index(None, "filename", "id"),
        Index(None, "size", "id"),
        Index("ix_videos_duration_id", text(f"coalesce(duration, {UNKNOWN_DURATION})"), "id"),
    )

    filename: Mapped[str] = mapped_column(String(255))
    """As given by the client; for display, never used as a path."""
    size: Mapped[int] = mapped_column(BigInteger)
    """In bytes."""
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    container: Mapped[str] = mapped_column(String(100))
    """Container format as named by ffprobe, for example `mov,mp4,m4a,3gp,3g2,mj2`."""
    codec: Mapped[str | None] = mapped_column(String(100))
    """As named by ffprobe. This and the following columns are NULL in rows of the first version."""
    width: Mapped[int | None]
    """In pixels as encoded, before rotation."""
    height: Mapped[int | None]
    rotation: Mapped[int | None]
    """Clockwise rotation in degrees that players apply."""
    duration: Mapped[float | None]
    """In seconds; NULL also if the file has no duration."""
    frame_rate: Mapped[str | None] = mapped_column(String(40))
    """Average frames per second as an exact fraction, for example `30000/1001`."""
    has_audio: Mapped[bool | None]
    display_width: Mapped[int | None]
    """In square pixels, upright, as players show it. NULL, as in the next four columns, in rows of
    older versions."""
    display_height: Mapped[int | None]
    playable: Mapped[bool | None]
    """Whether every browser plays the file as it is."""
    recorded_at: Mapped[datetime | None]
    """When the recording began, as the file says; NULL also if it does not say."""
    facts: Mapped[dict[str, Any] | None] = mapped_column(
        JSON(none_as_null=True),
        # As written by `app.services.facts`, up to some 100 kB; loaded only on request.
        deferred=True,
        deferred_raiseload=True,
    )
    has_preview: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether there is a converted copy for browsers."""
    source: Mapped[str] = mapped_column(String(20), default="upload", server_default="upload")
    """Where it came from: `upload`, `path` or `url`."""
    client: Mapped[str | None] = mapped_column(String(16))
    """Prefix of the API key that stored it, to whose quota it counts, or a hashed address."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    pinned: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether retention leaves it alone."""
    retained_from: Mapped[datetime | None]
    """Since when retention counts its age; NULL, nearly always, means `created_at`."""

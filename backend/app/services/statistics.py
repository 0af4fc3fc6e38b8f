"""Statistics of the whole service, read from the database, so every process reports the same."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Analysis, AnalysisStatus, Video


@dataclass(frozen=True)
class Statistics:
    """The state of the service at one point in time."""

    videos: int
    video_bytes: int
    analyses: dict[AnalysisStatus, int]
    oldest_queued: float
    """Age in seconds of the oldest queued analysis; 0 if none is queued."""


def read(session: Session, *, now: datetime) -> Statistics:
    """Read the current statistics."""
    videos, size = session.execute(
        select(func.count(Video.id), func.coalesce(func.sum(Video.size), 0))
    ).one()
    grouped = session.execute(
        select(Analysis.status, func.count(Analysis.id)).group_by(Analysis.status)
    )
    counts: dict[AnalysisStatus, int] = dict(grouped.all())
    oldest = session.scalar(
        select(func.min(Analysis.requested_at)).where(Analysis.status == AnalysisStatus.QUEUED)
    )
    return Statistics(
        videos=videos,
        video_bytes=int(size),
        analyses={status: counts.get(status, 0) for status in AnalysisStatus},
        oldest_queued=0.0 if oldest is None else max(0.0, (now - oldest).total_seconds()),
    )

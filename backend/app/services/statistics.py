"""Figures about the whole service, read from the database: the same whichever process is asked."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Analysis, AnalysisStatus, Video


@dataclass(frozen=True)
class Statistics:
    """The state of the service at one moment."""

    videos: int
    video_bytes: int
    analyses: dict[AnalysisStatus, int]
    oldest_queued: float
    """Seconds that the analysis waiting longest has waited; 0 when none waits."""


def read(session: Session, *, now: datetime) -> Statistics:
    """Count what there is."""
    videos, size = session.execute(
        select(func.count(Video.id), func.coalesce(func.sum(Video.size), 0))
    ).one()
    counted = session.execute(
        select(Analysis.status, func.count(Analysis.id)).group_by(Analysis.status)
    )
    found: dict[AnalysisStatus, int] = dict(counted.all())
    oldest = session.scalar(
        select(func.min(Analysis.requested_at)).where(Analysis.status == AnalysisStatus.QUEUED)
    )
    return Statistics(
        videos=videos,
        video_bytes=int(size),
        analyses={status: found.get(status, 0) for status in AnalysisStatus},
        oldest_queued=0.0 if oldest is None else max(0.0, (now - oldest).total_seconds()),
    )

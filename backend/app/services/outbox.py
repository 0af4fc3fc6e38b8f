"""Messages to webhooks, written in the transaction of what they tell of.

Either both are committed or neither. A message is written for each active webhook that wants the
type; without webhooks all of this is one query of an empty table. Sending it is the business of
`app.services.deliveries`.
"""

import enum
import json
import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import (
    Analysis,
    MotionEvent,
    Video,
    Webhook,
    WebhookDelivery,
    WebhookStatus,
)

VERSION = 1
"""Of the messages. Properties may be added to a version, but are never changed or removed."""
MAX_EVENTS = 50
"""The first events of an analysis that its message lists: receivers expect less than 20 kB."""


class EventType(enum.StrEnum):
    """What webhooks can be told of."""

    VIDEO_STORED = "video.stored"
    """A video was uploaded or imported."""
    VIDEO_DELETED = "video.deleted"
    ANALYSIS_DONE = "analysis.done"
    ANALYSIS_FAILED = "analysis.failed"
    MOTION_FOUND = "motion.found"
    """An analysis is done, and found at least one event."""


TEST = "webhook.test"
"""A message that a user has asked for; every webhook gets it."""


def video_stored(session: Session, *, video: Video) -> None:
    """Tell of a new video."""
    wanting = _wanting(session, EventType.VIDEO_STORED)
    if wanting:
        _add(session, EventType.VIDEO_STORED, wanting, at=video.created_at, video=_video(video))


def video_deleted(session: Session, *, video: Video, now: datetime) -> None:
    """Tell that a video is being deleted."""
    wanting = _wanting(session, EventType.VIDEO_DELETED)
    if wanting:
        _add(session, EventType.VIDEO_DELETED, wanting, at=now, video=_video(video))


def analysis_done(session: Session, *, analysis_id: uuid.UUID, now: datetime) -> None:
    """Tell that an analysis is done, and what it has found."""
    done = _wanting(session, EventType.ANALYSIS_DONE)
    motion = _wanting(session, EventType.MOTION_FOUND)
    if not done and not motion:
        return
    about = _about(session, analysis_id)
    _add(session, EventType.ANALYSIS_DONE, done, at=now, **about)
    if motion and about["analysis"]["event_count"]:
        query = (
            select(MotionEvent)
            .where(MotionEvent.analysis_id == analysis_id)
            .order_by(MotionEvent.position)
            .limit(MAX_EVENTS)
        )
        found = [_event(event) for event in session.scalars(query)]
        _add(session, EventType.MOTION_FOUND, motion, at=now, **about, events=found)


def analysis_failed(session: Session, *, analysis_id: uuid.UUID, now: datetime) -> None:
    """Tell that an analysis has failed, and why."""
    wanting = _wanting(session, EventType.ANALYSIS_FAILED)
    if wanting:
        about = _about(session, analysis_id)
        _add(session, EventType.ANALYSIS_FAILED, wanting, at=now, **about)


def test(session: Session, *, webhook_id: uuid.UUID, now: datetime) -> WebhookDelivery:
    """Write a message that tells of nothing."""
    (delivery,) = _add(session, TEST, [webhook_id], at=now)
    return delivery


def _wanting(session: Session, event: EventType) -> list[uuid.UUID]:
    query = select(Webhook.id, Webhook.events).where(Webhook.status == WebhookStatus.ACTIVE)
    return [row.id for row in session.execute(query) if event in row.events]


def _add(
    session: Session, event: str, webhook_ids: list[uuid.UUID], *, at: datetime, **data: Any
) -> list[WebhookDelivery]:
    message = {"type": event, "timestamp": _time(at), "version": VERSION, "data": data}
    body = json.dumps(message, separators=(",", ":"))
    rows = [
        WebhookDelivery(webhook_id=webhook_id, event=event, body=body, next_attempt_at=at)
        for webhook_id in webhook_ids
    ]
    session.add_all(rows)
    session.flush()
    return rows


def _about(session: Session, analysis_id: uuid.UUID) -> dict[str, Any]:
    query = (
        select(Analysis, Video)
        .join(Video, Video.id == Analysis.video_id)
        .where(Analysis.id == analysis_id)
        .execution_options(populate_existing=True)  # updated by statements, not through objects
    )
    analysis, video = session.execute(query).one()
    return {
        "analysis": {
            "id": str(analysis.id),
            "requested_at": _time(analysis.requested_at),
            "finished_at": None if analysis.finished_at is None else _time(analysis.finished_at),
            "event_count": analysis.event_count,
            "reason": analysis.reason,
            "warning": analysis.warning,
        },
        "video": _video(video),
    }


def _video(video: Video) -> dict[str, Any]:
    return {
        "id": str(video.id),
        "filename": video.filename,
        "size": video.size,
        "duration": video.duration,
        "source": video.source,
        "created_at": _time(video.created_at),
    }


def _event(event: MotionEvent) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "start_time": event.start_time,
        "end_time": event.end_time,
        "peak_time": event.peak_time,
        "peak_score": event.peak_score,
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

"""`/api/v1/retention`: what is removed, and when. Only there if RETENTION_AGE or _BYTES is set."""

import uuid
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import PROTECTED
from app.api.deps import Context, ContextDep
from app.api.problems import documented
from app.logs import event
from app.models.base import utc_now
from app.services import retention, retention_state

MAX_LISTED = 1000

router = APIRouter(
    prefix="/api/v1",
    tags=["retention"],
    dependencies=PROTECTED,
    responses=documented(401, 422, 503),
)


class DueOut(BaseModel):
    """A video that the next run removes."""

    model_config = ConfigDict(from_attributes=True)

    video_id: uuid.UUID
    filename: str
    size: int = Field(description="In bytes.")
    created_at: datetime
    reason: Literal["age", "size"]
    in_use: bool = Field(description="Somebody is reading it, so it is removed later.")


class RetentionOut(BaseModel):
    """The limits, and what exceeds them."""

    age: float | None = Field(description="RETENTION_AGE in seconds; null for no limit.")
    bytes: int | None = Field(description="RETENTION_BYTES in bytes; null for no limit.")
    stored_bytes: int = Field(description="Total size of all videos as uploaded, in bytes.")
    clock_doubted_until: datetime | None = Field(
        description="The clock has jumped, so nothing is removed by age before this time."
    )
    due: list[DueOut] = Field(description="What the next run removes, oldest first.")


class VideoRetentionOut(BaseModel):
    """What happens to one video."""

    model_config = ConfigDict(from_attributes=True)

    pinned: bool = Field(description="Never removed, except by a request.")
    remove_at: datetime | None = Field(
        description=(
            "When it becomes too old, and is removed within minutes unless it is in use; null if "
            "there is no limit on the age or the video is pinned."
        )
    )


class PinIn(BaseModel):
    """Whether to keep a video."""

    model_config = ConfigDict(extra="forbid")

    pinned: bool


@router.get("/retention")
def read_retention(
    context: ContextDep,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED, description="Maximum length of `due`.")] = 100,
) -> RetentionOut:
    """List what the next run removes, oldest first, without removing anything."""
    policy = context.retention.policy
    with context.database.reading() as session:
        stored = retention.stored_bytes(session)
        held = retention_state.held_until(session)
    return RetentionOut(
        age=None if policy.age is None else policy.age.total_seconds(),
        bytes=policy.bytes,
        stored_bytes=stored,
        clock_doubted_until=held,
        due=[
            DueOut.model_validate(due) for due in context.retention.due(now=utc_now(), limit=limit)
        ],
    )


@router.get("/videos/{video_id}/retention", responses=documented(404))
def read_video_retention(context: ContextDep, video_id: uuid.UUID) -> VideoRetentionOut:
    """Get when a video is removed."""
    return _of_video(context, video_id)


@router.put("/videos/{video_id}/retention", responses=documented(400, 404, 408, 413, 507))
def pin_video(context: ContextDep, video_id: uuid.UUID, wanted: PinIn) -> VideoRetentionOut:
    """Keep a video whatever its age and size, or stop keeping it."""
    with context.database.writing() as session:
        retention.pin(session, video_id=video_id, pinned=wanted.pinned)
    event("video.pinned" if wanted.pinned else "video.unpinned", video_id=video_id)
    return _of_video(context, video_id)


def _of_video(context: Context, video_id: uuid.UUID) -> VideoRetentionOut:
    with context.database.reading() as session:
        return VideoRetentionOut.model_validate(
            retention.of_video(session, video_id=video_id, policy=context.retention.policy)
        )

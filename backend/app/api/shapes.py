"""What replies look like."""

import uuid
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.models import Analysis, AnalysisStatus, Video


class SecondOut(BaseModel):
    """Motion within one second."""

    second: int
    score: float = Field(description="Share of the picture that moves, 0 to 1.")


class ResultOut(BaseModel):
    """What was found in a video."""

    container: str
    codec: str
    width: int
    height: int
    rotation: int = Field(description="Degrees clockwise a player turns the picture.")
    duration: float | None = Field(description="Seconds.")
    frame_rate: str | None = Field(
        description="Frames per second, exact.", examples=["25", "30000/1001"]
    )
    has_audio: bool
    frames_decoded: int
    frames_sampled: int
    mean_brightness: float = Field(description="0 (black) to 255 (white).")
    motion: list[SecondOut]


class AnalysisOut(BaseModel):
    """Where an analysis stands, and its result once it is done."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    video_id: uuid.UUID
    status: AnalysisStatus
    reason: str | None = Field(description="Why it failed.")
    attempts: int
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    result: ResultOut | None

    @classmethod
    def of(cls, analysis: Analysis) -> "AnalysisOut":
        """Shape a row."""
        return cls.model_validate(analysis)


class VideoOut(BaseModel):
    """A stored video with its latest analysis."""

    id: uuid.UUID
    filename: str
    size: int = Field(description="Bytes.")
    sha256: str
    container: str
    created_at: datetime
    analysis: AnalysisOut | None

    @classmethod
    def of(cls, video: Video) -> "VideoOut":
        """Shape a row; its analyses must be loaded."""
        latest = video.analyses[-1] if video.analyses else None
        return cls(
            id=video.id,
            filename=video.filename,
            size=video.size,
            sha256=video.sha256,
            container=video.container,
            created_at=video.created_at,
            analysis=None if latest is None else AnalysisOut.of(latest),
        )


class VideoPageOut(BaseModel):
    """One page of videos, newest first."""

    videos: list[VideoOut]
    next_cursor: uuid.UUID | None = Field(description="Pass as `cursor` to go on; null at the end.")


UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}

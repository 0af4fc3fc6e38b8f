"""What requests and replies about videos and analyses look like."""

import uuid
from datetime import UTC, datetime
from fractions import Fraction
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from app.models import Analysis, AnalysisStatus, MotionEvent
from app.services import parameters as stored_parameters
from app.services.videos import VideoState
from app.video import Parameters, Region

_VIDEO_ID = "0199a3f4-5b2e-7c1d-8e4f-1a2b3c4d5e6f"
_ANALYSIS_ID = "0199a3f4-6c80-7d22-9b3a-2b3c4d5e6f70"
_EVENT_ID = "0199a3f5-0a11-7e33-8c4b-3c4d5e6f7081"
_SHARE = Field(ge=0, le=1, allow_inf_nan=False)

_REGION: dict[str, Any] = {"x": 0.0, "y": 0.5, "width": 1.0, "height": 0.5}
_PARAMETERS: dict[str, Any] = {
    "sensitivity": 0.5,
    "minimum_duration": 0.5,
    "frame_rate": 5,
    "region": None,
}
_RESULT: dict[str, Any] = {
    "container": "mov,mp4,m4a,3gp,3g2,mj2",
    "codec": "h264",
    "width": 1280,
    "height": 720,
    "rotation": 0,
    "duration": 12.48,
    "frame_rate": "30000/1001",
    "has_audio": True,
    "frames_decoded": 374,
    "frames_analysed": 63,
}
ANALYSIS_EXAMPLE: dict[str, Any] = {
    "id": _ANALYSIS_ID,
    "video_id": _VIDEO_ID,
    "status": "done",
    "progress": 1.0,
    "revision": 9,
    "reason": None,
    "attempts": 1,
    "parameters": _PARAMETERS,
    "requested_at": "2026-11-25T10:00:00Z",
    "started_at": "2026-11-25T10:00:01Z",
    "finished_at": "2026-11-25T10:00:04Z",
    "event_count": 2,
    "result": _RESULT,
}
VIDEO_EXAMPLE: dict[str, Any] = {
    "id": _VIDEO_ID,
    "filename": "front-door.mp4",
    "size": 5242880,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "source": "upload",
    **{key: value for key, value in _RESULT.items() if not key.startswith("frames_")},
    "created_at": "2026-11-25T10:00:00Z",
    "analysis": ANALYSIS_EXAMPLE,
}
EVENT_EXAMPLE: dict[str, Any] = {
    "id": _EVENT_ID,
    "analysis_id": _ANALYSIS_ID,
    "position": 0,
    "start": 3.2,
    "end": 5.8,
    "peak_time": 4.4,
    "peak_score": 0.18,
    "boxes": [{"time": 4.4, "x": 0.31, "y": 0.42, "width": 0.12, "height": 0.3}],
}


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:  # the last day of the year 9999, west of Greenwich
        raise ValueError("in UTC this is outside the years 1 to 9999") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


def _example(value: dict[str, Any], *, forbid: bool = False) -> ConfigDict:
    return ConfigDict(
        json_schema_extra={"examples": [value]}, extra="forbid" if forbid else "ignore"
    )


class RegionShape(BaseModel):
    """A rectangle as shares (0 to 1) of the upright picture."""

    model_config = _example(_REGION, forbid=True)

    x: Annotated[float, _SHARE]
    y: Annotated[float, _SHARE]
    width: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    height: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _inside(self) -> "RegionShape":
        Region(self.x, self.y, self.width, self.height)
        return self


class ParametersShape(BaseModel):
    """What counts as an event. Every field has a default."""

    model_config = _example(_PARAMETERS, forbid=True)

    sensitivity: Annotated[float, _SHARE] = Field(
        default=0.5,
        description="0: only what is large and stands out; 1: as little as can be told from noise.",
    )
    minimum_duration: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = Field(
        default=0.5, description="Seconds; motion that ends sooner is no event."
    )
    frame_rate: Annotated[float, Field(ge=0.1, le=30, allow_inf_nan=False)] = Field(
        default=5.0, description="Pictures looked at per second of video."
    )
    region: RegionShape | None = Field(
        default=None, description="Where to look; null means everywhere."
    )

    def to_parameters(self) -> Parameters:
        """Return what the library takes."""
        region = self.region
        return Parameters(
            sensitivity=self.sensitivity,
            # Decimal text, not the float's binary value: 0.1 means one tenth.
            minimum_duration=Fraction(repr(self.minimum_duration)),
            frame_rate=Fraction(repr(self.frame_rate)),
            region=None
            if region is None
            else Region(region.x, region.y, region.width, region.height),
        )

    @classmethod
    def of(cls, parameters: Parameters) -> "ParametersShape":
        """Shape what the library takes."""
        region = parameters.region
        return cls(
            sensitivity=parameters.sensitivity,
            minimum_duration=float(parameters.minimum_duration),
            frame_rate=float(parameters.frame_rate),
            region=None
            if region is None
            else RegionShape(x=region.x, y=region.y, width=region.width, height=region.height),
        )


class ResultOut(BaseModel):
    """What the picture is, as found by decoding all of it."""

    model_config = _example(_RESULT)

    container: str
    codec: str
    width: int = Field(description="Pixels as coded, before rotation.")
    height: int
    rotation: int = Field(description="Degrees clockwise a player turns the picture.")
    duration: float | None = Field(description="Seconds, to the end of the last picture.")
    frame_rate: str | None = Field(
        description="Frames per second, exact.", examples=["25", "30000/1001"]
    )
    has_audio: bool
    frames_decoded: int
    frames_analysed: int = Field(
        # As the first version called it, in rows it has left.
        validation_alias=AliasChoices("frames_analysed", "frames_sampled"),
    )


class AnalysisOut(BaseModel):
    """Where an analysis stands, and its result once it is done."""

    model_config = _example(ANALYSIS_EXAMPLE)

    id: uuid.UUID
    video_id: uuid.UUID
    status: AnalysisStatus
    progress: float = Field(description="Share of the work done, 0 to 1.", ge=0, le=1)
    revision: int = Field(description="Grows with every change.")
    reason: str | None = Field(description="Why it failed.")
    attempts: int
    parameters: ParametersShape
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    event_count: int | None = Field(description="Null until it is done.")
    result: ResultOut | None

    @classmethod
    def of(cls, analysis: Analysis) -> "AnalysisOut":
        """Shape a row."""
        return cls(
            id=analysis.id,
            video_id=analysis.video_id,
            status=analysis.status,
            progress=analysis.progress or 0.0,
            revision=analysis.revision,
            reason=analysis.reason,
            attempts=analysis.attempts,
            parameters=ParametersShape.of(stored_parameters.from_json(analysis.parameters)),
            requested_at=analysis.requested_at,
            started_at=analysis.started_at,
            finished_at=analysis.finished_at,
            event_count=analysis.event_count,
            result=None if analysis.result is None else ResultOut.model_validate(analysis.result),
        )


class AnalysisPageOut(BaseModel):
    """One page of analyses, newest first."""

    model_config = _example({"analyses": [ANALYSIS_EXAMPLE], "next_cursor": None})

    analyses: list[AnalysisOut]
    next_cursor: str | None = Field(description="Pass as `cursor` to go on; null at the end.")


class VideoOut(BaseModel):
    """A stored video with its latest analysis."""

    model_config = _example(VIDEO_EXAMPLE)

    id: uuid.UUID
    filename: str = Field(description="As the client called it; for people.")
    size: int = Field(description="Bytes.")
    sha256: str
    source: str = Field(description="How it came: `upload`, `path` or `url`.")
    container: str = Field(description="The format as ffprobe names it.")
    codec: str | None
    width: int | None = Field(description="Pixels as coded, before rotation.")
    height: int | None
    rotation: int | None = Field(description="Degrees clockwise a player turns the picture.")
    duration: float | None = Field(description="Seconds, as the file says; null if it does not.")
    frame_rate: str | None = Field(description="Frames per second, exact.")
    has_audio: bool | None
    created_at: datetime
    analysis: AnalysisOut | None = Field(description="The latest one.")

    @classmethod
    def of(cls, state: VideoState) -> "VideoOut":
        """Shape a row and its latest analysis."""
        video, analysis = state.video, state.analysis
        return cls(
            id=video.id,
            filename=video.filename,
            size=video.size,
            sha256=video.sha256,
            source=video.source,
            container=video.container,
            codec=video.codec,
            width=video.width,
            height=video.height,
            rotation=video.rotation,
            duration=video.duration,
            frame_rate=video.frame_rate,
            has_audio=video.has_audio,
            created_at=video.created_at,
            analysis=None if analysis is None else AnalysisOut.of(analysis),
        )


class VideoPageOut(BaseModel):
    """One page of videos."""

    model_config = _example({"videos": [VIDEO_EXAMPLE], "next_cursor": None})

    videos: list[VideoOut]
    next_cursor: str | None = Field(description="Pass as `cursor` to go on; null at the end.")


class BoxOut(BaseModel):
    """Where something moved at one moment, as shares (0 to 1) of the whole upright picture."""

    time: float = Field(description="Seconds.")
    x: float
    y: float
    width: float
    height: float


class EventOut(BaseModel):
    """A stretch of motion. Times are seconds from the start of the video."""

    model_config = _example(EVENT_EXAMPLE)

    id: uuid.UUID
    analysis_id: uuid.UUID
    position: int = Field(description="Counts from 0, in order of time.")
    start: float
    end: float
    peak_time: float = Field(description="When most moved; the moment of the thumbnail.")
    peak_score: float = Field(description="Share of the picture that moved then, 0 to 1.")
    boxes: list[BoxOut]

    @classmethod
    def of(cls, event: MotionEvent) -> "EventOut":
        """Shape a row."""
        return cls(
            id=event.id,
            analysis_id=event.analysis_id,
            position=event.position,
            start=event.start_time,
            end=event.end_time,
            peak_time=event.peak_time,
            peak_score=event.peak_score,
            boxes=[BoxOut(**box) for box in event.boxes],
        )


class EventPageOut(BaseModel):
    """One page of events, in order of time."""

    model_config = _example({"events": [EVENT_EXAMPLE], "next_cursor": None})

    events: list[EventOut]
    next_cursor: str | None = Field(description="Pass as `cursor` to go on; null at the end.")


class TimelineOut(BaseModel):
    """How much moved when."""

    model_config = _example({"bucket": 0.5, "scores": [0.0, 0.02, 0.18, 0.07, 0.0]})

    bucket: float = Field(description="Seconds that each score stands for.")
    scores: list[float] = Field(description="The largest share that moved in each bucket, 0 to 1.")


class ImportIn(BaseModel):
    """Where to take a video from: exactly one of the two."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"url": "https://cameras.example.org/yard/latest.mp4"}],
            "oneOf": [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("path", "url")
            ],
        },
    )

    path: str | None = Field(
        default=None, max_length=4096, description="A file under IMPORT_DIR, relative to it."
    )
    url: str | None = Field(default=None, max_length=2048, description="https:// or http://.")

    @model_validator(mode="after")
    def _one(self) -> "ImportIn":
        if (self.path is None) == (self.url is None):
            raise ValueError("give either a path or a url")
        return self


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

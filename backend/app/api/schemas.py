"""Schemas of requests and responses."""

import uuid
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from app.models import Analysis, AnalysisStatus, CaptionStatus, MotionEvent
from app.services import parameters as stored_parameters
from app.services import videos
from app.services.uploads import Resumable
from app.services.videos import VideoState, display_name
from app.video import Area, Parameters, Polygon, Region
from app.video.options import MAX_AREAS, MAX_POINTS

_VIDEO_ID = "0199a3f4-5b2e-7c1d-8e4f-1a2b3c4d5e6f"
_ANALYSIS_ID = "0199a3f4-6c80-7d22-9b3a-2b3c4d5e6f70"
_EVENT_ID = "0199a3f5-0a11-7e33-8c4b-3c4d5e6f7081"
_SHARE = Field(ge=0, le=1, allow_inf_nan=False)

_REGION: dict[str, Any] = {"x": 0.0, "y": 0.5, "width": 1.0, "height": 0.5}
_PARAMETERS: dict[str, Any] = {
    "sensitivity": 0.5,
    "minimum_duration": 0.5,
    "frame_rate": 5,
    "zones": [_REGION],
    "masks": [{"points": [[0.7, 0.0], [1.0, 0.0], [1.0, 0.1]]}],
    "region": None,
}
_RESULT: dict[str, Any] = {
    "container": "mov,mp4,m4a,3gp,3g2,mj2",
    "codec": "h264",
    "width": 1280,
    "height": 720,
    "display_width": 1280,
    "display_height": 720,
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
    "warning": None,
    "detail": None,
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
    "playable": True,
    "has_preview": False,
    "recorded_at": "2026-11-24T17:30:00Z",
    "created_at": "2026-11-25T10:00:00Z",
    "analysis": ANALYSIS_EXAMPLE,
}
EVENT_EXAMPLE: dict[str, Any] = {
    "id": _EVENT_ID,
    "analysis_id": _ANALYSIS_ID,
    "position": 0,
    "start": 3.2,
    "end": 5.8,
    "started_at": "2026-11-24T17:30:03.200000Z",
    "ended_at": "2026-11-24T17:30:05.800000Z",
    "peak_time": 4.4,
    "peak_score": 0.18,
    "boxes": [{"time": 4.4, "x": 0.31, "y": 0.42, "width": 0.12, "height": 0.3}],
}


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:  # the last hours of year 9999 in a zone west of UTC
        raise ValueError("outside the years 1 to 9999 in UTC") from None


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_in_utc)]


def _example(value: dict[str, Any], *, forbid: bool = False) -> ConfigDict:
    return ConfigDict(
        json_schema_extra={"examples": [value]}, extra="forbid" if forbid else "ignore"
    )


class RegionSchema(BaseModel):
    """A rectangle in fractions (0 to 1) of the upright frame."""

    model_config = _example(_REGION, forbid=True)

    x: Annotated[float, _SHARE]
    y: Annotated[float, _SHARE]
    width: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    height: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _inside(self) -> "RegionSchema":
        Region(self.x, self.y, self.width, self.height)
        return self


_Coordinate = Annotated[float, _SHARE]


class PolygonSchema(BaseModel):
    """An area with 3 to 32 corners, in fractions (0 to 1) of the upright frame."""

    model_config = _example({"points": [[0.7, 0.0], [1.0, 0.0], [1.0, 0.1]]}, forbid=True)

    points: Annotated[
        list[Annotated[list[_Coordinate], Field(min_length=2, max_length=2)]],
        Field(min_length=3, max_length=MAX_POINTS),
    ]

    @model_validator(mode="after")
    def _area(self) -> "PolygonSchema":
        _to_area(self)
        return self


AreaSchema = RegionSchema | PolygonSchema


def _to_area(area: AreaSchema) -> Area:
    if isinstance(area, PolygonSchema):
        return Polygon(tuple((x, y) for x, y in area.points))
    return Region(area.x, area.y, area.width, area.height)


def _from_area(area: Area) -> AreaSchema:
    if isinstance(area, Polygon):
        return PolygonSchema(points=[list(point) for point in area.points])
    return RegionSchema(x=area.x, y=area.y, width=area.width, height=area.height)


class ParametersSchema(BaseModel):
    """Detection parameters. Every field has a default."""

    model_config = _example(_PARAMETERS, forbid=True)

    sensitivity: Annotated[float, _SHARE] = Field(
        default=0.5,
        description="0: only large, distinct motion; 1: anything distinguishable from noise.",
    )
    minimum_duration: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = Field(
        default=0.5, description="In seconds; shorter motion is not an event."
    )
    frame_rate: Annotated[float, Field(ge=0.1, le=30, allow_inf_nan=False)] = Field(
        default=5.0, description="Frames analysed per second of video."
    )
    zones: Annotated[list[AreaSchema], Field(max_length=MAX_AREAS)] = Field(
        default=[], description="The parts of the frame to watch; empty means all of it."
    )
    masks: Annotated[list[AreaSchema], Field(max_length=MAX_AREAS)] = Field(
        default=[], description="The parts of the frame, or of the zones, to leave out."
    )
    region: RegionSchema | None = Field(
        default=None,
        description=("The only zone, if it is a rectangle. In requests an alternative to `zones`."),
    )

    @model_validator(mode="after")
    def _watch_something(self) -> "ParametersSchema":
        if self.region is not None and self.zones not in ([], [self.region]):
            raise ValueError("give either region or zones")
        self.to_parameters()
        return self

    def to_parameters(self) -> Parameters:
        """Convert to the parameters of the video library."""
        zones = self.zones or ([] if self.region is None else [self.region])
        return Parameters(
            sensitivity=self.sensitivity,
            # From decimal text, not the float's binary value: 0.1 means one tenth.
            minimum_duration=Fraction(repr(self.minimum_duration)),
            frame_rate=Fraction(repr(self.frame_rate)),
            zones=tuple(map(_to_area, zones)),
            masks=tuple(map(_to_area, self.masks)),
        )

    @classmethod
    def from_parameters(cls, parameters: Parameters) -> "ParametersSchema":
        """Convert from the parameters of the video library."""
        zones = [_from_area(zone) for zone in parameters.zones]
        only = zones[0] if len(zones) == 1 else None
        return cls(
            sensitivity=parameters.sensitivity,
            minimum_duration=float(parameters.minimum_duration),
            frame_rate=float(parameters.frame_rate),
            zones=zones,
            masks=[_from_area(mask) for mask in parameters.masks],
            region=only if isinstance(only, RegionSchema) else None,
        )


class ResultOut(BaseModel):
    """Facts about the video, found by decoding all of it."""

    model_config = _example(_RESULT)

    container: str
    codec: str
    width: int = Field(description="In pixels as encoded, before rotation.")
    height: int
    display_width: int | None = Field(
        default=None, description="In square pixels, upright, as players show it."
    )
    display_height: int | None = None
    rotation: int = Field(description="Clockwise rotation in degrees that players apply.")
    duration: float | None = Field(description="In seconds, to the end of the last frame.")
    frame_rate: str | None = Field(
        description="Average frames per second as an exact fraction.", examples=["25", "30000/1001"]
    )
    has_audio: bool
    frames_decoded: int
    frames_analysed: int = Field(
        # The first version of the service stored this as `frames_sampled`.
        validation_alias=AliasChoices("frames_analysed", "frames_sampled"),
    )


class AnalysisOut(BaseModel):
    """The state of an analysis, and its result once it is done."""

    model_config = _example(ANALYSIS_EXAMPLE)

    id: uuid.UUID
    video_id: uuid.UUID
    status: AnalysisStatus
    progress: float = Field(description="Fraction of the work done, 0 to 1.", ge=0, le=1)
    revision: int = Field(description="Increases with every change.")
    reason: str | None = Field(description="Why the analysis failed.")
    warning: str | None = Field(
        description="What is missing or doubtful although the analysis is done."
    )
    detail: str | None = Field(description="Lines of ffmpeg's log behind `reason` or `warning`.")
    attempts: int
    parameters: ParametersSchema
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    event_count: int | None = Field(description="Null until the analysis is done.")
    result: ResultOut | None

    @classmethod
    def from_row(cls, analysis: Analysis) -> "AnalysisOut":
        """Convert a row."""
        return cls(
            id=analysis.id,
            video_id=analysis.video_id,
            status=analysis.status,
            progress=analysis.progress or 0.0,
            revision=analysis.revision,
            reason=analysis.reason,
            warning=analysis.warning,
            detail=analysis.detail,
            attempts=analysis.attempts,
            parameters=ParametersSchema.from_parameters(
                stored_parameters.from_json(analysis.parameters)
            ),
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
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last page.")


class VideoOut(BaseModel):
    """A stored video and its latest analysis."""

    model_config = _example(VIDEO_EXAMPLE)

    id: uuid.UUID
    filename: str = Field(description="As given by the client; for display only.")
    size: int = Field(description="In bytes.")
    sha256: str
    source: str = Field(description="Where it came from: `upload`, `path` or `url`.")
    container: str = Field(description="Container format as named by ffprobe.")
    codec: str | None
    width: int | None = Field(description="In pixels as encoded, before rotation.")
    height: int | None
    display_width: int | None = Field(description="In square pixels, upright, as players show it.")
    display_height: int | None
    rotation: int | None = Field(description="Clockwise rotation in degrees that players apply.")
    duration: float | None = Field(
        description=(
            "In seconds: as decoded by the latest analysis, before that as the file says; null if "
            "unknown."
        )
    )
    frame_rate: str | None = Field(description="Average frames per second as an exact fraction.")
    has_audio: bool | None
    playable: bool = Field(description="Whether every browser plays `/content`.")
    has_preview: bool = Field(
        description="Whether there is a `/preview`, which every browser plays."
    )
    recorded_at: datetime | None = Field(
        description="When the recording began, as the file says; null if it does not say."
    )
    created_at: datetime
    analysis: AnalysisOut | None = Field(description="The latest analysis.")

    @classmethod
    def from_state(cls, state: VideoState) -> "VideoOut":
        """Convert a row and its latest analysis."""
        video, analysis = state.video, state.analysis
        display_width, display_height = videos.display_size(video)
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
            display_width=display_width,
            display_height=display_height,
            rotation=video.rotation,
            duration=video.duration,
            frame_rate=video.frame_rate,
            has_audio=video.has_audio,
            playable=bool(video.playable),
            has_preview=video.has_preview,
            recorded_at=video.recorded_at,
            created_at=video.created_at,
            analysis=None if analysis is None else AnalysisOut.from_row(analysis),
        )


class VideoPageOut(BaseModel):
    """One page of videos."""

    model_config = _example({"videos": [VIDEO_EXAMPLE], "next_cursor": None})

    videos: list[VideoOut]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last page.")


class UploadOut(BaseModel):
    """A resumable upload."""

    model_config = _example(
        {
            "id": "1f0c6c0e-5d8f-4f53-9a54-6f7d8e9fa0b1",
            "filename": "front-door.mp4",
            "length": 5242880,
            "offset": 1048576,
            "expires_at": "2026-11-26T10:00:00Z",
            "video_id": None,
            "known": False,
        }
    )

    id: uuid.UUID
    filename: str
    length: int = Field(description="Size of the file in bytes.")
    offset: int = Field(description="Number of bytes that need not be sent again.")
    expires_at: datetime | None = Field(description="When it is deleted unless it is continued.")
    video_id: uuid.UUID | None = Field(description="The video that it has become.")
    known: bool = Field(description="Whether a video with this content was there before.")

    @classmethod
    def from_upload(cls, upload: Resumable) -> "UploadOut":
        """Convert an upload."""
        return cls(
            id=upload.id,
            filename=display_name(upload.filename),
            length=upload.length,
            offset=upload.offset,
            expires_at=upload.expires_at,
            video_id=upload.video_id,
            known=upload.known,
        )


class BoxOut(BaseModel):
    """A bounding box of motion at one moment, in fractions (0 to 1) of the upright frame."""

    time: float = Field(description="In seconds.")
    x: float
    y: float
    width: float
    height: float


class CaptionOut(BaseModel):
    """What a language model says about an event's thumbnail: text from outside, never markup."""

    status: Literal["pending", "done", "refused", "empty", "failed"] = Field(
        description="`refused` and `empty` are answers, too; only `pending` still changes."
    )
    text: str | None = Field(description="One line of at most 300 characters.")
    reason: str | None = Field(
        description="Why there is no text: the API's word, such as SAFETY, or a sentence."
    )

    @classmethod
    def from_row(cls, event: MotionEvent) -> "CaptionOut":
        """Convert the columns of an event's caption."""
        match event.caption_status:
            case None | CaptionStatus.WAITING | CaptionStatus.CLAIMED | CaptionStatus.SENDING:
                return cls(status="pending", text=None, reason=None)
            case status:
                values = {"text": event.caption, "reason": event.caption_reason}
                return cls.model_validate({"status": status.value, **values})


class EventOut(BaseModel):
    """A period of motion. Times are in seconds from the start of the video."""

    model_config = _example(EVENT_EXAMPLE)

    id: uuid.UUID
    analysis_id: uuid.UUID
    position: int = Field(description="Chronological, starting at 0.")
    start: float
    end: float
    started_at: datetime | None = Field(
        description="Wall-clock time of `start`; null if the video has no `recorded_at`."
    )
    ended_at: datetime | None = Field(description="The same for `end`.")
    peak_time: float = Field(description="Time of the most motion; the thumbnail shows this frame.")
    peak_score: float = Field(description="Share of the frame that moved at that time, 0 to 1.")
    boxes: list[BoxOut]
    caption: CaptionOut | None = Field(default=None, description="Absent if captions are off.")

    @classmethod
    def from_row(
        cls, event: MotionEvent, *, recorded_at: datetime | None, captions: bool
    ) -> "EventOut":
        """Convert a row of a video recorded from `recorded_at` on."""

        def wall_clock(seconds: float) -> datetime | None:
            return None if recorded_at is None else recorded_at + timedelta(seconds=seconds)

        made = cls(
            id=event.id,
            analysis_id=event.analysis_id,
            position=event.position,
            start=event.start_time,
            end=event.end_time,
            started_at=wall_clock(event.start_time),
            ended_at=wall_clock(event.end_time),
            peak_time=event.peak_time,
            peak_score=event.peak_score,
            boxes=[BoxOut(**box) for box in event.boxes],
        )
        if captions:
            made.caption = CaptionOut.from_row(event)
        return made


class EventPageOut(BaseModel):
    """One page of events, in chronological order."""

    model_config = _example({"events": [EVENT_EXAMPLE], "next_cursor": None})

    events: list[EventOut]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last page.")


class TimelineOut(BaseModel):
    """How much moved when."""

    model_config = _example({"bucket": 0.5, "scores": [0.0, 0.02, 0.18, 0.07, 0.0]})

    bucket: float = Field(description="Duration of each bucket in seconds.")
    scores: list[float] = Field(
        description="Largest share of the frame that moved in each bucket, 0 to 1."
    )


class ImportIn(BaseModel):
    """The source of an import: exactly one of `path` and `url`."""

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
        default=None, max_length=4096, description="A file path relative to IMPORT_DIR."
    )
    url: str | None = Field(default=None, max_length=2048, description="https:// or http://.")

    @model_validator(mode="after")
    def _require_one(self) -> "ImportIn":
        if (self.path is None) == (self.url is None):
            raise ValueError("exactly one of path and url is required")
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

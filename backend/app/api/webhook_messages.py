"""What is sent to webhooks, for the section `webhooks` of the OpenAPI document.

Nothing is served here. The messages are written by `app.services.outbox`.
"""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header
from pydantic import BaseModel, Field

_Finished = Annotated[datetime | None, Field(description="When the analysis ended.")]


class VideoFacts(BaseModel):
    """The video that a message is about."""

    id: uuid.UUID
    filename: str = Field(description="As given by whoever uploaded it.")
    size: int = Field(description="In bytes.")
    duration: float | None = Field(description="In seconds.")
    source: str = Field(description="`upload`, `path` or `url`.")
    created_at: datetime


class AnalysisFacts(BaseModel):
    """The analysis that a message is about."""

    id: uuid.UUID
    requested_at: datetime
    finished_at: _Finished
    event_count: int | None = Field(description="Null unless it is done.")
    reason: str | None = Field(description="Why it failed.")
    warning: str | None = Field(description="What is doubtful although it is done.")


class EventFacts(BaseModel):
    """A motion event; times are in seconds from the start of the video."""

    id: uuid.UUID
    start_time: float
    end_time: float
    peak_time: float
    peak_score: float


class VideoData(BaseModel):
    """The data of messages about a video."""

    video: VideoFacts


class AnalysisData(BaseModel):
    """The data of messages about an analysis."""

    analysis: AnalysisFacts
    video: VideoFacts


class MotionData(AnalysisData):
    """The data of messages about motion."""

    events: list[EventFacts] = Field(description="The first 50; `event_count` counts all.")


class NoData(BaseModel):
    """Nothing."""


class _Message(BaseModel):
    timestamp: datetime = Field(description="When it happened.")
    version: Literal[1] = Field(
        description="Of the message's schema. Properties may be added to a version."
    )


class VideoStored(_Message):
    """A video was uploaded or imported."""

    type: Literal["video.stored"]
    data: VideoData


class VideoDeleted(_Message):
    """A video was deleted, with its analyses."""

    type: Literal["video.deleted"]
    data: VideoData


class AnalysisDone(_Message):
    """An analysis is done, whether or not it has found something."""

    type: Literal["analysis.done"]
    data: AnalysisData


class AnalysisFailed(_Message):
    """An analysis has failed."""

    type: Literal["analysis.failed"]
    data: AnalysisData


class MotionFound(_Message):
    """An analysis is done, and has found motion; beside `analysis.done`."""

    type: Literal["motion.found"]
    data: MotionData


class WebhookTest(_Message):
    """Somebody asked for a test."""

    type: Literal["webhook.test"]
    data: NoData


MESSAGES: tuple[type[_Message], ...] = (
    VideoStored,
    VideoDeleted,
    AnalysisDone,
    AnalysisFailed,
    MotionFound,
    WebhookTest,
)
_Id = Annotated[str, Header(alias="webhook-id", description="The same if a message is repeated.")]
_Timestamp = Annotated[
    int, Header(alias="webhook-timestamp", description="Of this attempt, in seconds since 1970.")
]
_Signature = Annotated[
    str,
    Header(
        alias="webhook-signature",
        description="`v1,` and the base64 of HMAC-SHA256 of `id.timestamp.body`. Two of them, "
        "separated by a space, while a secret is being replaced.",
    ),
]
_RESPONSES: dict[int | str, dict[str, Any]] = {
    204: {"description": "Delivered, as with any status from 200 to 299. The body is not read."},
    410: {"description": "Nothing more is sent: the webhook is paused."},
    429: {"description": "Nothing is sent before Retry-After; also with other errors."},
    "default": {"description": "Failed; it is sent again later. Redirects are not followed."},
}
router = APIRouter(generate_unique_id_function=lambda route: route.name)


def _document(message: type[_Message]) -> None:
    kind = message.model_fields["type"].annotation
    (name,) = kind.__args__  # type: ignore[union-attr]  # of a Literal

    def receive(
        body: message,  # type: ignore[valid-type]
        webhook_id: _Id,
        webhook_timestamp: _Timestamp,
        webhook_signature: _Signature,
    ) -> None:
        """Receive a message."""

    router.add_api_route(
        name,
        receive,
        methods=["POST"],
        name=f"receive_{name.replace('.', '_')}",
        description=message.__doc__,
        tags=["webhooks"],
        status_code=204,
        responses=_RESPONSES,
    )


for _message in MESSAGES:
    _document(_message)

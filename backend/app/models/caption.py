"""The states of an event's caption, and the table of what all of them share: one row."""

import enum
import uuid
from datetime import date, datetime

from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class CaptionStatus(enum.StrEnum):
    """How far the caption of an event is; an event without one has not been looked at yet."""

    WAITING = "waiting"
    """To be asked for again: no request has been paid for."""
    CLAIMED = "claimed"
    """A process prepares the request. Nothing has been sent, so anybody may take over later."""
    SENDING = "sending"
    """The request may have been sent, so it may have been paid for: nobody takes over."""
    DONE = "done"
    REFUSED = "refused"
    """The API declined; `caption_reason` is its word for why."""
    EMPTY = "empty"
    """The API answered without text."""
    FAILED = "failed"
    """No usable answer, and none is asked for again; `caption_reason` is a sentence."""


class CaptionJob(Base):
    """The state of the job that asks for captions, shared by all processes: a single row."""

    __tablename__ = "caption_job"

    ROW = uuid.UUID(int=1)
    """Id of the row."""

    day: Mapped[date] = mapped_column(default=date.min)
    """The day (UTC) that `requests` counts."""
    requests: Mapped[int] = mapped_column(default=0)
    """Kept apart from the events, which can be deleted: what is spent stays spent."""
    failures: Mapped[int] = mapped_column(default=0)
    """Requests in a row that have to be repeated; each doubles the pause."""
    paused_until: Mapped[datetime | None]

"""What a process that runs analyses needs to know of the settings.

Plain values, so that the child of `app.worker.embedded` need not load pydantic, which would be a
fifth of its start, and gets no secret but the database's URL.
"""

import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from app.settings import Settings


@dataclass(frozen=True)
class RunnerConfig:
    """Values of `Settings`; the names are those of the settings."""

    database_url: str
    """With the password, if there is one."""
    data_dir: Path
    log_level: str
    ffmpeg: str
    ffprobe: str
    lease: timedelta
    max_duration: timedelta
    analysis_attempts: int
    analysis_memory: int
    analysis_timeout: timedelta

    @classmethod
    def from_settings(cls, settings: "Settings") -> Self:
        """Take what analyses need."""
        return cls(
            database_url=settings.sqlalchemy_url(),
            data_dir=settings.data_dir,
            log_level=settings.log_level,
            ffmpeg=settings.ffmpeg,
            ffprobe=settings.ffprobe,
            lease=settings.lease,
            max_duration=settings.max_duration,
            analysis_attempts=settings.analysis_attempts,
            analysis_memory=int(settings.analysis_memory),
            analysis_timeout=settings.analysis_timeout,
        )

    def to_json(self) -> str:
        """Return all values in one line; only for the pipe to a child process."""
        return json.dumps(asdict(self), default=_to_plain)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` was called on."""
        values = json.loads(text)
        durations = ("lease", "max_duration", "analysis_timeout")
        values |= {name: timedelta(seconds=values[name]) for name in durations}
        return cls(**values | {"data_dir": Path(values["data_dir"])})


def _to_plain(value: object) -> object:
    return value.total_seconds() if isinstance(value, timedelta) else str(value)

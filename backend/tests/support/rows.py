"""Create rows for tests that need no real video."""

import itertools
import uuid
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

from app.db import Database
from app.models.base import utc_now
from app.services import analyses, leases, videos
from app.services.results import Findings
from app.video import Parameters, Probe

_numbers = itertools.count()
FACTS: dict[str, Any] = {
    "container": "mov,mp4,m4a,3gp,3g2,mj2",
    "codec": "h264",
    "width": 320,
    "height": 240,
    "rotation": 0,
    "mirrored": False,
    "frame_rate": Fraction(25),
    "duration": Fraction(2),
    "video_duration": Fraction(2),
    "time_base": Fraction(1, 12800),
    "has_audio": False,
}


def video(database: Database, *, filename: str = "a.mp4", size: int = 1, **facts: Any) -> uuid.UUID:
    """Add a video without content; return its id."""
    upload = videos.Upload(
        Path("/nowhere"), size=size, sha256=f"{next(_numbers):064x}", filename=filename
    )
    known = Probe.__dataclass_fields__
    values = {name: value for name, value in (FACTS | facts).items() if name in known}
    with database.writing() as session:
        return videos.register(session, upload=upload, facts=Probe(**values)).id


def analysed(database: Database, *, events: int | None, now: datetime | None = None) -> uuid.UUID:
    """Add a video whose analysis found some events, or, with None, failed; return its id."""
    moment, lease = now or utc_now(), timedelta(seconds=30)
    video_id = video(database)
    with database.writing() as session:
        analysis, _ = analyses.request(session, video_id=video_id, parameters=Parameters())
        claim = leases.claim(
            session, analysis_id=analysis.id, now=moment, lease=lease, max_attempts=1
        )
        assert claim is not None  # noqa: S101 - it was added above
        if events is None:
            leases.fail(session, claim=claim, now=moment, reason="it is no film")
        else:
            leases.complete(session, claim=claim, now=moment, findings=findings(events=events))
    return video_id


def findings(*, events: int = 0, **result: Any) -> Findings:
    """Return findings with the given number of events, one per second."""
    return Findings(
        result=result,
        timeline={"bucket": 0.5, "scores": [0.0, 0.1]},
        events=[
            {
                "position": position,
                "start_time": float(position),
                "end_time": position + 0.5,
                "peak_time": position + 0.25,
                "peak_score": (position + 1) / 10,
                "boxes": [{"time": 0.25, "x": 0.1, "y": 0.1, "width": 0.2, "height": 0.2}],
            }
            for position in range(events)
        ],
    )

"""The whole look at one file: probe, read frames, measure motion."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from app.video.errors import TimeLimitError, UnreadableVideoError
from app.video.motion import FrameDifference, MotionSummary
from app.video.options import Tools
from app.video.probe import Probe, probe
from app.video.source import FrameSource

SAMPLE_RATE = Fraction(5)
SAMPLE_WIDTH = 320
# How much of the announced duration may be missing before the file counts as truncated. Containers
# round, and sound often outlasts the picture a little.
MISSING_SHARE = Fraction(1, 10)
MISSING_SECONDS = Fraction(1)


@dataclass(frozen=True)
class Report:
    """What is known of a video after looking at all of it."""

    probe: Probe
    frames_decoded: int
    motion: MotionSummary


def analyse(
    path: Path, *, ffprobe: str, time_limit: float, checkpoint: Callable[[], None]
) -> Report:
    """Look at `path` for at most `time_limit` seconds.

    `checkpoint` is called between frames and may raise to stop early; that passes through. Raises a
    VideoError otherwise: what is wrong with the file, TimeLimitError, or ToolError.
    """
    deadline = time.monotonic() + time_limit

    def check() -> None:
        checkpoint()
        if time.monotonic() > deadline:
            raise TimeLimitError(f"the analysis took longer than the {time_limit:g} s allowed")

    check()
    facts = probe(path, tools=Tools(ffprobe=ffprobe))
    source = FrameSource(
        path, probe=facts, sample_rate=SAMPLE_RATE, width=SAMPLE_WIDTH, checkpoint=check
    )
    detector = FrameDifference()
    for frame in source:
        detector.process_frame(frame.time, frame.image)
    _refuse_truncated(facts, end=source.end)
    return Report(probe=facts, frames_decoded=source.frames_decoded, motion=detector.finish())


def _refuse_truncated(facts: Probe, *, end: Fraction) -> None:
    if facts.picture_duration is None:
        return
    last_frame = 1 / facts.frame_rate if facts.frame_rate else Fraction(0)
    missing = facts.picture_duration - end - last_frame
    if missing > max(MISSING_SECONDS, facts.picture_duration * MISSING_SHARE):
        raise UnreadableVideoError(
            f"the picture ends at {float(end):.1f} s, "
            f"{float(facts.picture_duration):.1f} s are announced; the file is truncated or damaged"
        )

"""The whole look at one file: probe, decode, detect, sum up."""

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from app.video.errors import TimeLimitError, UnreadableVideoError, VideoTooBigError
from app.video.events import EventBuilder
from app.video.findings import Analysis
from app.video.options import DEFAULT_LIMITS, Limits, Parameters, Tools
from app.video.probe import Probe, probe
from app.video.timeline import TimelineBuilder

if TYPE_CHECKING:
    from app.video.decode import FrameSource

# How much of what is announced may be missing before the file counts as truncated. Containers
# round, and sound often outlasts the picture a little.
MISSING_SHARE = Fraction(1, 10)
MISSING_SECONDS = Fraction(1)
_PROGRESS_STEP = 0.01
_FALLBACK_INTERVAL = Fraction(1, 25)


def analyse(
    path: Path,
    *,
    tools: Tools,
    parameters: Parameters,
    limits: Limits = DEFAULT_LIMITS,
    progress: Callable[[float], None],
    checkpoint: Callable[[], None],
) -> Analysis:
    """Find out when and where something moves in the video `path`.

    `progress` is told the share done (0 to 1, rising, at most about a hundred times). `checkpoint`
    is called at least ten times a second and may raise to stop: that passes through, and ffmpeg is
    gone by then. Raises a VideoError
    otherwise: what is wrong with the file, TimeLimitError, or ToolError.
    """
    # OpenCV and numpy take 0.2 s and 60 MB: only who analyses pays.
    from app.video.decode import FrameSource
    from app.video.detector import MotionDetector

    deadline = time.monotonic() + limits.wall_time

    def check() -> None:
        checkpoint()
        if time.monotonic() > deadline:
            raise TimeLimitError(
                f"the analysis took longer than the {limits.wall_time:g} s allowed"
            )

    check()
    facts = probe(path, tools=tools, limits=limits, checkpoint=check)
    detector = MotionDetector(parameters)
    events = EventBuilder(minimum_duration=parameters.minimum_duration)
    timeline = TimelineBuilder()
    report = _Progress(facts.duration, progress)
    analysed = 0
    with FrameSource(
        path,
        tools=tools,
        probe=facts,
        rate=parameters.frame_rate,
        region=parameters.region,
        limits=limits,
        check=check,
    ) as source:
        for frame in source:
            _refuse_too_long(frame.time, limits=limits)
            motion = detector.process_frame(frame.time, frame.image)
            events.add(motion)
            timeline.add(motion.time, motion.score)
            analysed += 1
            report.at(frame.time, source=source)
    _refuse_truncated(facts, source=source, rate=parameters.frame_rate)
    duration = _duration(facts, end=source.end)
    progress(1.0)
    return Analysis(
        probe=facts,
        events=events.finish(end=duration),
        timeline=timeline.finish(),
        frames_decoded=source.frames_decoded,
        frames_analysed=analysed,
        duration=duration,
    )


class _Progress:
    """Passes progress on when it has become a hundredth more."""

    def __init__(self, duration: Fraction | None, tell: Callable[[float], None]) -> None:
        self._duration = duration
        self._tell = tell
        self._told = 0.0

    def at(self, time: Fraction, *, source: "FrameSource") -> None:
        # A recording that was not closed does not say how long it is, but the file has a length.
        share = float(time / self._duration) if self._duration else source.share_read()
        share = min(share, 1 - _PROGRESS_STEP)  # the rest is told when all is summed up
        if share >= self._told + _PROGRESS_STEP:
            self._told = share
            self._tell(share)


def _duration(facts: Probe, *, end: Fraction) -> Fraction:
    """Return when the last picture ends: `end` is when the last one looked at begins."""
    last = 1 / facts.frame_rate if facts.frame_rate else _FALLBACK_INTERVAL
    return max(end + last, facts.picture_duration or Fraction(0))


def _refuse_too_long(time: Fraction, *, limits: Limits) -> None:
    if time > limits.duration:
        raise VideoTooBigError(
            f"the video goes on after {float(limits.duration):.0f} s, which is the limit"
        )


def _refuse_truncated(facts: Probe, *, source: "FrameSource", rate: Fraction) -> None:
    if facts.frames is not None and source.frames_decoded >= facts.frames * (1 - MISSING_SHARE):
        return  # all pictures are there, and the last one may be shown for long
    if facts.picture_duration is None:
        return
    missing = facts.picture_duration - source.end - 1 / rate
    if missing > max(MISSING_SECONDS, facts.picture_duration * MISSING_SHARE):
        raise UnreadableVideoError(
            f"the picture ends at {float(source.end):.1f} s, "
            f"{float(facts.picture_duration):.1f} s are announced; the file is truncated or damaged"
        )

"""Analyse one file: probe, decode, detect, summarise."""

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

# How much of the announced duration may be missing before the file counts as truncated. Containers
# round, and audio often lasts slightly longer than video.
MAX_MISSING_SHARE = Fraction(1, 10)
MAX_MISSING_SECONDS = Fraction(1)
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
    """Detect when and where something moves in the video `path`.

    `progress` is called with the fraction done (0 to 1, increasing, about a hundred times at most).
    `checkpoint` is called at least ten times a second and may raise to abort: the exception
    propagates after ffmpeg has been stopped. Raise a VideoError that says what is wrong with the
    file, TimeLimitError, or ToolError.
    """
    # OpenCV and numpy cost 0.2 s and 60 MB, so only an analysis loads them.
    from app.video.decode import FrameSource
    from app.video.detector import MotionDetector

    deadline = time.monotonic() + limits.wall_time

    def check() -> None:
        checkpoint()
        if time.monotonic() > deadline:
            raise TimeLimitError(f"the analysis exceeded the limit of {limits.wall_time:g} s")

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
            _check_length(frame.time, limits=limits)
            motion = detector.process_frame(frame.time, frame.image)
            events.add(motion)
            timeline.add(motion.time, motion.score)
            analysed += 1
            report.update(frame.time, source=source)
    _check_complete(facts, source=source, rate=parameters.frame_rate)
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
    """Report progress in steps of one percent."""

    def __init__(self, duration: Fraction | None, callback: Callable[[float], None]) -> None:
        self._duration = duration
        self._callback = callback
        self._reported = 0.0

    def update(self, time: Fraction, *, source: "FrameSource") -> None:
        # An unfinished recording has no duration, but its file has a size.
        share = float(time / self._duration) if self._duration else source.share_read()
        share = min(share, 1 - _PROGRESS_STEP)  # `analyse` reports 1 itself, at the very end
        if share >= self._reported + _PROGRESS_STEP:
            self._reported = share
            self._callback(share)


def _duration(facts: Probe, *, end: Fraction) -> Fraction:
    """Return when the last frame ends; `end` is when the last analysed frame starts."""
    last = 1 / facts.frame_rate if facts.frame_rate else _FALLBACK_INTERVAL
    return max(end + last, facts.video_duration or Fraction(0))


def _check_length(time: Fraction, *, limits: Limits) -> None:
    if time > limits.duration:
        raise VideoTooBigError(f"the video exceeds the limit of {float(limits.duration):.0f} s")


def _check_complete(facts: Probe, *, source: "FrameSource", rate: Fraction) -> None:
    if facts.frames is not None and source.frames_decoded >= facts.frames * (1 - MAX_MISSING_SHARE):
        return  # all frames are there; the last one may be displayed for long
    if facts.video_duration is None:
        return
    missing = facts.video_duration - source.end - 1 / rate
    if missing > max(MAX_MISSING_SECONDS, facts.video_duration * MAX_MISSING_SHARE):
        raise UnreadableVideoError(
            f"the video ends at {float(source.end):.1f} s, but its duration is "
            f"{float(facts.video_duration):.1f} s; the file is truncated or damaged"
        )

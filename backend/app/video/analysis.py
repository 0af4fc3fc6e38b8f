"""Analyse one file: probe, decode, detect, summarise."""

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from app.video.errors import TimeLimitError, VideoTooBigError
from app.video.findings import Analysis, Event
from app.video.options import DEFAULT_LIMITS, WHOLE_FRAME, Limits, Parameters, Tools
from app.video.probe import Probe, last_packet, probe
from app.video.timeline import TimelineBuilder

if TYPE_CHECKING:
    from app.video.decode import ColourImage, FrameSource

# Called with a number (of an event; None is the video itself), a width and a JPEG.
PictureSink = Callable[[int | None, int, bytes], None]
# Width of events' pictures, and the widths of the video's own.
EVENT_WIDTH, VIDEO_WIDTHS = 320, (160, 320)
# The video's picture shows this moment at the latest (seconds).
_FIRST_PICTURE = Fraction(1)
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
    facts: Probe | None = None,
    pictures: PictureSink | None = None,
) -> Analysis:
    """Detect when and where something moves in the video `path`.

    `progress` is called with the fraction done (0 to 1, increasing, about a hundred times at most).
    `checkpoint` is called at least ten times a second and may raise to abort: the exception
    propagates after ffmpeg has been stopped. `facts` saves a call of `probe`. `pictures` receives a
    picture of the video and of each event as soon as they are known. Raise a VideoError that says
    what is wrong with the file, TimeLimitError, or ToolError; a file of which a part is missing or
    damaged has results and a warning.
    """
    # OpenCV and numpy cost 0.2 s and 60 MB, so only an analysis loads them.
    from app.video.decode import FrameSource
    from app.video.detector import MotionDetector
    from app.video.events import EventBuilder

    deadline = time.monotonic() + limits.wall_time

    def check() -> None:
        checkpoint()
        if time.monotonic() > deadline:
            raise TimeLimitError(f"the analysis exceeded the limit of {limits.wall_time:g} s")

    check()
    facts = facts or probe(path, tools=tools, limits=limits, checkpoint=check)
    detector = MotionDetector(parameters)
    album = _Album(pictures, first=min(_FIRST_PICTURE, (facts.duration or Fraction(0)) / 10))
    events = EventBuilder(minimum_duration=parameters.minimum_duration, on_event=album.add_event)
    timeline = TimelineBuilder()
    report = _Progress(facts.duration, progress)
    analysed = 0
    bounds = parameters.bounds
    with FrameSource(
        path,
        tools=tools,
        probe=facts,
        rate=parameters.frame_rate,
        region=None if bounds == WHOLE_FRAME else bounds,
        limits=limits,
        check=check,
        picture_width=0 if pictures is None else EVENT_WIDTH,
    ) as source:
        for frame in source:
            _check_length(frame.time, limits=limits)
            motion = detector.process_frame(frame.time, frame.image)
            album.add_frame(frame.time, frame.picture)
            events.add(motion, picture=frame.picture)
            timeline.add(motion.time, motion.score)
            analysed += 1
            report.update(frame.time, source=source)
    warning = _incomplete(
        path, facts, source=source, rate=parameters.frame_rate, tools=tools, check=check
    )
    duration = _duration(facts, end=source.end, truncated=warning is not None)
    if warning is None and source.damages:
        warning = (
            f"the file is damaged in places ({source.damages} decoding errors); motion there may "
            "be missing or wrong"
        )
    found = events.finish(end=duration)
    album.finish()
    progress(1.0)
    return Analysis(
        probe=facts,
        events=found,
        timeline=timeline.finish(),
        frames_decoded=source.frames_decoded,
        frames_analysed=analysed,
        duration=duration,
        warning=warning,
        log=source.log if warning is not None else None,
    )


class _Album:
    """Encode pictures while the frames are at hand, and hand them over."""

    def __init__(self, sink: PictureSink | None, *, first: Fraction) -> None:
        self._sink = sink
        self._first = first
        self._candidate: ColourImage | None = None

    def add_frame(self, time: Fraction, picture: "ColourImage | None") -> None:
        """Take the latest frame that is not later than the video's picture should be."""
        if self._sink is None or picture is None or self._first < 0:
            return
        if self._candidate is None or time <= self._first:
            self._candidate = picture
        if time >= self._first:
            self.finish()

    def finish(self) -> None:
        """Hand over the video's picture, unless that has happened."""
        if self._sink is None or self._candidate is None:
            return
        from app.video.pictures import to_jpeg

        for width in VIDEO_WIDTHS:
            self._sink(None, width, to_jpeg(self._candidate, width=width))
        self._candidate, self._first = None, Fraction(-1)

    def add_event(self, position: int, event: Event, picture: "ColourImage | None") -> None:
        """Hand over the picture of an event."""
        if self._sink is None or picture is None:
            return
        from app.video.pictures import to_jpeg

        jpeg = to_jpeg(picture, width=EVENT_WIDTH, box=event.peak_box)
        self._sink(position, EVENT_WIDTH, jpeg)


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


def _duration(facts: Probe, *, end: Fraction, truncated: bool) -> Fraction:
    """Return when the last frame ends; `end` is when the last analysed frame starts."""
    last = 1 / facts.frame_rate if facts.frame_rate else _FALLBACK_INTERVAL
    announced = Fraction(0) if truncated else facts.video_duration or Fraction(0)
    return max(end + last, announced)


def _check_length(time: Fraction, *, limits: Limits) -> None:
    if time > limits.duration:
        raise VideoTooBigError(f"the video exceeds the limit of {float(limits.duration):.0f} s")


def _incomplete(
    path: Path,
    facts: Probe,
    *,
    source: "FrameSource",
    rate: Fraction,
    tools: Tools,
    check: Callable[[], None],
) -> str | None:
    """Return a sentence if the file ends before it should, or None."""
    if facts.frames is not None and source.frames_decoded >= facts.frames * (1 - MAX_MISSING_SHARE):
        return None  # all frames are there; the last one may be displayed for long
    announced = facts.video_duration or facts.duration
    if announced is None:
        return None

    def is_missing(end: Fraction) -> bool:
        missing = announced - end - 1 / rate
        return missing > max(MAX_MISSING_SECONDS, announced * MAX_MISSING_SHARE)

    if not is_missing(source.end):
        return None
    if facts.video_duration is None:
        # Only the duration of the whole file is known: sound may last longer than the picture.
        end = last_packet(path, facts=facts, tools=tools, after=source.end, checkpoint=check)
        if not is_missing(end):
            return None
    return (
        f"the video ends at {float(source.end):.1f} s, but its duration is "
        f"{float(announced):.1f} s; the file is truncated or damaged"
    )

"""Combine motion in single frames into events, with hysteresis in time.

An event starts with a frame with certain motion, or with the frames of uncertain motion directly
before it. It continues through uncertain motion and ends after a pause. What happens between two
frames is unknown, so an event starts and ends halfway between a frame with motion and one without.
"""

import statistics
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from app.video.findings import Box, Event

# Motion that pauses for no longer than this is one event.
PAUSE = Fraction(1)
# Motion in two neighbouring frames is one event unless they are this many times further apart than
# frames usually are: in a time lapse, seconds without a frame are no pause.
_GAP = 3
_DISTANCES = 25
MAX_BOXES = 120  # per event
MANY_EVENTS = 2000  # per video; further events keep only the boxes of their peak


@dataclass(frozen=True)
class Motion:
    """The motion in one frame."""

    time: Fraction
    score: float
    """Share (0 to 1) of the region that moves, including uncertain motion."""
    sure: bool
    """Whether some of it is distinct enough to start an event."""
    boxes: tuple[Box, ...] = ()


@dataclass
class _Open:
    """An event that may still continue."""

    start: Fraction
    last: Motion
    peak: Motion
    sure: int = 0
    """Number of frames with certain motion."""
    after: Fraction | None = None
    """Time of the first frame without motion since `last`."""
    kept: list[Motion] = field(default_factory=list)
    stride: int = 1
    seen: int = 0
    picture: Any = None
    """The picture of the peak."""

    def keep(self, motion: Motion) -> None:
        """Keep every `stride`-th moment; double the stride when there are too many boxes."""
        if self.seen % self.stride == 0:
            self.kept.append(motion)
        self.seen += 1
        while sum(len(moment.boxes) for moment in self.kept) > MAX_BOXES and len(self.kept) > 1:
            self.kept = self.kept[::2]
            self.stride *= 2


class EventBuilder:
    """Builds events from `Motion` in chronological order.

    `on_event(position, event, picture)` is called for each event as soon as it has ended, with the
    picture of its peak.
    """

    def __init__(
        self,
        *,
        minimum_duration: Fraction,
        on_event: Callable[[int, Event, Any], None] | None = None,
    ) -> None:
        self._minimum = minimum_duration
        self._on_event = on_event
        self._events: list[Event] = []
        self._open: _Open | None = None
        self._previous: Fraction | None = None
        self._distances: deque[Fraction] = deque(maxlen=_DISTANCES)

    def add(self, motion: Motion, *, picture: Any = None) -> None:
        """Add the motion of the next frame."""
        moves = motion.sure or motion.score > 0
        if self._open is not None and self._has_ended(motion, moves=moves):
            if self._open.after is None and not moves:
                self._open.after = motion.time
            self._close()
        # Only certain motion continues an event across a pause; occasional uncertain motion is
        # noise.
        paused = self._open is not None and self._open.after is not None
        if motion.sure or (motion.score > 0 and not paused):
            self._extend(motion, picture=picture)
        elif self._open is not None:
            if not self._open.sure:
                self._open = None
            elif not paused:
                self._open.after = motion.time
        if self._previous is not None:
            self._distances.append(motion.time - self._previous)
        self._previous = motion.time

    def _has_ended(self, motion: Motion, *, moves: bool) -> bool:
        """Return whether the open event has ended before this frame."""
        assert self._open is not None  # noqa: S101 - the caller's condition
        elapsed = motion.time - self._open.last.time
        if moves and self._open.after is None:
            # Neighbours: nobody looked in between.
            usual = statistics.median(self._distances) if self._distances else elapsed
            return elapsed > max(PAUSE, _GAP * usual)
        return elapsed > PAUSE

    def _extend(self, motion: Motion, *, picture: Any) -> None:
        if self._open is None:
            before = motion.time if self._previous is None else self._previous
            self._open = _Open(
                start=(before + motion.time) / 2, last=motion, peak=motion, picture=picture
            )
        event = self._open
        event.last, event.after = motion, None
        event.sure += motion.sure
        if motion.score > event.peak.score:
            event.peak, event.picture = motion, picture
        event.keep(motion)

    def _close(self, *, end: Fraction | None = None) -> None:
        event, self._open = self._open, None
        if event is None or not event.sure:
            return
        after = event.after if event.after is not None else end
        finish = event.last.time if after is None else (event.last.time + after) / 2
        if finish - event.start < self._minimum:
            return
        found = Event(
            start=event.start,
            end=finish,
            peak_time=event.peak.time,
            peak_score=event.peak.score,
            boxes=tuple(self._boxes(event)),
        )
        self._events.append(found)
        if self._on_event is not None:
            self._on_event(len(self._events) - 1, found, event.picture)

    def _boxes(self, event: _Open) -> Iterator[Box]:
        moments = [event.peak] if len(self._events) >= MANY_EVENTS else event.kept
        if event.peak not in moments:
            moments = sorted([*moments, event.peak], key=lambda moment: moment.time)
        for moment in moments:
            yield from moment.boxes

    def finish(self, *, end: Fraction) -> tuple[Event, ...]:
        """Return all events of a video that ends at `end` (seconds)."""
        self._close(end=end)
        return tuple(self._events)

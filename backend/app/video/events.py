"""Turns what moves in single pictures into events, with hysteresis in time.

An event begins with a picture in which something surely moves, or with the doubtful ones directly
before it; it lives on through doubtful ones and ends after a pause. Between two pictures nobody
looked, so an event begins and ends half way between a picture with motion and one without.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from app.video.findings import Box, Event

# Motion that pauses for no longer than this is one event.
PAUSE = Fraction(1)
MOST_BOXES = 120  # of one event
MANY_EVENTS = 2000  # of one video; after that only the peak's boxes are kept


@dataclass(frozen=True)
class Motion:
    """What moves in one picture."""

    time: Fraction
    score: float
    """Share (0 to 1) of the region that moves, surely or perhaps."""
    sure: bool
    """Whether some of it stands out enough to begin an event."""
    boxes: tuple[Box, ...] = ()


@dataclass
class _Open:
    """An event that may still go on."""

    start: Fraction
    last: Motion
    peak: Motion
    sure: int = 0
    """Pictures with sure motion."""
    after: Fraction | None = None
    """Time of the first picture without motion since `last`."""
    kept: list[Motion] = field(default_factory=list)
    stride: int = 1
    seen: int = 0

    def keep(self, motion: Motion) -> None:
        """Keep every `stride`-th moment, and fewer whenever the boxes become too many."""
        if self.seen % self.stride == 0:
            self.kept.append(motion)
        self.seen += 1
        while sum(len(moment.boxes) for moment in self.kept) > MOST_BOXES and len(self.kept) > 1:
            self.kept = self.kept[::2]
            self.stride *= 2


class EventBuilder:
    """Takes `Motion` in the order of time."""

    def __init__(self, *, minimum_duration: Fraction) -> None:
        self._minimum = minimum_duration
        self._events: list[Event] = []
        self._open: _Open | None = None
        self._previous: Fraction | None = None

    def add(self, motion: Motion) -> None:
        """Take in the next picture."""
        if self._open is not None and motion.time - self._open.last.time > PAUSE:
            self._close()
        # Across a pause only sure motion leads on: what is doubtful now and then is noise.
        paused = self._open is not None and self._open.after is not None
        if motion.sure or (motion.score > 0 and not paused):
            self._go_on(motion)
        elif self._open is not None:
            if not self._open.sure:
                self._open = None
            elif not paused:
                self._open.after = motion.time
        self._previous = motion.time

    def _go_on(self, motion: Motion) -> None:
        if self._open is None:
            before = motion.time if self._previous is None else self._previous
            self._open = _Open(start=(before + motion.time) / 2, last=motion, peak=motion)
        event = self._open
        event.last, event.after = motion, None
        event.sure += motion.sure
        if motion.score > event.peak.score:
            event.peak = motion
        event.keep(motion)

    def _close(self, *, end: Fraction | None = None) -> None:
        event, self._open = self._open, None
        if event is None or not event.sure:
            return
        after = event.after if event.after is not None else end
        finish = event.last.time if after is None else (event.last.time + after) / 2
        if finish - event.start < self._minimum:
            return
        self._events.append(
            Event(
                start=event.start,
                end=finish,
                peak_time=event.peak.time,
                peak_score=event.peak.score,
                boxes=tuple(self._boxes(event)),
            )
        )

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

"""Summarise scores in a bounded number of time buckets of equal length."""

from fractions import Fraction

from app.video.findings import Timeline

MAX_BUCKETS = 1200
FIRST_BUCKET = Fraction(1, 2)


class TimelineBuilder:
    """Collects scores in chronological order; halves the resolution when there are too many."""

    def __init__(self) -> None:
        self._bucket = FIRST_BUCKET
        self._scores: list[float] = []

    def add(self, time: Fraction, score: float) -> None:
        """Record `score` for the time since the previous call, up to `time`."""
        index = int(time / self._bucket)
        while index >= MAX_BUCKETS:
            self._halve()
            index = int(time / self._bucket)
        if index < len(self._scores):
            self._scores[index] = max(self._scores[index], score)
        else:
            self._scores += [score] * (index + 1 - len(self._scores))

    def _halve(self) -> None:
        pairs = zip(self._scores[::2], [*self._scores[1::2], 0.0], strict=False)
        self._scores = [max(pair) for pair in pairs]
        self._bucket *= 2

    def finish(self) -> Timeline:
        """Return the timeline."""
        return Timeline(self._bucket, tuple(self._scores))

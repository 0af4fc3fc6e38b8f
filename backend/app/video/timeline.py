"""Sums scores up into a bounded number of equal stretches of time."""

from fractions import Fraction

from app.video.findings import Timeline

MOST_BUCKETS = 1200
FIRST_BUCKET = Fraction(1, 2)


class TimelineBuilder:
    """Takes scores in the order of time; halves the resolution whenever there is too much."""

    def __init__(self) -> None:
        self._bucket = FIRST_BUCKET
        self._scores: list[float] = []

    def add(self, time: Fraction, score: float) -> None:
        """Note that `score` holds at `time`, and since the time before."""
        index = int(time / self._bucket)
        while index >= MOST_BUCKETS:
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
        """Return what was noted."""
        return Timeline(self._bucket, tuple(self._scores))

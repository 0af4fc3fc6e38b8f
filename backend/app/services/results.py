"""The stored form of an analysis's results: JSON, times in seconds, rates as exact fractions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fractions import Fraction

    from app.video import Analysis, Event

DIGITS = 6


@dataclass(frozen=True)
class Findings:
    """The stored results of one analysis."""

    result: dict[str, Any]
    timeline: dict[str, Any]
    events: list[dict[str, Any]]
    """Column values of each event row."""
    warning: str | None = None
    detail: str | None = None
    has_preview: bool = False
    """Whether this run has stored a preview of the video."""


def to_findings(analysis: Analysis, *, has_preview: bool = False) -> Findings:
    """Convert the result of the video library to its stored form."""
    facts = analysis.probe
    display_width, display_height = facts.display_size
    return Findings(
        result={
            "container": facts.container,
            "codec": facts.codec,
            "width": facts.width,
            "height": facts.height,
            "display_width": display_width,
            "display_height": display_height,
            "rotation": facts.rotation,
            "duration": _seconds(analysis.duration),
            "frame_rate": None if facts.frame_rate is None else str(facts.frame_rate),
            "has_audio": facts.has_audio,
            "frames_decoded": analysis.frames_decoded,
            "frames_analysed": analysis.frames_analysed,
        },
        timeline={
            "bucket": _seconds(analysis.timeline.bucket),
            "scores": [round(score, DIGITS) for score in analysis.timeline.scores],
        },
        events=[_event(event, position) for position, event in enumerate(analysis.events)],
        warning=analysis.warning,
        detail=analysis.log,
        has_preview=has_preview,
    )


def _event(event: Event, position: int) -> dict[str, Any]:
    return {
        "position": position,
        "start_time": _seconds(event.start),
        "end_time": _seconds(event.end),
        "peak_time": _seconds(event.peak_time),
        "peak_score": round(event.peak_score, DIGITS),
        "boxes": [
            {
                "time": _seconds(box.time),
                "x": round(box.x, DIGITS),
                "y": round(box.y, DIGITS),
                "width": round(box.width, DIGITS),
                "height": round(box.height, DIGITS),
            }
            for box in event.boxes
        ],
    }


def _seconds(value: Fraction) -> float:
    return round(float(value), DIGITS)

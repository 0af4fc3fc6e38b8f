"""The stored form of an analysis result: JSON, with exact values where floats would lie."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.video.analyse import Report

SCORE_DIGITS = 6


def to_json(report: Report) -> dict[str, Any]:
    """Turn a report into what is stored and served. Times are seconds, rates exact fractions."""
    facts, motion = report.probe, report.motion
    return {
        "container": facts.container,
        "codec": facts.codec,
        "width": facts.width,
        "height": facts.height,
        "rotation": facts.rotation,
        "duration": _seconds(facts.duration),
        "frame_rate": None if facts.frame_rate is None else str(facts.frame_rate),
        "has_audio": facts.has_audio,
        "frames_decoded": report.frames_decoded,
        "frames_sampled": motion.frames_sampled,
        "mean_brightness": round(motion.mean_brightness, 2),
        "motion": [
            {"second": item.second, "score": round(item.score, SCORE_DIGITS)}
            for item in motion.seconds
        ],
    }


def _seconds(value: Fraction | None) -> float | None:
    return None if value is None else round(float(value), SCORE_DIGITS)

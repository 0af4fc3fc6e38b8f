"""The stored form of an analysis's parameters: JSON, with exact fractions as text."""

from fractions import Fraction
from typing import Any

from app.video import Parameters, Region


def to_json(parameters: Parameters) -> dict[str, Any]:
    """Return the stored form. Equal parameters give equal documents."""
    region = parameters.region
    return {
        "sensitivity": parameters.sensitivity,
        "minimum_duration": str(parameters.minimum_duration),
        "frame_rate": str(parameters.frame_rate),
        "region": None
        if region is None
        else {"x": region.x, "y": region.y, "width": region.width, "height": region.height},
    }


def from_json(stored: dict[str, Any] | None) -> Parameters:
    """Return the parameters from their stored form; None, from old rows, means the defaults."""
    if stored is None:
        return Parameters()
    region = stored["region"]
    return Parameters(
        sensitivity=stored["sensitivity"],
        minimum_duration=Fraction(stored["minimum_duration"]),
        frame_rate=Fraction(stored["frame_rate"]),
        region=None if region is None else Region(**region),
    )

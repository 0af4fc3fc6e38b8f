"""The stored form of an analysis's parameters: JSON, with exact fractions as text."""

from fractions import Fraction
from typing import Any

from app.video import Area, Parameters, Polygon, Region


def to_json(parameters: Parameters) -> dict[str, Any]:
    """Return the stored form. Equal parameters give equal documents."""
    return {
        "sensitivity": parameters.sensitivity,
        "minimum_duration": str(parameters.minimum_duration),
        "frame_rate": str(parameters.frame_rate),
        "zones": [_area_to_json(zone) for zone in parameters.zones],
        "masks": [_area_to_json(mask) for mask in parameters.masks],
    }


def from_json(stored: dict[str, Any] | None) -> Parameters:
    """Return the parameters from their stored form; None, from old rows, means the defaults."""
    if stored is None:
        return Parameters()
    # Older versions knew a single rectangle.
    region = stored.get("region")
    zones = stored.get("zones", [] if region is None else [region])
    return Parameters(
        sensitivity=stored["sensitivity"],
        minimum_duration=Fraction(stored["minimum_duration"]),
        frame_rate=Fraction(stored["frame_rate"]),
        zones=tuple(_area(zone) for zone in zones),
        masks=tuple(_area(mask) for mask in stored.get("masks", [])),
    )


def _area_to_json(area: Area) -> dict[str, Any]:
    if isinstance(area, Polygon):
        return {"points": [list(point) for point in area.points]}
    return {"x": area.x, "y": area.y, "width": area.width, "height": area.height}


def _area(stored: dict[str, Any]) -> Area:
    if "points" in stored:
        return Polygon(tuple((x, y) for x, y in stored["points"]))
    return Region(**stored)

"""The stored form of what ffprobe found: JSON, with exact fractions as text.

A file is probed once, when it is stored. Analyses, thumbnails and clips use the stored facts, so
that all of them share one clock.
"""

from __future__ import annotations

import uuid
from dataclasses import fields
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from app.models import Video
from app.video import Probe
from app.video.clock import Entry, Index, Stretch

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

VERSION = 1
_FRACTIONS = ("frame_rate", "duration", "video_duration", "time_base", "start", "pixel_aspect")


def to_json(facts: Probe) -> dict[str, Any]:
    """Return the stored form."""
    stored: dict[str, Any] = {"version": VERSION}
    for field in fields(facts):
        value = getattr(facts, field.name)
        stored[field.name] = str(value) if isinstance(value, Fraction) else value
    stored["recorded_at"] = None if facts.recorded_at is None else facts.recorded_at.isoformat()
    if facts.map is not None:
        stored["map"] = {
            "tick": str(facts.map.tick),
            "end": facts.map.end,
            "frames": facts.map.frames,
            "counted": facts.map.counted,
            "prefix": facts.map.prefix,
            "stretches": [[each.first, each.last, each.time, each.position]
                          for each in facts.map.stretches],
            "entries": [[each.time, each.position, each.stretch] for each in facts.map.entries],
        }  # fmt: skip
    return stored


def from_json(stored: dict[str, Any] | None) -> Probe | None:
    """Return the facts, or None for a row of an older version."""
    if stored is None or stored.get("version") != VERSION:
        return None
    values = {field.name: stored[field.name] for field in fields(Probe)}
    for name in _FRACTIONS:
        values[name] = None if values[name] is None else Fraction(values[name])
    if values["recorded_at"] is not None:
        values["recorded_at"] = datetime.fromisoformat(values["recorded_at"])
    if values["map"] is not None:
        found = values["map"]
        values["map"] = Index(
            tick=Fraction(found["tick"]),
            stretches=tuple(Stretch(*each) for each in found["stretches"]),
            entries=tuple(Entry(*each) for each in found["entries"]),
            end=found["end"],
            frames=found["frames"],
            counted=found["counted"],
            prefix=found["prefix"],
        )
    return Probe(**values)


def columns(facts: Probe) -> dict[str, Any]:
    """Return the column values of a video's row."""
    width, height = facts.display_size
    return {
        "container": facts.container,
        "codec": facts.codec,
        "width": facts.width,
        "height": facts.height,
        "display_width": width,
        "display_height": height,
        "rotation": facts.rotation,
        "duration": None if facts.duration is None else float(facts.duration),
        "frame_rate": None if facts.frame_rate is None else str(facts.frame_rate),
        "has_audio": facts.has_audio,
        "playable": facts.playable,
        "recorded_at": facts.recorded_at,
        "facts": to_json(facts),
    }


def load(session: Session, *, video_id: uuid.UUID) -> Probe | None:
    """Return the stored facts of a video, or None if it has none or does not exist."""
    return from_json(session.scalar(select(Video.facts).where(Video.id == video_id)))


def store(session: Session, *, video_id: uuid.UUID, facts: Probe) -> None:
    """Store the facts of a video whose row has none."""
    session.execute(
        update(Video)
        .where(Video.id == video_id)
        .values(**columns(facts))
        .execution_options(synchronize_session=False)
    )

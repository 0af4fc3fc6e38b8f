"""Samples of two ways to do the same → a table, JSON and a picture (SVG)."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _BAR_START, _BAR_WIDTH, _ROW_HEIGHT, _TOP = 860, 270, 330, 52, 58
_COLOURS = {"Dockerfile": "#8a94a6", "ours": "#2563eb"}


@dataclass(frozen=True)
class Samples:
    """Seconds of each run; `sent` is the bytes that go to a registry, where it matters."""

    seconds: tuple[float, ...]
    sent: int | None = None

    @property
    def median(self) -> float:
        """In seconds."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        spread = f"({min(self.seconds):.2f} to {max(self.seconds):.2f})"
        sent = "" if self.sent is None else f", {_size(self.sent)}"
        return f"{self.median:.2f} s {spread}{sent}"

    def to_json(self) -> dict[str, Any]:
        """Return what the JSON report has of it."""
        seconds = [round(each, 3) for each in self.seconds]
        return {"median": round(self.median, 3), "seconds": seconds, "bytes": self.sent}


@dataclass(frozen=True)
class Row:
    """One line of the table. The Dockerfile has no part in some."""

    name: str
    label: str
    ours: Samples
    dockerfile: Samples | None = None

    @property
    def ratio(self) -> float | None:
        """Our median as a share of the Dockerfile's."""
        return self.ours.median / self.dockerfile.median if self.dockerfile else None


def table(rows: Sequence[Row], machine: Sequence[str]) -> str:
    """Return the table as text, one line a row, with the machine below it."""
    head = ("", "Dockerfile", "ours", "ratio")
    cells = [head, *((row.label, *_texts(row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join([*lines, "", "Medians (smallest to largest).", *machine]) + "\n"


def to_json(rows: Sequence[Row], machine: Sequence[str]) -> str:
    """Return every sample, with the machine."""
    entries = {
        row.name: {
            "label": row.label,
            "dockerfile": row.dockerfile.to_json() if row.dockerfile else None,
            "ours": row.ours.to_json(),
            "ratio": None if row.ratio is None else round(row.ratio, 3),
        }
        for row in rows
    }
    return json.dumps({"machine": list(machine), "rows": entries}, indent=2) + "\n"


def picture(rows: Sequence[Row], machine: Sequence[str]) -> str:
    """Return an SVG: two bars a row, as long as the medians, whose longest fills the width."""
    height = _TOP + _ROW_HEIGHT * len(rows) + 18 * len(machine) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"',
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 24, "Ours and an ordinary Dockerfile, alternately in one run", weight="bold"),
    ]
    for position, (name, colour) in enumerate(_COLOURS.items()):
        left = _BAR_START + 110 * position
        parts.append(f'<rect x="{left}" y="34" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(left + 18, 45, name))
    for position, row in enumerate(rows):
        top = _TOP + position * _ROW_HEIGHT
        parts.append(_text(16, top + 25, row.label))
        longest = max(each.median for each in (row.ours, row.dockerfile) if each)
        for offset, (name, samples) in enumerate(
            (("Dockerfile", row.dockerfile), ("ours", row.ours))
        ):
            if samples is None:
                continue
            width = max(1.0, _BAR_WIDTH * samples.median / longest)
            y = top + 4 + 20 * offset
            parts.append(
                f'<rect x="{_BAR_START}" y="{y}" width="{width:.1f}" height="16" '
                f'fill="{_COLOURS[name]}"/>'
            )
            parts.append(_text(_BAR_START + width + 6, y + 13, str(samples)))
    bottom = _TOP + _ROW_HEIGHT * len(rows)
    parts += [
        _text(16, bottom + 18 * (1 + position), line, colour="#555555")
        for position, line in enumerate(machine)
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _texts(row: Row) -> tuple[str, str, str]:
    ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
    return str(row.dockerfile or "-"), str(row.ours), ratio


def _text(x: float, y: float, text: str, *, colour: str = "#111111", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y}" fill="{colour}" font-weight="{weight}">{escape(text)}</text>'


def _size(count: int) -> str:
    if count < 1_000_000:
        return f"{count / 1000:.1f} kB"
    return f"{count / 1_000_000:.1f} MB"

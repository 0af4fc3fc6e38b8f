"""How fast an analysis is, against nothing but decoding the same file on the same machine.

    tools/bazelw test //backend:analysis_benchmark --test_output=all

Takes turns, so that whatever else the machine does meets both alike, and prints frames per second
of the quickest turn of each; and, for a machine that is busy otherwise, how much processor time
both take. It never fails on time.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.analysis_quality_test import look
from tests.support import clips
from tests.support.films import film

TURNS = 5


@dataclass(frozen=True)
class Turn:
    """What one turn took, in seconds."""

    wall: float
    processor: float


def processor() -> float:
    """Return the processor time of this process and of all it has started and seen end."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, kinds))


def turn(work: Callable[[], object]) -> Turn:
    begin, used = time.perf_counter(), processor()
    work()
    return Turn(time.perf_counter() - begin, processor() - used)


def decode(path: Path) -> None:
    command = [clips.tools().ffmpeg, "-v", "error", "-nostdin", "-i", str(path),
               "-map", "0:v:0", "-f", "null", "-"]  # fmt: skip
    subprocess.run(command, check=True)


@pytest.mark.parametrize("size", ["1280x720", "1920x1080", "3840x2160"])
def test_speed(size: str, tmp_path: Path) -> None:
    # Five seconds of a real film, again and again.
    piece = clips.recoded(film("bigbuckbunny.mp4"), tmp_path / "piece.mp4", size=size)
    path = clips.repeated(piece, tmp_path / "film.mp4", times=4 if size == "3840x2160" else 10)
    frames = look(path).frames_decoded
    pairs = [(turn(lambda: decode(path)), turn(lambda: look(path))) for _ in range(TURNS)]
    bare, ours = (min(pair[side].wall for pair in pairs) for side in (0, 1))
    work = [min(pair[side].processor for pair in pairs) for side in (0, 1)]
    sys.stdout.write(
        f"\n{size}: {frames} frames; decoding alone {frames / bare:.0f} per second, analysis "
        f"{frames / ours:.0f} per second: {bare / ours:.2f} of it; by processor time "
        f"{work[0] / work[1]:.2f}\n"
    )
    assert frames > 500

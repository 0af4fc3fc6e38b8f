"""Speed of an analysis compared with only decoding the same file on the same machine.

    tools/bazelw test //backend/tests/benchmarks:analysis_benchmark --test_output=all

Runs alternate, so that other load affects both alike. Prints frames per second of the fastest run
of each and, for busy machines, the ratio of CPU times. It never fails because of slowness.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.analysis_quality_test import run_analysis
from tests.support import clips
from tests.support.films import film

RUNS = 5


@dataclass(frozen=True)
class Timing:
    """Times of one run in seconds."""

    wall: float
    cpu: float


def cpu_time() -> float:
    """Return the CPU time of this process and its finished children."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, kinds))


def measure(work: Callable[[], object]) -> Timing:
    begin, used = time.perf_counter(), cpu_time()
    work()
    return Timing(time.perf_counter() - begin, cpu_time() - used)


def decode(path: Path) -> None:
    command = [clips.tools().ffmpeg, "-v", "error", "-nostdin", "-i", str(path),
               "-map", "0:v:0", "-f", "null", "-"]  # fmt: skip
    subprocess.run(command, check=True)


@pytest.mark.parametrize("size", ["1280x720", "1920x1080", "3840x2160"])
def test_speed(size: str, tmp_path: Path) -> None:
    # Five seconds of a real film, repeated.
    piece = clips.reencoded(film("bigbuckbunny.mp4"), tmp_path / "piece.mp4", size=size)
    path = clips.repeated(piece, tmp_path / "film.mp4", times=4 if size == "3840x2160" else 10)
    frames = run_analysis(path).frames_decoded
    pairs = [
        (measure(lambda: decode(path)), measure(lambda: run_analysis(path))) for _ in range(RUNS)
    ]
    bare, ours = (min(pair[side].wall for pair in pairs) for side in (0, 1))
    work = [min(pair[side].cpu for pair in pairs) for side in (0, 1)]
    sys.stdout.write(
        f"\n{size}: {frames} frames; decoding only {frames / bare:.0f} fps, analysis "
        f"{frames / ours:.0f} fps, ratio {bare / ours:.2f}; ratio by CPU time "
        f"{work[0] / work[1]:.2f}\n"
    )
    assert frames > 500

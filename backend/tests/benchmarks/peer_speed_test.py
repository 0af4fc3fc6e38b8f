"""Speed and recall beside dvr-scan, on the same files in the same run.

    tools/bazelw test //backend/tests/benchmarks:peer_benchmark --test_output=all

Both run as programs that start, load their libraries and read the file. Runs alternate. CPU time is
the figure for busy machines. Fails only if the other program finds more. DVR_SCAN is where
`pip install --target` has put it.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.analysis_speed_test import RUNS, Timing, decode, measure
from tests.integration.analysis_quality_test import Verdict, compare
from tests.support import clips, scenes
from tests.support.films import film
from tests.support.servers import BACKEND, service_environment

SCENES = int(os.environ.get("PEER_SCENES", "12"))
REPEATED = int(os.environ.get("PEER_REPEATED", "4"))
_OURS = """
import json, sys
from pathlib import Path
from app.video import Parameters, Tools, analyse
found = analyse(Path(sys.argv[1]), tools=Tools(ffmpeg=sys.argv[2], ffprobe=sys.argv[3]),
                parameters=Parameters(), progress=lambda _: None, checkpoint=lambda: None)
print(json.dumps([[float(event.start), float(event.end)] for event in found.events]))
"""


def ours(path: Path) -> list[tuple[float, float]]:
    tools = clips.tools()
    command = [sys.executable, "-c", _OURS, str(path), tools.ffmpeg, tools.ffprobe]
    run = subprocess.run(
        command, env=service_environment(BACKEND), check=True, capture_output=True, text=True
    )
    return [(begin, end) for begin, end in json.loads(run.stdout)]


def theirs(path: Path) -> list[tuple[float, float]]:
    # Without padding, and with our pause of a second, because by default it joins events.
    command = [sys.executable, "-m", "dvr_scan", "-i", str(path), "-so", "-q",
               "-tb", "0s", "-tp", "1s"]  # fmt: skip
    # It has its bytecode, as ours does: the first run, which is not measured, writes it.
    environment = {
        "HOME": str(path.parent),
        "PYTHONPATH": os.environ["DVR_SCAN"],
        "PYTHONPYCACHEPREFIX": str(path.parent / "bytecode"),
    }
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    times = [_seconds(text) for text in run.stdout.replace("\n", ",").split(",") if ":" in text]
    return list(zip(times[::2], times[1::2], strict=True))


def _seconds(text: str) -> float:
    hours, minutes, seconds = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _recall(verdicts: list[Verdict]) -> tuple[float, float]:
    matched = sum(verdict.matched for verdict in verdicts)
    found = sum(verdict.found for verdict in verdicts)
    return matched / sum(len(verdict.scene.events()) for verdict in verdicts), matched / found


def test_finds_no_less_than_dvr_scan(tmp_path: Path) -> None:
    results: dict[str, list[Verdict]] = {"ours": [], "dvr-scan": []}
    for scene in scenes.SCENES[:: max(1, len(scenes.SCENES) // SCENES)]:
        path = scenes.encode(scene, tmp_path / "scene.mkv")
        results["ours"].append(compare(scene, ours(path)))
        results["dvr-scan"].append(compare(scene, theirs(path)))
    piece = clips.reencoded(film("bigbuckbunny.mp4"), tmp_path / "piece.mp4", size="1280x720")
    path = clips.repeated(piece, tmp_path / "film.mp4", times=REPEATED)
    times: dict[str, list[Timing]] = {"ours": [], "dvr-scan": [], "decoding only": []}
    for _ in range(RUNS):
        times["ours"].append(measure(lambda: ours(path)))
        times["dvr-scan"].append(measure(lambda: theirs(path)))
        times["decoding only"].append(measure(lambda: decode(path)))
    for name, runs in times.items():
        cpu, wall = (sorted(getattr(run, kind) for run in runs) for kind in ("cpu", "wall"))
        sys.stdout.write(
            f"\n{name}: CPU {statistics.median(cpu):.2f} s ({cpu[0]:.2f} to {cpu[-1]:.2f}), "
            f"elapsed {statistics.median(wall):.2f} s ({wall[0]:.2f} to {wall[-1]:.2f})"
        )
        if name in results:
            sys.stdout.write(
                "; recall {:.3f}, precision {:.3f} on ".format(*_recall(results[name]))
                + f"{len(results[name])} scenes"
            )
    sys.stdout.write("\n")
    assert _recall(results["ours"])[0] >= _recall(results["dvr-scan"])[0]

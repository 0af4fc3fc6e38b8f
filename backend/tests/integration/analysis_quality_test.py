"""Detection quality: on synthetic scenes with known ground truth, and on three real videos.

The tests assert minimum figures; the actual ones are printed, and listed in the README.
"""

import os
import random
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tests.support import clips, scenes
from tests.support.films import film
from tests.support.scenes import SCENES, Mover, Scene

from app.video import Analysis, Limits, Parameters, Region, analyse

# Largest acceptable error of 95 % of the boundaries, in seconds.
BOUNDARY_S = 0.5


@dataclass(frozen=True)
class Verdict:
    """How one scene's events compare with the ground truth."""

    scene: Scene
    found: int
    matched: int
    errors: tuple[float, ...]
    """Errors of the starts and ends of matched events, in seconds."""

    def __str__(self) -> str:
        worst = f"{max(self.errors):.2f} s off" if self.errors else "-"
        expected = len(self.scene.events())
        return f"{self.scene.name:30} {self.matched} of {expected}, {self.found} found, {worst}"


def run_analysis(path: Path, parameters: Parameters | None = None) -> Analysis:
    return analyse(
        path,
        tools=clips.tools(),
        parameters=parameters or Parameters(),
        limits=Limits(wall_time=300),
        progress=lambda _share: None,
        checkpoint=lambda: None,
    )


def compare(scene: Scene, found: Iterable[tuple[float, float]]) -> Verdict:
    """Match each true event with the detected one that overlaps it most, each at most once."""
    left = list(found)
    count, errors = len(left), list[float]()
    for begin, end in scene.events():
        overlaps = [(min(end, e) - max(begin, b), (b, e)) for b, e in left]
        overlap, best = max(overlaps, default=(0.0, (0.0, 0.0)))
        if overlap > 0:
            left.remove(best)
            errors += [abs(best[0] - begin), abs(best[1] - end)]
    return Verdict(scene, count, len(errors) // 2, tuple(errors))


def evaluate(scene: Scene, folder: Path) -> Verdict:
    path = folder / f"{scene.name}.mkv".replace(" ", "_")
    analysis = run_analysis(scenes.encode(scene, path))
    path.unlink()
    return compare(scene, [(float(e.start), float(e.end)) for e in analysis.events])


def evaluate_all(chosen: Iterable[Scene], folder: Path) -> list[Verdict]:
    # Rendering, encoding, decoding and detection all release the GIL.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(lambda scene: evaluate(scene, folder), chosen))


def summarise(verdicts: list[Verdict]) -> tuple[float, float, list[float]]:
    """Print and return recall, precision and the sorted boundary errors (seconds)."""
    lines = [str(verdict) for verdict in verdicts]
    matched = sum(verdict.matched for verdict in verdicts)
    recall = matched / sum(len(verdict.scene.events()) for verdict in verdicts)
    precision = matched / sum(verdict.found for verdict in verdicts)
    errors = sorted(error for verdict in verdicts for error in verdict.errors)
    mean, late = sum(errors) / len(errors), errors[len(errors) * 95 // 100]
    lines.append(
        f"{len(verdicts)} scenes, {matched} events: recall {recall:.3f}, precision {precision:.3f},"
        f" mean boundary error {mean:.2f} s, 95th percentile {late:.2f} s"
    )
    sys.stdout.write("\n".join(["", *lines, ""]))
    return recall, precision, errors


def test_synthetic_scenes(tmp_path: Path) -> None:
    verdicts = evaluate_all(SCENES, tmp_path)
    recall, precision, errors = summarise(verdicts)
    assert recall >= 0.98
    assert precision >= 0.98
    assert sum(errors) / len(errors) <= 0.2
    assert errors[len(errors) * 95 // 100] <= BOUNDARY_S
    # Changing light, noise, camera shake: without motion there are no events.
    for verdict in verdicts:
        if not verdict.scene.events():
            assert verdict.found == 0, verdict


def random_scene(seed: int) -> Scene:
    """Return a random scene, for which the detector was not tuned."""
    rng = random.Random(seed)
    width, height = rng.choice([(320, 240), (480, 270), (240, 320), (176, 144)])
    begin, movers = 2.0, []
    while begin < 14:
        end = begin + rng.uniform(1.2, 4)
        side = round(rng.uniform(0.06, 0.3) * width)
        down = rng.uniform(0.2, 0.8) * height
        path = ((-side / 2, down), (width + side / 2, rng.uniform(0.2, 0.8) * height))
        if rng.random() < 0.5:
            path = (path[1], path[0])
        level = 120.0
        shade = level + rng.choice([-1, 1]) * rng.uniform(35, 90)
        size = (side, round(side * rng.uniform(0.6, 1.6)))
        movers.append(Mover(begin, end, path, size=size, shade=shade, texture=rng.uniform(2, 20)))
        begin = end + rng.uniform(2.5, 4)
    lights = (lambda _time: 1.0, scenes.flicker, scenes.drift)
    return Scene(
        f"random {seed}",
        tuple(movers),
        seconds=begin,
        size=(width, height),
        rate=rng.choice([8, 12, 25, 30]),
        noise=rng.uniform(0, 10),
        contrast=rng.uniform(0, 40),
        light=rng.choice(lights),
        jitter=rng.choice([0, 0, 0, 0.5]),
        quality=rng.choice([20, 28, 34]),
        select=rng.choice(["", "", "lt(mod(t,2),1)+not(mod(n,3))"]),
    )


def test_random_scenes(tmp_path: Path) -> None:
    recall, precision, errors = summarise(evaluate_all(map(random_scene, range(24)), tmp_path))
    assert recall >= 0.95
    assert precision >= 0.95
    assert sum(errors) / len(errors) <= 0.25


def seconds_of_motion(analysis: Analysis) -> float:
    return float(sum(event.end - event.start for event in analysis.events))


def test_bunny_moves_from_the_first_to_the_last_frame() -> None:
    # The bunny leaves its hole, stretches and scratches; the left edge and the sky are still.
    found = run_analysis(film("bigbuckbunny.mp4"))
    (event,) = found.events
    assert (event.start < 0.3, event.end > 5, found.frames_decoded) == (True, True, 132)
    # It rises between 1.0 and 2.0 s, the most motion of all.
    assert 0.8 <= event.peak_time <= 2.2
    middles = [box.x + box.width / 2 for box in event.boxes if box.width > 0.1]
    assert 0.15 < sum(middles) / len(middles) < 0.5
    # There is no motion in the sky on the right.
    sky = run_analysis(film("bigbuckbunny.mp4"), Parameters(zones=(Region(0.85, 0.0, 0.15, 0.3),)))
    assert seconds_of_motion(sky) < 0.5


def test_motion_of_a_talking_passenger_and_a_passing_landscape() -> None:
    # The head moves throughout, and the landscape passes in the window.
    for name in ("carphone_pristine.mp4", "carphone_distorted.mp4"):
        found = run_analysis(film(name))
        assert seconds_of_motion(found) > 3.2, name
        assert len(found.events) <= 2
    # The stripes of the seat, far left, are still between the passenger's movements.
    seat = Parameters(zones=(Region(0.0, 0.35, 0.1, 0.3),))
    part, whole = (run_analysis(film("carphone_pristine.mp4"), chosen) for chosen in (seat, None))
    assert seconds_of_motion(part) < seconds_of_motion(whole) / 2


def test_cuts_in_a_film_are_not_mistaken_for_motion() -> None:
    # Six shots: a bus (0 to 1.1 s), a street (to 2.9), traffic passing a cyclist (to 4.3) who then
    # waits almost still (to 5.3), a road (to 7.3), a passer-by followed by the camera (to 9.5).
    found = run_analysis(film("bikes.mp4"), Parameters(sensitivity=0.4))
    scores = found.timeline.scores
    assert found.timeline.bucket == Fraction(1, 2)
    assert seconds_of_motion(found) > 7
    busiest = max(scores[2:9])
    waiting = min(scores[9], scores[10])
    assert waiting < busiest / 2, scores

"""The motion detector on synthetic frames."""

from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from app.video import Parameters, Region, light
from app.video.detector import MotionDetector, Thresholds
from app.video.events import Motion
from app.video.stabilize import MAX_SHIFT, stabilize, typical_difference

GreyFrame = npt.NDArray[np.uint8]
STEP = Fraction(1, 5)


def wall(seed: int = 1) -> GreyFrame:
    noise = np.random.default_rng(seed).normal(0, 1, (180, 320))
    return (120 + 100 * cv2.GaussianBlur(noise, (0, 0), 2)).clip(0, 255).astype(np.uint8)


def with_square(frame: GreyFrame, x: int, *, side: int = 30, shade: int = 220) -> GreyFrame:
    result = frame.copy()
    result[80 : 80 + side, x : x + side] = shade
    return result


def detect(frames: list[GreyFrame], parameters: Parameters | None = None) -> list[Motion]:
    detector = MotionDetector(parameters or Parameters())
    return [detector.process_frame(i * STEP, frame) for i, frame in enumerate(frames)]


def test_moving_square_is_boxed() -> None:
    frames = [wall()] * 5 + [with_square(wall(), x) for x in range(20, 260, 12)]
    found = detect(frames)
    assert not any(motion.score for motion in found[:5])
    assert all(motion.sure for motion in found[5:])
    (box,) = found[15].boxes
    assert box.time == found[15].time == Fraction(3)
    assert box.x * 320 == pytest.approx(20 + 12 * 10, abs=4)
    assert (box.width * 320, box.height * 180) == pytest.approx((30, 30), abs=8)
    assert found[15].score == pytest.approx(900 / 57600, rel=0.3)


def test_still_object_is_not_motion() -> None:
    found = detect([wall()] * 5 + [with_square(wall(), 100)] * 20)
    assert found[5].sure
    assert not any(motion.score for motion in found[6:])


def test_gap_left_by_a_removed_object_is_not_motion() -> None:
    found = detect([with_square(wall(), 100)] * 10 + [wall()] * 10)
    assert not any(motion.score for motion in found[11:])


@pytest.mark.parametrize("factor", [0.6, 0.8, 1.2, 1.5])
def test_change_of_light_is_not_motion(factor: float) -> None:
    lit = (wall() * factor).clip(0, 255).astype(np.uint8)
    assert not any(motion.sure for motion in detect([wall()] * 5 + [lit] * 5))


def test_cut_causes_motion_in_at_most_one_frame() -> None:
    found = detect([wall()] * 5 + [wall(seed=2)] * 10)
    assert sum(motion.score > 0 for motion in found) <= 1


def test_higher_sensitivity_finds_at_least_as_much() -> None:
    frames = [wall()] * 5 + [with_square(wall(), x, side=8, shade=150) for x in range(20, 260, 6)]
    counts = [
        sum(motion.sure for motion in detect(frames, Parameters(sensitivity=value)))
        for value in (0.0, 0.5, 1.0)
    ]
    assert counts[0] <= counts[1] <= counts[2]
    assert counts[0] == 0
    assert counts[2] > 30
    assert Thresholds.for_sensitivity(0.5) == Thresholds(change=12.0, area=0.0008)


def test_boxes_are_fractions_of_the_whole_frame() -> None:
    parameters = Parameters(zones=(Region(0.5, 0.25, 0.5, 0.5),))
    frames = [wall()] * 3 + [with_square(wall(), x) for x in range(0, 240, 24)]
    for motion in detect(frames, parameters)[4:]:
        for box in motion.boxes:
            assert 0.5 <= box.x <= box.x + box.width <= 1.001
            assert 0.25 <= box.y <= box.y + box.height <= 0.751


def test_camera_shake_is_corrected_and_a_pan_is_not() -> None:
    still = light.logarithmic(wall())
    for shift, corrected in ((2, True), (int(MAX_SHIFT) + 4, False)):
        moved = np.roll(still, shift, axis=1)
        stable, residue, difference = stabilize(moved, still, light.change(moved, still))
        assert difference == typical_difference(residue)
        difference = np.abs(stable.astype(int) - still)[:, 10:-10].mean()
        assert (difference < 1) == corrected


@pytest.mark.parametrize("shape", [(2, 2), (2, 1024), (1024, 2), (9, 7)])
def test_tiny_frames_are_handled(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(3)
    frames = [random.integers(0, 255, shape).astype(np.uint8) for _ in range(8)]
    assert len(detect(frames)) == 8

"""Render synthetic videos with known motion: the ground truth of the quality tests.

A scene consists of a still background, objects that move across it, and disturbances: noise,
changing light, flicker, shadows, fades. Frames are rendered with numpy and encoded by ffmpeg, so
that the detector sees the output of a real codec.
"""

import math
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tests.support import programs

_MARGIN = 60  # pixels of background beyond each edge
Image = npt.NDArray[np.float32]
Light = Callable[[float], "float | Image"]


@dataclass(frozen=True)
class Mover:
    """An object that moves at constant speed between two points, and is visible only meanwhile."""

    begin: float
    end: float
    path: tuple[tuple[float, float], tuple[float, float]]
    """Centre at the start and at the end, in pixels."""
    size: tuple[int, int] = (40, 40)
    shade: float = 60.0
    """Mean grey value, 0 to 255."""
    texture: float = 10.0
    shadow: float = 1.0
    """Remaining brightness of the ground in its shadow."""
    stays: tuple[float, float] = (0.0, 0.0)
    """Seconds for which it is visible but still, before and after."""

    def place(self, time: float) -> tuple[float, float] | None:
        """Return the centre, or None if the object is not visible."""
        if not self.begin - self.stays[0] <= time < self.end + self.stays[1]:
            return None
        share = min(1.0, max(0.0, (time - self.begin) / (self.end - self.begin)))
        (x0, y0), (x1, y1) = self.path
        return x0 + (x1 - x0) * share, y0 + (y1 - y0) * share


@dataclass(frozen=True)
class Scene:
    """A video to render."""

    name: str
    movers: tuple[Mover, ...] = ()
    seconds: float = 14.0
    size: tuple[int, int] = (320, 240)
    rate: int = 15
    noise: float = 2.0
    """Standard deviation in grey values."""
    contrast: float = 25.0
    """Standard deviation of the background's texture; 0 is a flat wall."""
    level: float = 120.0
    light: Light = lambda _time: 1.0
    """Factor of the light over time, as a number or per pixel."""
    jitter: float = 0.0
    """Camera shake in pixels."""
    cut_at: float = math.inf
    """Time from which another background is shown."""
    pan: tuple[float, float, float] = (math.inf, math.inf, 0.0)
    """Camera pan: start, end, and shift in pixels."""
    flecks: int = 0
    """Number of bright specks per frame, like snow or rain."""
    select: str = ""
    """Expression of ffmpeg's `select` filter, for a variable frame rate."""
    quality: int = 23
    truth: tuple[tuple[float, float], ...] | None = field(default=None)
    """Expected events, if they are not simply the times of the movers."""

    def events(self) -> list[tuple[float, float]]:
        """Return the expected events: the movers' times, with overlapping ones merged."""
        if self.truth is not None:
            return list(self.truth)
        merged: list[tuple[float, float]] = []
        for begin, end in sorted((mover.begin, mover.end) for mover in self.movers):
            if merged and begin <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        return merged


def texture(size: tuple[int, int], *, level: float, contrast: float, seed: int) -> Image:
    """Return an image with structure at several scales, like surfaces and foliage."""
    random = np.random.default_rng(seed)
    total = np.zeros(size[::-1], np.float32)
    for spread in (1.5, 4.0, 16.0):
        part = cv2.GaussianBlur(
            random.standard_normal(size[::-1]).astype(np.float32), (0, 0), spread
        )
        total += (part / part.std()).astype(np.float32)
    return np.asarray(level + contrast * total / total.std(), np.float32)


def spot(size: tuple[int, int], *, centre: tuple[float, float], radius: float) -> Image:
    """Return a soft round spot with values from 0 to 1."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    distance = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    return np.asarray(np.exp(-distance / (2 * radius * radius)), np.float32)


def render(scene: Scene) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the frames of a scene deterministically."""
    random = np.random.default_rng(7)
    width, height = scene.size
    wide = (width + 2 * _MARGIN, height + 2 * _MARGIN)
    grounds = [
        texture(wide, level=scene.level, contrast=scene.contrast, seed=seed)
        for seed in ((1, 2) if scene.cut_at < scene.seconds else (1,))
    ]
    patches = [
        texture(mover.size, level=mover.shade, contrast=mover.texture, seed=10 + number)
        for number, mover in enumerate(scene.movers)
    ]
    noises = [random.normal(0, scene.noise, (height, width)).astype(np.float32) for _ in range(12)]
    for number in range(round(scene.seconds * scene.rate)):
        time = number / scene.rate
        shift = random.uniform(-scene.jitter, scene.jitter, 2) if scene.jitter else (0.0, 0.0)
        begin, end, way = scene.pan
        turned = way * min(1.0, max(0.0, (time - begin) / (end - begin))) if way else 0.0
        ground = grounds[time >= scene.cut_at]
        frame = _window(ground, scene.size, shift=(shift[0] - turned, shift[1]))
        for _ in range(scene.flecks):
            x, y = random.integers(0, width), random.integers(0, height)
            frame[y : y + 4, x : x + 2] += 60
        for mover, patch in zip(scene.movers, patches, strict=True):
            _put(frame, mover, patch, time)
        light = scene.light(time)
        if not isinstance(light, float) or light != 1.0:
            frame *= np.float32(light)
        noise = noises[random.integers(12)]
        # Added, rounded and clipped in one pass.
        yield np.asarray(cv2.add(frame, noise, dtype=cv2.CV_8U), np.uint8)


def _window(ground: Image, size: tuple[int, int], *, shift: tuple[float, float]) -> Image:
    """Return a copy of what the camera sees of the background."""
    width, height = size
    if not any(shift):
        return ground[_MARGIN : _MARGIN + height, _MARGIN : _MARGIN + width].copy()
    moved = np.array([[1, 0, shift[0] - _MARGIN], [0, 1, shift[1] - _MARGIN]])
    seen = cv2.warpAffine(ground, moved, size, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(seen, np.float32)


def _put(frame: Image, mover: Mover, patch: Image, time: float) -> None:
    place = mover.place(time)
    if place is None:
        return
    height, width = frame.shape
    x, y = place[0] - mover.size[0] / 2, place[1] - mover.size[1] / 2
    if mover.shadow < 1:
        beside = np.array([[1, 0, x + mover.size[0] * 0.8], [0, 1, y + mover.size[1] * 0.3]])
        shade = cv2.warpAffine(np.ones_like(patch), beside, (width, height))
        frame *= 1 - (1 - mover.shadow) * cv2.GaussianBlur(shade, (0, 0), 2)
    # Only the pixels that it touches; from the corner, as the place of a pixel decides how it is
    # rounded.
    left, top = max(0, math.floor(x) - 1), max(0, math.floor(y) - 1)
    right = min(width, math.ceil(x) + mover.size[0] + 1)
    bottom = min(height, math.ceil(y) + mover.size[1] + 1)
    if right <= left or bottom <= top:
        return
    matrix, size = np.array([[1, 0, x], [0, 1, y]]), (right, bottom)
    touched = (slice(top, bottom), slice(left, right))
    cover = cv2.warpAffine(np.ones_like(patch), matrix, size)[touched]
    placed = cv2.warpAffine(patch, matrix, size, borderMode=cv2.BORDER_REPLICATE)[touched]
    frame[touched] = frame[touched] * (1 - cover) + placed * cover


def encode(scene: Scene, target: Path) -> Path:
    """Encode a scene as H.264."""
    width, height = scene.size
    filters = ["-vf", f"select='{scene.select}'"] if scene.select else []
    command = [
        programs.find("ffmpeg", variable="FFMPEG"), "-v", "error", "-y",
        "-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{width}x{height}", "-r", str(scene.rate),
        "-i", "pipe:0", *filters, "-fps_mode", "vfr", "-c:v", "libx264", "-preset", "veryfast",
        "-threads", "1", "-crf", str(scene.quality), "-pix_fmt", "yuv420p", str(target),
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        if process.stdin is None:
            raise AssertionError
        for frame in render(scene):
            process.stdin.write(frame.data)
        _, stderr = process.communicate()
    if process.returncode != 0:
        raise AssertionError(stderr.decode())
    return target


def _across(
    begin: float, end: float, *, y: float = 120, width: float = 320, **more: object
) -> Mover:
    return Mover(begin, end, ((-10, y), (width + 10, y)), **more)  # type: ignore[arg-type]


def _step(time: float) -> float:
    return 1.0 if time < 4 else 1.35 if time < 9 else 0.75


def drift(time: float) -> float:
    """Return light that slowly brightens and dims, as under clouds."""
    return 1.0 + 0.3 * math.sin(time * 0.7)


def flicker(time: float) -> float:
    """Return light that flickers, as fluorescent tubes do."""
    return 1.0 + 0.05 * math.sin(time * 41.0) + 0.03 * math.sin(time * 97.0)


def _lamp(time: float) -> "float | Image":
    on = 3 <= time < 8
    return 1 + 0.4 * spot((320, 240), centre=(90, 140), radius=45) if on else 1.0


def _cloud(time: float) -> Image:
    return 1 - 0.35 * spot((320, 240), centre=(time * 60 - 250, 120), radius=60)


def _slow_lamp(time: float) -> Image:
    share = min(1.0, max(0.0, (time - 3) / 3))
    return 1 + 0.5 * share * spot((320, 240), centre=(90, 140), radius=45)


def _blinking_lamp(time: float) -> "float | Image":
    return 1 + 0.5 * spot((320, 240), centre=(90, 140), radius=18) if int(time * 4) % 2 else 1.0


def _exposure(time: float) -> float:
    return (
        1.0
        - 0.25 * min(1.0, max(0.0, (time - 3) / 0.8))
        + 0.25 * min(1.0, max(0.0, (time - 7) / 0.8))
    )


def _fade(time: float) -> float:
    return min(1.0, time / 2, max(0.0, (14 - time) / 2))


_TWO = (_across(3, 6), _across(9, 11.5, y=80))

SCENES = (
    Scene("plain", _TWO),
    Scene("flat wall", _TWO, contrast=0),
    Scene("still", seconds=20),
    Scene("still, noisy", noise=12, seconds=20),
    Scene("still, flat and noisy", noise=8, contrast=0, seconds=20),
    Scene("small", (_across(3, 7, size=(10, 10)), _across(9.5, 12, size=(14, 10), y=60))),
    Scene("large", (_across(3, 7, size=(200, 160)), _across(10, 12.5, size=(150, 220)))),
    Scene("fast", (_across(4, 4.8), _across(8, 8.7, y=60, size=(30, 50)))),
    Scene("slow", (Mover(4, 11, ((120, 120), (155, 130))),)),
    Scene("very slow", (Mover(4, 18, ((120, 120), (155, 120)), stays=(4, 4)),), seconds=22),
    Scene("noise 6", _TWO, noise=6),
    Scene("noise 12", _TWO, noise=12),
    Scene("faint", (_across(3, 6, shade=95, texture=4), _across(9, 12, shade=143, texture=4)),
          contrast=4),
    Scene("darker, like a shadow", (_across(3, 6, shade=85), _across(9, 12, shade=80)),
          contrast=8),
    Scene("brighter", (_across(3, 6, shade=200), _across(9, 12, shade=220))),
    Scene("night", (_across(3, 6, shade=70), _across(9, 12, shade=60)), level=22, contrast=6,
          noise=4),
    Scene("light steps", light=_step),
    Scene("light steps and motion", (_across(6, 8), _across(10, 13, y=60)), light=_step),
    Scene("light drifts", light=drift, seconds=20),
    Scene("light drifts and motion", _TWO, light=drift),
    Scene("flicker", light=flicker),
    Scene("flicker and motion", _TWO, light=flicker),
    Scene("flicker on a flat wall", _TWO, light=flicker, contrast=0),
    Scene("a lamp", light=_lamp),
    Scene("a cloud's shadow", light=_cloud),
    Scene("cast shadow", (_across(3, 6, shadow=0.6), _across(9, 12, shadow=0.6, y=60))),
    Scene("several at once", (
        _across(3, 7, y=50), _across(4, 8, y=190, shade=200),
        Mover(3.5, 6, ((160, -10), (160, 250)), size=(25, 25)), _across(10.5, 12),
    )),
    Scene("fades in and out", (_across(4, 6), _across(8, 11, y=60)), light=_fade),
    Scene("variable rate", _TWO, select="lt(mod(t,3),1)+not(mod(n,5))"),
    Scene("low rate", _TWO, rate=2),
    Scene("high rate", _TWO, rate=60),
    Scene("stops and continues", (
        Mover(2, 4, ((-10, 120), (140, 120)), stays=(0, 5)),
        Mover(9, 11, ((140, 120), (330, 120))),
    )),
    Scene("present from the start", (Mover(5, 7, ((150, 120), (330, 120)), stays=(5, 0)),)),
    Scene("moves from the start", (_across(0, 3), _across(8, 10))),
    Scene("moves to the end", (_across(3, 5), _across(11, 14))),
    Scene("cut", cut_at=7),
    Scene("camera shakes", jitter=0.7),
    Scene("strongly compressed", _TWO, quality=36, noise=4),
    Scene("near the edges", (_across(3, 6, y=10, size=(30, 10)), _across(9, 12, y=230))),
    Scene("noise 20", _TWO, noise=20),
    Scene("noise 12 and small", (_across(3, 7, size=(16, 16)), _across(9, 12, size=(16, 14))),
          noise=12),
    Scene("a lamp is turned up", light=_slow_lamp),
    Scene("a lamp on a flat wall", light=_slow_lamp, contrast=0),
    Scene("a blinking lamp", light=_blinking_lamp),
    Scene("a lamp blinks on a flat wall", light=_blinking_lamp, contrast=0),
    Scene("a cloud on a flat wall", light=_cloud, contrast=0),
    Scene("snow", flecks=40),
    Scene("snow and motion", _TWO, flecks=40),
    Scene("automatic exposure", (_across(3, 7, size=(110, 150)),), light=_exposure,
          truth=((3, 7),)),
    Scene("badly compressed", _TWO, quality=42, noise=6),
    Scene("badly compressed, still", quality=42, noise=6),
    Scene("camera shakes strongly", jitter=2.0),
    Scene("camera shakes and motion", _TWO, jitter=1.5),
    Scene("camera pans", pan=(4, 7, 50.0), truth=((4, 7),)),
    Scene("left behind", (
        _across(3, 6), Mover(4.5, 4.6, ((160, 150), (160, 150)), size=(18, 18), stays=(0, 20)),
    ), truth=((3, 6),)),
    Scene("as bright as the ground", (
        _across(3, 6, shade=120, texture=25), _across(9, 12, shade=120, texture=25),
    )),
    Scene("high definition", (
        _across(3, 6, y=300, width=1280, size=(50, 50)),
        _across(8, 10, y=400, width=1280, size=(160, 200)),
    ), size=(1280, 720), noise=5, seconds=12),
    Scene("upright", (
        Mover(3, 6, ((90, -10), (90, 330)), size=(24, 40)), _across(9, 11, width=180),
    ), size=(180, 320)),
    Scene("short pause", (
        Mover(2, 4, ((-10, 120), (140, 120)), stays=(0, 0.6)),
        Mover(4.6, 6.6, ((140, 120), (330, 120))),
    ), truth=((2, 6.6),)),
    Scene("sixty frames", _TWO, rate=60, size=(480, 270)),
)  # fmt: skip

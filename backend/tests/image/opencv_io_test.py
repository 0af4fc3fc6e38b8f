"""The application calls nothing of the FFmpeg and OpenSSL that OpenCV's wheel brings along.

Statements in third_party/audit/image.openvex.json rest on these tests: vulnerabilities of these two
libraries do not concern the image as long as nothing runs their code. One test reads the sources,
the other one asks the loader, which binds a function of a library when it is first called.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2

_APPLICATION = Path("/app")
# Everything of OpenCV that reads or writes videos; it alone uses FFmpeg, and FFmpeg alone OpenSSL.
_USES_FFMPEG = re.compile(r"video|cap_|cudacodec", re.IGNORECASE)
# Likewise for files that are pictures, which OpenCV decodes with libraries of its own.
_USES_FILES = re.compile(r"imread|imwrite|imdecode|imcount|FileStorage|dnn|imshow")
_BUNDLED = re.compile(
    r"binding file (?P<caller>\S+) \[\d+\] to \S*/opencv_python_headless\.libs/"
    r"(?P<library>lib(?:av(?:codec|device|filter|format|util)|sw(?:resample|scale)|ssl|crypto))-\S+"
    r" \[\d+\]: \S+ symbol `(?P<symbol>\w+)'"
)
_PROBE = """
import os, sys
# Python has functions bound when a module is loaded, called or not.
sys.setdlopenflags(os.RTLD_LAZY)
import cv2
"""
_ANALYSIS = f"""{_PROBE}
from pathlib import Path
from app.video import Parameters, Tools, analyse

pictures = []
analyse(
    Path(sys.argv[1]),
    tools=Tools(ffmpeg="ffmpeg", ffprobe="ffprobe"),
    parameters=Parameters(),
    progress=lambda _: None,
    checkpoint=lambda: None,
    pictures=lambda *args, **_: pictures.append(args),
)
assert pictures, "no picture was encoded"
"""
_CAPTURE = f"""{_PROBE}
assert cv2.VideoCapture(sys.argv[1], cv2.CAP_FFMPEG).read()[0]
"""


def _names_of_opencv(source: str) -> set[str]:
    """Return what a module names of OpenCV; `*` for a way that hides the name."""
    found: set[str] = set()
    tree = ast.parse(source)
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_opencv(node.value):
            found.add(node.attr)
            used.add(id(node.value))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cv2":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                alias.name if alias.asname is None else "*"
                for alias in node.names
                if alias.name.split(".")[0] == "cv2" and (alias.asname or alias.name != "cv2")
            }
        elif isinstance(node, ast.Constant) and node.value == "cv2":
            found.add("*")  # import_module("cv2")
    if any(_is_opencv(node) and id(node) not in used for node in ast.walk(tree)):
        found.add("*")  # getattr(cv2, …), other = cv2
    return found


def _is_opencv(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "cv2"


def _bindings(program: str, video: Path, scratch: Path) -> set[tuple[str, str, str]]:
    """Return who bound which function of the bundled FFmpeg and OpenSSL while a program ran."""
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program, str(video)],
        env={**os.environ, "LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": str(scratch / "loader")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=_APPLICATION,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    logs = [path.read_text(errors="replace") for path in scratch.iterdir()]
    assert any("binding file" in log for log in logs), "the loader has written nothing"
    return {
        (Path(found["caller"]).name, found["library"], found["symbol"])
        for log in logs
        for found in _BUNDLED.finditer(log)
    }


def _film(path: Path) -> Path:
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x120:duration=2"]
    subprocess.run([*command, "-c:v", "libx264", str(path)], check=True, timeout=60)
    return path


def test_the_application_names_nothing_of_opencv_that_uses_ffmpeg() -> None:
    sources = [_APPLICATION / "main.py", *(_APPLICATION / "app").rglob("*.py")]
    named = {
        name: path.relative_to(_APPLICATION)
        for path in sources
        for name in _names_of_opencv(path.read_text(encoding="utf-8"))
    }
    assert "GaussianBlur" in named
    assert {
        name: path
        for name, path in named.items()
        if name == "*" or _USES_FFMPEG.match(name) or _USES_FILES.match(name)
    } == {}


def test_a_name_of_opencv_is_found_however_it_is_written() -> None:
    assert _names_of_opencv("import cv2\ncv2.VideoCapture(0)") == {"VideoCapture"}
    assert _names_of_opencv("from cv2 import VideoWriter as W") == {"VideoWriter"}
    assert _names_of_opencv("import cv2.videoio_registry") == {"cv2.videoio_registry"}
    for hidden in (
        "import cv2\ngetattr(cv2, name)",
        "import cv2 as other",
        "import cv2\nother = cv2",
        "from cv2 import *",
        "import_module('cv2')",
    ):
        assert "*" in _names_of_opencv(hidden), hidden


def test_opencv_has_no_other_name_that_means_video() -> None:
    # When this fails, see whether it uses FFmpeg and give the pattern its name.
    missed = {name for name in dir(cv2) if "video" in name.lower()} - {
        name for name in dir(cv2) if _USES_FFMPEG.match(name)
    }
    assert missed == set()


def test_an_analysis_calls_nothing_of_opencvs_ffmpeg_and_openssl(tmp_path: Path) -> None:
    video = _film(tmp_path / "film.mp4")
    loaded = _bindings(_PROBE, video, tmp_path / "loaded")
    assert _bindings(_ANALYSIS, video, tmp_path / "analysed") == loaded
    # The same method sees the calls where there are any.
    called = _bindings(_CAPTURE, video, tmp_path / "captured") - loaded
    assert ("cv2.abi3.so", "libavformat", "avformat_open_input") in called

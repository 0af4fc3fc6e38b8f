"""The README's example as a foreign repository: from the release archive, by a Bazel of its own.

The outer Bazel brings every file that the inner one needs, as a repository cache, so the inner one
needs no network; mirrors and indexes lead nowhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.image.layout import Image, read_layout

RUNFILES = Path(os.environ["TEST_SRCDIR"])
RELEASE = next((RUNFILES / "pinned_image/tools/service").glob("pinned_image-*.tar.gz"))
README = RUNFILES / "pinned_image/README.md"
_TIMEOUT = 900  # seconds
_MODES = {
    "WORKSPACE": ["--noenable_bzlmod", "--enable_workspace"],
    "MODULE.bazel": ["--enable_bzlmod", "--noenable_workspace", "--lockfile_mode=off"],
}
_OTHER_SERVICE = """
python_service_image(
    name = "other",
    srcs = ["other.py"],
    cmd = ["uvicorn", "other:app"],
    debian_layers = {"base": ["@debian//:base", "@debian//:python"]},
    layer_policy = ":layer_policy",
    user = "appuser:1000:1000:/app",
    wheels = all_whl_requirements,
)
"""


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@pytest.fixture(scope="module")
def scratch() -> Path:
    return Path(os.environ["TEST_TMPDIR"])


@pytest.fixture(scope="module")
def release(scratch: Path) -> Path:
    """The archive unpacked, as somebody who wants its bazelw has it."""
    with tarfile.open(RELEASE) as archive:
        archive.extractall(scratch / "unpacked", filter="data")
    return next((scratch / "unpacked").iterdir())


@pytest.fixture(scope="module")
def cache(scratch: Path) -> Path:
    """A repository cache of all packages and wheels among this test's files."""
    store = scratch / "cache" / "content_addressable" / "sha256"
    for path in RUNFILES.rglob("*"):
        if path.suffix in {".deb", ".whl"}:
            entry = store / _digest(path)
            if not entry.exists():
                entry.mkdir(parents=True)
                shutil.copy(path.resolve(), entry / "file")
    return scratch / "cache"


class _Workspace:
    """The example in a directory of its own, and Bazel in it."""

    def __init__(self, directory: Path, *, release: Path, cache: Path, mode: str) -> None:
        self.directory = directory
        self._bazelw = release / "tools" / "bazelw"
        self._output = directory.parent / f"{directory.name}.out"
        self._flags = [f"--repository_cache={cache}", *_MODES[mode]]
        shutil.copytree(release / "tools/service/example", directory)
        for other in _MODES.keys() - {mode}:
            (directory / other).unlink()
        if mode == "WORKSPACE":
            workspace = directory / mode
            text = workspace.read_text()
            text = re.sub(r'sha256 = ".*"', f'sha256 = "{_digest(RELEASE)}"', text)
            text = re.sub(r'urls = \[".*"\]', f'urls = ["file://{RELEASE.resolve()}"]', text)
            workspace.write_text(text)
        else:
            registry = self._registry(release)
            self._flags.append(f"--registry=file://{registry}")

    def _registry(self, release: Path) -> Path:
        registry = self.directory.parent / "registry"
        rulesets = self.directory.parent / "rulesets"
        subprocess.run(
            [
                "python3",
                str(release / "tools/service/registry.py"),
                f"--out={registry}",
                f"--release={RELEASE.resolve()}",
                *(f"--deb={path}" for path in sorted(RUNFILES.rglob("bazel-*.deb"))),
            ],
            check=True,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(release)},
        )
        assert not rulesets.exists()
        return registry

    def bazel(self, command: str, *arguments: str) -> str:
        """Run Bazel and return its standard output."""
        nowhere = "file:///nowhere"
        startup = [f"--output_user_root={self._output}", "--max_idle_secs=10"]
        done = subprocess.run(
            [str(self._bazelw), *startup, command, *self._flags, *arguments],
            cwd=self.directory,
            env={
                "HOME": str(self.directory.parent),
                "PATH": os.environ["PATH"],
                "DEBIAN_MIRROR": nowhere,
                "PIP_INDEX_URL": nowhere,
                "XDG_CACHE_HOME": str(self.directory.parent / "xdg"),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-8000:]
        return done.stdout

    def image(self, name: str) -> Image:
        self.bazel("build", f"//:{name}")
        architecture = "arm64" if os.uname().machine == "aarch64" else "amd64"
        return read_layout(self.directory / "bazel-bin" / f"{name}_{architecture}")


@pytest.fixture(scope="module", params=list(_MODES))
def workspace(
    request: pytest.FixtureRequest, scratch: Path, release: Path, cache: Path
) -> Iterator[_Workspace]:
    directory = scratch / request.param.replace(".", "_") / "hello"
    directory.parent.mkdir()
    made = _Workspace(directory, release=release, cache=cache, mode=request.param)
    yield made
    made.bazel("shutdown")


_seen: dict[str, list[str]] = {}


def test_the_example_builds_and_its_structure_test_passes(workspace: _Workspace) -> None:
    image = workspace.image("image")
    workspace.bazel("test", "//:image_test")
    _seen[workspace.directory.parent.name] = [layer.digest for layer in image.layers]


def test_two_services_share_every_layer_but_their_own(workspace: _Workspace) -> None:
    directory = workspace.directory
    build = directory / "BUILD.bazel"
    build.write_text(build.read_text() + _OTHER_SERVICE)
    (directory / "other.py").write_text((directory / "main.py").read_text() + "\nOTHER = True\n")
    one, other = workspace.image("image"), workspace.image("other")
    shared = [
        mine.digest == theirs.digest for mine, theirs in zip(one.layers, other.layers, strict=True)
    ]
    assert shared == [True] * (len(shared) - 1) + [False]


def test_workspace_and_module_give_the_same_layers() -> None:
    assert len(_seen) == len(_MODES)
    first, *others = _seen.values()
    assert all(digests == first for digests in others)


def test_the_readme_shows_the_example_word_for_word(release: Path) -> None:
    text = README.read_text(encoding="utf-8")
    example = release / "tools/service/example"
    for name in ("WORKSPACE", "BUILD.bazel", "MODULE.bazel"):
        assert (example / name).read_text(encoding="utf-8") in text, name
    assert len((example / "WORKSPACE").read_text().splitlines()) <= 25
    assert len((example / "BUILD.bazel").read_text().splitlines()) <= 40

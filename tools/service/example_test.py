"""The README's example, as another repository: from the release archive, by a Bazel of its own.

The outer Bazel brings every file that the inner one fetches, as a repository cache; the inner one
has no network, and mirrors and indexes that do not exist.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.image.layout import Image, read_layout

RUNFILES = Path(os.environ["TEST_SRCDIR"])
RELEASE = next((RUNFILES / "pinned_image/tools/service").glob("pinned_image-*.tar.gz")).resolve()
README = RUNFILES / "pinned_image/README.md"
_TIMEOUT = 850  # seconds
# Java's second compiler and parallel collector cost a third of a build that takes a minute.
_STARTUP = [
    "--max_idle_secs=30",
    "--host_jvm_args=-XX:TieredStopAtLevel=1",
    "--host_jvm_args=-XX:+UseSerialGC",
]
_ARCHITECTURE = {"aarch64": "arm64", "x86_64": "amd64"}[os.uname().machine]
_MODES = {"WORKSPACE": [], "MODULE.bazel": ["--config=module"]}
_OTHER_SERVICE = """
python_service_image(
    name = "other",
    srcs = ["other.py"],
    cmd = ["uvicorn", "other:app"],
    debian_layers = {"base": ["@debian//:base"]},
    layer_policy = "debian.lock.json",
    user = "appuser:1000:1000:/app",
    wheels = all_whl_requirements,
)
"""
# A Python of the repository's own, before ours and of no use: none of our tools may start it.
_PYTHON_TOOLCHAIN = """
load("@rules_python//python:defs.bzl", "py_runtime", "py_runtime_pair")

py_runtime(
    name = "runtime",
    interpreter = "python",
    python_version = "PY3",
)

py_runtime_pair(
    name = "runtimes",
    py3_runtime = ":runtime",
)

toolchain(
    name = "toolchain",
    toolchain = ":runtimes",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)
"""


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _Repository:
    """The example in a directory of its own, and Bazel in it."""

    def __init__(self, scratch: Path, *, release: Path, cache: Path, mode: str) -> None:
        self.directory = scratch / mode.replace(".", "_") / "hello"
        self._home = self.directory.parent
        self._bazelw = release / "tools" / "bazelw"
        self._flags = [f"--repository_cache={cache}", *_MODES[mode]]
        shutil.copytree(release / "tools/service/example", self.directory)
        for other in _MODES.keys() - {mode}:
            (self.directory / other).unlink()
        if mode == "WORKSPACE":
            self._fill_in_workspace()
        else:
            self._write_registry(release)

    def _fill_in_workspace(self) -> None:
        workspace = self.directory / "WORKSPACE"
        text = workspace.read_text()
        text = re.sub(r'sha256 = ".*"', f'sha256 = "{_digest(RELEASE)}"', text)
        text = re.sub(r'urls = \[".*"\]', f'urls = ["{RELEASE.as_uri()}"]', text)
        workspace.write_text(text)

    def _write_registry(self, release: Path) -> None:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "tools.service.registry",
                f"--out={self.directory / 'registry'}",
                f"--release={RELEASE}",
                *(
                    f"--deb={path}"
                    for path in sorted(RUNFILES.glob("example_files/**/bazel-*.deb"))
                ),
            ],
            check=True,
            cwd=release,
            env={"PYTHONPATH": str(release)},
        )

    def bazel(self, command: str, *arguments: str) -> None:
        """Run Bazel; fail with the end of its output."""
        nowhere = "file:///nowhere"
        startup = [f"--output_user_root={self._home / 'out'}", *_STARTUP]
        flags = [] if command == "shutdown" else self._flags
        done = subprocess.run(
            [str(self._bazelw), *startup, command, *flags, *arguments],
            cwd=self.directory,
            env={
                "HOME": str(self._home),
                "PATH": os.environ["PATH"],
                "DEBIAN_MIRROR": nowhere,
                "PIP_INDEX_URL": nowhere,
                "XDG_CACHE_HOME": str(self._home / "xdg"),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-8000:]

    def layers(self, name: str) -> list[str]:
        """Return the digests of a built image's layers, the lowest first."""
        found = read_layout(self.directory / "bazel-bin" / f"{name}_{_ARCHITECTURE}")
        assert isinstance(found, Image)
        return [layer.digest for layer in found.layers]


@pytest.fixture(scope="module")
def scratch() -> Path:
    return Path(os.environ["TEST_TMPDIR"])


@pytest.fixture(scope="module")
def release(scratch: Path) -> Path:
    """The archive unpacked, for its bazelw and its registry.py."""
    with tarfile.open(RELEASE) as archive:
        archive.extractall(scratch / "unpacked")
    return next((scratch / "unpacked").iterdir())


@pytest.fixture(scope="module")
def cache(scratch: Path) -> Path:
    """A repository cache of all packages and wheels among this test's files."""
    store = scratch / "cache" / "content_addressable" / "sha256"
    for repository in ("example_files", "pinned_image_pypi_*_wheel"):
        for path in RUNFILES.glob(f"{repository}/**/*"):
            if path.suffix in {".deb", ".whl"}:
                entry = store / _digest(path)
                entry.mkdir(parents=True, exist_ok=True)
                with_name = entry / "file"
                if not with_name.exists():
                    with_name.symlink_to(path.resolve())
    return scratch / "cache"


@pytest.fixture(scope="module")
def repositories(scratch: Path, release: Path, cache: Path) -> Iterator[dict[str, _Repository]]:
    """Mode → the example in that mode."""
    made = {mode: _Repository(scratch, release=release, cache=cache, mode=mode) for mode in _MODES}
    yield made
    for repository in made.values():
        repository.bazel("shutdown")


@pytest.fixture(scope="module")
def layers() -> dict[str, list[str]]:
    """Mode → digests of the example's layers, which the first test fills in."""
    return {}


@pytest.mark.parametrize("mode", _MODES)
def test_the_example_builds_and_its_structure_test_passes(
    mode: str, repositories: dict[str, _Repository], layers: dict[str, list[str]]
) -> None:
    repositories[mode].bazel("test", "//:image_test", f"//:image_{_ARCHITECTURE}")
    layers[mode] = repositories[mode].layers("image")


def test_a_python_toolchain_of_the_repository_changes_no_layer(
    repositories: dict[str, _Repository], layers: dict[str, list[str]]
) -> None:
    repository = repositories["WORKSPACE"]
    python = repository.directory / "python"
    python.mkdir()
    (python / "BUILD.bazel").write_text(_PYTHON_TOOLCHAIN)
    (python / "python").write_text("#!/bin/sh\necho 'the wrong Python' >&2\nexit 1\n")
    (python / "python").chmod(0o755)
    workspace = repository.directory / "WORKSPACE"
    first, rest = workspace.read_text().split("\n", 1)
    workspace.write_text(f'{first}\nregister_toolchains("//python:toolchain")\n{rest}')
    repository.bazel("build", f"//:image_{_ARCHITECTURE}")
    assert repository.layers("image") == layers["WORKSPACE"]


def test_two_services_share_every_layer_but_their_own(
    repositories: dict[str, _Repository], layers: dict[str, list[str]]
) -> None:
    repository = repositories["MODULE.bazel"]
    build = repository.directory / "BUILD.bazel"
    build.write_text(build.read_text() + _OTHER_SERVICE)
    (repository.directory / "other.py").write_text("async def app(*_: object) -> None: ...\n")
    repository.bazel("build", f"//:other_{_ARCHITECTURE}")
    *shared, own = repository.layers("other")
    *expected, other_own = layers["MODULE.bazel"]
    assert shared == expected
    assert own != other_own


def test_workspace_and_module_give_the_same_layers(layers: dict[str, list[str]]) -> None:
    assert layers["WORKSPACE"] == layers["MODULE.bazel"]


@pytest.mark.parametrize(
    ("name", "limit"), [("WORKSPACE", 25), ("MODULE.bazel", 25), ("BUILD.bazel", 40)]
)
def test_the_readme_shows_the_example_word_for_word(release: Path, name: str, limit: int) -> None:
    text = (release / "tools/service/example" / name).read_text(encoding="utf-8")
    assert text in README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= limit

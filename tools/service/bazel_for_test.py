"""The README's example in a directory of its own, with a Bazel of its own, for tests.

The outer Bazel brings every file that the inner one fetches, as a repository cache; the inner one
has no network, and its mirrors and indexes do not exist.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.image.layout import Image, read_layout

MODES: Mapping[str, list[str]] = {"WORKSPACE": [], "MODULE.bazel": ["--config=module"]}
ARCHITECTURE = {"aarch64": "arm64", "x86_64": "amd64"}[os.uname().machine]
_TIMEOUT = 850  # seconds
_NOWHERE = "file:///nowhere"
# Java's second compiler and parallel collector cost a third of a build that takes a minute.
_STARTUP = [
    "--max_idle_secs=900",  # Longer than a workspace waits while others are built.
    "--host_jvm_args=-XX:TieredStopAtLevel=1",
    "--host_jvm_args=-XX:+UseSerialGC",
]

Action = dict[str, Any]
_OBJECT = re.compile(r"\{")


def digest(path: Path) -> str:
    """Return a file's sha256 as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fill_repository_cache(directory: Path, files: Iterable[Path]) -> None:
    """Make a directory what `--repository_cache` takes, with links to the files."""
    for path in files:
        entry = directory / "content_addressable" / "sha256" / digest(path)
        if not entry.exists():
            entry.mkdir(parents=True)
            (entry / "file").symlink_to(path.resolve())


def files_to_fetch(runfiles: Path) -> list[Path]:
    """Return the packages and wheels of the example among a test's runfiles."""
    return [
        path
        for repository in ("example_files", "pinned_image_pypi_*_wheel")
        for path in runfiles.glob(f"{repository}/**/*")
        if path.suffix in {".deb", ".whl"}
    ]


@dataclass(frozen=True)
class Release:
    """The archive, and where it was unpacked, for its bazelw and its registry.py."""

    archive: Path
    directory: Path

    @classmethod
    def unpack(cls, runfiles: Path, directory: Path) -> Release:
        """Unpack the archive among a test's runfiles."""
        (archive,) = (runfiles / "pinned_image/tools/service").glob("pinned_image-*.tar.gz")
        with tarfile.open(archive) as stream:
            stream.extractall(directory)
        return cls(archive.resolve(), next(directory.iterdir()))

    @property
    def example(self) -> Path:
        """The example's directory."""
        return self.directory / "tools/service/example"


class Workspace:
    """A copy of the example, and a user who builds it: a home, an output base and a Bazel.

    home: made anew; what two users may share is below `caches`, and is what the flags name.
    bazel_debs: Bazel's packages, from which `MODULE.bazel` gets its registry.
    """

    def __init__(
        self,
        directory: Path,
        *,
        home: Path,
        caches: Path,
        release: Release,
        mode: str = "WORKSPACE",
        bazel_debs: Iterable[Path] = (),
    ) -> None:
        self.directory = directory
        self._bazelw = release.directory / "tools/bazelw"
        self._startup = [f"--output_user_root={home / 'bazel'}", *_STARTUP]
        self._flags = [
            f"--repository_cache={caches / 'repository'}",
            f"--disk_cache={caches / 'disk'}",
            *MODES[mode],
        ]
        self._log = home / "actions.json"
        self._environment = {
            "HOME": str(home),
            "PATH": os.environ["PATH"] + f":{home}",  # of a user's own; no action may see it
            "DEBIAN_MIRROR": _NOWHERE,
            "PIP_INDEX_URL": _NOWHERE,
            "XDG_CACHE_HOME": str(caches / "xdg"),
        }
        home.mkdir(parents=True)
        shutil.copytree(release.example, directory)
        for other in MODES.keys() - {mode}:
            (directory / other).unlink()
        if mode == "WORKSPACE":
            self._fill_in_workspace(release.archive)
        else:
            self._write_registry(release, bazel_debs)

    def _fill_in_workspace(self, archive: Path) -> None:
        workspace = self.directory / "WORKSPACE"
        text = workspace.read_text()
        text = re.sub(r'sha256 = ".*"', f'sha256 = "{digest(archive)}"', text)
        text = re.sub(r'urls = \[".*"\]', f'urls = ["{archive.as_uri()}"]', text)
        workspace.write_text(text)

    def _write_registry(self, release: Release, bazel_debs: Iterable[Path]) -> None:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "tools.service.registry",
                f"--out={self.directory / 'registry'}",
                f"--release={release.archive}",
                *(f"--deb={path}" for path in sorted(bazel_debs)),
            ],
            check=True,
            cwd=release.directory,
            env={"PYTHONPATH": str(release.directory)},
        )

    def write_user_bazelrc(self) -> None:
        """Write this Workspace's flags where a Bazel that others start here finds them."""
        lines = [f"startup {flag}" for flag in self._startup]
        lines += [f"common {flag}" for flag in self._flags]
        (self.directory / "user.bazelrc").write_text("\n".join(lines) + "\n")

    def try_bazel(
        self, command: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run Bazel, whatever comes of it; its output is in `stdout`."""
        takes_flags = command in {"build", "run", "test"}
        return subprocess.run(
            [
                str(self._bazelw),
                *self._startup,
                command,
                *(self._flags if takes_flags else []),
                *arguments,
            ],
            cwd=self.directory,
            env={**self._environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )

    def bazel(
        self, command: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> str:
        """Run Bazel and return its output; fail with the end of it."""
        done = self.try_bazel(command, *arguments, environment=environment)
        assert done.returncode == 0, done.stdout[-8000:]
        return done.stdout

    def build(self, name: str, *flags: str) -> dict[str, Action]:
        """Build an image; return the actions that were run or taken from a cache, by outputs."""
        log = f"--execution_log_json_file={self._log}"
        self.bazel("build", log, *flags, f"//:{name}_{ARCHITECTURE}")
        return {" ".join(action["listedOutputs"]): action for action in read_log(self._log)}

    def _image(self, name: str) -> Image:
        return read_layout(self.directory / "bazel-bin" / f"{name}_{ARCHITECTURE}")

    def digest(self, name: str) -> str:
        """Return the digest of a built image's manifest."""
        return self._image(name).digest

    def layers(self, name: str) -> list[str]:
        """Return the digests of a built image's layers, the lowest first."""
        return [layer.digest for layer in self._image(name).layers]


def read_log(path: Path) -> Iterator[Action]:
    """Yield the actions of an execution log: JSON objects, one after the other."""
    text = path.read_text(encoding="utf-8")
    decoder = json.JSONDecoder()
    position = 0
    while match := _OBJECT.search(text, position):
        action, position = decoder.raw_decode(text, match.start())
        yield action


# What decides an action's key, and what an input is known by.
_KEY = ("commandArgs", "environmentVariables", "platform", "cacheable", "remotable")
_INPUT = ("digest", "symlinkTargetPath")


def differences(one: Action, other: Action) -> list[str]:
    """Return what makes the keys of two actions differ, a line for each part."""
    found = [
        f"{part}: {one.get(part)} and {other.get(part)}"
        for part in _KEY
        if one.get(part) != other.get(part)
    ]
    inputs = [
        {item["path"]: [item.get(part) for part in _INPUT] for item in action["inputs"]}
        for action in (one, other)
    ]
    return found + [
        f"{path}: {inputs[0].get(path)} and {inputs[1].get(path)}"
        for path in sorted(inputs[0].keys() | inputs[1].keys())
        if inputs[0].get(path) != inputs[1].get(path)
    ]

"""An action's key is the same in every clone and in every build, so that caches can be shared.

Two workspaces in different directories, each with a copy of the release, an output base and a home
of its own, build the same layers with Bazel; logs of every action's command, environment and inputs
are compared. The outer Bazel brings what the inner ones fetch, as a repository cache; they have no
network.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

RUNFILES = Path(os.environ["TEST_SRCDIR"])
RELEASE = next((RUNFILES / "pinned_image/tools/service").glob("pinned_image-*.tar.gz"))
_TIMEOUT = 600  # seconds
_NOWHERE = "file:///nowhere"

_WORKSPACE = """
local_repository(name = "pinned_image", path = "{release}")

load("@pinned_image//tools/service:repositories.bzl", "service_repositories")

service_repositories(
    debian_lock = "//:debian.lock.json",
    python_locks = {{
        "//:requirements.amd64.txt": "amd64",
        "//:requirements.arm64.txt": "arm64",
    }},
)

load("@pinned_image_setup//:setup.bzl", "service_setup")

service_setup()
"""

# Python tools with the standard library alone and with wheels, and a wheel as an input.
_BUILD = """
load("@pinned_image//tools/archive:defs.bzl", "file_layer")
load("@pinned_image//tools/wheels:defs.bzl", "wheel_layer")
load("@rules_oci//oci:defs.bzl", "oci_image")

file_layer(name = "files", files = {"BUILD.bazel": "/srv/BUILD.bazel"})

wheel_layer(name = "wheels", lock = "debian.lock.json", wheels = ["@pypi//h11:whl"])

oci_image(name = "image", architecture = "amd64", os = "linux", tars = [":files", ":wheels"])
"""

# What decides an action's key, and what an input is known by.
_KEY = ("commandArgs", "environmentVariables", "platform", "cacheable", "remotable")
_INPUT = ("digest", "symlinkTargetPath")

Action = dict[str, Any]


class Clone:
    """A workspace with everything of its own but the repository cache and the disk cache."""

    def __init__(self, directory: Path, *, caches: Path) -> None:
        self._workspace = directory / "workspace"
        self._home = directory / "home"
        self._home.mkdir(parents=True)
        with tarfile.open(RELEASE) as archive:
            archive.extractall(directory / "release")
        release = next((directory / "release").iterdir())
        self._bazelw = release / "tools/bazelw"
        self._workspace.mkdir()
        for lock in (release / "tools/service/example").iterdir():
            if lock.name.endswith((".lock.json", ".txt")):
                shutil.copy(lock, self._workspace)
        (self._workspace / "WORKSPACE").write_text(_WORKSPACE.format(release=release))
        (self._workspace / "BUILD.bazel").write_text(_BUILD)
        shutil.copy(release / "third_party/bazel/downloader.cfg", self._workspace)
        self._caches = [
            f"--repository_cache={caches / 'repository'}",
            f"--disk_cache={caches / 'disk'}",
        ]

    def bazel(self, command: str, *arguments: str) -> str:
        """Run Bazel and return its output."""
        done = subprocess.run(
            [
                str(self._bazelw),
                f"--output_user_root={self._home / 'bazel'}",
                "--max_idle_secs=60",
                "--host_jvm_args=-XX:TieredStopAtLevel=1",  # a short life: compile little
                command,
                *arguments,
            ],
            cwd=self._workspace,
            env={
                "DEBIAN_MIRROR": _NOWHERE,
                "HOME": str(self._home),
                "PATH": os.environ["PATH"],
                "PIP_INDEX_URL": _NOWHERE,
                "XDG_CACHE_HOME": str(self._home / "cache"),
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

    def build(self) -> dict[str, Action]:
        """Build everything; return the actions that were run or taken from a cache, by output."""
        log = self._home / "actions.json"
        self.bazel(
            "build",
            *("--noenable_bzlmod", "--enable_workspace", "--incompatible_strict_action_env"),
            *("--incompatible_default_to_explicit_init_py", "--nolegacy_external_runfiles"),
            "--repo_env=BAZEL_DO_NOT_DETECT_CPP_TOOLCHAIN=1",
            "--experimental_downloader_config=downloader.cfg",
            *self._caches,
            f"--execution_log_json_file={log}",
            "//:image",
        )
        return {" ".join(action["listedOutputs"]): action for action in _read(log)}


def _read(log: Path) -> Iterator[Action]:
    text = log.read_text(encoding="utf-8").strip()
    decoder = json.JSONDecoder()
    while text:
        action, end = decoder.raw_decode(text)
        text = text[end:].lstrip()
        yield action


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


@pytest.fixture(scope="module")
def caches() -> Path:
    """An empty disk cache, and a repository cache of the packages and wheels among the runfiles."""
    directory = Path(os.environ["TEST_TMPDIR"], "caches")
    store = directory / "repository/content_addressable/sha256"
    for path in RUNFILES.rglob("*"):
        if path.suffix in {".deb", ".whl"}:
            with path.open("rb") as stream:
                entry = store / hashlib.file_digest(stream, "sha256").hexdigest()
            if not entry.exists():
                entry.mkdir(parents=True)
                (entry / "file").symlink_to(path.resolve())
    return directory


@contextlib.contextmanager
def _clone(directory: Path, *, caches: Path) -> Iterator[Clone]:
    clone = Clone(directory, caches=caches)
    try:
        yield clone
    finally:
        clone.bazel("shutdown")


def test_actions_have_the_same_keys_in_two_clones_and_none_runs_twice(caches: Path) -> None:
    scratch = caches.parent
    with _clone(scratch / "one", caches=caches) as clone:
        assert clone.bazel("version").splitlines()[-1].startswith("Build ")
        first = clone.build()
        assert len(first) >= 4
        assert {action["cacheHit"] for action in first.values()} == {False}
        again = clone.build()
        assert again == {}, {name: differences(first[name], again[name]) for name in again}
    with _clone(scratch / "somewhere else" / "two", caches=caches) as clone:
        second = clone.build()
    assert second.keys() == first.keys()
    assert {name: differences(first[name], second[name]) for name in first} == {
        name: [] for name in first
    }
    assert {action["cacheHit"] for action in second.values()} == {True}
    assert {action.get("exitCode", 0) for action in second.values()} == {0}


def test_a_difference_is_named() -> None:
    one = {
        "commandArgs": ["tool", "/home/one/x"],
        "inputs": [
            {"path": "x", "digest": {"hash": "1"}},
            {"path": "y", "digest": {"hash": "2"}},
        ],
    }
    other = {
        "commandArgs": ["tool", "/home/two/x"],
        "inputs": [
            {"path": "x", "digest": {"hash": "1"}},
            {"path": "y.pyc", "digest": {"hash": "3"}},
        ],
    }
    assert differences(one, one) == []
    assert differences(one, other) == [
        "commandArgs: ['tool', '/home/one/x'] and ['tool', '/home/two/x']",
        "y: [{'hash': '2'}, None] and None",
        "y.pyc: None and [{'hash': '3'}, None]",
    ]

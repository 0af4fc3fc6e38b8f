"""A git revision → what it makes, built in a working tree of its own.

    with Revisions(workspace, target) as revisions:
        built = revisions.build("v1.2")

The revision is checked out with `git worktree` below the user's cache, where it stays: one working
tree for each repository, so that its Bazel keeps what revisions have in common and builds only what
differs. Bazel is the program that is given, else the revision's own tools/bazelw, else `bazel` or
`bazelisk` on PATH.
It shares the user's repository cache, and whatever the workspace's user.bazelrc says. What was
built is kept by commit, so the next diff of it builds nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cli import ToolError
from tools.image.layout import open_layout
from tools.image.references import walk
from tools.image.scratch import remove_tree
from tools.oci.layout_writer import write_index

KEPT = 8  # Revisions; a layer that several have is stored once.
_RUNFILES = ".runfiles_manifest"
# What `bazel run` and our launcher set for this program, and nobody else.
_OURS = {"BUILD_WORKING_DIRECTORY", "BUILD_WORKSPACE_DIRECTORY", "PYTHONPATH", "RUNFILES_DIR"}


@dataclass(frozen=True)
class Built:
    """A revision's layout, and the .deb files it was made from, as far as they are still there."""

    commit: str
    layout: Path
    debs: tuple[Path, ...]


def find_commit(workspace: Path, revision: str) -> str | None:
    """Return the commit that a text names in the workspace's repository, None if it names none."""
    if revision.startswith("-"):
        return None
    done = _git(workspace, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    return done.stdout.strip() if done.returncode == 0 else None


def is_checked_out(workspace: Path, commit: str) -> bool:
    """Return whether the workspace is at a commit, without any change or new file."""
    head = find_commit(workspace, "HEAD")
    status = _git(workspace, "status", "--porcelain")
    return head == commit and status.returncode == 0 and not status.stdout.strip()


def _git(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    git = shutil.which("git")
    if git is None:
        return subprocess.CompletedProcess(arguments, 127, "", "git is not installed")
    # Within a hook git sets variables that lead to another repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return subprocess.run(
        [git, *arguments],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


class Revisions:
    """Builds revisions of one repository, one at a time; `cache` is a directory of the user's."""

    def __init__(
        self,
        workspace: Path,
        target: Mapping[str, Any],
        *,
        cache: Path,
        bazel: str | None = None,
    ) -> None:
        key = hashlib.sha256(os.fsencode(workspace.resolve())).hexdigest()[:16]
        self._workspace = workspace
        self._target = target
        self._bazel_program = bazel
        self._root = cache / key
        self._tree = self._root / "worktree"
        # A workspace may be a folder of a larger repository.
        below = _git(workspace, "rev-parse", "--show-prefix").stdout.strip()
        self._inside = self._tree / below

    def build(self, revision: str, commit: str) -> Built:
        """Return what a commit makes, built now or before; raise ToolError if it cannot be."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = self._root / "images" / commit / self._target["image"].replace("/", "_")
        with self._locked():
            if not (kept / "debs.json").is_file():
                self._check_out(revision, commit)
                self._keep(*self._built(revision), kept)
                self._evict(kept.parent)
            os.utime(kept.parent)
            debs = [Path(each) for each in json.loads((kept / "debs.json").read_bytes())]
        return Built(commit, kept, tuple(debs))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._root / "lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _say("another diff of this repository is building a revision; waiting for it")
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _check_out(self, revision: str, commit: str) -> None:
        subject = _git(self._workspace, "log", "-1", "--format=%h %s", commit).stdout.strip()
        _say(f"building {revision} ({subject}) in {self._tree}")
        if (self._tree / ".git").exists():
            done = _git(self._tree, "checkout", "--detach", "--force", commit)
            if done.returncode == 0:
                # Ignored files stay: among them are Bazel's links.
                done = _git(self._tree, "clean", "-ffdq")
        else:
            # --force: git may remember the directory from before the cache was deleted.
            add = ("worktree", "add", "--detach", "--force", str(self._tree), commit)
            done = _git(self._workspace, *add)
        if done.returncode != 0:
            raise ToolError(f"{revision}: git cannot check it out: {done.stderr.strip()}")

    def _built(self, revision: str) -> tuple[Path, list[Path]]:
        """Build the target's image and return its layout and the packages."""
        image, program = self._target["image"], self._target["program"]
        found = self._bazel(revision, "query", "--keep_going", f"set({image} {program})", code=3)
        has_program = program in found.split()
        labels = [image, program] if has_program else [image]
        self._bazel(revision, "build", *labels)
        (layout,) = self._bazel(revision, "cquery", "--output=files", image).split("\n")
        root = Path(self._bazel(revision, "info", "execution_root"))
        if not has_program:
            _say(f"{revision} has no {program}, which would name its packages' changelogs")
            return root / layout, []
        (script,) = self._bazel(revision, "cquery", "--output=files", program).split("\n")
        return root / layout, _debs(root / f"{script}{_RUNFILES}")

    def _bazel(self, revision: str, *arguments: str, code: int = 0) -> str:
        """Run Bazel and return what it prints; `code` is another exit code that is fine."""
        own = self._workspace / "user.bazelrc"
        # A second server beside the user's own; it need not stay.
        startup = ["--max_idle_secs=60", *([f"--bazelrc={own}"] if own.is_file() else [])]
        command = [*self._program(), *startup, *arguments]
        environment = {key: value for key, value in os.environ.items() if key not in _OURS}
        done = subprocess.run(
            command,
            cwd=self._inside,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode not in (0, code):
            raise ToolError(
                f"{revision}: Bazel ended with {done.returncode}; to see why, run this in "
                f"{self._inside}: {' '.join(command)}"
            )
        return done.stdout.strip()

    def _program(self) -> list[str]:
        own = self._inside / "tools" / "bazelw"
        wanted = [self._bazel_program] if self._bazel_program else [str(own), "bazel", "bazelisk"]
        found = next(filter(None, map(shutil.which, wanted)), None)
        if found is None:
            names = " or ".join(wanted)
            raise ToolError(f"a revision is built by {names}, and there is none; pass --bazel")
        return [found]

    def _keep(self, layout: Path, debs: Sequence[Path], kept: Path) -> None:
        """Copy a layout, sharing equal blobs with the revisions before."""
        if kept.exists():
            remove_tree(kept)
        pool = self._root / "blobs"
        pool.mkdir(exist_ok=True)
        (kept / "blobs" / "sha256").mkdir(parents=True)
        opened = open_layout(layout)
        for document, parts in walk(opened, opened.root):
            for blob in (document, *parts):
                name = blob.digest.partition(":")[2]
                if not (pool / name).exists():
                    partial = pool / f".{name}"
                    shutil.copyfile(opened.blob(blob.digest), partial)
                    partial.rename(pool / name)
                with contextlib.suppress(FileExistsError):
                    os.link(pool / name, kept / "blobs" / "sha256" / name)
        write_index(kept, opened.root)
        # Last: with it the entry is complete.
        (kept / "debs.json").write_text(json.dumps([str(deb) for deb in debs]))

    def _evict(self, keep: Path) -> None:
        """Remove all revisions but the last used, and the blobs that no other one has."""
        entries = sorted(keep.parent.iterdir(), key=lambda path: path.stat().st_mtime)
        for entry in [each for each in entries if each != keep][: -KEPT + 1]:
            remove_tree(entry)
        for blob in (self._root / "blobs").iterdir():
            if blob.stat().st_nlink == 1:
                blob.unlink()


def _debs(manifest: Path) -> list[Path]:
    """Return the .deb files of a runfiles manifest: lines of a runfiles path and a real one."""
    pairs = (line.partition(" ")[::2] for line in manifest.read_text().splitlines())
    return [Path(real) for name, real in pairs if name.endswith(".deb")]


def _say(line: str) -> None:
    print(f"diff: {line}", file=sys.stderr, flush=True)

"""Git revisions become images: checked out, built, kept, compared.

The repository is real, and so is git. Its tools/bazelw is a program that answers Bazel's commands
from what the revision's file `version` says; //tools/service:example_test builds with real ones.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.cli import ToolError
from tools.verify import diff, revisions
from tools.verify.revisions import Revisions, find_commit, is_checked_out
from tools.verify.service_for_test import Images, build

_BAZELW = """#!/bin/sh
set -eu
echo "$*" >> "{log}"
while case $1 in --*) ;; *) false ;; esac; do shift; done
version=$(cat version)
case $1 in
query)
    echo //backend:index
    [ -e no_program ] && exit 3
    echo //backend:diff ;;
build)
    [ "$version" != broken ] || exit 1
    mkdir -p out
    rm -rf out/index
    cp -rL "{images}/$version/index" out/index
    : > out/diff.sh.runfiles_manifest
    for deb in "{images}/$version"/amd64/*.deb; do
        echo "repo/${{deb##*/}} $deb" >> out/diff.sh.runfiles_manifest
    done ;;
cquery)
    case $3 in
    *:index) echo out/index ;;
    *) echo out/diff.sh ;;
    esac ;;
info) pwd ;;
esac
"""


class Repository:
    """A repository whose revisions make the images of `build` with some version of libfoo1."""

    def __init__(self, path: Path, images: Path, *, above: Path | None = None) -> None:
        self.path = path
        self.log = path.parent / "bazel.log"
        (path / "tools").mkdir(parents=True)
        self.log.touch()
        self._git("init", "-q", "-b", "main", str(above or path))
        bazelw = path / "tools" / "bazelw"
        bazelw.write_text(_BAZELW.format(images=images, log=self.log))
        bazelw.chmod(0o755)
        (path / ".gitignore").write_text("/out\n")

    def _git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=A Tester", "-c", "user.email=tester@example.org"]
        done = subprocess.run(
            [shutil.which("git") or "git", *identity, *arguments],
            cwd=self.path,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def commit(self, version: str) -> str:
        """Commit a version and return the commit."""
        (self.path / "version").write_text(version)
        self._git("add", "-A")
        self._git("commit", "-q", "-m", f"version {version}")
        return self._git("rev-parse", "HEAD")

    def tag(self, name: str) -> None:
        """Tag the commit that is checked out."""
        self._git("tag", name)

    def commands(self) -> list[str]:
        """The commands that Bazel has been given since the last call, without their arguments."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        self.log.write_text("")
        return [next(word for word in line if word[:2] != "--") for line in lines]


def run(checkout: Images, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code of the program in a checkout, and what it prints."""
    code = diff.main([*checkout.flags(), *arguments])
    out, err = capsys.readouterr()
    return code, err + out


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for version in ("1.0-1", "1.0-2", "1.0-3"):
        build(folder / version, foo=version)
    return folder


@pytest.fixture(autouse=True)
def _git_of_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the git that GIT_BINARY names first on PATH; a root of its own need not have any."""
    binary = os.environ.get("GIT_BINARY")
    if binary:
        (tmp_path / "git").mkdir()
        (tmp_path / "git" / "git").symlink_to(Path(binary).resolve())
        monkeypatch.setenv("PATH", f"{tmp_path / 'git'}:{os.environ['PATH']}")


@pytest.fixture
def repository(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BUILD_WORKING_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("BUILD_WORKSPACE_DIRECTORY", str(tmp_path / "repository"))
    return Repository(tmp_path / "repository", images)


@pytest.fixture
def checkout(images: Path) -> Images:
    """What the checkout makes: the newest version."""
    folder = images / "1.0-3"
    return Images(
        folder / "image_amd64",
        folder / "image_arm64",
        folder / "index",
        tuple((folder / "amd64").glob("*.deb")),
    )


def test_two_revisions_are_built_once_and_compared(
    repository: Repository, checkout: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    old = repository.commit("1.0-1")
    repository.tag("v1")
    repository.commit("1.0-2")
    repository.commit("1.0-3")
    code, said = run(checkout, capsys, "v1", "HEAD~1")
    assert code == 0, said
    assert f"old  v1 ({old[:12]}) (linux/amd64)" in said
    assert "  libfoo1  1.0-1 → 1.0-2  CVE-2026-10000" in said.splitlines()
    assert f"diff: building v1 ({old[:7]} version 1.0-1) in " in said
    assert repository.commands() == ["query", "build", "cquery", "info", "cquery"] * 2
    code, again = run(checkout, capsys, "v1", "HEAD~1")
    assert code == 0
    assert again == said[said.index("old  v1") :]
    assert repository.commands() == []


def test_the_commit_that_is_checked_out_is_not_built_again(
    repository: Repository, checkout: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.commit("1.0-1")
    repository.commit("1.0-3")
    code, said = run(checkout, capsys, "HEAD~1", "HEAD")
    assert code == 0, said
    assert "new  this checkout (linux/amd64)" in said
    assert repository.commands().count("build") == 1
    # With a change it is no longer what the commit makes.
    (repository.path / "new").touch()
    code, said = run(checkout, capsys, "HEAD~1", "HEAD")
    assert repository.commands().count("build") == 1
    assert "new  HEAD (" in said


def test_a_revision_without_the_program_has_no_changelogs(
    repository: Repository, checkout: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository.path / "no_program").touch()
    repository.commit("1.0-1")
    repository.commit("1.0-2")
    repository.commit("1.0-3")
    code, said = run(checkout, capsys, "HEAD~2", "HEAD~1")
    assert code == 0
    assert "HEAD~1 has no //backend:diff, which would name its packages' changelogs" in said
    assert "  libfoo1  1.0-1 → 1.0-2  changelog not at hand" in said.splitlines()


def test_a_build_that_fails_names_the_command(
    repository: Repository, checkout: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.commit("broken")
    repository.commit("1.0-3")
    code, said = run(checkout, capsys, "HEAD~1")
    assert code == diff.CANNOT
    assert "diff: HEAD~1: Bazel ended with 1; to see why, run this in " in said
    assert (
        "/worktree/tools/bazelw --max_idle_secs=60 build //backend:index //backend:diff\n" in said
    )


def test_the_users_settings_reach_bazel(
    repository: Repository, checkout: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.commit("1.0-1")
    (repository.path / "user.bazelrc").write_text("build --disk_cache=/somewhere\n")
    assert run(checkout, capsys, "HEAD")[0] == 0
    flag = f" --bazelrc={repository.path / 'user.bazelrc'} "
    lines = repository.log.read_text().splitlines()
    assert [flag in line for line in lines] == [True] * 5


def test_another_program_may_be_named(
    repository: Repository, checkout: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    bazelw = repository.path / "tools" / "bazelw"
    bazelw.rename(repository.path.parent / "my bazel")
    for version in ("1.0-1", "1.0-2", "1.0-3"):
        repository.commit(version)
    assert run(checkout, capsys, "HEAD~1", "--bazel=./my bazel")[0] == 0
    assert "build" in repository.commands()
    code, said = run(checkout, capsys, "HEAD~2", "--bazel=none-such")
    assert code == diff.CANNOT
    assert "diff: a revision is built by none-such, and there is none; pass --bazel\n" in said


def test_old_revisions_are_removed_and_shared_layers_stay(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "KEPT", 2)
    target = {"image": "//backend:index", "program": "//backend:diff"}
    kept = Revisions(repository.path, target, cache=tmp_path / "revisions")
    commits = [repository.commit(version) for version in ("1.0-1", "1.0-2", "1.0-3")]
    built = []
    for age, commit in enumerate(commits):
        built.append(kept.build("HEAD", commit))
        os.utime(built[-1].layout.parent, (age, age))
    assert [each.layout.is_dir() for each in built] == [False, True, True]
    blobs = next((tmp_path / "revisions").glob("*/blobs"))
    left = {path.name for path in blobs.iterdir()}
    wanted = {path.name for each in built[1:] for path in (each.layout / "blobs/sha256").iterdir()}
    assert left == wanted
    # One that was removed is built again.
    assert kept.build("HEAD", commits[0]).layout.is_dir()


def test_a_text_that_names_no_commit_is_no_revision(repository: Repository, tmp_path: Path) -> None:
    commit = repository.commit("1.0-1")
    assert find_commit(repository.path, "main") == commit
    assert find_commit(repository.path, commit[:8]) == commit
    for text in ("v9", "--all", "HEAD:version", "registry.example/app:v1"):
        assert find_commit(repository.path, text) is None
    (tmp_path / "nothing").mkdir()
    assert find_commit(tmp_path / "nothing", "main") is None
    assert is_checked_out(repository.path, commit)
    (repository.path / "version").write_text("changed")
    assert not is_checked_out(repository.path, commit)


def test_a_workspace_may_be_a_folder_of_the_repository(tmp_path: Path, images: Path) -> None:
    inside = Repository(tmp_path / "all" / "service", images, above=tmp_path / "all")
    target = {"image": "//backend:index", "program": "//backend:diff"}
    commit = inside.commit("1.0-1")
    built = Revisions(inside.path, target, cache=tmp_path / "r").build("HEAD", commit)
    assert len(built.debs) == 2


def test_without_any_bazel_the_error_says_where_one_is_looked_for(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository.path / "tools" / "bazelw").unlink()
    commit = repository.commit("1.0-1")
    (tmp_path / "bin").mkdir()
    for name in ("git", "readlink"):
        (tmp_path / "bin" / name).symlink_to(Path(shutil.which(name) or name).resolve())
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    target = {"image": "//backend:index", "program": "//backend:diff"}
    kept = Revisions(repository.path, target, cache=tmp_path / "revisions")
    match = r"built by .*/tools/bazelw or bazel or bazelisk, and there is none; pass --bazel"
    with pytest.raises(ToolError, match=match):
        kept.build("HEAD", commit)


def test_what_was_built_is_a_layout_with_its_packages(
    repository: Repository, tmp_path: Path, images: Path
) -> None:
    target = {"image": "//backend:index", "program": "//backend:diff"}
    commit = repository.commit("1.0-1")
    built = Revisions(repository.path, target, cache=tmp_path / "r").build("HEAD", commit)
    assert sorted(built.debs) == sorted((images / "1.0-1" / "amd64").glob("*.deb"))
    ours = json.loads((images / "1.0-1" / "index" / "index.json").read_bytes())
    assert json.loads((built.layout / "index.json").read_bytes())["manifests"] == ours["manifests"]

"""The lock command, run for real: pip resolves wheels from an index that the test wrote."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tools.py import lock
from tools.py.lockfile import parse_lock
from tools.py.tiny_wheels import TinyWheel, write_index

if TYPE_CHECKING:
    from pathlib import Path

_AMD64 = "cp311-cp311-manylinux_2_17_x86_64"
_ARM64 = "cp311-cp311-manylinux_2_17_aarch64"
_PAIR = [TinyWheel("native", tag=_AMD64), TinyWheel("native", tag=_ARM64)]


class _Workspace:
    """Inputs, a Debian lock and an index; `run` is the command as a user starts it."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self._monkeypatch = monkeypatch
        packages = [
            {"name": name, "arch": arch, "version": version}
            for name, version in (("python3.11", "3.11.2-6"), ("libc6", "2.36-9"))
            for arch in ("amd64", "arm64")
        ]
        (path / "debian.json").write_text(json.dumps({"packages": packages}), encoding="utf-8")
        monkeypatch.setenv("BUILD_WORKSPACE_DIRECTORY", str(path))

    def write(self, *, runtime: str, dev: str, index: list[TinyWheel]) -> None:
        (self.path / "requirements.in").write_text(runtime, encoding="utf-8")
        (self.path / "requirements_dev.in").write_text(dev, encoding="utf-8")
        self._monkeypatch.setenv("PIP_INDEX_URL", write_index(index, directory=self.path / "index"))

    def run(self, *flags: str) -> int:
        return lock.main(["--directory=.", "--debian-lock=debian.json", *flags])

    def pins(self, name: str) -> dict[str, str]:
        text = (self.path / f"{name}.txt").read_text(encoding="utf-8")
        return {wheel.name: wheel.filename for wheel in parse_lock(text, source=name)}

    def locks(self) -> dict[str, str]:
        return {path.name: path.read_text(encoding="utf-8") for path in self.path.glob("*.txt")}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Workspace:
    return _Workspace(tmp_path, monkeypatch)


def test_each_architecture_gets_its_own_wheel_and_tools_stay_out_of_the_runtime(
    workspace: _Workspace,
) -> None:
    workspace.write(
        runtime="native  # with a reason\n",
        dev="-r requirements.in\n\nchecker\n",
        index=[*_PAIR, TinyWheel("checker")],
    )
    assert workspace.run() == 0
    assert workspace.pins("requirements.amd64") == {"native": f"native-1.0-{_AMD64}.whl"}
    assert workspace.pins("requirements.arm64") == {"native": f"native-1.0-{_ARM64}.whl"}
    assert workspace.pins("requirements_dev.arm64") == {
        "checker": "checker-1.0-py3-none-any.whl",
        "native": f"native-1.0-{_ARM64}.whl",
    }


def test_the_newest_stable_release_is_taken(workspace: _Workspace) -> None:
    releases = [TinyWheel("a", version=version) for version in ("1.9", "1.10", "2.0rc1")]
    workspace.write(runtime="a\n", dev="-r requirements.in\n", index=releases)
    assert workspace.run() == 0
    assert workspace.pins("requirements.amd64") == {"a": "a-1.10-py3-none-any.whl"}


def test_a_requirement_that_only_the_other_machine_has_is_locked_for_it(
    workspace: _Workspace,
) -> None:
    index = [
        TinyWheel(
            "a", requires=("b; platform_machine == 'aarch64'", "c; platform_machine == 'x86_64'")
        ),
        TinyWheel("b"),
        TinyWheel("c"),
    ]
    workspace.write(runtime="a\n", dev="-r requirements.in\n", index=index)
    assert workspace.run() == 0
    assert set(workspace.pins("requirements.amd64")) == {"a", "c"}
    assert set(workspace.pins("requirements.arm64")) == {"a", "b"}


def test_a_patch_version_in_a_marker_is_judged_by_the_images_python(workspace: _Workspace) -> None:
    index = [TinyWheel("a", requires=("b; python_full_version < '3.11.3'",)), TinyWheel("b")]
    workspace.write(runtime="a\n", dev="-r requirements.in\n", index=index)
    assert workspace.run() == 0
    assert set(workspace.pins("requirements.amd64")) == {"a", "b"}


def test_tools_do_not_move_what_the_image_has(workspace: _Workspace) -> None:
    index = [TinyWheel("a"), TinyWheel("b", version="1.0"), TinyWheel("b", version="2.0")]
    workspace.write(runtime="b<2\n", dev="b\na\n", index=index)
    assert workspace.run() == 0
    assert workspace.pins("requirements_dev.amd64")["b"] == "b-1.0-py3-none-any.whl"


def test_the_machines_constraints_and_local_directories_do_not_leak_in(
    workspace: _Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.write(
        runtime="a\n",
        dev="-r requirements.in\n",
        index=[TinyWheel("a"), TinyWheel("a", version="2.0")],
    )
    local = write_index([TinyWheel("a", version="3.0")], directory=workspace.path / "local")
    constraints = workspace.path / "constraints"
    constraints.write_text("a<2\n", encoding="utf-8")
    config = workspace.path / "pip.conf"
    config.write_text(
        f"[global]\nconstraint = {constraints}\nextra-index-url = {local}\n"
        "require-virtualenv = true\n"
        f"find-links = {workspace.path}/local/files\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    assert workspace.run() == 0
    assert workspace.pins("requirements.amd64") == {"a": "a-2.0-py3-none-any.whl"}


def test_a_second_run_writes_the_same_bytes_and_the_check_agrees(workspace: _Workspace) -> None:
    workspace.write(runtime="native\n", dev="-r requirements.in\n", index=_PAIR)
    assert workspace.run() == 0
    before = workspace.locks()
    assert workspace.run() == 0
    assert workspace.locks() == before
    assert workspace.run("--check") == 0


def test_the_check_holds_while_newer_releases_appear_and_fails_when_an_input_changes(
    workspace: _Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.write(runtime="a\n", dev="-r requirements.in\n", index=[TinyWheel("a")])
    assert workspace.run() == 0
    newer = [TinyWheel("a"), TinyWheel("a", version="2.0"), TinyWheel("b")]
    workspace.write(runtime="a\n", dev="-r requirements.in\n", index=newer)
    assert workspace.run("--check") == 0
    workspace.write(runtime="a\nb\n", dev="-r requirements.in\n", index=newer)
    before = workspace.locks()
    assert workspace.run("--check") == 1
    assert workspace.locks() == before
    output = capsys.readouterr()
    assert "+b==1.0" in output.out
    assert "run `bazel run //third_party/python:lock`" in output.err


@pytest.mark.parametrize(
    ("runtime", "index", "message"),
    [
        ("missing\n", [TinyWheel("a")], "pip cannot resolve the requirements for "),
        ("a>=2\n", [TinyWheel("a")], "No matching distribution found for a>=2"),
        (
            "native\n",
            [TinyWheel("native", tag=_AMD64)],
            "pip cannot resolve the requirements for arm64",
        ),
        ("--index-url=https://example.org\n", [], "is neither a requirement nor `-r FILE`"),
        (
            "a @ https://example.org/a-1-py3-none-any.whl\n",
            [],
            "names a URL; only packages of the index",
        ),
        (
            "native\n",
            [*_PAIR, TinyWheel("native", version="2.0", tag=_AMD64)],
            "native would be 2.0 in requirements.amd64 and 1.0 in requirements.arm64",
        ),
    ],
)
def test_a_failure_says_why_and_leaves_the_old_locks(
    workspace: _Workspace,
    capsys: pytest.CaptureFixture[str],
    runtime: str,
    index: list[TinyWheel],
    message: str,
) -> None:
    workspace.write(runtime="old\n", dev="-r requirements.in\n", index=[TinyWheel("old")])
    assert workspace.run() == 0
    before = workspace.locks()
    workspace.write(runtime=runtime, dev="-r requirements.in\n", index=index)
    assert workspace.run() == 1
    assert message in capsys.readouterr().err
    assert workspace.locks() == before
    assert sorted(path.name for path in workspace.path.glob(".*")) == []


def test_checking_without_locks_says_which_command_makes_them(
    workspace: _Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.write(runtime="a\n", dev="a\n", index=[TinyWheel("a")])
    assert workspace.run("--check") == 1
    assert "does not exist; run `bazel run //third_party/python:lock`" in capsys.readouterr().err

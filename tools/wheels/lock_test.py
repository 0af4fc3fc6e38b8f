"""The lock command, run for real: pip resolves wheels from an index that the test wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.cli import ToolError
from tools.wheels import lock
from tools.wheels.lock import Locks, check_same_versions
from tools.wheels.lockfile import LockedWheel, parse_lock
from tools.wheels.target import Target
from tools.wheels.wheels_for_test import TinyWheel, write_index

_AMD64 = "cp311-cp311-manylinux_2_17_x86_64"
_ARM64 = "cp311-cp311-manylinux_2_17_aarch64"
_COMMAND = "bazel run //app:lock"
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

    def write_old_locks(self) -> dict[str, str]:
        for name in ("requirements", "requirements_dev"):
            for arch in ("amd64", "arm64"):
                (self.path / f"{name}.{arch}.txt").write_text("# old\n", encoding="utf-8")
        return self.locks()

    def run(self, *flags: str) -> int:
        inputs = ["--input=requirements.in", "--input=requirements_dev.in"]
        return lock.main([*inputs, "--debian-lock=debian.json", f"--command={_COMMAND}", *flags])

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
    pure = [TinyWheel("pure", version=version) for version in ("1.0", "2.0")]
    workspace.write(
        runtime="native  # with a reason\npure<2\n",
        dev="-r requirements.in\n\nchecker\npure\n",
        index=[*_PAIR, *pure, TinyWheel("checker")],
    )
    assert workspace.run() == 0
    assert workspace.locks()["requirements.arm64.txt"].splitlines()[:2] == [
        "# Wheels for Python 3.11.2 on arm64, glibc 2.36 or newer. Made from requirements.in by",
        "# `bazel run //app:lock`; do not edit.",
    ]
    runtime = {"native": f"native-1.0-{_ARM64}.whl", "pure": "pure-1.0-py3-none-any.whl"}
    assert workspace.pins("requirements.amd64")["native"] == f"native-1.0-{_AMD64}.whl"
    assert workspace.pins("requirements.arm64") == runtime
    assert workspace.pins("requirements_dev.arm64") == {
        "checker": "checker-1.0-py3-none-any.whl",
        **runtime,
    }


def test_the_check_holds_while_releases_appear_and_fails_when_an_input_changes(
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
    assert "out of date; renew them with: bazel run //app:lock" in output.err


def test_locks_go_into_the_directory_that_is_named(
    workspace: _Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.write(runtime="a\n", dev="-r requirements.in\n", index=[TinyWheel("a")])
    assert workspace.run("--directory=other", "--check") == 1
    assert "other/requirements.amd64.txt does not exist" in capsys.readouterr().err
    assert workspace.run("--directory=other") == 0
    assert workspace.locks() == {}
    assert workspace.pins("other/requirements_dev.arm64") == {"a": "a-1.0-py3-none-any.whl"}
    assert workspace.run("--directory=other", "--check") == 0


def test_only_the_architectures_asked_for_are_locked(
    workspace: _Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.write(runtime="native\n", dev="native\n", index=[TinyWheel("native", tag=_AMD64)])
    assert workspace.run("--architecture=amd64") == 0
    assert sorted(workspace.locks()) == ["requirements.amd64.txt", "requirements_dev.amd64.txt"]
    assert workspace.run("--architecture=amd64", "--check") == 0
    assert workspace.run("--architecture=riscv64") == 1
    error = capsys.readouterr().err
    assert "--architecture: " in error
    assert "debian.json has no packages for riscv64" in error


def test_an_upgrade_moves_what_it_names_and_says_what_moved(
    workspace: _Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    dev = "-r requirements.in\nchecker\n"
    amd64 = "--architecture=amd64"
    first = [TinyWheel(name) for name in ("a", "b", "checker")]
    workspace.write(runtime="a\nb\n", dev=dev, index=first)
    assert workspace.run(amd64) == 0
    before = workspace.locks()
    newer = [*first, TinyWheel("a", version="2.0", requires=("b>=2",))]
    newer += [TinyWheel(name, version="2.0") for name in ("b", "checker")]
    workspace.write(runtime="a>=2\nb\n", dev=dev, index=newer)
    capsys.readouterr()
    assert workspace.run(amd64, "--upgrade", "a") == 1
    assert "All but a were to stay; name what has to move as well" in capsys.readouterr().err
    assert workspace.run(amd64, "--upgrade", "a", "c") == 1
    assert "--upgrade: c: not in the locks" in capsys.readouterr().err
    assert workspace.locks() == before
    assert workspace.run(amd64, "--upgrade", "A", "b") == 0
    sizes = {
        path.name.partition("-py3")[0]: path.stat().st_size
        for path in (workspace.path / "index/files").iterdir()
    }
    growth = sizes["a-2.0"] - sizes["a-1.0"]
    last = "  requirements.in, requirements_dev.in  not told by wheels"
    assert capsys.readouterr().out.splitlines() == [
        "package  old → new  bytes      asked for by                          CVEs fixed",
        f"a        1.0 → 2.0  {sizes['a-2.0']} ({growth:+}){last}",
        f"b        1.0 → 2.0  {sizes['b-2.0']} (+0) {last}",
    ]
    assert workspace.pins("requirements_dev.amd64")["checker"] == "checker-1.0-py3-none-any.whl"
    # The old file is gone from the index, as after a release was withdrawn.
    workspace.write(runtime="a>=2\nb\n", dev=dev, index=newer[3:])
    assert workspace.run(amd64, "--upgrade", "--markdown") == 0
    last = "| requirements_dev.in | not told by wheels |"
    assert capsys.readouterr().out.splitlines() == [
        "| package | old → new | bytes | asked for by | CVEs fixed |",
        "|---|---|--:|---|---|",
        f"| checker | 1.0 → 2.0 | {sizes['checker-2.0']} (unknown) {last}",
    ]


def test_a_second_run_writes_the_same_bytes(workspace: _Workspace) -> None:
    workspace.write(runtime="native\n", dev="-r requirements.in\n", index=_PAIR)
    assert workspace.run() == 0
    before = workspace.locks()
    assert workspace.run() == 0
    assert workspace.locks() == before


def test_a_failure_leaves_the_old_locks(
    workspace: _Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    before = workspace.write_old_locks()
    workspace.write(runtime="native\n", dev="native\n", index=[TinyWheel("native", tag=_AMD64)])
    assert workspace.run() == 1
    assert "the requirements cannot be resolved for arm64; pip says:" in capsys.readouterr().err
    assert workspace.locks() == before
    assert list(workspace.path.glob(".*")) == []


def test_checking_without_locks_says_which_command_makes_them(
    workspace: _Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.write(runtime="a\n", dev="a\n", index=[])
    assert workspace.run("--check") == 1
    assert "does not exist; make it with: bazel run //app:lock" in capsys.readouterr().err


def test_architectures_that_would_differ_in_a_version_are_an_error() -> None:
    locks = [
        Locks(
            target=Target(arch=arch, python="3.11.2", glibc_minor=36),
            wheels={
                Path("requirements.in"): (
                    LockedWheel(
                        name="native",
                        version=version,
                        extras=(),
                        filename="",
                        sha256="",
                        via=("requirements.in",),
                    ),
                )
            },
        )
        for arch, version in (("amd64", "2.0"), ("arm64", "1.0"))
    ]
    with pytest.raises(ToolError) as caught:
        check_same_versions(locks)
    expected = "native would be 2.0 in requirements.amd64 and 1.0 in requirements.arm64"
    assert expected in str(caught.value)
    assert "bound it in requirements.in so" in str(caught.value)

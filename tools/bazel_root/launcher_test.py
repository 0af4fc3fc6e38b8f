"""Tests of launcher.py, world.py and enter.py: names, messages, and a real entering of a root."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.bazel_root import enter, launcher
from tools.bazel_root.world import bazelrc, host_directories
from tools.cli import ToolError

REPOSITORY = Path(__file__).resolve().parents[2]
BAZELW = REPOSITORY / "tools" / "bazelw"

# Enters a root made of the host's own /usr and runs a shell command there.
PROGRAM = """
import os, sys
from tools.bazel_root.enter import World, enter
from tools.bazel_root.world import host_directories
root, command = sys.argv[1:]
links = {name: "/.host-etc/" + name for name in os.listdir("/etc") if name != "marker"}
links["deep/er/link"] = "/.host-etc/passwd"
world = World(root=root, binds=host_directories(), files={"deep/marker": b"here"}, links=links)
enter(world, argv=["/bin/sh", "-c", command], environ={"PATH": "/usr/bin:/bin"}, cwd=os.getcwd())
"""


def run_inside(
    directory: Path, command: str, *, text: str = ""
) -> "subprocess.CompletedProcess[str]":
    root = directory / "root"
    (root / "mnt").mkdir(parents=True)
    (root / "usr").symlink_to("/usr")
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root), command],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=directory,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_inside_the_directory_is_the_same_and_the_exit_code_is_the_programs(
    tmp_path: Path,
) -> None:
    result = run_inside(tmp_path, "pwd; cat; echo made > made; id -u; exit 7", text="typed\n")
    assert result.stdout.splitlines() == [str(tmp_path), "typed", str(os.getuid())], result.stderr
    assert result.returncode == 7
    assert (tmp_path / "made").read_text() == "made\n"


def test_inside_usr_is_read_only_and_etc_is_a_new_one(tmp_path: Path) -> None:
    result = run_inside(tmp_path, "cat /etc/deep/marker; cat /etc/deep/er/link; : > /usr/x")
    assert result.stdout == "here" + Path("/etc/passwd").read_text()
    assert "Read-only file system" in result.stderr
    assert not Path("/etc/deep").exists()
    assert not Path("/usr/x").exists()


def test_the_mounts_end_with_the_program(tmp_path: Path) -> None:
    before = Path("/proc/self/mounts").read_text()
    assert run_inside(tmp_path, "exit 0").returncode == 0
    assert Path("/proc/self/mounts").read_text() == before
    assert os.listdir(tmp_path / "root" / "mnt") == []


def test_the_cache_follows_xdg_and_ignores_relative_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for value, expected in (
        ("/var/cache/me", "/var/cache/me/pinned_image"),
        ("", "/home/me/.cache/pinned_image"),
        ("relative", "/home/me/.cache/pinned_image"),
    ):
        assert launcher.cache_directory({"XDG_CACHE_HOME": value}) == Path(expected)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does for such a user
    with pytest.raises(ToolError, match="set XDG_CACHE_HOME"):
        launcher.cache_directory({})


def test_architectures_have_debians_names() -> None:
    assert launcher.architecture("linux", "x86_64") == "amd64"
    assert launcher.architecture("linux", "aarch64") == "arm64"


@pytest.mark.parametrize("machine", [("linux", "riscv64"), ("darwin", "arm64")])
def test_other_machines_are_named_with_the_way_out(machine: "tuple[str, str]") -> None:
    with pytest.raises(ToolError) as error:
        launcher.architecture(*machine)
    assert f"this is {machine[0]} on {machine[1]}" in str(error.value)
    assert "install Bazel 7 or bazelisk" in str(error.value)


def test_the_root_is_named_by_lock_recipe_and_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "root.lock.json"
    lock.write_text("{}")
    monkeypatch.setattr(launcher, "LOCK", lock)
    names = [launcher.root_key("amd64"), launcher.root_key("arm64")]
    lock.write_text("{ }")
    names.append(launcher.root_key("amd64"))
    assert len(set(names)) == 3
    lock.unlink()
    with pytest.raises(ToolError, match=r"root\.lock\.json: No such file"):
        launcher.root_key("amd64")


def test_settings_name_places_only_and_survive_odd_paths(tmp_path: Path) -> None:
    (tmp_path / "usr").mkdir()
    text = bazelrc(Path('/home/a "b" c'), root=tmp_path, trust=Path("/t"), binds=("home", "tmp"))
    assert 'startup --output_user_root="/home/a \\"b\\" c/bazel"\n' in text
    assert 'test --sandbox_writable_path="/home/a \\"b\\" c/rootfs"\n' in text
    # `@bazel_tools` is a link below it, and what `bazelw run` starts is outside the root.
    assert f'startup --install_base="{tmp_path}/usr/share/bazel"\n' in text
    # What tests are told must not differ from user to user, or they could not share results.
    assert "build --test_env=ROOTFS_CACHE=/etc/pinned_image/rootfs\n" in text
    assert [line.split()[0] for line in text.splitlines()].count("startup") == 7
    assert len(text.splitlines()) == 9
    assert "startup --host_jvm_args=-Xbootclasspath/a:/usr/share/bazel/build-data\n" in text


def test_a_server_is_restarted_for_another_root_other_mounts_or_other_trust(
    tmp_path: Path,
) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "usr").mkdir(parents=True)

    def settings(root: str = "a", binds: tuple[str, ...] = ("home",), trust: str = "/t") -> str:
        return bazelrc(Path("/c"), root=tmp_path / root, trust=Path(trust), binds=binds)

    first = settings()
    assert settings() == first
    others = [settings(root="b"), settings(binds=("home", "srv")), settings(trust="/u")]
    assert len({first, *others}) == 4


def test_a_server_is_restarted_when_its_root_was_deleted_and_built_again(tmp_path: Path) -> None:
    def settings() -> str:
        return bazelrc(Path("/c"), root=tmp_path, trust=Path("/t"), binds=())

    (tmp_path / "usr").mkdir()
    first = settings()
    (tmp_path / "usr").rmdir()
    (tmp_path / "usr").mkdir()
    assert settings() != first


def test_the_hosts_directories_are_seen_but_not_its_programs() -> None:
    found = host_directories()
    assert {"tmp", "var"} <= set(found)
    assert not {"usr", "bin", "lib", "etc", "proc", "sys", "dev"} & set(found)
    assert list(found) == sorted(found)


@pytest.mark.parametrize("path", ["/usr/share/x", "/etc/x", "/bin"])
def test_a_path_that_the_root_hides_is_named(path: str) -> None:
    with pytest.raises(ToolError, match=f"the working directory {path} lies under /"):
        enter.check_visible(path, what="the working directory")


@pytest.mark.parametrize("path", ["/home/me/x", "/usr/local/src/x", "/usr/local", "/etcetera"])
def test_a_path_that_is_seen_is_accepted(path: str) -> None:
    enter.check_visible(path, what="the working directory")


def test_a_host_without_namespaces_is_told_what_helps() -> None:
    message = enter.no_namespaces(PermissionError(1, "unshare: Operation not permitted"))
    assert "private root (unshare: Operation not permitted)" in message
    assert "an administrator can run" in message or "it is a seccomp filter" in message
    assert "BAZELW_BAZEL" in message
    assert ("run bazelw as root" in message) == (os.getuid() != 0)


def test_bazelw_reports_errors_in_one_line_and_exits_with_1(tmp_path: Path) -> None:
    result = run_bazelw("version", cwd=tmp_path, BAZELW_BAZEL="/nowhere")
    assert result.returncode == 1
    assert result.stderr.startswith("bazelw: BAZELW_BAZEL: '/nowhere' is not an executable file")
    assert result.stderr.count("\n") == 1


def run_bazelw(
    *arguments: str, cwd: Path, bazelw: Path = BAZELW, **environ: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(bazelw), *arguments],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_root_that_somebody_else_could_plant_does_not_run(tmp_path: Path) -> None:
    cache = tmp_path / "shared" / "pinned_image"
    root = cache / "roots" / launcher.root_key(launcher.architecture("linux", os.uname().machine))
    (root / "mnt").mkdir(parents=True)
    (root / "usr").symlink_to("/usr")
    cache.chmod(0o777)

    def run() -> "subprocess.CompletedProcess[str]":
        shared = str(tmp_path / "shared")
        return run_bazelw("version", cwd=tmp_path, XDG_CACHE_HOME=shared, BAZELW_BAZEL="private")

    result = run()
    assert result.returncode == 1
    assert result.stderr.startswith(f"bazelw: {cache} may be written by other users (mode 0777)")
    # Closed again, but what was made in it meanwhile may still be a stranger's.
    cache.chmod(0o755)
    root.chmod(0o777)
    result = run()
    assert result.stderr.startswith(f"bazelw: {root} may be written by other users (mode 0777)")
    assert cache.stat().st_mode & 0o777 == 0o700


def write_bazel(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_bazelw_passes_arguments_and_exit_code_to_a_bazel_of_the_users_own(tmp_path: Path) -> None:
    bazel = write_bazel(tmp_path / "bazel", 'printf "%s|" "$@"; exit 37')
    result = run_bazelw("run", "//x", "--", "a b", "", cwd=tmp_path, BAZELW_BAZEL=bazel)
    assert (result.stdout, result.returncode) == ("run|//x|--|a b||", 37)


def test_the_workspace_is_that_of_the_current_directory(tmp_path: Path) -> None:
    package = tmp_path / "theirs" / "deep" / "package"
    package.mkdir(parents=True)
    (tmp_path / "theirs" / "MODULE.bazel").touch()
    (tmp_path / "theirs" / "deep" / "WORKSPACE").mkdir()  # a directory of that name is none
    assert launcher.workspace_directory(package) == tmp_path / "theirs"
    assert launcher.workspace_directory(Path("/")) == Path("/")


def test_a_foreign_workspace_decides_the_version_and_bazel_starts_in_it(tmp_path: Path) -> None:
    package = tmp_path / "theirs" / "package"
    package.mkdir(parents=True)
    (tmp_path / "theirs" / "WORKSPACE").touch()
    # As bazelisk does: the version is the one that the workspace names.
    programs = tmp_path / "bin"
    programs.mkdir()
    write_bazel(
        programs / "bazel",
        'test "$1" = --version && exec echo "bazel $(cat .bazelversion)"; echo "in $PWD"',
    )
    (tmp_path / "theirs" / ".bazelversion").write_text("8.4.2\n")
    path = f"{programs}:/usr/bin:/bin"
    result = run_bazelw("build", cwd=package, PATH=path)
    assert result.stdout == f"in {package}\n", result.stderr


def test_bazelw_runs_from_a_directory_that_nobody_can_write(tmp_path: Path) -> None:
    release = tmp_path / "release"
    shutil.copytree(
        REPOSITORY / "tools", release / "tools", ignore=shutil.ignore_patterns("__pycache__")
    )
    before = sorted(release.rglob("*"))
    for path in [release, *before]:
        path.chmod(0o555)
    bazel = write_bazel(tmp_path / "bazel", "echo started")
    bazelw = release / "tools" / "bazelw"
    result = run_bazelw("build", cwd=tmp_path, bazelw=bazelw, BAZELW_BAZEL=bazel)
    for path in [release, *before]:
        path.chmod(0o755)
    assert result.stdout == "started\n", result.stderr
    # Root may write all the same, and Python then leaves its bytecode there.
    assert os.getuid() == 0 or sorted(release.rglob("*")) == before


def test_another_package_called_tools_does_not_get_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    bazel = write_bazel(tmp_path / "bazel", "echo started")
    result = run_bazelw("build", cwd=tmp_path, BAZELW_BAZEL=bazel, PYTHONPATH=str(tmp_path))
    assert result.stdout == "started\n", result.stderr

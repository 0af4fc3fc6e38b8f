"""The README's example, as another repository: from the release archive, by a Bazel of its own.

It is built as a WORKSPACE and as a module, then once more by another user in another place; without
a network.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.apt.gpgv_for_test import TESTDATA
from tools.registry.registry_for_test import free_port, running
from tools.service.bazel_for_test import (
    ARCHITECTURE,
    MODES,
    Action,
    Release,
    Workspace,
    differences,
    files_to_fetch,
    fill_repository_cache,
)
from tools.service.nginx_for_test import RemoteCache, remote_cache
from tools.wheels.wheels_for_test import TinyWheel, write_index

RUNFILES = Path(os.environ["TEST_SRCDIR"])
README = RUNFILES / "pinned_image/README.md"
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
_PROOFS = """
load("@pinned_image//tools/service:defs.bzl", "image_proofs")

image_proofs(
    name = "proofs",
    debian_groups = ["base"],
    debian_lock = "debian.lock.json",
    image = "image",
    python_locks = {
        "amd64": "requirements.amd64.txt",
        "arm64": "requirements.arm64.txt",
    },
)
"""
# An image on top of what was pushed.
_CHILD = """
load("@rules_oci//oci:defs.bzl", "oci_image")

oci_image(name = "child_{architecture}", base = "@pulled", env = {{"MORE": "1"}})
"""
_PULLED = """
load("@rules_oci//oci:pull.bzl", "oci_pull")

oci_pull(name = "pulled", digest = "{digest}", image = "{repository}")
"""
# Of this machine's architecture: packages of the other one are not here.
_COMPARED = """
load("@pinned_image//tools/verify:defs.bzl", "image_diff", "image_verify")

image_diff(name = "changes", debs = ["@debian//:base"], image = ":image")

image_verify(name = "check", images = [":image"])
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


@pytest.fixture(scope="module")
def scratch() -> Path:
    return Path(os.environ["TEST_TMPDIR"])


@pytest.fixture(scope="module")
def release(scratch: Path) -> Release:
    return Release.unpack(RUNFILES, scratch / "unpacked")


@pytest.fixture(scope="module")
def caches(scratch: Path) -> Path:
    """What the users share: this test's packages and wheels, an empty disk cache, Bazel's root."""
    directory = scratch / "caches"
    fill_repository_cache(directory / "repository", files_to_fetch(RUNFILES))
    return directory


@pytest.fixture(scope="module")
def workspaces(scratch: Path, release: Release, caches: Path) -> Iterator[dict[str, Workspace]]:
    """Mode → the example in that mode."""
    made = {
        mode: Workspace(
            scratch / name / "hello",
            home=scratch / name / "home",
            caches=caches,
            release=release,
            mode=mode,
            bazel_debs=RUNFILES.glob("example_files/**/bazel-*.deb"),
        )
        for mode, name in (("WORKSPACE", "w"), ("MODULE.bazel", "m"))
    }
    yield made
    for workspace in made.values():
        workspace.bazel("shutdown")


@pytest.fixture(scope="module")
def remote(scratch: Path) -> Iterator[RemoteCache]:
    """A cache of several machines, empty at first."""
    with remote_cache(scratch / "nginx", free_port()) as cache:
        yield cache


@pytest.fixture(scope="module")
def clone(scratch: Path, release: Release, caches: Path) -> Iterator[Workspace]:
    """The example of another user in another place."""
    place = scratch / "somewhere else" / "two"
    made = Workspace(place / "hello", home=place / "home", caches=caches, release=release)
    yield made
    made.bazel("shutdown")


@pytest.fixture(scope="module")
def actions() -> dict[str, dict[str, Action]]:
    """Mode → actions of the example's first build, by output; the first test fills it in."""
    return {}


@pytest.fixture(scope="module")
def layers() -> dict[str, list[str]]:
    """Mode → digests of the example's layers, which the first test fills in."""
    return {}


@pytest.mark.parametrize("mode", MODES)
def test_the_example_builds_and_its_structure_test_passes(
    mode: str,
    workspaces: dict[str, Workspace],
    remote: RemoteCache,
    actions: dict[str, dict[str, Action]],
    layers: dict[str, list[str]],
) -> None:
    actions[mode] = workspaces[mode].build("image", f"--remote_cache={remote.url}")
    layers[mode] = workspaces[mode].layers("image")
    workspaces[mode].bazel("test", "//:image_test")


def test_workspace_and_module_give_the_same_layers(layers: dict[str, list[str]]) -> None:
    assert layers["WORKSPACE"] == layers["MODULE.bazel"]


def test_bazelw_tells_its_version(workspaces: dict[str, Workspace]) -> None:
    said = workspaces["WORKSPACE"].bazel("version")
    assert said.splitlines()[-1].startswith("Build ")


def test_actions_have_the_same_keys_in_two_clones_and_none_runs_twice(
    clone: Workspace, workspaces: dict[str, Workspace], actions: dict[str, dict[str, Action]]
) -> None:
    first = actions["WORKSPACE"]
    assert len(first) >= 15
    assert {action["cacheHit"] for action in first.values()} == {False}
    again = workspaces["WORKSPACE"].build("image")
    assert again == {}, {name: differences(first[name], again[name]) for name in again}
    second = clone.build("image")
    assert second.keys() == first.keys()
    assert {name: differences(first[name], second[name]) for name in first} == {
        name: [] for name in first
    }
    assert {action["cacheHit"] for action in second.values()} == {True}
    assert {action.get("exitCode", 0) for action in second.values()} == {0}


def test_a_remote_cache_runs_no_action_and_sends_only_what_is_asked_for(
    clone: Workspace,
    workspaces: dict[str, Workspace],
    remote: RemoteCache,
    actions: dict[str, dict[str, Action]],
) -> None:
    uploaded = sum(path.stat().st_size for path in remote.log.parents[1].glob("cache/cas/*"))
    assert uploaded > 5_000_000
    clone.bazel("clean")
    before = len(remote.requests())
    flags = (f"--remote_cache={remote.url}", "--disk_cache=")
    ran = clone.build("image", *flags, "--remote_download_outputs=minimal")
    assert ran.keys() == actions["WORKSPACE"].keys()
    assert {action["runner"] for action in ran.values()} == {"remote cache hit"}
    requests = remote.requests()[before:]
    assert {(method, status) for method, status, _ in requests} == {("GET", 200)}
    assert sum(size for _, _, size in requests) < 100_000
    clone.bazel("build", *flags, "--remote_download_outputs=toplevel", "//:image.digest")
    digest = (clone.directory / f"bazel-bin/image_{ARCHITECTURE}.json.sha256").read_text().strip()
    assert digest == workspaces["WORKSPACE"].digest("image")


def test_workers_and_sandboxed_programs_make_the_same_image(
    workspaces: dict[str, Workspace], actions: dict[str, dict[str, Action]]
) -> None:
    # Nobody asked for workers in the first build: they are Bazel's own choice after executors.
    assert "worker" in {action["runner"] for action in actions["WORKSPACE"].values()}
    workspace = workspaces["WORKSPACE"]
    source = workspace.directory / "main.py"
    text = source.read_text()
    made: dict[str, tuple[str, set[str]]] = {}
    for strategy in ("worker,sandboxed,local", "sandboxed"):
        for content in (f"{text}# in between\n", f"{text}# changed\n"):
            source.write_text(content)
            flags = (f"--spawn_strategy={strategy}", "--disk_cache=")
            ran = workspace.build("image", *flags)
        made[strategy] = workspace.digest("image"), {action["runner"] for action in ran.values()}
        assert len(ran) == 3
    source.write_text(text)
    workspace.build("image")
    (by_workers, workers), (by_programs, sandboxes) = made.values()
    assert by_workers == by_programs
    assert workers == {"worker"}
    assert "worker" not in sandboxes


def _git(directory: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=A Tester", "-c", "user.email=tester@example.org"]
    command = [str(Path(os.environ["GIT_BINARY"]).resolve()), *identity, *arguments]
    subprocess.run(command, cwd=directory, check=True, timeout=60)


def test_a_revision_is_built_by_a_bazel_of_its_own_and_compared(
    scratch: Path, workspaces: dict[str, Workspace]
) -> None:
    workspace = workspaces["WORKSPACE"]
    # It is on the user's PATH.
    (scratch / "w/home/git").symlink_to(Path(os.environ["GIT_BINARY"]).resolve())
    build, source = (workspace.directory / name for name in ("BUILD.bazel", "main.py"))
    build.write_text(build.read_text() + _COMPARED)
    (workspace.directory / ".gitignore").write_text("/bazel-*\n/user.bazelrc\n")
    workspace.write_user_bazelrc()
    text = source.read_text()
    _git(workspace.directory, "init", "-q")
    for content in (f"{text}# as it was\n", text):
        source.write_text(content)
        _git(workspace.directory, "add", "-A")
        _git(workspace.directory, "commit", "-q", "-m", "a change")
    said = workspace.bazel("run", "//:changes", "--", "HEAD~1", "HEAD")
    assert "diff: building HEAD~1 (" in said
    assert "new  this checkout (" in said
    assert re.search(r"^  base +[\d.]+ MB +[\d.]+ MB +same$", said, flags=re.MULTILINE), said
    assert re.search(r"^  Python modules +0 +0 +1 +-12 B$", said, flags=re.MULTILINE), said
    digest = workspace.digest("image")
    assert f"same: this checkout makes {digest}" in workspace.bazel("run", "//:check", "--", digest)
    done = workspace.try_bazel("run", "//:check", "--", f"sha256:{'0' * 64}")
    assert done.returncode == 1
    assert f"this checkout makes {digest} (the image of linux/{ARCHITECTURE})" in done.stdout


def test_a_python_toolchain_of_the_repository_changes_no_layer(
    workspaces: dict[str, Workspace], layers: dict[str, list[str]]
) -> None:
    workspace = workspaces["WORKSPACE"]
    python = workspace.directory / "python"
    python.mkdir()
    (python / "BUILD.bazel").write_text(_PYTHON_TOOLCHAIN)
    (python / "python").write_text("#!/bin/sh\necho 'the wrong Python' >&2\nexit 1\n")
    (python / "python").chmod(0o755)
    file = workspace.directory / "WORKSPACE"
    first, rest = file.read_text().split("\n", 1)
    file.write_text(f'{first}\nregister_toolchains("//python:toolchain")\n{rest}')
    workspace.build("image")
    assert workspace.layers("image") == layers["WORKSPACE"]


def test_the_images_proofs_hold_whatever_python_the_repository_has(
    workspaces: dict[str, Workspace],
) -> None:
    # Others find what a small image lacks, and want a list of what is allowed.
    workspace = workspaces["WORKSPACE"]
    build = workspace.directory / "BUILD.bazel"
    build.write_text(build.read_text() + _PROOFS)
    built = f"//:image_{ARCHITECTURE}"
    workspace.bazel("test", f"{built}_reproducibility_test", f"{built}_traces_test")


def test_two_services_share_every_layer_but_their_own(
    workspaces: dict[str, Workspace], layers: dict[str, list[str]]
) -> None:
    workspace = workspaces["MODULE.bazel"]
    build = workspace.directory / "BUILD.bazel"
    build.write_text(build.read_text() + _OTHER_SERVICE)
    (workspace.directory / "other.py").write_text("async def app(*_: object) -> None: ...\n")
    workspace.build("other")
    *shared, own = workspace.layers("other")
    *expected, other_own = layers["MODULE.bazel"]
    assert shared == expected
    assert own != other_own


def test_a_fetch_that_fails_names_the_file_and_the_mirror_and_no_probe_of_a_cache(
    workspaces: dict[str, Workspace],
) -> None:
    other = {"amd64": "arm64", "arm64": "amd64"}[ARCHITECTURE]
    done = workspaces["WORKSPACE"].try_bazel("build", f"//:image_{other}")
    assert done.returncode == 1, done.stdout[-8000:]
    assert "file:///nowhere" in done.stdout
    assert f"_{other}.deb" in done.stdout
    assert "cacheprobe" not in done.stdout
    assert "example.org" not in done.stdout


def test_what_was_pushed_is_pulled_as_a_base(
    workspaces: dict[str, Workspace], layers: dict[str, list[str]], tmp_path: Path
) -> None:
    workspace = workspaces["WORKSPACE"]
    digest = workspace.digest("image")
    with running(tmp_path) as registry:
        repository = f"{registry.host}/hello"
        assert digest in workspace.bazel("run", "//:push", "--", "--repository", repository)
        names = {"architecture": ARCHITECTURE, "digest": digest, "repository": repository}
        for name, added in (("BUILD.bazel", _CHILD), ("WORKSPACE", _PULLED)):
            file = workspace.directory / name
            file.write_text(file.read_text() + added.format(**names))
        workspace.build("child")
    assert workspace.layers("child") == layers["WORKSPACE"]


@pytest.mark.parametrize("mode", MODES)
def test_python_lock_writes_the_locks_of_the_repository(
    mode: str, workspaces: dict[str, Workspace], tmp_path: Path
) -> None:
    workspace = workspaces[mode]
    (workspace.directory / "requirements.in").write_text("ours  # a reason\n")
    for architecture in ("amd64", "arm64"):
        (workspace.directory / f"requirements.{architecture}.txt").write_bytes(
            b""
        )  # the first time
    index = write_index([TinyWheel("ours"), TinyWheel("other")], directory=tmp_path)
    workspace.bazel("run", "//:python_lock", environment={"PIP_INDEX_URL": index})
    for architecture in ("amd64", "arm64"):
        lock = (workspace.directory / f"requirements.{architecture}.txt").read_text()
        assert "`bazel run //:python_lock`" in lock
        assert "ours==1.0" in lock
        assert "other" not in lock


@pytest.mark.parametrize("mode", MODES)
def test_debian_lock_trusts_the_archives_keys_alone_and_leaves_the_lock_as_it_is(
    mode: str, workspaces: dict[str, Workspace]
) -> None:
    workspace = workspaces[mode]
    lock = workspace.directory / "debian.lock.json"
    lock.write_bytes(b"")  # as before the first time
    environment = {"DEBIAN_MIRROR": TESTDATA.joinpath("archive").absolute().as_uri()}
    done = workspace.try_bazel("run", "//:debian_lock", environment=environment)
    assert done.returncode == 1, done.stdout[-8000:]
    assert "signature" in done.stdout
    assert lock.read_bytes() == b""
    assert "--allow-expired" in workspace.bazel("run", "//:debian_lock", "--", "--help")


@pytest.mark.parametrize(
    ("name", "limit"), [("WORKSPACE", 25), ("MODULE.bazel", 25), ("BUILD.bazel", 40)]
)
def test_the_readme_shows_the_example_word_for_word(
    release: Release, name: str, limit: int
) -> None:
    text = (release.example / name).read_text(encoding="utf-8")
    assert text in README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= limit

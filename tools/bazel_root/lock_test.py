"""Tests of lock.py (root.yaml and an index in, a lock out) and of the lock's reader."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tools.apt.index import parse_packages
from tools.apt.lockfile import encode
from tools.bazel_root.lock import Intent, main, parse_intent, resolve
from tools.bazel_root.lockfile import RootPackage, parse_lock
from tools.cli import ToolError

INTENT = """\
suite: forky
component: main
architectures: [amd64, arm64]
groups:
  bazel: {reason: builds, packages: [bazel, libx]}
left_out:
  - {reason: compiles, packages: [gcc]}
"""
DATE = datetime(2026, 10, 30, 8, 8, 1, tzinfo=UTC)


def index(arch: str, **depends: str) -> str:
    """A Packages file: a stanza for each keyword, with its Depends."""
    return "\n".join(
        f"Package: {name}\nVersion: 1-{arch}\nArchitecture: {arch}\nDepends: {value}\n"
        f"Provides: {name}-virtual\n"
        f"Filename: pool/{name}_{arch}.deb\nSize: 7\nSHA256: {'ab' * 32}\nSource: src (2)\n"
        for name, value in depends.items()
    )


def locked(*, intent: str = INTENT, **depends: str) -> str:
    """Locks `intent` against the same index for both architectures."""
    parsed: Intent = parse_intent(intent, of=Path("root.yaml"))
    indexes = {
        arch: parse_packages(index(arch, **depends), archive="debian")
        for arch in parsed.architectures
    }
    return encode(resolve(parsed, indexes=indexes, date=DATE))


def test_the_lock_has_each_package_for_each_architecture() -> None:
    text = locked(bazel="libx (>= 1), gcc", libx="", other="")
    for arch in ("amd64", "arm64"):
        lock = parse_lock(text, arch=arch, of=Path("x"))
        assert [package.name for package in lock.packages] == ["bazel", "libx"]
        assert lock.packages[0] == RootPackage(
            "bazel", f"1-{arch}", f"pool/bazel_{arch}.deb", 7, "ab" * 32
        )
    # Half a day after the index was signed: by then the permanent archive has its files.
    assert lock.snapshot == "20261030T200801Z"


def test_a_dependency_may_be_met_by_an_alternative_or_a_virtual_package() -> None:
    text = locked(bazel="nothing | libx-virtual, gcc", libx="")
    assert '"depends": [\n        "libx"\n      ]' in text


def test_a_dependency_that_is_neither_listed_nor_left_out_is_an_error() -> None:
    with pytest.raises(ToolError) as error:
        locked(bazel="libx, gcc, libnew (>= 2) | libold", libx="")
    assert "amd64: bazel depends on libnew | libold" in str(error.value)


def test_a_package_that_the_suite_lacks_is_an_error() -> None:
    with pytest.raises(ToolError, match="arm64: libx is not in debian forky"):
        locked(bazel="gcc")


def test_an_omission_that_nothing_needs_any_more_is_an_error() -> None:
    with pytest.raises(ToolError, match="left_out: nothing depends on gcc"):
        locked(bazel="libx", libx="")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("suite: forky\n", ""), "KeyError: 'suite'"),
        (("reason: builds", "reason: ''"), "has no reason"),
        (("[bazel, libx]", "[bazel, bazel]"), "listed more than once: bazel"),
        (("packages: [gcc]", "packages: [libx]"), "listed more than once: libx"),
        (("groups:", "groups: ["), "Error"),
    ],
)
def test_a_faulty_intent_is_named(change: "tuple[str, str]", message: str) -> None:
    with pytest.raises(ToolError, match=message) as error:
        parse_intent(INTENT.replace(*change), of=Path("some/root.yaml"))
    assert "some/root.yaml" in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 1, "packages": [{"arch": "amd64"}]}']
)
def test_a_lock_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ToolError, match=r"some/lock\.json: "):
        parse_lock(text, arch="amd64", of=Path("some/lock.json"))


def test_a_lock_of_another_version_or_architecture_is_refused() -> None:
    text = locked(bazel="libx, gcc", libx="")
    with pytest.raises(ToolError, match="version is 2, expected 1"):
        parse_lock(text.replace('"version": 1\n', '"version": 2\n'), arch="amd64", of=Path("l"))
    with pytest.raises(ToolError, match="has no packages for riscv64"):
        parse_lock(text, arch="riscv64", of=Path("l"))


def test_the_lock_in_the_tree_is_of_the_intent_in_the_tree() -> None:
    directory = Path(__file__).resolve().parents[2] / "third_party" / "bazel"
    path = directory / "root.yaml"
    intent = parse_intent(path.read_text(encoding="utf-8"), of=path)
    text = (directory / "root.lock.json").read_text(encoding="utf-8")
    assert f'"intent_sha256": "{intent.sha256}"' in text, (
        "root.yaml has changed; run: bazel run //third_party/bazel:lock"
    )


def test_main_names_what_it_cannot_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BUILD_WORKSPACE_DIRECTORY", raising=False)
    assert main(["--intent", str(tmp_path / "no.yaml"), "--lock", str(tmp_path / "l")]) == 1
    assert "no.yaml" in capsys.readouterr().err

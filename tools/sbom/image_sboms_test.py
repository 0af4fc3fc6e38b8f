"""SBOMs of a real image: valid, and with every package that the image itself knows of.

`IMAGE`, `SPDX` and `CYCLONEDX` name the files; see `sbom_test`.
"""

from __future__ import annotations

import functools
import os
import re
import tarfile
from pathlib import Path
from typing import Any

from tools.image.layout import read_layout
from tools.sbom.judges_for_test import judge_cyclonedx, judge_spdx

_STATUS = re.compile(r"var/lib/dpkg/status\.d/([^/]+)")
_DIST_INFO = re.compile(
    r"usr/local/lib/python[0-9.]+/dist-packages/([^/]+)-([^/-]+)\.dist-info/METADATA"
)
_LIBRARY = re.compile(r"usr/local/lib/python[0-9.]+/dist-packages/([^/]+\.libs/.+)")


@functools.cache
def _names() -> tuple[str, ...]:
    """The name of every file in the image's layers."""
    found = []
    for layer in read_layout(Path(os.environ["IMAGE"])).layers:
        with tarfile.open(layer.path, mode="r:*") as tar:
            found += [member.name.removeprefix("./") for member in tar if not member.isdir()]
    return tuple(found)


@functools.cache
def _cyclonedx() -> dict[str, Any]:
    return judge_cyclonedx(Path(os.environ["CYCLONEDX"]).read_bytes())


@functools.cache
def _spdx() -> dict[str, Any]:
    return judge_spdx(Path(os.environ["SPDX"]))


def _purls(kind: str) -> dict[str, dict[str, Any]]:
    return {
        each["name"]: each
        for each in _cyclonedx()["components"]
        if each.get("purl", "").startswith(f"pkg:{kind}/")
    }


def test_the_sboms_are_of_this_image() -> None:
    digest = read_layout(Path(os.environ["IMAGE"])).digest
    assert _cyclonedx()["metadata"]["component"]["version"] == digest
    (root,) = (each for each in _spdx()["packages"] if each["SPDXID"] == "SPDXRef-image")
    assert root["versionInfo"] == digest


def test_every_debian_package_of_the_image_is_listed_and_no_other() -> None:
    installed = {
        match[1]
        for match in map(_STATUS.fullmatch, _names())
        if match and not match[1].endswith(".md5sums")
    }
    listed = _purls("deb")
    assert set(listed) == installed
    assert all(
        re.fullmatch(r"[0-9a-f]{64}", each["hashes"][0]["content"]) for each in listed.values()
    )
    assert all("distro=debian-" in each["purl"] for each in listed.values())


def test_every_wheel_of_the_image_is_listed_and_no_other() -> None:
    installed = {
        (re.sub(r"[-_.]+", "-", match[1]).lower(), match[2])
        for match in map(_DIST_INFO.fullmatch, _names())
        if match
    }
    assert {(name, each["version"]) for name, each in _purls("pypi").items()} == installed


def test_every_library_that_a_wheel_bundles_is_listed_and_no_other() -> None:
    bundled = {match[1] for match in map(_LIBRARY.fullmatch, _names()) if match}
    located = {
        place["location"]
        for each in _cyclonedx()["components"]
        for place in each.get("evidence", {}).get("occurrences", ())
    }
    assert {path for path in located if ".libs/" in path} == bundled


def test_both_formats_list_the_same() -> None:
    ids = {each["bom-ref"] for each in _cyclonedx()["components"]} - {"os"}
    packages = {each["SPDXID"] for each in _spdx()["packages"]} - {"SPDXRef-image"}
    spelled = {"SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", ref.replace("+", "plus")) for ref in ids}
    assert packages == spelled

"""SBOMs of a real image or index: valid, true of what it holds, and approved by public checkers.

`IMAGE`, `SPDX`, `SPDX3` and `CYCLONEDX` name the files; see `sbom_test`.
"""

from __future__ import annotations

import functools
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

from tools.image.layout import Image, open_layout, read_children, read_image
from tools.image.spec import INDEX_TYPES
from tools.sbom.judges_for_test import judge_cyclonedx, judge_spdx, unmet

_STATUS = re.compile(r"var/lib/dpkg/status\.d/([^/]+)")
_DIST_INFO = re.compile(
    r"usr/local/lib/python[0-9.]+/dist-packages/([^/]+)-([^/-]+)\.dist-info/METADATA"
)
_LIBRARY = re.compile(r"usr/local/lib/python[0-9.]+/dist-packages/([^/]+\.libs/.+)")


@functools.cache
def _images() -> dict[str, Image]:
    """The image, or each image of the index, by the prefix of its components' names."""
    layout = open_layout(Path(os.environ["IMAGE"]))
    if layout.root.media_type not in INDEX_TYPES:
        return {"": read_image(layout, layout.root)}
    images = [read_image(layout, child) for child in read_children(layout, layout.root)]
    return {f"{image.config['architecture']}-": image for image in images}


@functools.cache
def _names(prefix: str) -> tuple[str, ...]:
    """The name of every file in an image's layers."""
    found = []
    for layer in _images()[prefix].layers:
        with tarfile.open(layer.path, mode="r:*") as tar:
            found += [member.name.removeprefix("./") for member in tar if not member.isdir()]
    return tuple(found)


@functools.cache
def _cyclonedx() -> dict[str, Any]:
    return judge_cyclonedx(Path(os.environ["CYCLONEDX"]).read_bytes())


@functools.cache
def _spdx() -> dict[str, Any]:
    return judge_spdx(Path(os.environ["SPDX"]))


@functools.cache
def _spdx3() -> dict[str, dict[str, Any]]:
    graph = json.loads(Path(os.environ["SPDX3"]).read_bytes())["@graph"]
    return {each["spdxId"]: each for each in graph if "spdxId" in each}


def _components(prefix: str, kind: str) -> list[dict[str, Any]]:
    return [
        each
        for each in _cyclonedx()["components"]
        if each["bom-ref"].startswith(f"{prefix}{kind}-")
    ]


def test_the_sboms_are_of_this_image() -> None:
    digest = open_layout(Path(os.environ["IMAGE"])).root.digest
    assert _cyclonedx()["metadata"]["component"]["version"] == digest
    described = _spdx()["relationships"][0]["relatedSpdxElement"]
    (root,) = (each for each in _spdx()["packages"] if each["SPDXID"] == described)
    assert root["versionInfo"] == digest
    (bill,) = (each for each in _spdx3().values() if each["type"] == "software_Sbom")
    assert _spdx3()[bill["rootElement"][0]]["software_packageVersion"] == digest


def test_every_image_of_an_index_is_listed() -> None:
    versions = {each.get("version") for each in _cyclonedx()["components"]}
    versions.add(_cyclonedx()["metadata"]["component"]["version"])
    assert {image.digest for image in _images().values()} <= versions


def test_the_public_checkers_find_nothing_missing() -> None:
    why = 'an image without `supplier = "Name <address>"` lacks what all of them ask for'
    assert unmet(Path(os.environ["SPDX"]), "spdx2") == {}, why
    assert unmet(Path(os.environ["SPDX3"]), "spdx3") == {}, why


def test_every_component_has_supplier_version_digest_and_licence() -> None:
    for each in _cyclonedx()["components"]:
        if each["bom-ref"] == "os":
            continue
        notes = [one for one in each.get("properties", ()) if one["name"] == "pinned_image:note"]
        assert each.get("version") or notes, f"{each['bom-ref']}: neither version nor reason"
        assert each["supplier"]["name"], each["bom-ref"]
        assert {one["alg"] for one in each["hashes"]} == {"SHA-256", "SHA-512"}, each["bom-ref"]
        assert each["licenses"], each["bom-ref"]
        assert each["copyright"], each["bom-ref"]


def test_every_debian_package_of_the_image_is_listed_and_no_other() -> None:
    for prefix in _images():
        installed = {
            match[1]
            for match in map(_STATUS.fullmatch, _names(prefix))
            if match and not match[1].endswith(".md5sums")
        }
        listed = _components(prefix, "deb")
        assert {each["name"] for each in listed} == installed
        assert all("distro=debian-" in each["purl"] for each in listed)


def test_every_wheel_of_the_image_is_listed_and_no_other() -> None:
    for prefix in _images():
        installed = {
            (re.sub(r"[-_.]+", "-", match[1]).lower(), match[2])
            for match in map(_DIST_INFO.fullmatch, _names(prefix))
            if match
        }
        listed = [
            each for each in _components(prefix, "pypi") if each["purl"].startswith("pkg:pypi/")
        ]
        assert {(each["name"], each["version"]) for each in listed} == installed


def test_every_library_that_a_wheel_bundles_is_listed_once_and_no_other() -> None:
    for prefix in _images():
        bundled = [match[1] for match in map(_LIBRARY.fullmatch, _names(prefix)) if match]
        located = [
            place["location"]
            for each in _components(prefix, "pypi")
            for place in each.get("evidence", {}).get("occurrences", ())
            if ".libs/" in place["location"]
        ]
        assert sorted(located) == sorted(bundled)


def test_every_package_but_those_that_need_nothing_has_dependencies() -> None:
    refs = {each["bom-ref"] for each in _cyclonedx()["components"]}
    refs.add(_cyclonedx()["metadata"]["component"]["bom-ref"])
    needed = {each["ref"]: each["dependsOn"] for each in _cyclonedx()["dependencies"]}
    assert set(needed) == refs
    assert {ref for each in needed.values() for ref in each} <= refs
    for prefix in _images():
        libc = f"{prefix}deb-libc6"
        if libc in refs:
            assert sum(libc in each for each in needed.values()) > 1


def test_all_formats_list_the_same() -> None:
    refs = {each["bom-ref"] for each in _cyclonedx()["components"]} - {"os"}
    refs.add(_cyclonedx()["metadata"]["component"]["bom-ref"])
    packages = {each["SPDXID"] for each in _spdx()["packages"]}
    spelled = {
        "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", ref.replace("+", "plus")) for ref in refs
    }
    assert packages == spelled
    third = {
        name.partition("#")[2].replace("%2B", "+")
        for name, each in _spdx3().items()
        if each["type"] == "software_Package"
    }
    assert third == refs

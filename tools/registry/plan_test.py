"""Which image of an index is pushed or pulled for a platform; no registry is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.cli import ToolError
from tools.image import layouts_for_test as make
from tools.image.layout import LayoutError, blob_path, open_layout
from tools.oci import index
from tools.registry import pull_plan
from tools.registry.pulled_layout import relink
from tools.registry.push_plan import choose_root, make_plan

TAR = make.tar_bytes({"a": b"a"})
IMAGES: dict[str, dict[str, str]] = {
    "linux/amd64": {"architecture": "amd64"},
    "linux/arm64/v8": {"architecture": "arm64", "variant": "v8"},
    "linux/arm/v6": {"architecture": "arm", "variant": "v6"},
    "linux/arm/v7": {"architecture": "arm", "variant": "v7"},
}
ALL = ", ".join(IMAGES)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """The layout of an index of IMAGES."""
    flags = ["--output", str(tmp_path / "all"), "--digest-output", str(tmp_path / "digest")]
    for name, config in IMAGES.items():
        path = tmp_path / name.replace("/", "_")
        make.make_layout(path, layers=[TAR], config_extra=dict(config))
        flags += ["--image", str(path)]
    assert index.main([*flags, "--label", "//x:y"]) == 0
    return tmp_path / "all"


def _digest(layout: Path, platform: str) -> str:
    return open_layout(layout.parent / platform.replace("/", "_")).root.digest


CHOICES = pytest.mark.parametrize(
    ("platform", "found"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
    ],
)


@CHOICES
def test_push_chooses_by_the_common_rule(layout: Path, platform: str, found: str) -> None:
    assert choose_root(open_layout(layout), platform).digest == _digest(layout, found)
    plan = make_plan(layout, platform=platform, nondistributable=False)
    assert plan.root.descriptor.digest == _digest(layout, found)


@CHOICES
def test_pull_chooses_by_the_common_rule(layout: Path, platform: str, found: str) -> None:
    root = open_layout(layout).root.digest
    plan = pull_plan.make_plan(layout, digest=root, platform=platform)
    assert plan.manifest is not None
    assert plan.manifest.digest == _digest(layout, found)
    assert plan.missing == ()


def test_a_platform_that_is_not_there_is_refused_with_those_that_are(layout: Path) -> None:
    with pytest.raises(LayoutError, match=f"has no image for linux/arm/v5; it has {ALL}"):
        choose_root(open_layout(layout), "linux/arm/v5")
    root = open_layout(layout).root.digest
    with pytest.raises(ToolError, match=f"has no image for platform linux/arm/v5; it has {ALL}"):
        pull_plan.make_plan(layout, digest=root, platform="linux/arm/v5")
    with pytest.raises(ToolError, match=f"attribute 'platforms' is required; it has {ALL}"):
        pull_plan.make_plan(layout, digest=root, platform=None)


@pytest.mark.parametrize(
    ("config", "platform", "found"),
    [
        ({"architecture": "arm"}, "linux/arm/v6", None),
        ({"architecture": "amd64"}, "linux/amd64/v3", None),
        ({"architecture": "arm64", "variant": "v8"}, "linux/arm64", None),
        ({"architecture": "arm", "variant": "v7"}, "linux/arm/v6", "linux/arm/v7"),
        ({"architecture": "amd64", "variant": "v3"}, "linux/amd64", "linux/amd64/v3"),
        ({"architecture": "arm64"}, "linux/arm/v8", "linux/arm64"),
    ],
)
def test_a_single_image_without_a_variant_is_pulled_and_one_with_another_is_not(
    tmp_path: Path, config: dict[str, Any], platform: str, found: str | None
) -> None:
    digest = make.make_layout(tmp_path / "one", layers=[TAR], config_extra=config)
    if found is None:
        plan = pull_plan.make_plan(tmp_path / "one", digest=digest, platform=platform)
        assert plan.manifest is not None
        assert plan.manifest.digest == digest
    else:
        with pytest.raises(ToolError, match=f"is an image for {found}, wanted {platform}"):
            pull_plan.make_plan(tmp_path / "one", digest=digest, platform=platform)


@pytest.mark.parametrize("nested", [True, False])
def test_pull_asks_for_the_documents_that_the_choice_needs(tmp_path: Path, nested: bool) -> None:
    store, here = tmp_path / "store", tmp_path / "here"
    entries = []
    for name in ("amd64", "arm64"):
        make.make_layout(store, layers=[TAR], config_extra={"architecture": name})
        entries.append(make.root_entry(store))
    wanted = entries[1]["digest"]
    if nested:
        entries = [make.make_artifact(store), make.make_index(store, entries)]
    root = make.make_index(store, entries)
    asked = []
    while True:
        plan = pull_plan.make_plan(here, digest=root["digest"], platform="linux/arm64")
        if not plan.missing:
            break
        asked.append(len(plan.missing))
        for digest in plan.missing:
            file = blob_path(here, digest)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(blob_path(store, digest).read_bytes())
    assert plan.manifest is not None
    assert plan.manifest.digest == wanted
    assert set(asked) == {1}


def test_an_index_of_artifacts_has_no_platform(tmp_path: Path) -> None:
    root = make.make_index(tmp_path, [make.make_artifact(tmp_path)])
    for platform, text in (
        ("linux/amd64", "has no image for platform linux/amd64; it has no platform"),
        (None, "attribute 'platforms' is required; it has no platform"),
    ):
        with pytest.raises(ToolError, match=text):
            pull_plan.make_plan(tmp_path, digest=root["digest"], platform=platform)
    with pytest.raises(LayoutError, match="has no image for linux/amd64; it has no platform"):
        choose_root(open_layout(tmp_path), "linux/amd64")


def test_push_plans_what_it_only_carries(tmp_path: Path) -> None:
    make.make_layout(tmp_path, layers=[TAR])
    platform = {"os": "linux", "architecture": "amd64"}
    image = {**make.root_entry(tmp_path), "platform": platform}
    unknown = {"os": "unknown", "architecture": "unknown"}
    attestation = {**make.make_artifact(tmp_path), "platform": unknown}
    other = {"mediaType": "application/x", "digest": make.put_blob(tmp_path, b"x"), "size": 1}
    root = make.make_index(tmp_path, [image, attestation, other])
    plan = make_plan(tmp_path, platform=None, nondistributable=False)
    assert [each.descriptor.digest for each in plan.manifests] == [
        image["digest"], attestation["digest"], root["digest"],
    ]  # fmt: skip
    assert sorted(blob.name for blob in plan.blobs) == [
        "application/x of the index",
        "linux/amd64 config",
        "linux/amd64 layer 1/1",
        "unknown/unknown config",
        "unknown/unknown layer 1/1",
    ]


def test_a_pulled_artifact_is_linked_without_being_understood(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    entry = make.make_artifact(source)
    make.finish_layout(source, entry)
    assert relink(source, out) == entry["digest"]
    blobs = {file.name: file.read_bytes() for file in (source / "blobs/sha256").iterdir()}
    assert {file.name: file.read_bytes() for file in (out / "blobs/sha256").iterdir()} == blobs
    (out / "blobs/sha256" / make.digest_of(b"statement")[7:]).readlink()

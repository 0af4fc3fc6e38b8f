"""What an index refers to: images nested in it, images without a platform, and what is no image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.image import layouts_for_test as make
from tools.image.archive import oci_archive
from tools.image.layout import LayoutError, MissingBlobError, blob_path, open_layout
from tools.image.references import choose_image, offers, walk
from tools.image.source import open_source

TAR = make.tar_bytes({"a": b"a"})
UNKNOWN = {"platform": {"os": "unknown", "architecture": "unknown"}}


def image(layout: Path, architecture: str, *, stated: bool) -> dict[str, Any]:
    """Store an image; return its entry, with or without its platform."""
    make.make_layout(layout, layers=[TAR], config_extra={"architecture": architecture})
    platform = {"platform": {"os": "linux", "architecture": architecture}} if stated else {}
    return {**make.root_entry(layout), **platform}


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_an_image_is_found_however_deep_and_whoever_states_its_platform(
    tmp_path: Path, stated: bool, depth: int
) -> None:
    entries = [image(tmp_path, each, stated=stated) for each in ("amd64", "arm64")]
    wanted = entries[1]["digest"]
    for _ in range(depth):
        entries = [make.make_artifact(tmp_path), make.make_index(tmp_path, entries)]
    make.make_index(tmp_path, [{**make.make_artifact(tmp_path), **UNKNOWN}, *entries])
    layout = open_layout(tmp_path)
    chosen = choose_image(layout, layout.root, "linux/arm64/v8")
    assert chosen is not None
    assert chosen.digest == wanted
    assert choose_image(layout, layout.root, "linux/s390x") is None
    names = [name for name, _ in offers(layout, layout.root) if "unknown" not in name]
    assert names == ["linux/amd64", "linux/arm64"]
    (tmp_path / "scratch").mkdir()
    with open_source(tmp_path, platform="linux/arm64", scratch=tmp_path / "scratch") as source:
        assert source.image.digest == wanted


def test_an_index_of_artifacts_offers_no_platform(tmp_path: Path) -> None:
    make.make_index(tmp_path, [make.make_artifact(tmp_path)])
    message = "is an image index for no platform; none of them is for linux/amd64"
    with (
        pytest.raises(LayoutError, match=message),
        open_source(tmp_path, platform="linux/amd64", scratch=tmp_path),
    ):
        pass


def test_a_stated_platform_needs_no_other_document(tmp_path: Path) -> None:
    entries = [image(tmp_path, "amd64", stated=True), image(tmp_path, "arm64", stated=False)]
    make.make_index(tmp_path, entries)
    blob_path(tmp_path, entries[1]["digest"]).unlink()
    layout = open_layout(tmp_path)
    assert choose_image(layout, layout.root, "linux/amd64") is not None
    with pytest.raises(MissingBlobError, match="cannot be read: No such file") as caught:
        choose_image(layout, layout.root, "linux/arm64")
    assert caught.value.descriptor.digest == entries[1]["digest"]


def test_everything_is_carried_and_nothing_needs_to_be_understood(tmp_path: Path) -> None:
    inner = make.make_index(tmp_path, [make.make_artifact(tmp_path, annotations={"a": "b"})])
    other = make.put_blob(tmp_path, b"anything")
    entries = [
        image(tmp_path, "amd64", stated=True),
        {**make.make_artifact(tmp_path), **UNKNOWN},
        inner,
        {"mediaType": "application/x", "digest": other, "size": 8},
    ]
    root = make.make_index(tmp_path, entries)
    layout = open_layout(tmp_path)
    order = [descriptor.digest for descriptor, _ in walk(layout, layout.root)]
    assert order.index(inner["digest"]) == order.index(root["digest"]) - 2
    assert order[-1] == root["digest"]
    names = {member.name for member in oci_archive(tmp_path, [])}
    stored = {f"blobs/sha256/{file.name}" for file in (tmp_path / "blobs/sha256").iterdir()}
    assert names == stored | {"oci-layout", "index.json"}


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        ({"layers": {}}, "member 'layers' must be a list"),
        ({"config": {}}, "descriptor member 'mediaType' must be a string"),
        ({"layers": [{"mediaType": "x"}]}, "descriptor member 'digest' must be"),
    ],
)
def test_a_malformed_manifest_is_an_error(
    tmp_path: Path, members: dict[str, Any], cause: str
) -> None:
    make.make_index(tmp_path, [make.make_artifact(tmp_path, **members)])
    with pytest.raises(LayoutError, match=cause):
        oci_archive(tmp_path, [])


def test_a_missing_or_damaged_blob_is_an_error(tmp_path: Path) -> None:
    entry = make.make_artifact(tmp_path)
    make.make_index(tmp_path, [entry])
    manifest = json.loads(blob_path(tmp_path, entry["digest"]).read_text())
    layer = blob_path(tmp_path, manifest["layers"][0]["digest"])
    layer.write_bytes(b"longer than it was")
    with pytest.raises(LayoutError, match="layer has 18 bytes, the manifest says 9"):
        oci_archive(tmp_path, [])
    layer.unlink()
    with pytest.raises(LayoutError, match="layer blob cannot be read: No such file"):
        oci_archive(tmp_path, [])
    blob_path(tmp_path, manifest["config"]["digest"]).write_bytes(b"[]")
    with pytest.raises(LayoutError, match="its content has digest"):
        oci_archive(tmp_path, [])

"""Indexes of images: platforms, links, annotations and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.image import layouts_for_test as make
from tools.image.layout import LayoutError, open_layout, read_children, read_image, verify_layers
from tools.oci import index

TAR = make.tar_bytes({"a": b"a"})
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


def _image(
    tmp_path: Path,
    name: str,
    config: dict[str, Any] | None = None,
    *,
    media_type: str = make.OCI_MANIFEST,
) -> str:
    make.make_layout(tmp_path / name, layers=[TAR], media_type=media_type, config_extra=config)
    return f"--image={tmp_path / name}"


def _run(tmp_path: Path, *arguments: str) -> int:
    out = ["--output", str(tmp_path / "out"), "--digest-output", str(tmp_path / "digest")]
    return index.main([*out, "--label", "//x:y", *arguments])


def test_children_are_listed_with_their_platforms_and_linked(tmp_path: Path) -> None:
    annotations = tmp_path / "annotations"
    annotations.write_text("a=b=c\n")
    images = [
        _image(tmp_path, "amd64", media_type=DOCKER),
        _image(tmp_path, "arm64", {"architecture": "arm64", "variant": "v8"}),
        _image(tmp_path, "windows", {"os": "windows", "os.version": "10", "os.features": ["w"]}),
    ]
    assert _run(tmp_path, *images, f"--annotations={annotations}") == 0
    layout = open_layout(tmp_path / "out")
    assert layout.root.media_type == "application/vnd.oci.image.index.v1+json"
    children = read_children(layout, layout.root)
    assert [child.member("platform") for child in children] == [
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm64", "variant": "v8"},
        {"os": "windows", "architecture": "amd64", "os.version": "10", "os.features": ["w"]},
    ]
    assert [child.media_type for child in children] == [DOCKER] + [make.OCI_MANIFEST] * 2
    for child, name in zip(children, ("amd64", "arm64", "windows"), strict=True):
        target = str(layout.blob(child.digest).readlink())
        assert target.startswith(f"../../../{name}/blobs/sha256/")
        verify_layers(read_image(layout, child))
    document = json.loads(layout.blob(layout.root.digest).read_text())
    assert document["annotations"] == {"a": "b=c"}
    assert (tmp_path / "digest").read_text() == f"{layout.root.digest}\n"
    files = [file for file in (tmp_path / "out").rglob("*") if not file.is_symlink()]
    # oci-layout, index.json, two directories, and the index itself.
    assert len(files) == 5


def test_the_order_is_the_callers(tmp_path: Path) -> None:
    images = [_image(tmp_path, name, {"architecture": name}) for name in ("b", "a")]
    assert _run(tmp_path, *images) == 0
    layout = open_layout(tmp_path / "out")
    children = read_children(layout, layout.root)
    assert [child.member("platform")["architecture"] for child in children] == ["b", "a"]


def test_two_images_for_one_platform_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [_image(tmp_path, "one"), _image(tmp_path, "two", {"author": "someone else"})]
    assert _run(tmp_path, *images) == 1
    assert capsys.readouterr().err == (
        f"oci_image_index: //x:y: {tmp_path}/one and {tmp_path}/two are both for linux/amd64; "
        "a client would never choose the second\n"
    )


def test_a_default_variant_does_not_make_another_platform(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [
        _image(tmp_path, "plain", {"architecture": "arm64"}),
        _image(tmp_path, "v8", {"architecture": "arm64", "variant": "v8"}),
    ]
    assert _run(tmp_path, *images) == 1
    assert "plain and " in (error := capsys.readouterr().err)
    assert "v8 are both for linux/arm64/v8; a client would never choose" in error
    others = [
        _image(tmp_path, "v6", {"architecture": "arm", "variant": "v6"}),
        _image(tmp_path, "v7", {"architecture": "arm", "variant": "v7"}),
        _image(tmp_path, "one", {"os": "windows", "os.version": "10.1"}),
        _image(tmp_path, "two", {"os": "windows", "os.version": "10.2"}),
    ]
    assert _run(tmp_path, *others) == 0


def test_annotations_that_are_not_utf_8_are_refused_with_target_and_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "annotations.txt"
    file.write_bytes(b"a=caf\xe9\n")
    assert _run(tmp_path, _image(tmp_path, "one"), f"--annotations={file}") == 1
    error = capsys.readouterr().err
    assert error.startswith("oci_image_index: //x:")
    assert f"{file}: is not UTF-8" in error


def test_a_child_that_is_an_index_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path, _image(tmp_path, "one")) == 0
    (tmp_path / "out").rename(tmp_path / "inner")
    assert _run(tmp_path, f"--image={tmp_path / 'inner'}") == 1
    assert "inner: is an image index" in capsys.readouterr().err


def test_a_missing_blob_of_a_child_is_reported_when_it_is_read(tmp_path: Path) -> None:
    assert _run(tmp_path, _image(tmp_path, "one")) == 0
    for file in (tmp_path / "one" / "blobs" / "sha256").iterdir():
        file.unlink()
    layout = open_layout(tmp_path / "out")
    with pytest.raises(LayoutError, match="cannot be read: No such file"):
        read_image(layout, read_children(layout, layout.root)[0])

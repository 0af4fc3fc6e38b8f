"""What `read_layout` accepts, and its errors for everything else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.image import layouts_for_test as make
from tools.image.layout import LayoutError, open_layout, read_layout, verify_layers

TAR = make.tar_bytes({"hello": b"world\n"})


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    make.make_layout(path, layers=[TAR])
    return path


def _only_layer(layout: Path) -> Path:
    return read_layout(layout).layers[0].path


def test_an_image_is_read_with_its_config_and_layers(tmp_path: Path) -> None:
    digest = make.make_layout(tmp_path / "image", layers=[TAR], config_extra={"author": "me"})
    image = read_layout(tmp_path / "image")
    assert image.digest == digest
    assert image.media_type == make.OCI_MANIFEST
    assert image.config["author"] == "me"
    (layer,) = image.layers
    blob = make.gzip_bytes(TAR)
    assert (layer.digest, layer.size) == (make.digest_of(blob), len(blob))
    assert layer.diff_id == make.digest_of(TAR)
    assert layer.compression == "gzip"
    assert layer.path.read_bytes() == blob


def test_half_a_surrogate_pair_is_read_as_go_reads_it(tmp_path: Path) -> None:
    author = "a\ud83d\ude00b\ud800c\udc00\\ud800d"
    make.make_layout(tmp_path / "image", layers=[TAR], config_extra={"author": author})
    found = read_layout(tmp_path / "image").config["author"]
    assert found == "a\N{GRINNING FACE}b\ufffdc\ufffd\\ud800d"


def test_a_docker_typed_image_is_read(tmp_path: Path) -> None:
    docker = "application/vnd.docker.distribution.manifest.v2+json"
    make.make_layout(tmp_path / "image", layers=[TAR], media_type=docker)
    image = read_layout(tmp_path / "image")
    assert image.media_type == docker
    assert image.layers[0].compression == "gzip"


def test_layers_behind_relative_links_are_found_also_through_a_link_to_the_layout(
    layout: Path, tmp_path: Path
) -> None:
    blob = _only_layer(layout)
    moved = tmp_path / "elsewhere" / "layer.tar.gz"
    moved.parent.mkdir()
    blob.rename(moved)
    blob.symlink_to("../../../elsewhere/layer.tar.gz")
    runfiles = tmp_path / "deep" / "er" / "runfiles"
    runfiles.parent.mkdir(parents=True)
    runfiles.symlink_to(layout)
    assert read_layout(runfiles).layers[0].path.read_bytes() == moved.read_bytes()


def test_an_image_without_layers_is_read_even_when_docker_wrote_null(tmp_path: Path) -> None:
    extra = {"rootfs": {"type": "layers", "diff_ids": None}}
    make.make_layout(tmp_path / "image", layers=[], config_extra=extra)
    assert read_layout(tmp_path / "image").layers == ()


def test_verify_layers_detects_a_changed_byte(layout: Path) -> None:
    image = read_layout(layout)
    verify_layers(image)
    blob = image.layers[0].path
    blob.write_bytes(blob.read_bytes()[:-1] + b"\xff")
    with pytest.raises(LayoutError, match=f"{blob}: its content has digest sha256:"):
        verify_layers(image)


def _put_index(layout: Path) -> None:
    child = json.loads((layout / "index.json").read_text())["manifests"][0]
    media_type = "application/vnd.oci.image.index.v1+json"
    digest, size = make.put_json(
        layout, {"schemaVersion": 2, "mediaType": media_type, "manifests": [child]}
    )
    make.finish_layout(layout, {"mediaType": media_type, "digest": digest, "size": size})


def test_an_index_is_opened_but_refused_where_one_image_is_needed(layout: Path) -> None:
    _put_index(layout)
    assert open_layout(layout).root.media_type.endswith("index.v1+json")
    with pytest.raises(LayoutError, match=r"is an image index .* of 1 image\(s\)"):
        read_layout(layout)


def _two_manifests(layout: Path) -> None:
    index = json.loads((layout / "index.json").read_text())
    index["manifests"] *= 2
    (layout / "index.json").write_text(json.dumps(index))


def _edit_index(member: str, value: object) -> Callable[[Path], None]:
    def edit(layout: Path) -> None:
        index = json.loads((layout / "index.json").read_text())
        index["manifests"][0][member] = value
        (layout / "index.json").write_text(json.dumps(index))

    return edit


def _change_manifest(layout: Path) -> None:
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    file = layout / "blobs" / digest.replace(":", "/")
    file.write_bytes(file.read_bytes().replace(b"schemaVersion", b"schemaversion"))


def _grow_layer(layout: Path) -> None:
    blob = _only_layer(layout)
    blob.write_bytes(blob.read_bytes() + b"\0")


def _dangle_layer(layout: Path) -> None:
    blob = _only_layer(layout)
    blob.unlink()
    blob.symlink_to("../../../gone.tar.gz")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "oci-layout").unlink(), "oci-layout: cannot be read: No such file"),
        (lambda p: (p / "oci-layout").write_text("{}"), "imageLayoutVersion must be '1.0.0'"),
        (lambda p: (p / "index.json").write_text("{"), "index.json: is not JSON"),
        (lambda p: (p / "index.json").write_text("[" * 9999), "index.json: is not JSON"),
        (lambda p: (p / "index.json").write_bytes(b'{"\xe9": 1}'), "index.json: is not JSON"),
        (lambda p: (p / "index.json").write_text("[]"), "must hold a JSON object, found list"),
        (lambda p: (p / "index.json").write_text("{}"), "member 'manifests' must be a list"),
        (_two_manifests, "index.json: exactly one manifest is needed, found 2"),
        (_edit_index("digest", "sha256:../../x"), "'digest' must be 'sha256:' and 64"),
        (_edit_index("size", -1), "'size' must be a count of bytes, found -1"),
        (_edit_index("size", 7), "bytes, its descriptor says 7"),
        (_edit_index("mediaType", None), "'mediaType' must be a string, found nothing"),
        (_edit_index("mediaType", "text/plain"), "'text/plain' is neither an image manifest nor"),
        (_change_manifest, "which differs from its name"),
        (_grow_layer, "layer has .* bytes, the manifest says"),
        (_dangle_layer, r"\(a link to ../../../gone.tar.gz\): layer blob cannot be read"),
    ],
)
def test_a_broken_layout_is_refused_with_the_file_and_the_cause(
    layout: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(layout)
    with pytest.raises(LayoutError, match=message) as error:
        read_layout(layout)
    assert str(error.value).startswith(str(layout))


@pytest.mark.parametrize(
    "annotations",
    [
        {"kind": "dev.cosignproject.cosign/sigs"},
        {"kind": "dev.cosignproject.cosign/atts"},
        {"org.opencontainers.image.ref.name": f"sha256-{'0' * 64}.sig"},
    ],
)
def test_signatures_beside_the_image_are_no_images(
    layout: Path, annotations: dict[str, str]
) -> None:
    index = json.loads((layout / "index.json").read_text())
    (image,) = index["manifests"]
    index["manifests"] = [image, {**image, "annotations": annotations}]
    (layout / "index.json").write_text(json.dumps(index))
    assert read_layout(layout).digest == image["digest"]


def test_a_manifest_that_contradicts_its_descriptor_is_refused(tmp_path: Path) -> None:
    other = {"mediaType": "application/vnd.docker.distribution.manifest.v2+json"}
    make.make_layout(tmp_path / "image", layers=[TAR], manifest_extra=other)
    with pytest.raises(LayoutError, match="the manifest's media type is"):
        read_layout(tmp_path / "image")


def test_diff_ids_must_match_the_layers(tmp_path: Path) -> None:
    extra = {"rootfs": {"type": "layers", "diff_ids": []}}
    make.make_layout(tmp_path / "image", layers=[TAR], config_extra=extra)
    with pytest.raises(LayoutError, match="has 0 diff_ids, the manifest has 1 layers"):
        read_layout(tmp_path / "image")


def test_a_layer_of_an_unknown_type_is_refused(tmp_path: Path) -> None:
    make.make_layout(tmp_path / "image", layers=[TAR], layer_type="application/zip")
    with pytest.raises(LayoutError, match="'application/zip' is not a layer type"):
        read_layout(tmp_path / "image")


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_layout_that_is_not_a_directory_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image.tar"
    if kind == "file":
        path.write_bytes(TAR)
    with pytest.raises(LayoutError, match="an OCI layout directory is needed here"):
        read_layout(path)

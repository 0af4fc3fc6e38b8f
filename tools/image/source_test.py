"""Every form an image may come in, and what is wrong with those that cannot be used."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from tools.archive.tar_stream import LayerError
from tools.image import archive
from tools.image.images_for_test import Member, directory, link, tar_bytes, write_image
from tools.image.layout import LayoutError
from tools.image.source import open_source
from tools.image.unpack import read_files

CONFIG = {"User": "app", "Cmd": ["run"]}


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    layers = [[directory("d"), Member("d/a", b"1")], [Member("d/b", b"2"), Member("d/.wh.a")]]
    return write_image(tmp_path / "layout", layers, CONFIG).path


def written(target: Path, members: list[archive.Member], *, compress: bool = False) -> Path:
    buffer = io.BytesIO()
    archive.write_archive(members, buffer)
    data = buffer.getvalue()
    target.write_bytes(gzip.compress(data) if compress else data)
    return target


def contents(path: Path, scratch: Path, platform: str = "") -> tuple[str, dict[str, bytes]]:
    scratch.mkdir()
    with open_source(path, platform=platform, scratch=scratch) as source:
        files = read_files(source.image.layers, lambda _: True)[1]
        assert source.image.config["config"] == CONFIG
        return source.kind, dict(files)


def test_a_layout_and_its_archives_hold_the_same_image(layout: Path, tmp_path: Path) -> None:
    docker = archive.docker_archive(layout, ["a:b"])
    oci = archive.oci_archive(layout, [])
    expected = {"/d/b": b"2"}
    assert contents(layout, tmp_path / "1") == ("layout", expected)
    docker_tar = written(tmp_path / "docker.tar", docker)
    assert contents(docker_tar, tmp_path / "2") == ("docker-archive", expected)
    docker_tgz = written(tmp_path / "docker.tgz", docker, compress=True)
    assert contents(docker_tgz, tmp_path / "3") == ("docker-archive", expected)
    oci_tar = written(tmp_path / "oci.tar", oci)
    assert contents(oci_tar, tmp_path / "4") == ("oci-archive", expected)
    both = written(tmp_path / "both.tar", oci + docker[:1] + docker[2:])
    assert contents(both, tmp_path / "5") == ("docker-archive", expected)


def test_layers_that_are_links_or_not_compressed_are_read(layout: Path, tmp_path: Path) -> None:
    # As podman and older versions of Docker save an image.
    with open_source(layout, platform="", scratch=tmp_path) as source:
        config = source.image.config
        plain = [gzip.decompress(layer.path.read_bytes()) for layer in source.image.layers]
    config["rootfs"]["diff_ids"].append(config["rootfs"]["diff_ids"][1])
    names = ["one/layer.tar", "two.tar", "three/layer.tar"]
    manifest = [{"Config": "c.json", "RepoTags": None, "Layers": names}]
    members = [
        Member("c.json", json.dumps(config).encode()),
        link("three/layer.tar", "../two.tar"),
        Member("one/layer.tar", plain[0]),
        Member("two.tar", plain[1]),
        Member("manifest.json", json.dumps(manifest).encode()),
    ]
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes(members))
    assert contents(path, tmp_path / "s") == ("docker-archive", {"/d/b": b"2"})


def index_of(tmp_path: Path, *, described: bool) -> Path:
    """A layout whose root is an index of an image for amd64 and one for arm64/v8."""
    folder = tmp_path / "index"
    children = []
    for architecture, variant in (("amd64", ""), ("arm64", "v8")):
        single = write_image(tmp_path / architecture, [[Member(architecture)]], CONFIG).path
        entry = json.loads((single / "index.json").read_text())["manifests"][0]
        blobs = single / "blobs" / "sha256"
        manifest = json.loads((blobs / entry["digest"][7:]).read_text())
        config = json.loads((blobs / manifest["config"]["digest"][7:]).read_text())
        config |= {"architecture": architecture, **({"variant": variant} if variant else {})}
        (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        for layer in manifest["layers"]:
            name = layer["digest"][7:]
            (folder / "blobs" / "sha256" / name).write_bytes((blobs / name).read_bytes())
        manifest["config"] |= stored(folder, config)
        child = {"mediaType": entry["mediaType"], **stored(folder, manifest)}
        if described:
            child["platform"] = {"os": "linux", "architecture": architecture, "variant": variant}
        children.append(child)
    media_type = "application/vnd.oci.image.index.v1+json"
    root = {"mediaType": media_type, **stored(folder, {"manifests": children})}
    (folder / "index.json").write_text(json.dumps({"manifests": [root]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def stored(folder: Path, value: object) -> dict[str, object]:
    data = json.dumps(value).encode()
    digest = hashlib.sha256(data).hexdigest()
    (folder / "blobs" / "sha256" / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


@pytest.mark.parametrize("described", [True, False])
def test_the_platform_chooses_from_an_index(tmp_path: Path, described: bool) -> None:
    index = index_of(tmp_path, described=described)
    for number, (platform, name) in enumerate(
        [
            ("linux/amd64", "/amd64"),
            ("linux/amd64/v1", "/amd64"),
            ("linux/arm64", "/arm64"),
            ("linux/arm64/v8", "/arm64"),
        ]
    ):
        found = contents(index, tmp_path / str(number), platform)[1]
        assert list(found) == [name]
    for platform, cause in [
        ("", "is an image index for linux/amd64, linux/arm64/v8; say which with platform"),
        ("linux/s390x", "linux/arm64/v8; none of them is for linux/s390x"),
        ("linux/arm", "none of them is for linux/arm"),
        ("linux", "none of them is for linux"),
    ]:
        with pytest.raises(LayoutError) as caught:
            contents(index, tmp_path / f"x{platform.replace('/', '-')}", platform)
        assert str(caught.value).endswith(cause)


def test_an_index_whose_image_names_no_configuration_is_refused(tmp_path: Path) -> None:
    index = index_of(tmp_path, described=False)
    document = json.loads((index / "index.json").read_text())
    media_type = "application/vnd.oci.image.manifest.v1+json"
    child = {"mediaType": media_type, **stored(index, {"layers": []})}
    document["manifests"][0] |= stored(index, {"manifests": [child]})
    (index / "index.json").write_text(json.dumps(document))
    with pytest.raises(
        LayoutError, match="a descriptor must be an object, found nothing"
    ) as caught:
        contents(index, tmp_path / "s", "linux/amd64")
    assert str(child["digest"])[7:] in str(caught.value)


def test_an_image_for_another_platform_is_refused(layout: Path, tmp_path: Path) -> None:
    with pytest.raises(LayoutError) as caught:
        contents(layout, tmp_path / "s", "linux/riscv64")
    assert ", and platform linux/riscv64 is wanted" in str(caught.value)


def tar_of(*members: Member) -> bytes:
    return tar_bytes(members)


MANIFEST = b'[{"Config": "c", "Layers": ["l"]}]'
BROKEN = [
    (tar_of(Member("x")), LayoutError, "is neither a docker-archive (no manifest.json) nor"),
    (tar_of(Member("manifest.json", b"[")), LayoutError, "manifest.json is not JSON"),
    (tar_of(Member("manifest.json", b"[]")), LayoutError, "exactly one image, found 0"),
    (tar_of(Member("manifest.json", b"[{},{}]")), LayoutError, "exactly one image, found 2"),
    (tar_of(Member("manifest.json", b'{"a": 1}')), LayoutError, "exactly one image, found 0"),
    (
        tar_of(Member("manifest.json", b'[{"Config": "c", "Layers": "l"}]')),
        LayoutError,
        "manifest.json: Layers must be a list, found 'l'",
    ),
    (tar_of(Member("manifest.json", MANIFEST)), LayoutError, "names 'c', which is not in"),
    (
        tar_of(Member("manifest.json", MANIFEST), Member("c", b"{}"), link("l", "l")),
        LayoutError,
        "names 'l', which is not in the archive",
    ),
    (
        tar_of(Member("manifest.json", MANIFEST), Member("c", b"{}"), Member("l")),
        LayoutError,
        "must have one diff_id for each layer",
    ),
    (b"no archive at all" * 100, LayerError, "a tar header has the checksum"),
    (tar_of(Member("x", b"1" * 9999))[:6000], LayerError, "ends in the middle of a member"),
    (gzip.compress(tar_of(Member("x", b"1" * 9999)))[:60], LayerError, "cannot be read: "),
]


@pytest.mark.parametrize(("data", "kind", "cause"), BROKEN)
def test_an_unusable_archive_is_named_in_the_error(
    tmp_path: Path, data: bytes, kind: type[Exception], cause: str
) -> None:
    path = tmp_path / "broken.tar"
    path.write_bytes(data)
    with pytest.raises(kind) as caught:
        contents(path, tmp_path / "s")
    assert str(path) in str(caught.value)
    assert cause in str(caught.value)


def test_member_names_do_not_escape_the_directory(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("unharmed")
    evil = tar_bytes(
        [
            Member("../victim", b"harmed"),
            Member(str(tmp_path / "victim"), b"harmed"),
            Member("blobs/sha256/../../../victim", b"harmed"),
            Member("index.json/../../victim", b"harmed"),
            Member("dev", kind=tarfile.CHRTYPE),
        ]
    )
    (tmp_path / "evil.tar").write_bytes(evil)
    with pytest.raises(LayoutError):
        contents(tmp_path / "evil.tar", tmp_path / "s")
    assert (tmp_path / "victim").read_text() == "unharmed"
    assert not (tmp_path / "s" / "index.json").exists()


def test_swapped_layers_are_detected_when_they_are_read(layout: Path, tmp_path: Path) -> None:
    docker = archive.docker_archive(layout, [])
    swapped = [*docker[:2], archive.Member(docker[2].name, docker[3].content), docker[3]]
    path = written(tmp_path / "x.tar", swapped)
    with pytest.raises(LayerError) as caught:
        contents(path, tmp_path / "s")
    assert "the image's config says diff_id" in str(caught.value)


def test_a_manifest_that_is_nested_too_deep_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    file.write_bytes(tar_bytes([Member("manifest.json", b"[" * 100_000)]))
    (tmp_path / "scratch").mkdir()
    with (
        pytest.raises(LayoutError, match=r"manifest.json is not JSON: it is nested too deep"),
        open_source(file, platform="", scratch=tmp_path / "scratch"),
    ):
        pass


def test_a_docker_archive_whose_rootfs_is_not_an_object_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    manifest = b'[{"Config": "config.json", "Layers": []}]'
    members = [Member("manifest.json", manifest), Member("config.json", b'{"rootfs": [1]}')]
    file.write_bytes(tar_bytes(members))
    (tmp_path / "scratch").mkdir()
    with (
        pytest.raises(LayoutError, match="must have one diff_id for each layer"),
        open_source(file, platform="", scratch=tmp_path / "scratch"),
    ):
        pass

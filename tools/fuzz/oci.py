"""Readers of images: layouts, archives, descriptors, configurations."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tools.container.config import read_run_config, resolve_user
from tools.fuzz.archives import damaged_tar
from tools.fuzz.harness import Reader
from tools.fuzz.mutation import damaged_document, damaged_json, damaged_text
from tools.image.archive import docker_archive, oci_archive, write_archive
from tools.image.layout import open_layout, verify_layers
from tools.image.layouts_for_test import (
    make_artifact,
    make_index,
    make_layout,
    root_entry,
    tar_bytes,
)
from tools.image.platform import normalize, platform_text, suits
from tools.image.references import walk
from tools.image.source import open_source
from tools.image.spec import convert_layer_type, parse_descriptor
from tools.image.unpack import scan
from tools.oci.descriptor import describe_layer, read_descriptor
from tools.registry.pull_plan import make_plan

_PLATFORM = "linux/amd64"
_CONFIG = {
    "User": "1000:1000",
    "Env": ["PATH=/usr/bin", "A=b"],
    "Entrypoint": ["/usr/bin/python3"],
    "Cmd": ["-m", "app"],
    "WorkingDir": "/app",
    "ExposedPorts": {"8000/tcp": {}},
    "Volumes": {"/data": {}},
    "StopSignal": "SIGTERM",
    "Labels": {"a": "b"},
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**10, "Retries": 3},
}
Documents = dict[str, Any]


def _documents() -> Documents:
    """Return the documents of a layout with an index: what refers to what is left out."""
    with tempfile.TemporaryDirectory() as folder:
        layout = Path(folder)
        make_layout(layout, layers=[tar_bytes({"etc/passwd": b"root:x:0:0::/:\n"})])
        manifest = json.loads((layout / "blobs" / _path(root_entry(layout))).read_bytes())
        config = json.loads((layout / "blobs" / _path(manifest["config"])).read_bytes())
        layer = (layout / "blobs" / _path(manifest["layers"][0])).read_bytes()
        make_index(layout, [root_entry(layout), make_artifact(layout)])
        index = json.loads((layout / "blobs" / _path(root_entry(layout))).read_bytes())
    config["config"] = _CONFIG
    index["manifests"][0]["platform"] = {"os": "linux", "architecture": "amd64"}
    return {
        "layer": layer,
        "config": config,
        "manifest": manifest,
        "index": index,
        "root": {"schemaVersion": 2, "manifests": index["manifests"][:1]},
        "marker": {"imageLayoutVersion": "1.0.0"},
    }


def _path(descriptor: Mapping[str, Any]) -> str:
    return str(descriptor["digest"]).replace(":", "/")


_VALID = _documents()


@st.composite
def _layouts(draw: st.DrawFn) -> dict[str, bytes]:
    """Return the files of a layout: one document damaged, and the digests of it right again."""
    chosen = draw(st.sampled_from(["config", "manifest", "index", "root", "marker", "none"]))
    files = {"blobs/" + _path(_descriptor(_VALID["layer"])): _VALID["layer"]}

    def store(name: str, document: Any) -> dict[str, Any]:
        data = draw(damaged_json(document)) if name == chosen else json.dumps(document).encode()
        descriptor = _descriptor(data)
        files["blobs/" + _path(descriptor)] = data
        return descriptor

    config = store("config", _VALID["config"])
    manifest = _VALID["manifest"]
    manifest = store("manifest", manifest | {"config": manifest["config"] | config})
    first, *others = _VALID["index"]["manifests"]
    root = first | manifest
    if draw(st.booleans()):
        listed = {"manifests": [root, *others]}
        kind = _VALID["index"]["mediaType"]
        root = {"mediaType": kind, **store("index", _VALID["index"] | listed)}
    for name, file, document in (
        ("root", "index.json", _VALID["root"] | {"manifests": [root]}),
        ("marker", "oci-layout", _VALID["marker"]),
    ):
        files[file] = draw(damaged_json(document)) if name == chosen else _encoded(document)
    return files


def _encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


def _descriptor(data: bytes) -> dict[str, Any]:
    return {"digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}


def read_layout_files(files: dict[str, bytes], directory: Path) -> None:
    """Read a layout in the ways of tools that run, push, pull and load it."""
    layout = directory / "layout"
    for name, data in files.items():
        (layout / name).parent.mkdir(parents=True, exist_ok=True)
        (layout / name).write_bytes(data)
    opened = open_layout(layout)
    if any(layout.joinpath("blobs").rglob("*")):
        make_plan(layout, digest=opened.root.digest, platform=_PLATFORM)
    for _ in walk(opened, opened.root):
        pass
    write_archive(oci_archive(layout, ["a:b"]), io.BytesIO())
    with open_source(layout, platform=_PLATFORM, scratch=directory / "scratch") as source:
        _use(source.image)
        if opened.root.digest == source.image.digest:
            write_archive(docker_archive(layout, ["a:b"]), io.BytesIO())


def _use(image: Any) -> None:
    verify_layers(image)
    scan(image.layers)
    read_run_config(image.config)


@st.composite
def _archives(draw: st.DrawFn) -> bytes:
    """Return a docker-archive or oci-archive: damaged itself, or with a damaged document."""
    if draw(st.booleans()):
        files = draw(_layouts())
    else:
        manifest = [{"Config": "config.json", "RepoTags": ["a:b"], "Layers": ["layer.tar"]}]
        chosen = draw(st.sampled_from(["manifest", "config"]))
        files = {
            "manifest.json": draw(damaged_json(manifest))
            if chosen == "manifest"
            else _encoded(manifest),
            "config.json": draw(damaged_json(_VALID["config"])),
            "layer.tar": _VALID["layer"],
        }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("other.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "layer.tar"
        tar.addfile(link)
    content = buffer.getvalue()
    return draw(damaged_tar(content)) if draw(st.booleans()) else content


def read_archive(content: bytes, directory: Path) -> None:
    """Read an archive as `--image FILE` does."""
    file = directory / "image.tar"
    file.write_bytes(content)
    scratch = directory / "scratch"
    scratch.mkdir()
    with open_source(file, platform="", scratch=scratch) as source:
        _use(source.image)


def read_config(config: Any, _: Path) -> None:
    """Read what a configuration says about starting, for an image that has these users."""
    if isinstance(config, dict):
        read_run_config(config)
        platform_text(config)


def read_entry(value: Any, _: Path) -> None:
    """Read a descriptor, and its type as that of a layer of either family."""
    found = parse_descriptor(value)
    assert parse_descriptor(found.to_json()) == found
    convert_layer_type(found.media_type, docker=True)


def read_user(texts: tuple[str, str, str], _: Path) -> None:
    """Look a user up in an image's own passwd and group."""
    resolve_user(*texts)


def read_platform(text: str, _: Path) -> None:
    """Read a platform, and compare it with another."""
    normalize(text)
    suits(text, "linux/amd64")


def describe(content: bytes, directory: Path) -> None:
    """Describe a layer of somebody else's by its bytes."""
    file = directory / "layer.tar.gz"
    file.write_bytes(content)
    describe_layer(file)


def read_layer_descriptor(content: bytes, directory: Path) -> None:
    """Read the descriptor that stands beside a layer."""
    file = directory / "layer.json"
    file.write_bytes(content)
    read_descriptor(file)


_ACCOUNTS = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/app:/bin/sh\n"
_GROUP = "root:x:0:\napp:x:1000:app\n"
_LAYER_JSON = {
    "compression": "gzip",
    "diff_id": "sha256:" + "0" * 64,
    "digest": "sha256:" + "1" * 64,
    "size": 5,
}

READERS = (
    Reader("oci_layout", _layouts(), read_layout_files),
    Reader("image_archive", _archives(), read_archive),
    Reader("image_config", damaged_document(_VALID["config"]), read_config),
    Reader("descriptor", damaged_document(_VALID["manifest"]["layers"][0]), read_entry),
    Reader(
        "image_user",
        st.tuples(
            damaged_text("app", "1000", "app:app", "0:0", "1000:1000"),
            damaged_text(_ACCOUNTS),
            damaged_text(_GROUP),
        ),
        read_user,
    ),
    Reader(
        "platform", damaged_text("linux/amd64", "linux/arm64/v8", "linux/arm/v7"), read_platform
    ),
    Reader(
        "layer_descriptor", damaged_json(_LAYER_JSON), read_layer_descriptor, names="layer.json"
    ),
)

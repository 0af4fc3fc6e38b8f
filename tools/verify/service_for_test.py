"""A small service as the project builds one: packages, a wheel, an application, two platforms.

    images = build(tmp_path / "checkout")
    changed = replant(images.amd64, tmp_path / "changed", layers={2: edit})

Everything is made by the tools that make real images.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.apt import deb_layer
from tools.archive import debs_for_test as debs
from tools.archive.compress import Compressor
from tools.image.layout import Image, read_layout
from tools.image.spec import sha256_digest
from tools.oci import config, image, index
from tools.oci.layout_writer import document, write_layout
from tools.wheels import python_source_layer, wheel_bytecode, wheel_layer
from tools.wheels.wheels_for_test import TinyWheel, write_wheel

MTIME = 1_700_000_000
CHANGELOG = """\
libfoo1 (1.0-3) bookworm-security; urgency=high

  * Refuse lengths below zero. (CVE-2026-20001)
  * Fixes CVE-2025-0999.

 -- A Tester <tester@example.org>  Tue, 03 Nov 2026 10:00:00 +0000

libfoo1 (1.0-2) bookworm; urgency=medium

  * CVE-2026-10000: check the header.

 -- A Tester <tester@example.org>  Mon, 02 Nov 2026 10:00:00 +0000

libfoo1 (1.0-1) unstable; urgency=medium

  * Initial release, with CVE-2020-11111 fixed.

 -- A Tester <tester@example.org>  Sun, 01 Nov 2026 10:00:00 +0000
"""
TOML = "etc/tool.toml"
LIBRARY = "usr/lib/libfoo.so.1.0"
LINK = "usr/lib/libfoo.so.1"
MODULE = "usr/local/lib/python{}.{}/dist-packages/six.py".format(*sys.version_info)

Members = list[tuple[tarfile.TarInfo, bytes]]
Edit = Callable[[Members], Members]


@dataclass(frozen=True)
class Images:
    """The layouts of one build, and the packages for amd64."""

    amd64: Path
    arm64: Path
    index: Path
    debs: tuple[Path, ...]

    def flags(self) -> list[str]:
        """Return the flags by which a BUILD file's target hands these images to a program."""
        folder = self.index.parent
        target = {
            "debs": [str(deb.relative_to(folder)) for deb in self.debs],
            "image": "//backend:index",
            "layouts": [self.index.name],
            "program": "//backend:diff",
        }
        (folder / "target.json").write_text(json.dumps(target))
        return [f"--runfiles={folder}", "--target=target.json"]


def build(folder: Path, *, foo: str = "1.0-1", six: str = "1.16.0", app: str = "x = 1\n") -> Images:
    """Build the service below an empty directory."""
    folder.mkdir(parents=True)
    policy = folder / "policy.json"
    excluded = [{"glob": "usr/share/doc/*/changelog*"}]
    policy.write_text(json.dumps({"mtime": MTIME, "excluded_paths": excluded}))
    layers = {
        architecture: [
            _debian(folder, policy, architecture, foo=foo),
            _wheels(folder, policy, six=six),
            _application(folder, policy, app),
        ]
        for architecture in ("amd64", "arm64")
    }
    images = {
        architecture: _image(folder, architecture, found) for architecture, found in layers.items()
    }
    flags = [word for path in images.values() for word in ("--image", str(path))]
    out = [f"--output={folder / 'index'}", f"--digest-output={folder / 'index.digest'}"]
    assert index.main([*flags, *out, "--label=//backend:index"]) == 0
    debs = tuple(sorted((folder / "amd64").glob("*.deb")))
    return Images(images["amd64"], images["arm64"], folder / "index", debs)


def _debian(folder: Path, policy: Path, architecture: str, *, foo: str) -> Path:
    out = folder / architecture
    out.mkdir()
    changelog = CHANGELOG[CHANGELOG.index(f"libfoo1 ({foo})") :]
    library = [
        debs.directory("./usr/lib"),
        debs.TarMember(f"./{LIBRARY}", f"libfoo {foo} {architecture}".encode() * 99),
        debs.symlink(f"./{LINK}", "libfoo.so.1.0"),
        debs.TarMember("./usr/share/doc/libfoo1/copyright", b"MIT\n"),
        debs.TarMember(
            "./usr/share/doc/libfoo1/changelog.Debian.gz", gzip.compress(changelog.encode())
        ),
    ]
    tool = [
        debs.TarMember(f"./{TOML}", b"[tool]\nspeed = 1\n"),
        debs.TarMember("./usr/bin/tool", b"\x7fnot an ELF\0", mode=0o755),
        debs.TarMember("./usr/share/doc/tool/copyright", b"MIT\n"),
    ]
    packages = [
        debs.write_deb(out, "libfoo1", library, version=foo, architecture=architecture),
        debs.write_deb(out, "tool", tool, version="2.1-3", architecture=architecture),
    ]
    return _made(
        deb_layer.main, out / "base", policy, *(f"--deb={package}" for package in packages)
    )


def _wheels(folder: Path, policy: Path, *, six: str) -> Path:
    if (folder / "wheels.tar.gz").exists():
        return folder / "wheels"
    files = {"six.py": b"def six():\n    return 6\n"}
    wheel = write_wheel(TinyWheel("six", version=six, files=files), directory=folder)
    bytecode = folder / "six.zip"
    assert wheel_bytecode.main([f"--wheel={wheel}", f"--out={bytecode}"]) == 0
    flags = (f"--wheel={wheel}", f"--bytecode={bytecode}")
    return _made(wheel_layer.main, folder / "wheels", policy, *flags)


def _application(folder: Path, policy: Path, app: str) -> Path:
    if (folder / "app.tar.gz").exists():
        return folder / "app"
    (folder / "main.py").write_text(app)
    content = {
        "directory": "/app",
        "empty_directories": {"data": "1000:1000:0755"},
        "files": [[str(folder / "main.py"), "main.py"]],
    }
    (folder / "content.json").write_text(json.dumps(content))
    content_flag = f"--content={folder / 'content.json'}"
    return _made(python_source_layer.main, folder / "app", policy, content_flag)


def _made(tool: Callable[[list[str]], int], stem: Path, policy: Path, *flags: str) -> Path:
    out = (f"--out={stem}.tar.gz", f"--descriptor={stem}.json", f"--lock={policy}")
    assert tool([*flags, *out]) == 0
    return stem


def _image(folder: Path, architecture: str, layers: Sequence[Path]) -> Path:
    plain, out = folder / f"plain_{architecture}", folder / f"image_{architecture}"
    (folder / "env").write_text("LANG=C.UTF-8\nPORT=8000\n")
    (folder / "cmd").write_text("tool\nserve\n")
    (folder / "labels").write_text("org.example.team=video\n")
    flags = [f"--{name}={folder / name}" for name in ("env", "cmd", "labels")]
    for layer in layers:
        flags += ["--layer", f"//backend:{layer.name}_layer", f"{layer}.tar.gz", f"{layer}.json"]
    flags += [f"--output={plain}", f"--digest-output={plain}.digest", "--label=//backend:oci"]
    flags += ["--os=linux", f"--architecture={architecture}", "--user=1000:1000"]
    assert image.main(flags) == 0
    flags = [f"--input={plain}", f"--output={out}", f"--digest-output={out}.digest"]
    flags += ["--label=//backend:image", '--healthcheck=["CMD", "tool"]']
    assert config.main([*flags, "--healthcheck-interval=30s", "--media-types=docker"]) == 0
    return out


@dataclass(frozen=True)
class Blob:
    """A layer for `replant`: its file, digest, size and diff_id."""

    path: Path
    digest: str
    size: int
    diff_id: str


def replant(
    source: Path,
    out: Path,
    *,
    layers: Mapping[int, Edit] | None = None,
    edit_layers: Callable[[list[Blob]], list[Blob]] = lambda blobs: blobs,
    level: int = 6,
    edit_config: Callable[[dict[str, Any]], object] = lambda _: None,
) -> Path:
    """Write the image of a layout with some edits, every digest true; return the new layout.

    `layers` are edits of members by the layer's number from 0 on; those layers are compressed with
    `level`.
    """
    out.mkdir(parents=True)
    found = read_layout(source)
    blobs = [
        pack(unpacked(found, number), (layers or {})[number], out, level=level)
        if number in (layers or {})
        else Blob(layer.path, layer.digest, layer.size, layer.diff_id)
        for number, layer in enumerate(found.layers)
    ]
    blobs = edit_layers(blobs)
    configuration = json.loads(json.dumps(found.config))
    configuration["rootfs"]["diff_ids"] = [blob.diff_id for blob in blobs]
    edit_config(configuration)
    config_type = found.manifest["config"]["mediaType"]
    descriptor, data = document(configuration, media_type=config_type)
    layer_type = found.layers[0].media_type
    entries = [
        {"mediaType": layer_type, "digest": blob.digest, "size": blob.size} for blob in blobs
    ]
    manifest = {**found.manifest, "config": descriptor.to_json(), "layers": entries}
    root, text = document(manifest, media_type=found.media_type)
    links = {blob.digest: blob.path.resolve() for blob in blobs}
    write_layout(out, root=root, documents=[text, data], links=links)
    return out


def unpacked(found: Image, number: int) -> Members:
    """Return a layer's members with their content."""
    with tarfile.open(found.layers[number].path) as tar:
        members = []
        for info in tar:
            stream = tar.extractfile(info) if info.isreg() else None
            members.append((info, stream.read() if stream else b""))
        return members


def pack(members: Members, edit: Edit, folder: Path, *, level: int = 6) -> Blob:
    """Write edited members as a layer, in the encoding of the project's own layers."""
    raw = io.BytesIO()
    for info, data in edit(members):
        info.size = len(data)
        raw.write(info.tobuf(tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"))
        raw.write(data + bytes(-len(data) % tarfile.BLOCKSIZE))
    raw.write(bytes(2 * tarfile.BLOCKSIZE))
    packed = io.BytesIO()
    with Compressor(packed, level=level) as compressor:
        compressor.write(raw.getvalue())
    path = folder / f"{compressor.packed_sha256}.tar.gz"
    path.write_bytes(packed.getvalue())
    digest = f"sha256:{compressor.packed_sha256}"
    return Blob(path, digest, compressor.packed_size, sha256_digest(raw.getvalue()))


def on(path: str, change: Callable[[tarfile.TarInfo, bytes], bytes | None]) -> Edit:
    """Return an edit of one member: its content is what `change` returns, None for the same."""

    def edit(members: Members) -> Members:
        found = [number for number, (info, _) in enumerate(members) if info.name == path]
        assert found, f"{path}: not in this layer: {[info.name for info, _ in members]}"
        (number,) = found
        info, data = members[number]
        changed = change(info, data)
        members[number] = (info, data if changed is None else changed)
        return members

    return edit


def setting(path: str, **fields: Any) -> Edit:
    """Return an edit that sets fields of one member's header."""

    def change(info: tarfile.TarInfo, _: bytes) -> None:
        for name, value in fields.items():
            setattr(info, name, value)

    return on(path, change)

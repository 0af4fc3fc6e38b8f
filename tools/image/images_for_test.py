"""Builds small images for tests: layers from lists of members, layouts from layers.

The programs in them are the machine's own `sh` and core utilities with the libraries they need,
so that a test starts real processes; nothing is downloaded.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import importlib.util
import io
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.linux.architectures import BY_MACHINE

PROGRAMS = (
    "sh", "cat", "ls", "id", "env", "sleep", "touch", "mkdir", "rm", "pwd", "true", "false",
    "echo", "stat", "head", "uname", "mv", "chmod", "readlink", "printf", "ln",
    "stty", "tail", "truncate",
)  # fmt: skip

# How to start the Python of `python_layer`; -S because it has no site-packages.
PYTHON = ("/py/loader", "--library-path", "/py/so", "/py/bin/python", "-S")
PYTHON_ENV = "PYTHONHOME=/py"
PYTHON_LIBRARY = "py/lib/python{}.{}".format(*sys.version_info)
_PROBE = """
import ctypes, encodings.idna, encodings.latin_1, encodings.ascii, http.server, json, os, signal
import sys, urllib.request
files = {line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if ".so" in line
         or "/python3" in line or "/ld-" in line}
modules = {getattr(m, "__file__", None) for m in list(sys.modules.values())} - {None}
print(json.dumps([os.path.dirname(os.__file__), sorted(files), sorted(modules)]))
"""


@dataclass(frozen=True)
class Member:
    """A tar member; `kind` is a tarfile type constant."""

    name: str
    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    kind: bytes = tarfile.REGTYPE
    link: str = ""


@dataclass(frozen=True)
class TestLayer:
    """A layer blob on disk, with the fields the readers want."""

    __test__ = False
    path: Path
    digest: str
    size: int
    diff_id: str


@dataclass(frozen=True)
class TestImage:
    """A layout directory and its layers."""

    __test__ = False
    path: Path
    layers: tuple[TestLayer, ...] = field(default=())


def directory(name: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> Member:
    """A directory member."""
    return Member(name, mode=mode, uid=uid, gid=gid, kind=tarfile.DIRTYPE)


def link(name: str, target: str) -> Member:
    """A symbolic link member."""
    return Member(name, mode=0o777, kind=tarfile.SYMTYPE, link=target)


def hard_link(name: str, target: str) -> Member:
    """A hard link member."""
    return Member(name, kind=tarfile.LNKTYPE, link=target)


# Tests of a file make the same layers again and again.
_cached = functools.lru_cache(maxsize=8)


@_cached
def _compressed(content: bytes) -> tuple[bytes, str, str]:
    """The blob of an archive, its digest and the archive's, in hexadecimal."""
    blob = gzip.compress(content, compresslevel=1, mtime=0)
    return blob, hashlib.sha256(blob).hexdigest(), hashlib.sha256(content).hexdigest()


@_cached
def _archive(members: tuple[Member, ...]) -> bytes:
    return tar_bytes(members)


def tar_bytes(members: Iterable[Member]) -> bytes:
    """An uncompressed archive with exactly these members, hostile names included."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.mode, info.uid, info.gid = member.mode, member.uid, member.gid
            info.type, info.linkname, info.size = member.kind, member.link, len(member.data)
            tar.addfile(info, io.BytesIO(member.data))
    return buffer.getvalue()


def write_layer(folder: Path, content: bytes) -> TestLayer:
    """Stores archive bytes as a gzip'd layer blob below `folder`."""
    blob, digest, diff_id = _compressed(content)
    path = folder / digest
    path.write_bytes(blob)
    return TestLayer(path, f"sha256:{digest}", len(blob), f"sha256:{diff_id}")


def write_image(
    folder: Path,
    layers: Sequence[Sequence[Member]],
    config: Mapping[str, Any],
    *,
    architecture: str | None = None,
) -> TestImage:
    """Writes an OCI layout at `folder`; `config` is the `config` section of the configuration.

    The architecture is the machine's own, unless one is given.
    """
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    written = tuple(write_layer(blobs, _archive(tuple(members))) for members in layers)

    def store(value: object) -> dict[str, Any]:
        data = json.dumps(value).encode()
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    machine = BY_MACHINE[platform.machine()].name
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            **store(
                {
                    "os": "linux",
                    "architecture": architecture or machine,
                    "config": dict(config),
                    "rootfs": {"type": "layers", "diff_ids": [x.diff_id for x in written]},
                }
            ),
        },
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": layer.digest,
                "size": layer.size,
            }
            for layer in written
        ],
    }
    descriptor = {"mediaType": manifest["mediaType"], **store(manifest)}
    index = {"schemaVersion": 2, "manifests": [descriptor]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return TestImage(folder, written)


def program_layer(programs: Iterable[str] = PROGRAMS) -> list[Member]:
    """Members for a usable user land: programs in /bin, their loader and libraries, /etc files."""
    return list(_program_layer(tuple(programs)))


@_cached
def _program_layer(programs: tuple[str, ...]) -> tuple[Member, ...]:
    files: dict[str, Path] = {}
    for name in programs:
        found = shutil.which(name)
        if found is None:
            raise FileNotFoundError(f"{name}: the tests need it on PATH")
        files[f"bin/{name}"] = Path(found)
        for library in _libraries(Path(found)):
            files[library.lstrip("/")] = Path(library)
    members = [
        directory("./"),
        directory("bin"),
        directory("app"),
        directory("app/data", 0o755, 1000, 1000),
        directory("etc"),
        directory("root", 0o700),
        directory("tmp", 0o1777),
        Member("etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"),
        Member("etc/group", b"root:x:0:\napp:x:1000:\nextra:x:2000:app\n"),
        Member("etc/shadow", b"root:*:0\n", mode=0o640, gid=42),
        Member("app/main.txt", b"hello\n"),
    ]
    for name, path in sorted(files.items()):
        members.append(Member(name, path.resolve().read_bytes(), mode=0o755))
    return tuple(members)


def _libraries(program: Path) -> list[str]:
    """The loader and every library of a dynamic program, by asking its loader."""
    loader = _interpreter(program.resolve().read_bytes())
    if loader is None:
        return []
    listing = subprocess.run(
        [loader, "--list", os.fspath(program.resolve())],
        check=True, capture_output=True, text=True, timeout=30, env={},
    ).stdout  # fmt: skip
    paths = [word for line in listing.splitlines() for word in line.split() if word[0] == "/"]
    return sorted({loader, *paths})


def _interpreter(data: bytes) -> str | None:
    """PT_INTERP of a 64-bit little-endian ELF file, None for a static one (elf(5))."""
    offset, size, count = (
        struct.unpack_from("<Q", data, 0x20)[0],
        struct.unpack_from("<H", data, 0x36)[0],
        struct.unpack_from("<H", data, 0x38)[0],
    )
    for number in range(count):
        start = offset + number * size
        kind, _, where, _, _, length = struct.unpack_from("<IIQQQQ", data, start)
        if kind == 3:
            return data[where : where + length].rstrip(b"\0").decode()
    return None


def python_layer() -> list[Member]:
    """The Python that runs the test, with just the modules an HTTP server and client need.

    It is told from a running process which files those are, so that it does not matter how that
    Python was installed or started. Bytecode comes along where there is some.
    """
    return list(_python_layer())


@_cached
def _python_layer() -> tuple[Member, ...]:
    probe = subprocess.run(
        [sys.executable, "-S", "-c", _PROBE], check=True, capture_output=True, timeout=60
    )
    library, mapped, modules = json.loads(probe.stdout)
    members = [directory("py"), directory(f"{PYTHON_LIBRARY}/lib-dynload")]
    for name in modules:
        if name.startswith(library):
            files = [name, importlib.util.cache_from_source(name)] if name[-3:] == ".py" else [name]
            for file in filter(os.path.exists, files):
                inside = f"{PYTHON_LIBRARY}{file[len(library) :]}"
                members.append(Member(inside, Path(file).read_bytes()))
    for name in mapped:
        base = os.path.basename(name)
        if base.startswith("python3"):
            inside = "py/bin/python"
        elif base.startswith("ld-"):
            inside = "py/loader"
        elif name in modules:
            continue
        else:
            inside = f"py/so/{base}"
            # libz.so.1.2.13 is asked for as libz.so.1; the map shows the file, not the link.
            version = base.partition(".so.")[2]
            if "." in version:
                short = base[: base.index(".so.") + 4] + version.split(".")[0]
                members.append(link(f"py/so/{short}", base))
        members.append(Member(inside, Path(name).read_bytes(), mode=0o755))
    return tuple(members)

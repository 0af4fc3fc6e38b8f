"""Readers of what describes packages: control files, indexes, relations, locks, requirements."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from debian.deb822 import Deb822
from debian.debian_support import Version
from hypothesis import strategies as st

from tools.apt import lockfile as debian_lock
from tools.apt import relations
from tools.apt.index import Suite, parse_packages, parse_release
from tools.apt.mirrors import read_sources
from tools.apt.versions import compare
from tools.archive.deb822 import paragraphs
from tools.bazel_root.lockfile import parse_lock as parse_root_lock
from tools.fuzz.harness import Reader
from tools.fuzz.mutation import damaged_json, damaged_text
from tools.sbom.debs import read_copyright
from tools.wheels import lockfile as wheel_lock
from tools.wheels.resolve import read_requirements
from tools.wheels.target import target_from_debian_lock

_HASH = "0123456789abcdef" * 4
_CONTROL = f"""Package: libz
Version: 1:1.2.13.dfsg-1+b1
Architecture: amd64
Source: zlib (1:1.2.13)
Pre-Depends: libc6 (>= 2.34)
Depends: libc6 (>= 2.14) | libc6.1, python3:any (<< 3.12~),
Provides: libz.so.1 (= 1.2.13)
Breaks: foo (<< 2), bar
Filename: pool/main/z/zlib/libz_1.2.13_amd64.deb
Size: 1234
SHA256: {_HASH}
Description: compression library
 in two lines
 .
 and a third
# a comment
"""
_PACKAGES = f"{_CONTROL}\n{_CONTROL.replace('libz', 'other')}\n"
_RELEASE = f"""Origin: Debian
Suite: oldstable
Codename: bookworm
Date: Sat, 06 Jun 2026 09:30:10 UTC
Valid-Until: Sat, 13 Jun 2026 09:30:10 UTC
Acquire-By-Hash: yes
Architectures: all amd64 arm64
SHA256:
 {_HASH}  1484 main/binary-amd64/Packages.xz
 {_HASH} 99999 main/binary-arm64/Packages.xz
"""
_COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: zlib

Files: *
Copyright: 1995-2022 Jean-loup Gailly
License: Zlib

License: Zlib
 This software is provided 'as-is'.
 .
 Copyright (C) of nobody.
"""
_SUITE = Suite(archive="debian", name="bookworm", component="main")


def read_control(text: str, _: Path) -> None:
    """Read control data. Where python-debian reads the same text, both find the same fields."""
    ours = [dict(fields) for fields in paragraphs(text)]
    plain = text.isascii() and "\r" not in text and "\0" not in text
    if not plain or "\n \n" in text or "\n\t" in text or "\x0b" in text or "\x0c" in text:
        return
    lines = text.split("\n")
    if any(line.startswith("#") or (line and not line.strip()) for line in lines):
        return  # Comments inside of a paragraph, and lines of blanks: deb822(5) leaves both open.
    with contextlib.suppress(ValueError):
        theirs = [
            {key.lower(): value for key, value in paragraph.items()}
            for paragraph in Deb822.iter_paragraphs(io.StringIO(text), use_apt_pkg=False)
        ]
        assert [list(fields) for fields in ours] == [list(fields) for fields in theirs]


def read_packages_index(text: str, _: Path) -> None:
    """Read a Packages index; what it says of dependencies can be written and read again."""
    for package in parse_packages(text, archive="debian"):
        for group in package.depends:
            again = relations.parse(" | ".join(map(str, group)))
            assert again == (group,)


def read_release(text: str, _: Path) -> None:
    """Read a Release file that a key has signed."""
    release = parse_release(text, suite=_SUITE)
    assert release.date.tzinfo is not None


def read_relations(text: str, _: Path) -> None:
    """Read a relation field; its text reads as the same again."""
    found = relations.parse(text)
    assert relations.parse(", ".join(" | ".join(map(str, group)) for group in found)) == found


def compare_versions(texts: tuple[str, str], _: Path) -> None:
    """Compare versions as python-debian does, in both directions."""
    one, other = texts
    try:
        found = compare(one, other)
        wanted = (Version(one) > Version(other)) - (Version(one) < Version(other))
    except ValueError:
        return
    assert (found > 0) - (found < 0) == wanted
    assert compare(other, one) in (-found, found) or found == -compare(other, one)


def read_debian_lock(content: bytes, directory: Path) -> None:
    """Read a lock of Debian packages, as the rules and the reports do."""
    file = directory / "debian.lock.json"
    file.write_bytes(content)
    lock = debian_lock.read_lock(file)
    again = debian_lock.decode(debian_lock.encode(lock))
    assert debian_lock.encode(again) == debian_lock.encode(lock)


def read_target(content: bytes, directory: Path) -> None:
    """Read from a lock of Debian packages what wheels have to fit."""
    file = directory / "debian.lock.json"
    file.write_bytes(content)
    target_from_debian_lock(file, arch="amd64")


def read_root_lock(content: bytes, _: Path) -> None:
    """Read the lock of the root that Bazel runs in."""
    parse_root_lock(content.decode("utf-8", "replace"), arch="amd64", of=Path("root.lock.json"))


def read_wheel_lock(text: str, _: Path) -> None:
    """Read a lock of wheels; writing it gives one that reads the same."""
    wheels = wheel_lock.parse_lock(text, source="requirements.txt")
    if wheels:
        text = wheel_lock.render_lock(wheels, title="Title by", command="bazel run //:lock")
        again = wheel_lock.parse_lock(text, source="again")
        assert wheel_lock.render_lock(again, title="Title by", command="bazel run //:lock") == text


def read_requirement_file(text: str, directory: Path) -> None:
    """Read requirements that people write."""
    file = directory / "requirements.in"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    (directory / "other.in").write_text("six\n")
    read_requirements(file)


def read_copyright_file(text: str, _: Path) -> None:
    """Read a package's copyright file, machine-readable or not."""
    read_copyright(text)


def read_apt_sources(texts: tuple[str, str], directory: Path) -> None:
    """Read the machine's apt configuration, in both of its formats."""
    (directory / "sources.list.d").mkdir()
    (directory / "sources.list").write_bytes(texts[0].encode("utf-8", "surrogatepass"))
    deb822 = directory / "sources.list.d" / "debian.sources"
    deb822.write_bytes(texts[1].encode("utf-8", "surrogatepass"))
    read_sources(directory)


def _debian_lock() -> Any:
    package = {
        "name": "python3.11",
        "version": "3.11.2-6",
        "arch": "amd64",
        "archive": "debian",
        "filename": "pool/main/p/python3.11.deb",
        "size": 10,
        "sha256": _HASH,
        "source": "python3.11",
        "depends": ["libc6"],
    }
    lock = debian_lock.decode(
        json.dumps(
            {
                "command": "bazel run //:lock",
                "version": debian_lock.VERSION,
                "snapshot": "20260606T093010Z",
                "mtime": 1,
                "intent_sha256": _HASH,
                "image_groups": ["python"],
                "groups": {"python": {"amd64": ["python3.11", "libc6"]}},
                "packages": [package, package | {"name": "libc6", "version": "2.36-9"}],
                "excluded_packages": {"perl": "unused"},
                "excluded_versions": {"amd64": {"perl": "5"}},
                "excluded_paths": [],
            }
        )
    )
    return json.loads(debian_lock.encode(lock))


_WHEEL_LOCK = f"""# Title by
# `bazel run //:lock`; do not edit.

# wheel: numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.whl
# via: requirements.in
numpy==2.4.6 \\
    --hash=sha256:{_HASH}

# wheel: uvicorn-1.0-py3-none-any.whl
# via: requirements.in, other
uvicorn[standard]==1.0 \\
    --hash=sha256:{_HASH}
"""
_ROOT_LOCK = {
    "version": 1,
    "snapshot": "20260606T093010Z",
    "packages": [
        {
            "arch": "amd64",
            "name": "a",
            "version": "1",
            "filename": "a.deb",
            "size": 1,
            "sha256": _HASH,
        }
    ],
}
_SOURCES = (
    (
        "deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] https://mirror.example/debian"
        " bookworm main\n"
        "# deb http://old.example bookworm main\n"
    ),
    (
        "Types: deb deb-src\nURIs: https://mirror.example/debian\nSuites: bookworm"
        " bookworm-updates\n"
        "Components: main contrib\nEnabled: yes\n"
    ),
)

READERS = (
    Reader("deb822", damaged_text(_CONTROL, _PACKAGES, _RELEASE), read_control),
    Reader("packages_index", damaged_text(_PACKAGES), read_packages_index),
    Reader("release", damaged_text(_RELEASE), read_release, names="bookworm"),
    Reader(
        "relations", damaged_text("a (>= 1) | b:any, c (<< 2~rc1)", "libc6", ""), read_relations
    ),
    Reader(
        "versions",
        st.tuples(*[damaged_text("1:1.2.13.dfsg-1+b1", "2.36~rc1-9", "0", "1.0")] * 2),
        compare_versions,
    ),
    Reader("debian_lock", damaged_json(_debian_lock()), read_debian_lock, names="debian.lock.json"),
    Reader("wheel_target", damaged_json(_debian_lock()), read_target, names="debian.lock.json"),
    Reader("root_lock", damaged_json(_ROOT_LOCK), read_root_lock, names="root.lock.json"),
    Reader("wheel_lock", damaged_text(_WHEEL_LOCK), read_wheel_lock, names="requirements.txt"),
    Reader(
        "requirements",
        damaged_text(
            "# why\n-r other.in\nnumpy>=1,<3  # reason\nuvicorn[standard]; os_name=='posix'\n"
        ),
        read_requirement_file,
        names="/inside/",
    ),
    Reader("copyright", damaged_text(_COPYRIGHT), read_copyright_file),
    Reader("apt_sources", st.tuples(*map(damaged_text, _SOURCES)), read_apt_sources),
)

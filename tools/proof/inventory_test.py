"""Small images with one false claim each; the readers are the packages' own."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from tools.image.images_for_test import Member, directory, link, write_image
from tools.proof.inventory import main

STATUS = "var/lib/dpkg/status.d"
SUMS = "var/lib/dpkg/info"
PACKAGES = "usr/local/lib/python3.11/dist-packages"
OS_RELEASE = b'PRETTY_NAME="Debian 12"\nID=debian\nVERSION_ID="12"\n'
LIB = b"library"


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def stanza(name: str, version: str, more: str = "", architecture: str = "amd64") -> bytes:
    return (
        f"Package: {name}\nStatus: install ok installed\nVersion: {version}\n"
        f"Architecture: {architecture}\nDescription: x\n more\n{more}"
    ).encode()


def record(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"{name},sha256={digest},{len(data)}\n"


def good() -> dict[str, bytes]:
    six = b"six = 6\n"
    metadata = b"Metadata-Version: 2.1\nName: six\nVersion: 1.16.0\n"
    wheel = b"Wheel-Version: 1.0\nTag: py2-none-any\nTag: py3-none-any\n"
    info = "six-1.16.0.dist-info"
    script = b"#!/usr/bin/python3\n"
    rows = record("six.py", six) + record(f"{info}/METADATA", metadata)
    rows += record(f"{info}/WHEEL", wheel) + record("../../../bin/six", script)
    return {
        "usr/lib/os-release": OS_RELEASE,
        f"{STATUS}/base-files": stanza("base-files", "12.4+deb12u9"),
        f"{SUMS}/base-files.md5sums": f"{md5(OS_RELEASE)}  usr/lib/os-release\n".encode(),
        "usr/share/doc/base-files/copyright": b"GPL",
        f"{STATUS}/libx": stanza("libx", "1:2.0-1", f"Conffiles:\n /etc/x {md5(b'conf')}\n"),
        f"{SUMS}/libx.md5sums": f"{md5(LIB)}  usr/lib/libx.so\n".encode(),
        "usr/lib/libx.so": LIB,
        "etc/x": b"conf",
        f"{PACKAGES}/six.py": six,
        f"{PACKAGES}/{info}/METADATA": metadata,
        f"{PACKAGES}/{info}/WHEEL": wheel,
        f"{PACKAGES}/{info}/RECORD": (rows + f"{info}/RECORD,,\n").encode(),
        "usr/local/bin/six": script,
    }


def package(name: str, version: str) -> dict[str, object]:
    return {
        "name": name,
        "arch": "amd64",
        "version": version,
        "archive": "debian",
        "filename": f"pool/{name}_amd64.deb",
        "size": 1,
        "sha256": "0" * 64,
        "source": name,
        "depends": [],
    }


def run(folder: Path, files: dict[str, bytes], *more: str, extra: tuple[Member, ...] = ()) -> int:
    """Run the program on an image of `files`; `link`s give each package its copyright file."""
    members = [
        directory("usr"),
        link("etc/os-release", "../usr/lib/os-release"),
        link("usr/share/doc/libx", "base-files"),
        *(Member(name, data) for name, data in files.items()),
        *(
            link(f"{STATUS}/{name}", f"../info/{name}")
            for name in (path.removeprefix(f"{SUMS}/") for path in files)
            if name.endswith(".md5sums") and "/" not in name
        ),
        *extra,
    ]
    write_image(folder / "image", [members], {}, architecture="amd64")
    debian = {
        "version": 1,
        "snapshot": "20260101T000000Z",
        "mtime": 0,
        "intent_sha256": "",
        "image_groups": ["base"],
        "groups": {"base": {"amd64": ["base-files", "libx"]}, "tool": {"amd64": ["gpgv"]}},
        "packages": [
            package("base-files", "12.4+deb12u9"),
            package("gpgv", "1"),
            package("libx", "1:2.0-1"),
        ],
        "excluded_packages": {},
        "excluded_versions": {},
        "excluded_paths": [],
    }
    (folder / "debian.json").write_text(json.dumps(debian))
    (folder / "python.txt").write_text(
        "# wheel: six-1.16.0-py2.py3-none-any.whl\n# via: requirements.in\n"
        f"six==1.16.0 \\\n    --hash=sha256:{'0' * 64}\n"
    )
    (folder / "allowlist.yaml").write_text(
        "files:\n  /usr/share/doc/*/copyright: in no md5sums of this test\n"
    )
    flags = ["--image=image", "--debian-lock=debian.json", "--python-lock=python.txt"]
    flags = [flag.replace("=", f"={folder}/") for flag in [*flags, "--allowlist=allowlist.yaml"]]
    return main([*flags, *more])


def test_an_image_that_is_what_its_locks_say_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, good()) == 0
    assert capsys.readouterr().out == "amd64: 2 packages, 1 wheels, 13 files\n"


def test_an_unknown_group_is_an_error_that_names_the_lock_and_its_groups(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, good(), "--group=bass") == 1
    cause = "no group 'bass' for amd64; the groups are base, tool"
    assert capsys.readouterr().err == f"inventory: {tmp_path}/debian.json: {cause}\n"


INFO = f"{PACKAGES}/six-1.16.0.dist-info"
DEFECTS: dict[str, tuple[dict[str, bytes | None], str]] = {
    "a package is missing": (
        {f"{STATUS}/libx": None, f"{SUMS}/libx.md5sums": None},
        "/var/lib/dpkg/status.d/libx: missing, though the lock has libx 1:2.0-1",
    ),
    "a package is too much": (
        {f"{STATUS}/gpgv": stanza("gpgv", "1"), f"{SUMS}/gpgv.md5sums": b""},
        "/var/lib/dpkg/status.d/gpgv: package gpgv is not in the lock's groups of this image",
    ),
    "a package's sums are taken for a stanza": (
        {
            f"{SUMS}/libx.md5sums": None,
            f"{STATUS}/libx.md5sums": f"{md5(LIB)}  usr/lib/libx.so\n".encode(),
        },
        (
            "/var/lib/dpkg/status.d/libx.md5sums: is a file, and scanners take it for a stanza; "
            "link to /var/lib/dpkg/info"
        ),
    ),
    "there are sums of no package": (
        {f"{SUMS}/gpgv.md5sums": b""},
        "/var/lib/dpkg/info/gpgv.md5sums: there is no /var/lib/dpkg/status.d/gpgv",
    ),
    "another version": (
        {f"{STATUS}/libx": stanza("libx", "1:2.0-2")},
        "/var/lib/dpkg/status.d/libx: Version is '1:2.0-2', the lock says '1:2.0-1'",
    ),
    "another architecture": (
        {f"{STATUS}/libx": stanza("libx", "1:2.0-1", architecture="arm64")},
        "/var/lib/dpkg/status.d/libx: Architecture is 'arm64', the lock says 'amd64'",
    ),
    "a file changed": (
        {"usr/lib/libx.so": b"other"},
        f"/usr/lib/libx.so: has MD5 {md5(b'other')}, package libx says {md5(LIB)}",
    ),
    "a configuration file is gone": (
        {"etc/x": None},
        "/etc/x: package libx claims it, but it is missing",
    ),
    "two packages claim a file": (
        {
            f"{SUMS}/base-files.md5sums": f"{md5(OS_RELEASE)}  usr/lib/os-release\n"
            f"{md5(LIB)}  usr/lib/libx.so\n".encode()
        },
        "/usr/lib/libx.so: both base-files and libx claim it",
    ),
    "nobody claims a file": (
        {"usr/lib/stray.so": b"x"},
        "/usr/lib/stray.so: in no package's md5sums or Conffiles and in no RECORD",
    ),
    "a copyright file is gone": (
        {"usr/share/doc/base-files/copyright": None},
        "/usr/share/doc/libx/copyright: missing, neither a file nor a link",
    ),
    "dpkg's own list exists as well": (
        {"var/lib/dpkg/status": b""},
        "/var/lib/dpkg/status: exists beside status.d; scanners would count twice",
    ),
    "another distribution": (
        {"usr/lib/os-release": b"ID=ubuntu\nVERSION_ID=24.04\n"},
        "/etc/os-release: ID is 'ubuntu', wanted 'debian'",
    ),
    "no distribution": (
        {"usr/lib/os-release": None},
        "/etc/os-release: missing; scanners cannot tell the distribution",
    ),
    "a wheel is missing": (
        {f"{INFO}/{name}": None for name in ("METADATA", "WHEEL", "RECORD")},
        "six: no dist-info, though the lock has six 1.16.0",
    ),
    "a wheel of another version": (
        {f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: six\nVersion: 1.17.0\n"},
        "six: version is '1.17.0', the lock says '1.16.0'",
    ),
    "a wheel for another platform": (
        {f"{INFO}/WHEEL": b"Tag: cp311-cp311-linux_x86_64\n"},
        "six: WHEEL's tags are not those of six-1.16.0-py2.py3-none-any.whl",
    ),
    "a module changed": (
        {f"{PACKAGES}/six.py": b"six = 7\n"},
        (
            f"/{PACKAGES}/six.py: has SHA-256 {sha256(b'six = 7' + bytes([10]))}, "
            f"the RECORD of six {sha256(b'six = 6' + bytes([10]))}"
        ),
    ),
    "a module is gone": (
        {f"{PACKAGES}/six.py": None},
        f"/{PACKAGES}/six.py: the RECORD of six lists it, but it is missing",
    ),
    "a module from nowhere": (
        {f"{PACKAGES}/evil.py": b""},
        f"/{PACKAGES}/evil.py: is where wheels install files, and in no RECORD",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_false_claim_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], defect: str
) -> None:
    changes, message = DEFECTS[defect]
    files = {name: data for name, data in {**good(), **changes}.items() if data is not None}
    assert run(tmp_path, files) == 1
    assert message in capsys.readouterr().out.splitlines()


def test_a_distribution_installed_twice_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = "usr/lib/python3/dist-packages/six-1.15.0.dist-info"
    files = {
        **good(),
        f"{elsewhere}/METADATA": b"Name: six\nVersion: 1.15.0\n",
        f"{elsewhere}/WHEEL": b"Tag: py3-none-any\n",
        f"{elsewhere}/RECORD": b"six-1.15.0.dist-info/RECORD,,\n",
    }
    assert run(tmp_path, files) == 1
    assert "six: is installed twice, as 1.15.0 and 1.16.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "data", "cause"),
    [
        (
            f"{STATUS}/libx",
            b"Package: libx\nStatus: x\nVersion: 1\n",
            "has no field 'Architecture'",
        ),
        (f"{STATUS}/liby", stanza("libx", "1"), "is the stanza of package 'libx'"),
        (f"{SUMS}/libx.md5sums", b"nonsense\n", "'nonsense' is not 'SUM  PATH'"),
        (f"{INFO}/WHEEL", b"", "lacks the name, a WHEEL with tags or a RECORD"),
    ],
)
def test_metadata_that_its_reader_does_not_take_ends_the_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, data: bytes, cause: str
) -> None:
    assert run(tmp_path, {**good(), name: data}) == 1
    assert cause in capsys.readouterr().err

"""Builds small .deb files for tests, among them ones that no packager would make."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TarMember:
    """One member as it stands in the archive: nothing about it is corrected."""

    name: str
    data: bytes = b""
    type: bytes = tarfile.REGTYPE
    mode: int = 0o644
    target: str = ""
    uid: int = 0
    gid: int = 0


def directory(name: str, mode: int = 0o755) -> TarMember:
    """A directory member."""
    return TarMember(name, type=tarfile.DIRTYPE, mode=mode)


def symlink(name: str, target: str) -> TarMember:
    """A symbolic link member."""
    return TarMember(name, type=tarfile.SYMTYPE, mode=0o777, target=target)


def hardlink(name: str, target: str) -> TarMember:
    """A hard link member; `target` is another member's name."""
    return TarMember(name, type=tarfile.LNKTYPE, target=target)


def control(name: str, *, version: str = "1.0", architecture: str = "amd64") -> bytes:
    """A control file with all that is mandatory and a description of two lines."""
    return (
        f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
        "Maintainer: A Tester <tester@example.org>\nDescription: made for a test\n of this folder\n"
    ).encode()


def tar_bytes(members: Iterable[TarMember]) -> bytes:
    """The members as an uncompressed tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.type, info.mode, info.linkname = member.type, member.mode, member.target
            info.uid, info.gid, info.mtime = member.uid, member.gid, 1234567890
            info.size = len(member.data)
            tar.addfile(info, io.BytesIO(member.data))
    return buffer.getvalue()


def ar_bytes(members: Iterable[tuple[str, bytes]]) -> bytes:
    """The members as an ar archive (deb(5))."""
    out = bytearray(b"!<arch>\n")
    for name, content in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        out += content + b"\n" * (len(content) % 2)
    return bytes(out)


def packed(content: bytes, suffix: str) -> bytes:
    """`content` compressed as the suffix of a member's name says."""
    if suffix == ".xz":
        return lzma.compress(content)
    if suffix == ".gz":
        return gzip.compress(content)
    return bz2.compress(content) if suffix == ".bz2" else content


def write_deb(
    directory: Path,
    name: str,
    members: Iterable[TarMember] = (),
    *,
    files: Mapping[str, bytes] | None = None,
    version: str = "1.0",
    architecture: str = "amd64",
    suffix: str = ".xz",
) -> Path:
    """Writes a package below `directory` and returns its path; `files` joins its control files."""
    control_members = {
        "control": control(name, version=version, architecture=architecture),
        **(files or {}),
    }
    control_tar = tar_bytes(TarMember(f"./{key}", value) for key, value in control_members.items())
    path = directory / f"{name}_{version}_{architecture}.deb"
    path.write_bytes(
        ar_bytes(
            [
                ("debian-binary", b"2.0\n"),
                (f"control.tar{suffix}", packed(control_tar, suffix)),
                (f"data.tar{suffix}", packed(tar_bytes(members), suffix)),
            ]
        )
    )
    return path

"""Read a .deb as the image will have it: usr-merged, without what the lock excludes.

Every member is judged here, so that the rules that write layers see only regular files, directories
and links with safe, normalised paths. Owners and modes are the archive's; `LayerWriter` drops
setuid and setgid.
"""

import enum
import itertools
import posixpath
import tarfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, cast

from tools.apt.paths import MERGED_DIRECTORIES, merged
from tools.archive import deb
from tools.archive.globs import Exclusions
from tools.archive.layer import Kind
from tools.cli import ToolError
from tools.elf.elf import MAGIC, read_elf

_COPYRIGHT_DIRECTORY = "usr/share/doc"


class Content(enum.Enum):
    """What to read of a file: everything, what ldconfig would look at, or nothing."""

    ALL = enum.auto()
    SONAME = enum.auto()
    NOTHING = enum.auto()


Wants = Callable[[str], Content]


@dataclass(frozen=True)
class SharedObject:
    """What ldconfig reads of a library."""

    machine: str
    soname: str | None


@dataclass(frozen=True)
class Member:
    """One file of a package, at its path in the image.

    `data` and `library` are None where the reader was not asked for them, and `library` also for a
    file that is not a shared object. `target` is a symlink's text, or the path of the file that a
    hard link is another name of.
    """

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    data: bytes | None = field(default=None, repr=False)
    library: SharedObject | None = None
    target: str = ""


@dataclass(frozen=True)
class Package:
    """A package: its control data by name, and its members by path in the image."""

    name: str
    version: str
    architecture: str
    source: Path
    control: dict[str, bytes] = field(repr=False)
    members: dict[str, Member] = field(repr=False)
    dropped: frozenset[str] = field(repr=False)


def everything(_: str) -> Content:
    """Ask for the content of every file."""
    return Content.ALL


def read_packages(
    sources: Iterable[Path],
    *,
    exclusions: Exclusions,
    wants: Wants = everything,
    jobs: int | None = None,
) -> list[Package]:
    """Read packages on several threads and return them sorted by name.

    `wants` says how much of the content at a path is needed. Raise ToolError for a malformed or
    unsafe package, and for two of the same name.
    """
    # Largest first: a large package that starts last leaves the other threads idle.
    ordered = sorted(sources, key=lambda path: (-path.stat().st_size, path.name))
    with ThreadPoolExecutor(jobs, thread_name_prefix="unpack") as pool:
        read = pool.map(
            lambda path: read_package(path, exclusions=exclusions, wants=wants), ordered
        )
        return sorted_by_name(read)


def sorted_by_name(packages: Iterable[Package]) -> list[Package]:
    """Return packages in the order of their names; raise ToolError for two of the same name."""
    result = sorted(packages, key=lambda package: (package.name, package.version))
    for one, other in itertools.pairwise(result):
        if one.name == other.name:
            raise ToolError(
                f"{other.source}: package {other.name!r} is also in {one.source}; keep one of "
                f"{one.version} and {other.version}"
            )
    return result


def read_package(source: Path, *, exclusions: Exclusions, wants: Wants = everything) -> Package:
    """Read one package; see `read_packages`."""
    control = deb.control_files(source)
    fields = deb.parse_control(control["control"], of=source)
    members: dict[str, Member] = {}
    with deb.data_tar(source) as tar:
        for info in tar:
            member = _member(info, tar, of=source, wants=wants)
            if member is None:
                continue
            known = members.setdefault(member.path, member)
            if known != member and not known.kind == member.kind == "dir":
                raise ToolError(f"{source}: {member.path!r} is there twice, and differs")
    kept = _kept(members, exclusions)
    return Package(
        name=fields["package"],
        version=fields["version"],
        architecture=fields["architecture"],
        source=source,
        control=control,
        members=_with_live_hardlinks(members, kept, of=source),
        dropped=frozenset(members.keys() - kept),
    )


def _member(
    info: tarfile.TarInfo, tar: tarfile.TarFile, *, of: Path, wants: Wants
) -> Member | None:
    name = deb.relative_path(info.name, of=of)
    if not name:
        return None  # the root directory
    path = merged(name)
    member = Member(path=path, kind="file", mode=info.mode & 0o7777, uid=info.uid, gid=info.gid)
    if name in MERGED_DIRECTORIES:
        # The image has links there, of `file_system.py`. Debian 13's base-files ships the same.
        if info.isdir() or (info.issym() and info.linkname == f"usr/{name}"):
            return None
        raise ToolError(f"{of}: {name!r} is neither a directory nor a link to usr/{name}")
    if info.isdir():
        member = replace(member, kind="dir")
    elif info.issym():
        target = _merged_target(name, info.linkname, of=of)
        member = replace(member, kind="symlink", target=target)
    elif info.islnk():
        target = merged(deb.relative_path(info.linkname, of=of))
        member = replace(member, kind="hardlink", target=target)
    elif not info.isreg():
        kind = {tarfile.CHRTYPE: "character device", tarfile.BLKTYPE: "block device"}
        what = kind.get(info.type, f"special file of type {info.type!r}")
        raise ToolError(f"{of}: {name!r} is a {what}; an image has files, directories and links")
    elif (wanted := wants(path)) is not Content.NOTHING:
        # Of a regular member, extractfile always returns a stream.
        content = cast("IO[bytes]", tar.extractfile(info)).read()
        member = _with_content(member, content, wanted, of=of)
    return member


def _with_content(member: Member, content: bytes, wanted: Content, *, of: Path) -> Member:
    if wanted is Content.ALL:
        return replace(member, data=content)
    return replace(member, library=shared_object(content, path=member.path, of=of))


def is_library_name(path: str) -> bool:
    """Return whether ldconfig would open a file of this name to look for a soname."""
    name = posixpath.basename(path)
    return ".so" in name and name.startswith(("lib", "ld-")) and not name.endswith(".py")


def shared_object(content: bytes, *, path: str, of: Path) -> SharedObject | None:
    """Return what ldconfig would read of a package's file; None if it is no shared object.

    Raise ToolError for a damaged one.
    """
    if not content.startswith(MAGIC):
        return None
    try:
        elf = read_elf(content, symbols=False)
    except ToolError as error:
        raise ToolError(f"{of}: {path}: {error}") from error
    return SharedObject(elf.machine, elf.soname) if elf.dynamic else None


def _merged_target(name: str, target: str, *, of: Path) -> str:
    """Return a symlink's text, corrected where usr-merge moves the link below another root.

    A relative link that goes through the root (`lib/x → ../usr/share/y`) means something else once
    it lies one directory deeper. Debian policy 10.5 wants those absolute, and so they are rare.
    """
    if deb.link_target(name, target, of=of).startswith("/"):
        return target
    aim = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if aim == ".." or aim.startswith("../"):
        raise ToolError(f"{of}: symlink {name!r} → {target!r} climbs out of the root")
    new_directory = posixpath.dirname(merged(name))
    reached = posixpath.normpath(posixpath.join(new_directory, target))
    if reached in (aim, merged(aim)):
        return target
    return posixpath.relpath(merged(aim), new_directory or ".")


def _kept(members: dict[str, Member], exclusions: Exclusions) -> set[str]:
    """Return the paths that stay: not excluded, nor a directory that exclusion leaves empty."""
    out = {
        path
        for path, member in members.items()
        if exclusions.match(path) and not _leads_to_copyright(member)
    }
    kept = members.keys() - out
    if not out:
        return set(kept)
    holds_dropped = {parent for path in out for parent in _parents(path)}
    holds_kept = {
        parent for path in kept if members[path].kind != "dir" for parent in _parents(path)
    }
    # A directory that was empty in the package stays, unless it is excluded itself: it may be there
    # to be written to.
    return {
        path
        for path, member in members.items()
        if path in holds_kept
        or (path in kept and (member.kind != "dir" or path not in holds_dropped))
    }


def _leads_to_copyright(member: Member) -> bool:
    """Return whether this is a copyright file, or the link or directory that leads to one.

    Licences ask that their text travels with the binaries, so no exclusion drops it. A package may
    share the directory of another one by a link `usr/share/doc/NAME`.
    """
    directory, _, name = member.path.rpartition("/")
    if name == "copyright":
        return posixpath.dirname(directory) == _COPYRIGHT_DIRECTORY
    return member.kind == "symlink" and directory == _COPYRIGHT_DIRECTORY


def _parents(path: str) -> Iterable[str]:
    while path := posixpath.dirname(path):
        yield path


def _with_live_hardlinks(
    members: dict[str, Member], kept: set[str], *, of: Path
) -> dict[str, Member]:
    """Return the kept members; a hard link to a dropped file becomes that file."""
    result: dict[str, Member] = {}
    moved: dict[str, str] = {}  # dropped file → the first kept name of it
    for path in sorted(kept):
        member = members[path]
        if member.kind == "hardlink":
            source = members.get(member.target)
            if source is None or source.kind != "file":
                raise ToolError(f"{of}: {path!r} is a hard link to {member.target!r}, no file")
            if source.path not in kept:
                first = moved.setdefault(source.path, path)
                member = (
                    replace(source, path=path) if first == path else replace(member, target=first)
                )
        result[path] = member
    return result

"""Unpacks .deb data archives into a root directory: files, directories and links, nothing else.

No member can write outside the root, through a link, or over another package's file, whatever its
name says. Owners and set-user-id bits are dropped, modes are 0755 or 0644, and the four top-level
directories that Debian has merged into /usr are rewritten. Safe to call from several threads for
different packages of one root.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

from tools.archive import deb
from tools.cli import ToolError

MERGED = ("bin", "lib", "lib64", "sbin")

# Nothing reads these in a root that only runs Bazel.
_DROPPED = tuple(
    f"usr/share/{name}/"
    for name in (
        "bash-completion",
        "bug",
        "doc",
        "doc-base",
        "info",
        "lintian",
        "locale",
        "man",
        "zsh",
    )
)


class Unpacker:
    """Writes packages into one root directory."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        # Directories seen to be real ones, not links. They stay so: nothing here replaces an entry.
        self._known = {""}

    def unpack(self, package: Path) -> None:
        """Unpacks one package; raises ToolError naming it and the member that is refused."""
        try:
            with deb.data_tar(package) as archive:
                for member in archive:
                    self._write(archive, member, package)
        except deb.DebError as error:
            raise ToolError(str(error)) from error

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, package: Path) -> None:
        name = _merged(deb.relative_path(member.name, of=package))
        if not name or name.startswith(_DROPPED):
            return
        if member.isdir():
            self._directory(name, package)
            return
        self._directory(os.path.dirname(name), package)
        target = os.path.join(self._root, name)
        try:
            if member.issym():
                os.symlink(member.linkname, target)
            elif member.islnk():
                self._hard_link(
                    _merged(deb.relative_path(member.linkname, of=package)), target, package
                )
            elif member.isreg():
                self._file(archive, member, target)
            else:
                raise ToolError(f"{package}: {member.name!r} is a device or a pipe; refused")
        except FileExistsError:
            raise ToolError(f"{package}: {member.name!r} is there already; refused") from None

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, target: str) -> None:
        mode = 0o755 if member.mode & 0o111 else 0o644
        # O_EXCL also refuses to follow a link at the last step of the path.
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(handle, "wb") as stream:
            os.fchmod(stream.fileno(), mode)  # whatever the umask
            source = archive.extractfile(member)
            if source is not None:  # as it is for every regular member
                shutil.copyfileobj(source, stream, 1 << 20)

    def _hard_link(self, name: str, target: str, package: Path) -> None:
        self._directory(os.path.dirname(name), package)
        source = os.path.join(self._root, name)
        if os.path.islink(source) or not os.path.isfile(source):
            raise ToolError(f"{package}: hard link to {name!r}, which is not a file in the root")
        os.link(source, target, follow_symlinks=False)

    def _directory(self, name: str, package: Path) -> None:
        """Makes a directory and its parents, refusing every step that is a link or a file."""
        if name in self._known:
            return
        self._directory(os.path.dirname(name), package)
        path = os.path.join(self._root, name)
        try:
            os.mkdir(path, 0o755)
            os.chmod(path, 0o755)  # noqa: S103 (whatever the umask)
        except FileExistsError:
            if os.path.islink(path) or not os.path.isdir(path):
                raise ToolError(f"{package}: {name!r} is used as a directory and is none") from None
        self._known.add(name)


def _merged(name: str) -> str:
    return f"usr/{name}" if name.partition("/")[0] in MERGED else name

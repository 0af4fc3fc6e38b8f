"""Extract the data archives of .deb files into a directory: files, directories and links only.

    DebExtractor(root).extract(Path("libz.deb"))

No member can write outside the directory, through a link, or over another package's file, whatever
its name says. Owners and set-user-id bits are dropped, modes are 0755 or 0644. Safe to call from
several threads for different packages of one directory.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path
from typing import Callable

from tools.archive import deb
from tools.archive.deb import DebError


def _unchanged(name: str) -> str:
    return name


class DebExtractor:
    """Extracts packages into the directory `root`.

    `place` gives each normalised member name its path below `root`; "" leaves the member out.
    """

    def __init__(self, root: Path, *, place: Callable[[str], str] = _unchanged) -> None:
        self._root = str(root)
        self._place = place
        # Directories seen to be real ones, not links. They stay so: nothing here replaces an entry.
        self._known = {""}

    def extract(self, package: Path) -> None:
        """Extract one package; raise DebError naming it and the member that is refused."""
        with deb.data_tar(package) as archive:
            for member in archive:
                self._write(archive, member, package)

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, package: Path) -> None:
        name = self._placed(member.name, package)
        if not name:
            return
        if member.isdir():
            self._directory(name, package)
            return
        self._directory(os.path.dirname(name), package)
        target = os.path.join(self._root, name)
        try:
            if member.issym():
                os.symlink(deb.link_target(name, member.linkname, of=package), target)
            elif member.islnk():
                self._hard_link(self._placed(member.linkname, package), target, package)
            elif member.isreg():
                self._file(archive, member, target)
            else:
                raise DebError(f"{package}: {member.name!r} is a device or a pipe; refused")
        except FileExistsError:
            raise DebError(f"{package}: {member.name!r} exists already; refused") from None

    def _placed(self, name: str, package: Path) -> str:
        return self._place(deb.relative_path(name, of=package))

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
            raise DebError(f"{package}: hard link to {name!r}, which is not a file in the root")
        os.link(source, target, follow_symlinks=False)

    def _directory(self, name: str, package: Path) -> None:
        """Make a directory and its parents, refusing every step that is a link or a file."""
        if name in self._known:
            return
        self._directory(os.path.dirname(name), package)
        path = os.path.join(self._root, name)
        try:
            os.mkdir(path, 0o755)
            os.chmod(path, 0o755)  # noqa: S103 - whatever the umask
        except FileExistsError:
            if os.path.islink(path) or not os.path.isdir(path):
                raise DebError(
                    f"{package}: {name!r} is used as a directory and is not one"
                ) from None
        self._known.add(name)

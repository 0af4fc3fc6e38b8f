"""An image's layers → its files as the proofs look at them, in one pass and without unpacking.

    files = read_image(Path("bazel-bin/backend/image"))
    files.elf(files.realpath("/usr/bin/python3"))

Takes any OCI layout. Whiteouts, replaced files and links count as in a container.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.archive.tar_stream import Header, TarStream
from tools.cli import ToolError
from tools.elf.elf import MAGIC, Elf, ElfError, read_elf
from tools.image.layout import Image, read_layout
from tools.image.tree import Entry, Tree, TreeError
from tools.image.unpack import collect
from tools.linux.architectures import ARCHITECTURES

# The kernel looks no further for the end of a script's first line (BINPRM_BUF_SIZE).
_SCRIPT_LINE = 256


@dataclass(frozen=True)
class File:
    """One regular file. Digests are lower-case hex; `script` is the line after its `#!`."""

    size: int
    md5: str = ""
    sha256: str = ""
    elf: Elf | None = field(default=None, repr=False)
    script: str | None = None
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ImageFiles:
    """The merged file system of one image, with what was read of each regular file."""

    image: Image
    tree: Tree
    files: Mapping[str, File]

    @property
    def architecture(self) -> str:
        """The image's own word for it: "amd64", "arm64"."""
        return str(self.image.config.get("architecture", ""))

    @property
    def machine(self) -> str:
        """The machine of ELF objects of that architecture; raise ToolError for an unknown one."""
        try:
            return ARCHITECTURES[self.architecture].elf_machine
        except KeyError:
            raise ToolError(
                f"the image is for architecture {self.architecture!r}; known are "
                f"{', '.join(sorted(ARCHITECTURES))}"
            ) from None

    @property
    def search_path(self) -> tuple[str, ...]:
        """The directories of PATH, as the image's processes have it."""
        pairs = (text.partition("=") for text in self.image.config.get("config", {}).get("Env", []))
        values = {name: value for name, _, value in pairs}
        return tuple(values.get("PATH", "/usr/bin:/bin").split(":"))

    def realpath(self, path: str) -> str | None:
        """Return the regular file that `path` leads to, without links; None if there is none."""
        try:
            real = self.tree.realpath(path)
        except TreeError:
            return None
        return real if real in self.files else None

    def elf(self, path: str) -> Elf | None:
        """Return what the object at a real path says; None if it is not an ELF object."""
        return self.files[path].elf

    def read(self, path: str) -> bytes:
        """Return the content at a real path; raise ToolError if it was not kept."""
        content = self.files[path].content
        if content is None:
            raise ToolError(f"{path}: its content was not kept")
        return content

    def mode(self, path: str) -> int:
        """Return the permission bits of what is at `path`; 0 where nothing is."""
        entry = self.tree.lookup(path)
        return entry.mode if entry is not None else 0

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Yield every path with its entry, parents first."""
        return self.tree.entries()


def is_linker_file(path: str) -> bool:
    """Return whether the replay of the dynamic linker reads this file's content."""
    name = posixpath.basename(path)
    return name.startswith(("ld-", "ld.so", "ld64.so"))


def read_image(
    path: Path,
    *,
    keep: Callable[[str], bool] = is_linker_file,
    elf: bool = True,
    digests: bool = False,
) -> ImageFiles:
    """Read the image in the layout directory at `path`.

    `keep` says whose content is kept. Raise ToolError or OSError, naming the object at fault.
    """
    image = read_layout(path)

    def read(name: str, _: Header, stream: TarStream) -> File:
        return describe(name, stream.read(), keep=keep(name), elf=elf, digests=digests)

    tree, files = collect(image.layers, read)
    return ImageFiles(image=image, tree=tree, files=files)


def describe(
    name: str, content: bytes, *, keep: bool, elf: bool = True, digests: bool = False
) -> File:
    """Describe a regular file. Raise ElfError naming a damaged object."""
    return File(
        size=len(content),
        md5=hashlib.md5(content, usedforsecurity=False).hexdigest() if digests else "",
        sha256=hashlib.sha256(content).hexdigest() if digests else "",
        elf=_elf(name, content) if elf else None,
        script=_script(content),
        content=content if keep else None,
    )


def _elf(name: str, content: bytes) -> Elf | None:
    if not content.startswith(MAGIC):
        return None
    try:
        return read_elf(content)
    except ElfError as error:
        raise ElfError(f"{name}: {error}") from error


def _script(content: bytes) -> str | None:
    if not content.startswith(b"#!"):
        return None
    line = content[2:_SCRIPT_LINE].partition(b"\n")[0]
    return line.decode("utf-8", "replace").strip()

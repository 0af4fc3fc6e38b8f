r"""Proves that a set of Debian packages is closed: every object finds all it needs inside the set.

    python3 -m tools.apt.elf_needs --lock third_party/debian/bookworm.lock.json \
        --arch amd64 --debs *.deb

A quick look at packages that are no image, or not yet one; an image is judged by //tools/proof. The
packages' files are taken as an image would have them (usr-merged, the lock's paths left out, the
update-alternatives links made), and each object is loaded as ld.so would (//tools/elf). Stricter
than the loader in one way: a library that only an object loaded earlier could have brought in does
not count. Prints each thing that is missing and exits 1, or says how much it checked.
"""

import argparse
import os
import posixpath
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from tools.apt.lockfile import read_lock
from tools.apt.paths import Exclusions, follow, merged
from tools.archive.deb import data_tar, relative_path
from tools.cli import tool
from tools.elf.elf import MAGIC, Elf, ElfError, read_elf
from tools.elf.linker import NOWHERE, Linker, LinkerError, Unmet, find_linker, load, unmet_versions
from tools.linux.architectures import ARCHITECTURES


@dataclass(frozen=True)
class File:
    """One file of the set: where it came from, and what it is as far as that matters here."""

    package: str
    size: int
    link: str | None = None
    elf: Elf | None = None
    interpreter: str | None = None
    content: bytes | None = field(default=None, repr=False)  # Of linkers only.


@dataclass
class Tree:
    """The files of a root file system by path, without a leading slash; directories are implied."""

    arch: str
    files: dict[str, File] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)

    def add(self, path: str, file: File) -> None:
        """Put one file at `path` (usr-merged)."""
        self.files[path] = file
        parent = posixpath.dirname(path)
        while parent and parent not in self.directories:
            self.directories.add(parent)
            parent = posixpath.dirname(parent)

    def resolve(self, path: str) -> str | None:
        """Return the path of the file that `path` leads to through links; None if nowhere."""
        found = follow(path, lambda at: self.files[at].link if at in self.files else None)
        return found if found in self.files else None

    def objects(self) -> Iterator[tuple[str, Elf]]:
        """Yield every ELF object of this architecture, by path."""
        for path, file in sorted(self.files.items()):
            # Some packages carry small objects for other machines, as data.
            if file.elf is not None and file.elf.machine == ARCHITECTURES[self.arch].elf_machine:
                yield path, file.elf

    # What the replay of the linker asks (tools.elf.linker.Files); its paths begin with a slash.

    def realpath(self, path: str) -> str | None:
        """The regular file that `path` leads to; None if there is none."""
        real = self.resolve(path)
        return None if real is None else f"/{real}"

    def elf(self, path: str) -> Elf | None:
        """What the object at a real path needs; None for what is no object."""
        return self.files[path.lstrip("/")].elf

    def read(self, path: str) -> bytes:
        """The content of a linker; raise LinkerError for anything else."""
        content = self.files[path.lstrip("/")].content
        if content is None:
            raise LinkerError(f"{path}: is no dynamic linker")
        return content

    def linker(self) -> Linker:
        """The linker of the set; raise LinkerError when there is none."""
        return find_linker(self, machine=ARCHITECTURES[self.arch].elf_machine)


def read_tree(debs: Iterable[Path], *, arch: str) -> Tree:
    """Return all files of `debs`, usr-merged.

    Raise DebError for a bad package, ElfError (naming package and path) for a bad object.
    """
    tree = Tree(arch=arch)
    # Unpacking is nearly all the work, and lzma lets other threads run meanwhile.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for files in pool.map(_read_deb, debs):
            for path, file in files:
                tree.add(path, file)
    return tree


def _read_deb(deb: Path) -> list[tuple[str, File]]:
    found = []
    package = deb.name.partition("_")[0]
    with data_tar(deb) as tar:
        for member in tar:
            path = merged(relative_path(member.name, of=deb))
            if member.issym():
                found.append((path, File(package, 0, link=member.linkname)))
            elif member.islnk():
                # A hard link is the same file under another name.
                link = "/" + merged(relative_path(member.linkname, of=deb))
                found.append((path, File(package, 0, link=link)))
            elif member.isreg():
                # Of a regular member, extractfile always returns a stream.
                content = cast("IO[bytes]", tar.extractfile(member)).read()
                try:
                    found.append((path, _file(package, path, content, mode=member.mode)))
                except ElfError as error:
                    raise ElfError(f"{deb}: {path}: {error}") from error
    return found


def _file(package: str, path: str, content: bytes, *, mode: int) -> File:
    if content.startswith(MAGIC):
        kept = content if posixpath.basename(path).startswith("ld-") else None
        return File(package, len(content), elf=read_elf(content, symbols=False), content=kept)
    interpreter = None
    if content.startswith(b"#!") and mode & 0o111:
        line = content[2:].partition(b"\n")[0].decode("utf-8", "replace")
        interpreter = line.split()[0] if line.split() else None
    return File(package, len(content), interpreter=interpreter)


def image_tree(tree: Tree, *, exclusions: Exclusions) -> Tree:
    """Return `tree` as the image has it: without the excluded paths, with the links it needs."""
    kept = Tree(arch=tree.arch)
    for path, file in tree.files.items():
        if not exclusions.match(path):
            kept.add(path, file)
    for path, target in alternatives(kept).items():
        kept.add(path, File("update-alternatives", 0, link=target))
    return kept


def alternatives(tree: Tree) -> dict[str, str]:
    """Return the links that update-alternatives would make and objects of the image need.

    libblas3 and liblapack3 keep their libraries in directories of their own and only a
    maintainer script links them to where ld.so looks.
    """
    base = f"usr/lib/{ARCHITECTURES[tree.arch].triplet}"
    return {
        f"{base}/{soname}": f"{directory}/{soname}"
        for directory, soname in (("blas", "libblas.so.3"), ("lapack", "liblapack.so.3"))
        if tree.resolve(f"{base}/{directory}/{soname}") is not None
    }


def missing(tree: Tree, *, within: Collection[str] | None = None) -> list[str]:
    """Return a sentence for every need that the set does not meet; empty when it is closed.

    `within` limits the check to these objects, for sets whose optional parts are not complete.
    Raise LinkerError when there are objects to be loaded and no linker among the files.
    """
    found = []
    objects = [(path, elf) for path, elf in tree.objects() if within is None or path in within]
    # Programs that need no library need no linker.
    linker = tree.linker() if any(elf.needed for _, elf in objects) else None
    for path, elf in objects:
        found += _unmet(tree, path, elf, linker=linker)
    for path, file in sorted(tree.files.items()):
        # Elsewhere than in these, `#!` is habit: Debian's cgi.py names a /usr/local/bin/python.
        if within is not None or not path.startswith(("usr/bin/", "usr/sbin/", "usr/libexec/")):
            continue
        if file.interpreter is not None and tree.resolve(file.interpreter) is None:
            found.append(f"{file.package}: /{path} is a script for {file.interpreter}, not there")
    return found


def _unmet(tree: Tree, path: str, elf: Elf, *, linker: Linker | None) -> list[str]:
    package = tree.files[path].package
    found = []
    if elf.interpreter is not None and tree.resolve(elf.interpreter) is None:
        found.append(f"{package}: /{path} needs the loader {elf.interpreter}, not there")
    if linker is None:
        return found
    loading = load(f"/{path}", files=tree, linker=linker)
    own = [each for each in loading.unmet if each.object.real == f"/{path}"]
    found += [f"{package}: /{path} needs {each.need}, which {_cause(each)}" for each in own]
    versions = [each for each in unmet_versions(loading) if each.object.real == f"/{path}"]
    return found + [f"{package}: /{path} needs {each.need}; {each.cause}" for each in versions]


def _cause(unmet: Unmet) -> str:
    # Where there are no candidates at all, the places searched say nothing new.
    return "no package here has" if unmet.cause == NOWHERE else unmet.cause


def reach(tree: Tree, roots: Sequence[str]) -> Mapping[str, str]:
    """Return every object that `roots` load, directly or not, by path, with who asks for it first.

    Raise ElfError when a root is not an object of the tree, LinkerError without a linker.
    """
    asked: dict[str, str] = {}
    linker = tree.linker()
    for root in roots:
        path = tree.resolve(root)
        if path is None or tree.files[path].elf is None:
            raise ElfError(f"{root}: no ELF object of the packages given")
        for loaded in load(f"/{path}", files=tree, linker=linker).order:
            asked.setdefault(loaded.real[1:], loaded.by.real if loaded.by else "a root")
    return asked


@tool("elf_needs")
def main(argv: list[str] | None = None) -> int:
    """Check the packages named on the command line; 0 is closed, 1 not."""
    parser = argparse.ArgumentParser(
        description="Prove that every ELF object of some Debian packages finds all it needs there."
    )
    parser.add_argument("--lock", type=Path, required=True, help="lock with the excluded paths")
    parser.add_argument("--arch", choices=sorted(ARCHITECTURES), required=True)
    parser.add_argument(
        "--programs",
        nargs="+",
        default=[],
        help="judge only what these load, e.g. usr/bin/ffmpeg; by default everything is judged",
    )
    parser.add_argument("--debs", type=Path, nargs="+", required=True, help=".deb files")
    options = parser.parse_args(argv)
    lock = read_lock(options.lock)
    exclusions = Exclusions(tuple(rule.glob for rule in lock.excluded_paths))
    tree = image_tree(read_tree(options.debs, arch=options.arch), exclusions=exclusions)
    within = reach(tree, options.programs) if options.programs else None
    problems = missing(tree, within=within)
    for problem in problems:
        print(f"elf_needs: {problem}", file=sys.stderr)
    objects = sum(1 for _ in tree.objects()) if within is None else len(within)
    print(f"{options.arch}: {objects} objects, {len(problems)} needs unmet")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

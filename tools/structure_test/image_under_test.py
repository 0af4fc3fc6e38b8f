"""The image under test: its tree, the content of its files, and containers made from it.

The layers are read as rarely as possible. With commands in the configurations the image is unpacked
once, or was by another test, and files are read from there. Without, one pass over the layers
answers everything (a second when a file is asked for through a symbolic link), or none when the
image lies unpacked in the cache.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.container.config import RunConfig, image_user, process_env, read_run_config
from tools.container.plan import Spec
from tools.container.run import Completed, Container, ContainerError
from tools.image.cache import Cache, Rootfs
from tools.image.layout import Image
from tools.image.tree import Tree, TreeError
from tools.image.unpack import read_files
from tools.structure_test.engine import Engine
from tools.structure_test.options import Options, Session


class SubjectError(Exception):
    """The image does not have what a test asks for."""


@dataclass(frozen=True)
class Started:
    """A container, the image's settings, and the environment of processes in it."""

    container: Container
    settings: RunConfig
    env: Mapping[str, str]

    def run(self, argv: Sequence[str], *, timeout: float) -> Completed:
        """Runs a command to its end (options.Session)."""
        return self.container.run(
            argv, env=self.env, workdir=self.settings.workdir, timeout=timeout
        )


class Subject:
    """An image. Its commands run in `engine`, else, with `runs`, in containers of `rootfs`.

    `emulator` runs those of another architecture than the machine's.
    """

    def __init__(
        self,
        image: Image,
        tree: Tree,
        contents: Mapping[str, bytes],
        *,
        rootfs: Rootfs | None = None,
        runs: bool = False,
        emulator: Path | None = None,
        engine: Engine | None = None,
    ) -> None:
        self._emulator = emulator
        self.image = image
        self.tree = tree
        self.settings = read_run_config(image.config)
        self._contents = dict(contents)
        self._rootfs = rootfs
        self._runs = runs
        self._engine = engine

    @property
    def config(self) -> Mapping[str, Any]:
        """The `config` section of the image's configuration."""
        return self.image.config.get("config") or {}

    def read(self, path: str) -> bytes:
        """The content of a file, links followed inside the image. Raises SubjectError."""
        real, source = self._locate(path)
        if self._rootfs is not None:
            return (self._rootfs.path / real[1:]).read_bytes()
        if source not in self._contents:
            raise SubjectError(f"{path}: its content was not read; its hard link was replaced")
        return self._contents[source]

    def _locate(self, path: str) -> tuple[str, str]:
        """Where a file is: its path without links, and the archive member with its content."""
        try:
            real = self.tree.realpath(path)
        except TreeError as error:
            raise SubjectError(str(error)) from error
        entry = self.tree.lookup(real)
        if entry is None:
            raise SubjectError(f"{path} does not exist in the image")
        if entry.kind != "file":
            raise SubjectError(f"{path} is not a regular file but of kind {entry.kind}")
        return real, entry.hardlink or real

    def missing(self, paths: Sequence[str]) -> set[str]:
        """The archive members that `read` would need for these paths and does not have."""
        wanted = set()
        for path in paths:
            with contextlib.suppress(SubjectError):
                source = self._locate(path)[1]
                if source not in self._contents:
                    wanted.add(source)
        return wanted

    def add(self, contents: Mapping[str, bytes]) -> None:
        """Adds content that `missing` asked for."""
        self._contents |= contents

    @contextlib.contextmanager
    def session(self, options: Options) -> Iterator[Session]:
        """Where commands run to their end: an engine or a container of ours. No network.

        Raises START_ERRORS.
        """
        if self._engine is not None:
            with self._engine.session(options) as session:
                yield session
            return
        with self.start(options) as started:
            yield started

    @contextlib.contextmanager
    def start(self, options: Options) -> Iterator[Started]:
        """A fresh container of ours, without network. Raises START_ERRORS."""
        if self._engine is not None:
            raise ContainerError(
                "driver 'docker' runs the commands of commandTests only; leave `driver` out"
            )
        if self._rootfs is None or not self._runs:
            raise ContainerError("driver 'tar' makes static checks only; leave `driver` out")
        account = image_user(self._rootfs, options.user or self.settings.user)
        spec = Spec(
            rootfs=self._rootfs,
            user=account,
            workdir=self.settings.workdir,
            binds=options.binds,
            tmpfs=options.writable,
            read_only=options.read_only,
            privileged=options.privileged,
            capabilities=options.capabilities,
            tty=options.tty,
            architecture=self.image.config.get("architecture", ""),
            emulator=self._emulator,
        )
        with Container(spec) as container:
            yield Started(
                container, self.settings, process_env(self.settings, account, options.env)
            )


@contextlib.contextmanager
def open_subject(
    image: Image,
    *,
    layers: bool = True,
    cache: Path | None,
    runs: bool = False,
    emulator: Path | None = None,
    engine: Engine | None = None,
    files: Sequence[str],
    also: Callable[[str], bool] = lambda _: False,
) -> Iterator[Subject]:
    """Reads the image. With `runs` it is unpacked below `cache`, for containers of our own.

    Without, nothing is unpacked: if it lies in `cache` already, what is there is read, else the
    layers' headers and of the content `files` and every path that `also` picks. Without `layers`
    only the configuration is there. Raises LayerError.
    """
    if not layers:
        yield Subject(image, Tree(), {})
        return
    with contextlib.ExitStack() as stack:
        rootfs: Rootfs | None = None
        if cache is not None:
            entries = Cache(cache)
            if runs:
                # The layers below the last are kept: that one is what changes from day to day.
                held = entries.rootfs(image.layers, keep_prefix=True)
                rootfs = stack.enter_context(held)
            else:
                rootfs = stack.enter_context(entries.existing(image.layers))
        if rootfs is not None:
            yield Subject(
                image,
                rootfs.tree,
                {},
                rootfs=rootfs,
                runs=runs,
                emulator=emulator,
                engine=engine,
            )
        else:
            yield _read(image, engine, files, also)


def _read(
    image: Image, engine: Engine | None, files: Sequence[str], also: Callable[[str], bool]
) -> Subject:
    literal = set(files)
    tree, contents = read_files(image.layers, lambda path: path in literal or also(path))
    subject = Subject(image, tree, contents, engine=engine)
    wanted = subject.missing([*files, *(path for path, _ in tree.entries() if also(path))])
    if wanted:
        subject.add(read_files(image.layers, lambda path: path in wanted)[1])
    return subject

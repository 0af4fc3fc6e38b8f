"""The image under test: its tree, the content of its files, and containers made from it.

Layers are read as rarely as possible. If the configurations run commands, the image is unpacked
once, perhaps by another test, and files are read from there. Otherwise one pass over the layers is
enough (two if a file is behind a symbolic link), or none if the cache has the image unpacked.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cli import ToolError
from tools.container.config import RunConfig, image_user, process_env, read_run_config
from tools.container.plan import Spec
from tools.container.run import Completed, Container, ContainerError
from tools.image.cache import Cache, Rootfs
from tools.image.layout import Image
from tools.image.tree import Tree, TreeError
from tools.image.unpack import read_files
from tools.structure_test.engine import Engine
from tools.structure_test.options import Options, Session


@dataclass(frozen=True)
class Started:
    """A container, the image's settings, and the environment of processes in it."""

    container: Container
    settings: RunConfig
    env: Mapping[str, str]

    def run(self, argv: Sequence[str], *, timeout: float) -> Completed:
        """Run a command to its end (options.Session)."""
        return self.container.run(
            argv, env=self.env, workdir=self.settings.workdir, timeout=timeout
        )


class ImageUnderTest:
    """An image. Its commands run in `engine`, else, with `runs`, in containers of `rootfs`.

    `emulator` runs commands of another architecture than the machine's.
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
        self._contents = dict(contents)
        self._rootfs = rootfs
        self._runs = runs
        self._engine = engine

    @functools.cached_property
    def settings(self) -> RunConfig:
        """How the image is started; raise ToolError if its configuration is malformed."""
        return read_run_config(self.image.config)

    @property
    def config(self) -> Mapping[str, Any]:
        """The `config` section of the image's configuration."""
        return self.image.config.get("config") or {}

    def read(self, path: str) -> bytes:
        """Return the content of a file, following links inside the image; raise ToolError."""
        real, source = self._locate(path)
        if self._rootfs is not None:
            return (self._rootfs.path / real[1:]).read_bytes()
        if source not in self._contents:
            raise ToolError(f"{path}: its content was not read, since its hard link was replaced")
        return self._contents[source]

    def _locate(self, path: str) -> tuple[str, str]:
        """Return the path of a file without links, and the archive member with its content."""
        try:
            real = self.tree.realpath(path)
        except TreeError as error:
            raise ToolError(str(error)) from error
        entry = self.tree.lookup(real)
        if entry is None:
            raise ToolError(f"{path} does not exist in the image")
        if entry.kind != "file":
            raise ToolError(f"{path} is not a regular file but of kind {entry.kind}")
        return real, entry.hardlink or real

    def missing(self, paths: Sequence[str]) -> set[str]:
        """Return the archive members that `read` lacks for these paths."""
        wanted = set()
        for path in paths:
            with contextlib.suppress(ToolError):
                source = self._locate(path)[1]
                if source not in self._contents:
                    wanted.add(source)
        return wanted

    def add(self, contents: Mapping[str, bytes]) -> None:
        """Add content that `missing` asked for."""
        self._contents |= contents

    @contextlib.contextmanager
    def session(self, options: Options) -> Iterator[Session]:
        """Open a session for commands, in an engine or a container of ours, without network.

        Raise ToolError.
        """
        if self._engine is not None:
            with self._engine.session(options) as session:
                yield session
            return
        with self.start(options) as started:
            yield started

    @contextlib.contextmanager
    def start(self, options: Options) -> Iterator[Started]:
        """Start a new container of ours, without network; raise ToolError."""
        if self._engine is not None:
            raise ContainerError("driver 'docker' runs commandTests only; leave `driver` out")
        if self._rootfs is None or not self._runs:
            raise ContainerError("driver 'tar' runs static checks only; leave `driver` out")
        account = image_user(self._rootfs, options.user or self.settings.user)
        spec = Spec(
            rootfs=self._rootfs,
            user=account,
            workdir=self.settings.workdir,
            binds=options.binds,
            volumes=self.settings.volumes,
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
def open_image_under_test(
    image: Image,
    *,
    layers: bool = True,
    cache: Path | None,
    runs: bool = False,
    emulator: Path | None = None,
    engine: Engine | None = None,
    files: Sequence[str],
    also: Callable[[str], bool] = lambda _: False,
) -> Iterator[ImageUnderTest]:
    """Read the image. With `runs` it is unpacked below `cache`, for containers of our own.

    Otherwise nothing is unpacked: an image that is in `cache` already is read there, of any other
    the layers' headers, and the content of `files` and of paths that `also` selects. Without
    `layers` only the configuration is read. Raise LayerError.
    """
    if not layers:
        yield ImageUnderTest(image, Tree(), {})
        return
    with contextlib.ExitStack() as stack:
        rootfs: Rootfs | None = None
        if cache is not None:
            entries = Cache(cache)
            if runs:
                # The layers below the last are kept, since the last changes most often.
                held = entries.rootfs(image.layers, keep_prefix=True)
                rootfs = stack.enter_context(held)
            else:
                rootfs = stack.enter_context(entries.existing(image.layers))
        if rootfs is not None:
            yield ImageUnderTest(
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
) -> ImageUnderTest:
    literal = set(files)
    tree, contents = read_files(image.layers, lambda path: path in literal or also(path))
    subject = ImageUnderTest(image, tree, contents, engine=engine)
    wanted = subject.missing([*files, *(path for path, _ in tree.entries() if also(path))])
    if wanted:
        subject.add(read_files(image.layers, lambda path: path in wanted)[1])
    return subject

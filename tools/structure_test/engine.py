"""Run commands of the image in the machine's Docker or Podman: `driver = "docker"`.

The image is loaded once and kept, under a name of ours, for the next test. A session is like one
container: each command sees what earlier ones wrote, since their container is committed and the
next starts from it. As in our own containers there is no network and no entrypoint. Docker and
Podman are used by their command line only, which they share.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from tools.container.run import (
    EXIT_NOT_EXECUTABLE,
    EXIT_NOT_FOUND,
    MAX_OUTPUT,
    Completed,
    ContainerError,
    SpawnError,
)
from tools.image import spec
from tools.image.archive import Member, docker_members, write_archive
from tools.image.source import Source
from tools.oci.engines import NoEngineError, find_engine
from tools.structure_test.options import Options

PROGRAMS = ("docker", "podman")
REPOSITORY = "structure-test.local/image"
CALL_SECONDS = 120.0
LOAD_SECONDS = 900.0
POLL_SECONDS = 0.02
TAIL = 500  # Characters of the engine's stderr repeated in an error.
KILLED = 137
# Engines' messages for a command that cannot be executed, and a shell's exit code for it.
_NOT_STARTED = (
    ("(?i)executable file.* not found|exec: .*no such file or directory", EXIT_NOT_FOUND),
    (
        "(?i)(open executable|exec: .*): (permission denied|is a directory)|is not executable",
        EXIT_NOT_EXECUTABLE,
    ),
)
_NEVER = "0001-01-01"  # Go's zero time.


def choose_engine(environ: Mapping[str, str], program: str = "") -> str:
    """Return the program of the first engine that works: `program`, else docker or podman.

    Raise ContainerError, with the reason of each, when none does.
    """
    try:
        return find_engine((program,) if program else PROGRAMS, environ).program
    except NoEngineError as error:
        raise ContainerError(
            f"driver 'docker' needs Docker or Podman ({error}); start one or set DOCKER_HOST, or "
            "leave `driver` out to need neither. (Tests started by `tools/bazelw test` do not see "
            "this machine's programs; `tools/bazelw run //tools/structure_test` does.)"
        ) from error


def save_image(program: str, name: str, target: Path, *, environ: Mapping[str, str]) -> None:
    """Write an image of the engine as a docker-archive; raise ContainerError."""
    arguments = ["save", "--output", str(target), name]
    _call(program, arguments, environ=environ, timeout=LOAD_SECONDS)


class Engine:
    """One image in one engine."""

    def __init__(
        self, program: str, source: Source, *, environ: Mapping[str, str], runtime: str = ""
    ) -> None:
        self._program = program
        self._environ = environ
        self._source = source
        # Podman takes its runtime before the command, Docker after it.
        podman = "podman" in Path(program).name
        self._before = ["--runtime", runtime] if runtime and podman else []
        self._create = ["--runtime", runtime] if runtime and not podman else []
        self._name = ""

    def call(self, arguments: Sequence[str], *, timeout: float = CALL_SECONDS) -> str:
        """Run one command of the engine and return its output; raise ContainerError."""
        return _call(
            self._program, [*self._before, *arguments], environ=self._environ, timeout=timeout
        )

    def popen(
        self, arguments: Sequence[str], *, stdout: IO[bytes], stderr: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start one command of the engine."""
        return subprocess.Popen(
            [self._program, *self._before, *arguments],
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=dict(self._environ),
        )  # fmt: skip

    def load(self) -> str:
        """Return the name of the image in the engine; load it if necessary."""
        if self._name:
            return self._name
        config = self._source.image.manifest["config"]["digest"]
        name = f"{REPOSITORY}:{config.removeprefix('sha256:')}"
        try:
            self.call(["image", "inspect", "--format", "{{.Id}}", name])
        except ContainerError:
            with tempfile.TemporaryDirectory(dir=self._environ.get("TEST_TMPDIR")) as folder:
                archive = Path(folder, "image.tar")
                with archive.open("wb") as stream:
                    write_archive(_members(self._source, name), stream)
                self.call(["load", "--input", str(archive)], timeout=LOAD_SECONDS)
        self._name = name
        return name

    @contextlib.contextmanager
    def session(self, options: Options) -> Iterator[EngineSession]:
        """Open a session, whose commands see the files of earlier ones; raise ContainerError."""
        session = EngineSession(self, [*self._create, *_flags(options)], self.load())
        try:
            yield session
        finally:
            session.close()


class EngineSession:
    """See Engine.session."""

    def __init__(self, engine: Engine, flags: Sequence[str], image: str) -> None:
        self._engine = engine
        self._flags = list(flags)
        self._image = image
        self._containers: list[str] = []
        self._images: list[str] = []

    def run(self, argv: Sequence[str], *, timeout: float) -> Completed:
        """Run a command to its end; raise SpawnError when it cannot be started."""
        if not argv:
            raise SpawnError("no command was given", EXIT_NOT_FOUND)
        flags = list(self._flags)
        if self._containers:
            last = self._containers[-1]
            self._image = self._engine.call(["commit", "--pause=false", last]).split()[-1]
            self._images.append(self._image)
            # Declared volumes are not committed.
            flags += ["--volumes-from", last]
        created = self._engine.call(["create", *flags, "--entrypoint", "", self._image, *argv])
        self._containers.append(created.split()[-1])
        return self._start(self._containers[-1], argv[0], timeout)

    def _start(self, container: str, program: str, timeout: float) -> Completed:
        started = time.monotonic()
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            process = self._engine.popen(
                ["start", "--attach", container], stdout=stdout, stderr=stderr
            )
            timed_out = overflowed = False
            while process.poll() is None:
                timed_out = time.monotonic() - started > timeout
                overflowed = any(_size(stream) > MAX_OUTPUT for stream in (stdout, stderr))
                if timed_out or overflowed:
                    self._kill(container)
                    process.kill()
                    process.wait()
                    break
                time.sleep(POLL_SECONDS)
            code = KILLED
            if not (timed_out or overflowed):
                code = self._exit_code(container, program, _content(stderr))
            return Completed(
                stdout=_content(stdout),
                stderr=_content(stderr),
                exit_code=code,
                seconds=time.monotonic() - started,
                timed_out=timed_out,
                overflowed=overflowed,
            )

    def _exit_code(self, container: str, program: str, stderr: bytes) -> int:
        """Return the exit code; raise SpawnError or ContainerError when there was none."""
        form = "{{.State.Status}} {{.State.ExitCode}} {{.State.StartedAt}}"
        status, code, started = self._engine.call(["inspect", "--format", form, container]).split(
            maxsplit=2
        )
        if status == "exited" and not started.startswith(_NEVER):
            return int(code)
        said = stderr.decode("utf-8", "replace").strip()[-TAIL:]
        for mark, shell_code in _NOT_STARTED:
            if re.search(mark, said):
                raise SpawnError(f"exec: {program!r}: the engine reports: {said}", shell_code)
        raise ContainerError(f"the engine cannot start the container: {said or status}")

    def _kill(self, container: str) -> None:
        with contextlib.suppress(ContainerError):
            self._engine.call(["kill", container])

    def close(self) -> None:
        """Remove every container and image of the session."""
        for container in reversed(self._containers):
            with contextlib.suppress(ContainerError):
                self._engine.call(["rm", "--force", "--volumes", container])
        for image in reversed(self._images):
            with contextlib.suppress(ContainerError):
                self._engine.call(["rmi", "--force", image])


def _flags(options: Options) -> list[str]:
    flags = ["--network", "none"]
    for key, value in options.env.items():
        flags += ["--env", f"{key}={value}"]
    if options.user:
        flags += ["--user", options.user]
    for capability in options.capabilities:
        flags += ["--cap-add", capability]
    if options.privileged:
        flags.append("--privileged")
    if options.tty:
        flags.append("--tty")
    for bind in options.binds:
        mode = ":ro" if bind.read_only else ""
        flags += ["--volume", f"{bind.source}:{bind.target}{mode}"]
    return flags


def _members(source: Source, name: str) -> list[Member]:
    """Return the docker-archive of the image, with no name in it but ours."""
    content = dict(source.image.config)
    # Podman cannot commit twice on an image whose history does not list its layers.
    content["history"] = content.get("history") or [{} for _ in source.image.layers]
    return docker_members(source.image, spec.encode_json(content), [name])


def _call(
    program: str,
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    timeout: float = CALL_SECONDS,
) -> str:
    # Arguments may contain values of variables, so an error repeats only the first one.
    what = f"{Path(program).name} {arguments[0]}"
    try:
        result = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, env=dict(environ), timeout=timeout,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ContainerError(f"{what}: timed out after {timeout:g} s") from error
    except OSError as error:
        raise ContainerError(f"{what}: {error.strerror}") from error
    if result.returncode:
        said = result.stderr.decode("utf-8", "replace").strip()[-TAIL:]
        raise ContainerError(f"{what}: {said or f'exit code {result.returncode}'}")
    return result.stdout.decode("utf-8", "replace")


def _size(stream: IO[bytes]) -> int:
    return os.fstat(stream.fileno()).st_size


def _content(stream: IO[bytes]) -> bytes:
    return os.pread(stream.fileno(), MAX_OUTPUT, 0)

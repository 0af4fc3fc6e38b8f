"""The executors of README.md on loopback, started and stopped by a test.

The commands and the settings are those that README.md shows, but for their ports. `EXECUTORS` has a
line for each program, `name=command`; the BUILD file takes them from locked packages and wheels.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tools.linux.namespaces import unshare_as
from tools.registry.registry_for_test import free_port

_README = Path(__file__).with_name("README.md")
_SETTINGS = re.compile(r"```yaml\n(server:.*?)```", re.DOTALL)
_COMMANDS = re.compile(r"```sh\n(initdb .*?)```", re.DOTALL)
_PORTS = {"postgres": "5433", "bgd": "8090", "buildbox-casd": "8091"}  # README.md's
_TIMEOUT = 120.0  # seconds; the machine may be busy


@contextmanager
def executors(directory: Path) -> Iterator[str]:
    """Run a server and a worker in `directory`; yield what `--remote_executor` takes."""
    readme = _README.read_text("utf-8")
    (settings,), (commands,) = _SETTINGS.findall(readme), _COMMANDS.findall(readme)
    ports = {program: free_port() for program in _PORTS}
    for program, shown in _PORTS.items():
        assert shown in commands + settings
        settings, commands = (
            re.sub(rf"\b{shown}\b", str(ports[program]), text) for text in (settings, commands)
        )
    directory.mkdir()
    (directory / "buildgrid.yml").write_text(settings)
    _write_programs(directory / "bin")
    with ExitStack() as stack:
        for command in commands.replace("\\\n", "").splitlines():
            if command.endswith(" &"):
                port = ports.get(command.split()[0])
                stack.enter_context(_running(command.removesuffix(" &"), directory, port))
            else:
                assert _start(command, directory).wait(_TIMEOUT) == 0, _log(directory)
        yield f"grpc://127.0.0.1:{ports['bgd']}"


def _write_programs(directory: Path) -> None:
    """Give the programs the names that README.md calls them by."""
    directory.mkdir()
    for line in os.environ["EXECUTORS"].splitlines():
        name, _, command = line.partition("=")
        program, *arguments = command.split()
        words = shlex.join([str(Path(program).absolute()), *arguments])
        (directory / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (directory / name).chmod(0o755)


def _log(directory: Path) -> str:
    return (directory / "log").read_text(errors="replace")


def _start(command: str, directory: Path) -> subprocess.Popen[bytes]:
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            cwd=directory,
            env={**os.environ, "PATH": f"{directory / 'bin'}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # PostgreSQL refuses to run as root.
            preexec_fn=lambda: unshare_as(1000, 1000),  # noqa: PLW1509 - the test has one thread
        )


@contextmanager
def _running(command: str, directory: Path, port: int | None) -> Iterator[None]:
    process = _start(command, directory)
    try:
        end = time.monotonic() + _TIMEOUT
        while port and not _is_ready(port, directory):
            assert process.poll() is None, _log(directory)
            assert time.monotonic() < end, _log(directory)
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(_TIMEOUT)


def _is_ready(port: int, directory: Path) -> bool:
    # PostgreSQL, the first of them, listens before it serves.
    if "ready to accept connections" not in _log(directory):
        return False
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0

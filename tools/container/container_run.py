"""Start an image in the foreground, from its own bytes: the program behind `container_run`.

    bazel run //backend:serve -- --port 8080 --data-dir ~/data --env LOG_LEVEL=debug
    bazel run //backend:serve -- --env LOG_LEVEL=debug alembic upgrade head

Connections to --host and --port are passed to the image's command, which has its own network; its
data volume is a directory of the host that outlives it. Ctrl-C stops it. The first argument that is
no flag begins a command that replaces the image's own, with the same data and environment.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cli import ToolError, tool
from tools.container.config import (
    image_stop_signal,
    image_user,
    process_env,
    read_run_config,
)
from tools.container.plan import Bind, Spec
from tools.container.run import Container, SpawnError
from tools.container.serve import Address, Served, run_command, serve
from tools.image.cache import Cache, default_root
from tools.image.layout import read_layout
from tools.image.scratch import scratch_directory

MAX_PORT = 65535
FIRST_PORT = 1024
OUT_PORTS = (80, 443)
BACKLOG = 2048  # As uvicorn's.
OUTPUT_MARKER = "DO_NOT_BUILD_HERE"  # Bazel writes this file into every output base.


@dataclass(frozen=True)
class Config:
    """What the rule fixed: written as JSON by container_run.bzl. `state` is the data directory
    below the user's state home; `serve_args` are appended to the image's command, {host} and
    {port} in them replaced.
    """

    name: str
    state: str
    image: str
    port: int
    health_path: str
    data_volume: str
    serve_args: tuple[str, ...]


def read_config(path: Path) -> Config:
    """Read the rule's JSON; the image's path in it is relative to the runfiles directory."""
    value: dict[str, Any] = json.loads(path.read_text())
    return Config(**{**value, "serve_args": tuple(value["serve_args"])})


def parse_flags(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse the flags; the first argument that is none starts the command, as in docker run."""
    parser = argparse.ArgumentParser(
        prog="serve",
        description="Start the image without a container engine.",
        usage="serve [FLAGS] [COMMAND ...]",
        epilog="COMMAND replaces the image's own and runs with the same data and environment; "
        "its exit code is passed on.",
        allow_abbrev=False,
    )
    parser.add_argument("--target", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--runfiles", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help="TCP port, 0 for any free one (default: image's)")
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument(
        "--network",
        choices=("web", "none", "host"),
        default="web",
        help="what it can reach: public addresses at ports 80 and 443, nothing, or whatever the "
        "host can, its own services too (default: %(default)s)",
    )
    parser.add_argument(
        "--out-port",
        action="append",
        type=int,
        metavar="PORT",
        help="reach this port of public addresses instead of 80 and 443; may be repeated",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="where data is kept (default: below $XDG_STATE_HOME or ~/.local/state, by the "
        "names of the workspace and the package)",
    )
    parser.add_argument(
        "--env", action="append", default=[], metavar="KEY=VALUE", help="may be repeated"
    )
    parser.add_argument(
        "--env-file", action="append", default=[], type=Path, help="KEY=VALUE lines, # comments"
    )
    parser.add_argument(
        "--start-timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long it may take until it is healthy (default: %(default)g)",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    flags = parser.parse_args(argv)
    command = list(flags.command)
    return flags, command[1:] if command[:1] == ["--"] else command


def read_env(files: Sequence[Path], pairs: Sequence[str]) -> dict[str, str]:
    """Return the environment of --env-file and --env, the latter winning. Raise ToolError.

    A file is read as `docker run --env-file` does: a value is the rest of its line, blanks at its
    end and quotes included. Values are never part of an error message: they may be secrets.
    """
    env: dict[str, str] = {}
    for path in files:
        try:
            lines = path.read_bytes().decode().split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ToolError(f"--env-file {path}: cannot be read: {error}") from error
        for number, line in enumerate(lines, start=1):
            pair = line.removesuffix("\r").lstrip(" \t")
            if pair and not pair.startswith("#"):
                _add(env, pair, f"--env-file {path}, line {number}")
    for number, pair in enumerate(pairs, start=1):
        _add(env, pair, f"--env number {number}")
    return env


def _add(env: dict[str, str], pair: str, where: str) -> None:
    key, equals, value = pair.partition("=")
    if not equals or not key or " " in key:
        raise ToolError(f"{where}: is not KEY=VALUE")
    env[key] = value


def data_directory(chosen: Path | None, state: str, environ: Mapping[str, str]) -> Path:
    """Find and creates the data directory. Raise ToolError when it cannot be used.

    Build outputs are deleted without warning, so a directory among them is refused.
    """
    if chosen is None:
        home = environ.get("HOME") or os.path.expanduser("~")
        top = environ.get("XDG_STATE_HOME") or os.path.join(home, ".local", "state")
        chosen = Path(top) / state
    path = caller_path(chosen, environ)
    for parent in (path, *path.parents):
        if (parent / OUTPUT_MARKER).exists():
            raise ToolError(
                f"--data-dir {path}: lies in Bazel's output tree, which `bazel clean` deletes; "
                "choose a directory elsewhere"
            )
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ToolError(f"--data-dir {path}: cannot be created: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ToolError(f"--data-dir {path}: is not writable; choose another")
    return path


def caller_path(path: Path, environ: Mapping[str, str]) -> Path:
    """Return an absolute path; a relative one is relative to where `bazel run` was typed."""
    base = environ.get("BUILD_WORKING_DIRECTORY") or os.getcwd()
    return Path(os.path.expanduser(os.path.join(base, path))).resolve()


def listen(host: str, port: int) -> tuple[Address, list[socket.socket]]:
    """Listen on every address of a host name, before anything is started. Raise ToolError."""
    if not 0 <= port <= MAX_PORT:
        raise ToolError(f"--port {port}: expected 0 to {MAX_PORT}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ToolError(f"--host {host}: no such address: {error}") from error
    listeners: list[socket.socket] = []
    for family, _, _, _, where in dict.fromkeys(found):
        try:
            # The first port that was free is the one for all; ports in TIME_WAIT are.
            listeners.append(socket.create_server((where[0], port), family=family, backlog=BACKLOG))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL and len(found) > 1:
                continue  # `localhost` is ::1 too, also where there is no IPv6.
            for listener in listeners:
                listener.close()
            hint = f"stop what uses port {port}, or choose another with --port"
            cause = os.strerror(error.errno or 0)
            raise ToolError(f"cannot listen on {host} port {port}: {cause}; {hint}") from error
        port = listeners[-1].getsockname()[1]
    return Address(host, port), listeners


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do what the flags say; return the exit code. Raise ToolError."""
    flags, command = parse_flags(argv)
    config = read_config(flags.runfiles / flags.target)
    image = read_layout(flags.runfiles / config.image)
    files = [caller_path(path, environ) for path in flags.env_file]
    extra = read_env(files, flags.env)
    port = config.port if flags.port is None else flags.port
    # A command listens only if the user says where.
    listens = not command or flags.port is not None
    address, listeners = listen(flags.host, port) if listens else (Address(flags.host, port), [])
    if flags.network == "host":
        while listeners:
            listeners.pop().close()  # The port is free; the image's command takes it itself.
    # Only root could listen on a lower port inside.
    inner = Address("127.0.0.1", address.port if address.port >= FIRST_PORT else config.port)
    data = data_directory(flags.data_dir, config.state, environ)
    settings = read_run_config(image.config)
    stop_signal = image_stop_signal(settings)
    root = default_root(environ)

    def unpacking() -> None:
        print(f"{config.name}: unpacking the image (once)", file=sys.stderr, flush=True)

    with (
        Cache(root).rootfs(image.layers, keep_prefix=True, on_unpack=unpacking) as rootfs,
        scratch_directory(root) as scratch,
    ):
        user = image_user(rootfs, settings.user)
        hostname = socket.gethostname()
        spec = Spec(
            rootfs=rootfs,
            user=user,
            network=flags.network,
            out_ports=tuple(flags.out_port or OUT_PORTS),
            binds=(Bind(data, config.data_volume),) if config.data_volume else (),
            workdir=settings.workdir,
            hostname=hostname,
            volumes=settings.volumes,
            scratch=scratch,
        )
        env = process_env(settings, user, extra, hostname=hostname)
        with Container(spec, publish={inner.port: listeners} if listeners else {}) as container:
            if container.reduced:
                print(
                    f"{config.name}: processes of the container have root's own id on the host: "
                    f"{container.reduced}; start it as an ordinary user instead",
                    file=sys.stderr,
                )
            if command:
                env.setdefault("TERM", environ.get("TERM", "dumb"))
                return run_command(container, command, env=env, workdir=settings.workdir)
            served = Served(
                name=config.name,
                argv=settings.argv + (inner if listeners else address).fill(config.serve_args),
                env=env,
                workdir=settings.workdir,
                address=address,
                health_path=config.health_path,
                stop_signal=stop_signal,
                data=data if config.data_volume else None,
                digest=image.digest,
            )
            return serve(container, served, start_timeout=flags.start_timeout)


@tool("serve")
def main(argv: list[str] | None = None) -> int:
    """Run the command line; see the module docstring."""
    try:
        return run(sys.argv[1:] if argv is None else argv, os.environ)
    except SpawnError as error:
        print(f"serve: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())

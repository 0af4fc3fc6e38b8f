"""The command line of push and attach: common flags, connection, and exit codes."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tools.archive.atomic import replace_files
from tools.cli import ToolError
from tools.registry.credentials import find_credentials
from tools.registry.errors import scrub
from tools.registry.progress import Progress
from tools.registry.reference import Repository, parse_repository
from tools.registry.registry import Registry
from tools.registry.transport import CancelledError, Options, Transport

_INTERRUPTED = 130


@dataclass(frozen=True)
class CliContext:
    """The environment, working directory and progress output of one run.

    `secrets` collects every string that must never be shown.
    """

    environ: Mapping[str, str]
    here: Path
    progress: Progress
    secrets: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """Print a line to the user, without secrets."""
        self.progress.note(self.scrub(line))

    def scrub(self, text: str) -> str:
        """Return `text` without any secret: a server may quote a request back."""
        return scrub(text, self.secrets)


def connection_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the flags for the connection."""
    parser = argparse.ArgumentParser(prog=prog, description=description, allow_abbrev=False)
    add = parser.add_argument
    add("--runfiles", type=Path, help=argparse.SUPPRESS)
    add("--target", type=Path, help=argparse.SUPPRESS)
    add("--insecure", action="store_true", help="allow plain HTTP, and TLS without verification")
    add("--ca-file", type=Path, metavar="FILE", help="CA certificates to trust, in PEM")
    add("--retries", type=_count, default=5, help="attempts after the first (default 5)")
    add(
        "--timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="timeout of one response (default 300)",
    )
    add("-v", "--verbose", action="store_true", help="print where credentials come from")
    return parser


def make_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the flags for the registry's address and the connection."""
    parser = connection_parser(prog, description)
    add = parser.add_argument
    add("-r", "--repository", help="HOST[:PORT]/NAME to push to, instead of the target's own")
    add(
        "--chunk-size",
        type=positive,
        metavar="BYTES",
        help="split uploads into requests of this size, for proxies with a limit",
    )
    add("--dry-run", action="store_true", help="print what would be done; change nothing")
    add("--image-refs", type=Path, metavar="FILE", help="write the digest reference to FILE")
    return parser


def positive(text: str) -> int:
    """Return a number of at least 1; raise ArgumentTypeError otherwise."""
    return _number(text, least=1)


def read_target(flags: argparse.Namespace, context: CliContext) -> tuple[Path, dict[str, Any]]:
    """Return the directory of the target's paths, and its attributes as the rule wrote them."""
    root = flags.runfiles or context.here
    return root, json.loads((root / flags.target).read_bytes()) if flags.target else {}


def choose_repository(
    flags: argparse.Namespace, root: Path, target: Mapping[str, Any]
) -> Repository:
    """Return the repository of the command line, else the target's own.

    Raise ToolError when neither has a valid one, OSError.
    """
    repository = flags.repository or target.get("repository")
    if not repository and target.get("repository_file"):
        repository = (root / target["repository_file"]).read_text(encoding="utf-8").strip()
    if not repository:
        raise ToolError("no repository to push to; pass --repository, or set the attribute")
    return parse_repository(repository)


def connect(
    flags: argparse.Namespace,
    repository: Repository,
    context: CliContext,
    *,
    mount_from: tuple[str, ...] = (),
    read_only: bool = False,
) -> Registry:
    """Return a connection to the registry, authorized if the registry asks for it.

    From here on the first Ctrl-C or SIGTERM shuts down cleanly; the second kills the process.
    Raise ToolError: of credentials, RegistryError, TransportError.
    """
    options = Options(
        insecure=flags.insecure,
        ca_file=context.here / flags.ca_file if flags.ca_file else None,
        retries=flags.retries,
        timeout=flags.timeout,
        environ=context.environ,
    )
    credentials = find_credentials(repository, environ=context.environ)
    dry_run = not read_only and flags.dry_run
    if flags.verbose or dry_run:
        source = credentials.source if credentials else "none found"
        context.say(f"credentials for {repository.host}: {source}")
    transport = Transport(options, warn=context.say)
    _cancel_on_signals(transport)
    registry = Registry(transport, repository, credentials=credentials, secrets=context.secrets)
    actions = "pull" if read_only or dry_run else "pull,push"
    registry.connect(actions=actions, mount_from=mount_from)
    return registry


def run(
    parser: argparse.ArgumentParser,
    act: Callable[[argparse.Namespace, CliContext], str],
    argv: Sequence[str] | None,
) -> int:
    """Run a program and print the reference that its `act` returns.

    Return the exit code: 0, or 130 when interrupted. Raise ToolError without any secret.
    """
    flags = parser.parse_args(argv)
    # `bazel run` starts programs in another directory and passes the user's.
    here = Path(os.environ.get("BUILD_WORKING_DIRECTORY", ""))
    context = CliContext(environ=os.environ, here=here, progress=Progress(sys.stderr))
    try:
        with contextlib.closing(context.progress):
            reference = act(flags, context)
        if flags.image_refs and not flags.dry_run:
            replace_files({here / flags.image_refs: f"{reference}\n".encode()})
    except CancelledError:
        print(f"{parser.prog}: interrupted; no tag was moved", file=sys.stderr)
        return _INTERRUPTED
    except (ToolError, OSError) as error:
        raise ToolError(context.scrub(str(error))) from None
    print(reference)
    return 0


def _count(text: str) -> int:
    return _number(text, least=0)


def _number(text: str, *, least: int) -> int:
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, found {text}")
    return value


def _cancel_on_signals(transport: Transport) -> None:
    def cancel(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        transport.cancel()

    # Python delivers signals to its main thread only; other callers handle them themselves.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, cancel)

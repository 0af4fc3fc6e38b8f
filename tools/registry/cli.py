"""What the programs that change a registry have in common: flags, connection, how they end."""

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
from tools.image.layout import LayoutError
from tools.registry.credentials import CredentialsError, find_credentials
from tools.registry.errors import RegistryError, scrub
from tools.registry.progress import Progress
from tools.registry.reference import InvalidReferenceError, Repository, parse_repository
from tools.registry.registry import Registry
from tools.registry.transport import CancelledError, Options, Transport, TransportError

_INTERRUPTED = 130


class PushError(Exception):
    """The push failed, or the flags and attributes together do not say what to do."""


_FAILURES = (
    CredentialsError,
    InvalidReferenceError,
    LayoutError,
    OSError,
    PushError,
    RegistryError,
    TransportError,
)


@dataclass(frozen=True)
class Caller:
    """Who started the program: environment, directory, where to report to.

    `secrets` grows by every string that must never be shown, as it becomes known.
    """

    environ: Mapping[str, str]
    here: Path
    progress: Progress
    secrets: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """Report a line, without secrets."""
        self.progress.note(self.scrub(line))

    def scrub(self, text: str) -> str:
        """`text` without any secret: a server may quote a request back."""
        return scrub(text, self.secrets)


def make_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with the flags that say where the registry is and how to speak to it."""
    parser = argparse.ArgumentParser(prog=prog, description=description, allow_abbrev=False)
    add = parser.add_argument
    add("--runfiles", type=Path, help=argparse.SUPPRESS)
    add("--target", type=Path, help=argparse.SUPPRESS)
    add("-r", "--repository", help="HOST[:PORT]/NAME to push to, instead of the target's own")
    add("--insecure", action="store_true", help="allow plain HTTP, and TLS without verification")
    add("--ca-file", type=Path, metavar="FILE", help="CA certificates to trust, in PEM")
    add(
        "--chunk-size",
        type=positive,
        metavar="BYTES",
        help="split uploads into requests of this size; for proxies that limit it",
    )
    add("--retries", type=_count, default=5, help="attempts after the first (default 5)")
    add("--timeout", type=float, default=300.0, metavar="SECONDS", help="wait for one answer")
    add("--dry-run", action="store_true", help="say what would be done; change nothing")
    add("--image-refs", type=Path, metavar="FILE", help="write the digest reference to FILE")
    add("-v", "--verbose", action="store_true", help="say where credentials come from")
    return parser


def positive(text: str) -> int:
    """A number of at least 1; raises ArgumentTypeError."""
    return _number(text, least=1)


def read_target(flags: argparse.Namespace, caller: Caller) -> tuple[Path, dict[str, Any]]:
    """What the rule wrote for the target, and the directory its paths are relative to."""
    root = flags.runfiles or caller.here
    return root, json.loads((root / flags.target).read_bytes()) if flags.target else {}


def choose_repository(
    flags: argparse.Namespace, root: Path, target: Mapping[str, Any]
) -> Repository:
    """The repository of the command line, else the target's own.

    Raises PushError when neither says one, InvalidReferenceError, OSError.
    """
    repository = flags.repository or target.get("repository")
    if not repository and target.get("repository_file"):
        repository = (root / target["repository_file"]).read_text(encoding="utf-8").strip()
    if not repository:
        raise PushError("repository not set. Please pass --repository flag.")
    return parse_repository(repository)


def connect(
    flags: argparse.Namespace,
    repository: Repository,
    caller: Caller,
    *,
    mount_from: tuple[str, ...] = (),
) -> Registry:
    """A connection to the registry, authorised as far as it asks for it.

    From here on the first Ctrl-C or SIGTERM stops the work in good order, the second one at once.
    Raises CredentialsError, RegistryError, TransportError.
    """
    options = Options(
        insecure=flags.insecure,
        ca_file=caller.here / flags.ca_file if flags.ca_file else None,
        retries=flags.retries,
        timeout=flags.timeout,
        environ=caller.environ,
    )
    credentials = find_credentials(repository, environ=caller.environ)
    if flags.verbose or flags.dry_run:
        source = credentials.source if credentials else "none found"
        caller.say(f"credentials for {repository.host}: {source}")
    transport = Transport(options, warn=caller.say)
    _cancel_on_signals(transport)
    registry = Registry(transport, repository, credentials=credentials, secrets=caller.secrets)
    actions = "pull" if flags.dry_run else "pull,push"
    registry.connect(actions=actions, mount_from=mount_from)
    return registry


def run(
    parser: argparse.ArgumentParser,
    act: Callable[[argparse.Namespace, Caller], str],
    argv: Sequence[str] | None,
) -> int:
    """Run a program whose `act` gives the reference it has pushed, which is printed.

    Returns the exit code: 0, 1 for a failure, 130 when interrupted.
    """
    flags = parser.parse_args(argv)
    # `bazel run` starts programs elsewhere and says where the user is.
    here = Path(os.environ.get("BUILD_WORKING_DIRECTORY", ""))
    caller = Caller(environ=os.environ, here=here, progress=Progress(sys.stderr))
    try:
        with contextlib.closing(caller.progress):
            reference = act(flags, caller)
        if flags.image_refs and not flags.dry_run:
            replace_files({here / flags.image_refs: f"{reference}\n".encode()})
    except CancelledError:
        print("ERROR: interrupted; no tag was moved", file=sys.stderr)
        return _INTERRUPTED
    except _FAILURES as error:
        print(f"ERROR: {caller.scrub(str(error))}", file=sys.stderr)
        return 1
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

    # Python hands signals to its main thread only; a caller elsewhere handles them itself.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, cancel)

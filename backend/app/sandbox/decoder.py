"""Start a decoder through `launch`, and find out which restrictions are in force."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

_ROOT = str(Path(__file__).parents[2])
# Imported, because only modules are compiled in advance. Isolated mode knows no PYTHONPATH.
_LAUNCH = (
    "import sys; sys.path.append(sys.argv.pop(1)); from app.sandbox.launch import main; main()"
)
# A script's interpreter may be a script, too; the kernel follows as many.
_MAX_INTERPRETERS = 4
_LONGEST_LINE = 256
# Without these, a decoder can read files of the service, or reach others.
WANTED = ("landlock", "seccomp")
_ISOLATION = threading.Lock()


def start(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    limits: Mapping[int, int],
    read: Sequence[Path] = (),
    write: Sequence[Path] = (),
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program that may use the given files only, with stdout and stderr on pipes.

    Those to `write` exist already, and may be read, too. `limits` are resource limits by kind. The
    program has started when this returns. Raise OSError if it cannot be started.
    """
    program = shutil.which(arguments[0], path=environment.get("PATH")) or arguments[0]
    options = [
        *(f"--limit={kind}:{value}" for kind, value in limits.items()),
        *(f"--read={path}" for path in (*_library_directories(environment), *read)),
        *(f"--write={path}" for path in write),
        *(f"--execute={path}" for path in _executables(program, environment=environment)),
    ]
    process, report = _launch(
        options, [program, *arguments], environment=environment, pass_fds=pass_fds
    )
    process.args = [*arguments]  # by which errors call the program
    if "errno" not in report:
        return process
    process.communicate()
    number = int(report[-1])
    raise OSError(number, os.strerror(number))


def isolation() -> tuple[str, ...]:
    """Return the names of the restrictions in force, for example ("landlock-abi-6", "seccomp").

    Raise OSError if no program can be started.
    """
    with _ISOLATION:  # at a start, the log and the first health check ask at the same time
        return _isolation()


@lru_cache(maxsize=1)
def _isolation() -> tuple[str, ...]:
    process, report = _launch([], [], environment={"LC_ALL": "C"}, pass_fds=())
    process.communicate()
    return tuple(report)


def missing(found: Sequence[str]) -> list[str]:
    """Return the kinds of restrictions that the kernel lacks, or the container forbids."""
    return [kind for kind in WANTED if not any(name.startswith(kind) for name in found)]


def _launch(
    options: list[str],
    command: list[str],
    *,
    environment: Mapping[str, str],
    pass_fds: Sequence[int],
) -> tuple[subprocess.Popen[bytes], list[str]]:
    """Return the process and the words that its launcher reported before it became the program.

    Raise OSError if there are none, with the last line that the launcher printed.
    """
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-c", _LAUNCH, _ROOT, str(writer),
             *options, "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            pass_fds=(*pass_fds, writer),
        )  # fmt: skip
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    with os.fdopen(reader, encoding="ascii") as pipe:
        report = pipe.read().split()
    if report:
        return process, report
    _, log = process.communicate()
    lines = log.decode("utf-8", "replace").strip().split("\n")
    raise OSError(0, lines[-1] or f"its launcher exited with code {process.returncode}")


def _library_directories(environment: Mapping[str, str]) -> list[str]:
    return [path for path in environment.get("LD_LIBRARY_PATH", "").split(os.pathsep) if path]


def _executables(program: str, *, environment: Mapping[str, str]) -> list[str]:
    """Return what has to be executed: the program, or a script, and what scripts may start."""
    found = [program]
    while (interpreter := _interpreter(found[-1])) and len(found) <= _MAX_INTERPRETERS:
        found.append(interpreter)
    if len(found) > 1:
        # A wrapper starts another program, which nothing names.
        found += filter(None, environment.get("PATH", os.defpath).split(os.pathsep))
    return found


def _interpreter(path: str) -> str | None:
    try:
        with Path(path).open("rb") as file:
            line = file.read(_LONGEST_LINE).partition(b"\n")[0]
    except OSError:
        return None
    words = line[2:].split(maxsplit=1)
    return os.fsdecode(words[0]) if line.startswith(b"#!") and words else None

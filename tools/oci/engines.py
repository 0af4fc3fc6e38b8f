"""The container engines of this machine: which are installed, and which of them works."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools.cli import ToolError

# Seconds. A daemon that its socket starts needs some of them.
_INFO_TIMEOUT = 30.0


class NoEngineError(ToolError):
    """No engine works; the message gives each engine's reason."""


@dataclass(frozen=True)
class FoundEngine:
    """The path of an engine that works, and why those asked before it do not."""

    program: str
    skipped: tuple[str, ...] = ()


def installed(names: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Return the paths of the programs that are on PATH, in the order of `names`."""
    paths = (shutil.which(name, path=environ.get("PATH")) for name in names)
    return [path for path in paths if path is not None]


def find_engine(names: Sequence[str], environ: Mapping[str, str]) -> FoundEngine:
    """Return the first engine that works, of these names or paths.

    Raise NoEngineError, with the reason of each, when none does.
    """
    reasons: list[str] = []
    for name in names:
        path = shutil.which(name, path=environ.get("PATH"))
        if path is None:
            reasons.append(f"{name}: not found")
            continue
        reason = _failure(path, environ)
        if reason is None:
            return FoundEngine(path, tuple(reasons))
        reasons.append(f"{path}: {reason}")
    raise NoEngineError("; ".join(reasons))


def _failure(engine: str, environ: Mapping[str, str]) -> str | None:
    """Return why an engine cannot be used, in its own words; None when it can.

    `info` asks the daemon too, where there is one; `--version` would not.
    """
    try:
        run = subprocess.run(
            [engine, "info"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_INFO_TIMEOUT,
            env=dict(environ),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"'info' timed out after {_INFO_TIMEOUT:.0f} s"
    except OSError as error:
        return error.strerror or type(error).__name__
    if run.returncode == 0:
        return None
    lines = run.stderr.strip().splitlines()
    return lines[-1].strip() if lines else f"'info' failed with exit code {run.returncode}"

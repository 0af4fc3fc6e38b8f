"""Finds the real programs that integration tests use. A missing one is a failure, not a skip."""

import os
import shutil
from pathlib import Path


class MissingProgramError(Exception):
    """A program the tests need is not there."""


def find(name: str, *, variable: str) -> str:
    """Return the path of a program: from an environment variable, else from PATH."""
    given = os.environ.get(variable)
    found = shutil.which(given or name)
    if found is None:
        where = f"{variable}={given!r} is not a program" if given else f"no {name} on PATH"
        raise MissingProgramError(f"{where}: install {name}, or set {variable} to its path")
    return str(Path(found).absolute())


def postgres_bin_dir() -> Path:
    """Return the folder of initdb and postgres: POSTGRES_BIN_DIR, else PATH, else Debian's own."""
    given = os.environ.get("POSTGRES_BIN_DIR")
    candidates = [Path(given)] if given else []
    if not given:
        on_path = shutil.which("initdb")
        candidates += [Path(on_path).resolve().parent] if on_path else []
        candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder.absolute()
    raise MissingProgramError(
        f"no initdb and postgres in {[str(path) for path in candidates] or 'PATH'}: install "
        "PostgreSQL, or set POSTGRES_BIN_DIR to the folder of its programs"
    )

"""Find the real programs that integration tests use. A missing one fails the test."""

import os
import shutil
from pathlib import Path


class MissingProgramError(Exception):
    """A program that the tests need is missing."""


def find(name: str, *, variable: str) -> str:
    """Return the path of a program from an environment variable or from PATH."""
    given = os.environ.get(variable)
    found = shutil.which(given or name)
    if found is None:
        where = f"{variable}={given!r} is not a program" if given else f"{name} is not on PATH"
        raise MissingProgramError(f"{where}: install {name}, or set {variable} to its path")
    return str(Path(found).absolute())


def postgres_bin_dir() -> Path:
    """Return the directory of initdb and postgres: POSTGRES_BIN_DIR, PATH or Debian's."""
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
        "PostgreSQL, or set POSTGRES_BIN_DIR to the directory of its programs"
    )

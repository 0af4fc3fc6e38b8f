"""Import every Python module of an image, in the image: of each wheel by its RECORD, and of the
standard library.

A module may need a distribution that is not installed; this is distinguished from all other
failures.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.cli import ToolError
from tools.container.run import Container
from tools.image.image_files import ImageFiles
from tools.proof.allowlist import Allowlist

KINDS = ("modules",)
SHARED = "/srv/proof"  # Where the container sees the directory through which both talk.
_RECORD = re.compile(r"(/.*)/[^/]+\.dist-info/RECORD")
_LIBRARY = re.compile(r"(/usr/lib/python3\.\d+)/(?:lib-dynload/)?(.+)")
_EXTENSION = re.compile(r"(?:\.cpython-\d+[\w-]*|\.abi3)?\.so|\.py")
_SECONDS = 600.0
# Runs in the image. A module may end the process or print; neither must lose the others' results.
_PROBE = """\
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
with open(sys.argv[1] + "/modules.json") as file:
    names = json.load(file)
failed = {}
for name in names:
    try:
        importlib.import_module(name)
    except BaseException as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        failed[name] = [f"{type(error).__name__}: {error}", missing]
with open(sys.argv[1] + "/failed.json", "w") as file:
    json.dump(failed, file)
"""


@dataclass(frozen=True)
class Imports:
    """The result: `failed` maps a module to its error, `optional` to the missing distribution."""

    names: tuple[str, ...]
    failed: dict[str, str]
    optional: dict[str, str]


def is_record(path: str) -> bool:
    """Return whether this file lists what a wheel installed."""
    return _RECORD.fullmatch(path) is not None


def module_name(path: str) -> str | None:
    """Return the name by which the file at `path`, relative to an import root, is imported.

    None for a file that is not a module or that an import statement cannot name, and for
    `__main__`, whose import runs a program.
    """
    for suffix in _EXTENSION.finditer(path):
        if suffix.end() == len(path):
            parts = path[: suffix.start()].split("/")
            if parts[-1] == "__init__":
                parts.pop()
            named = all(part.isidentifier() for part in parts) and "__main__" not in parts
            return ".".join(parts) if parts and named else None
    return None


def modules(image: ImageFiles) -> tuple[str, ...]:
    """Return every module's name, sorted; the image's RECORDs must have been kept.

    Raise ToolError when there is none at all.
    """
    names: set[str | None] = set()
    for path, file in image.files.items():
        match = _RECORD.fullmatch(path)
        if match is not None and file.content is not None:
            rows = csv.reader(io.StringIO(file.content.decode("utf-8")))
            names |= {module_name(row[0]) for row in rows if row}
        library = _LIBRARY.fullmatch(path)
        if library is not None:
            names.add(module_name(library[2]))
    found = sorted(name for name in names if name is not None)
    if not found:
        raise ToolError("no Python module in the image: nothing to import")
    return tuple(found)


def import_all(
    names: Iterable[str], *, container: Container, shared: Path, env: Mapping[str, str]
) -> Imports:
    """Import all names in one process of the container; `shared` is bound at SHARED.

    Raise ToolError when Python does not come to the end.
    """
    wanted = tuple(names)
    (shared / "modules.json").write_text(json.dumps(wanted))
    result = container.run(
        ["python3", "-c", _PROBE, SHARED], env=env, workdir=SHARED, timeout=_SECONDS
    )
    answer = shared / "failed.json"
    if result.exit_code != 0 or not answer.exists():
        said = result.stderr.decode("utf-8", "replace")[-2000:]
        raise ToolError(f"python3 did not import all: exit code {result.exit_code}: {said}")
    # A part of the standard library that is not there was left out, and may be missed.
    tops = {name.partition(".")[0] for name in wanted} | sys.stdlib_module_names
    failed, optional = {}, {}
    for name, (error, missing) in json.loads(answer.read_text()).items():
        if missing is not None and missing.partition(".")[0] not in tops:
            optional[name] = missing
        else:
            failed[name] = error
    return Imports(wanted, failed, optional)


def findings(imports: Imports, allowlist: Allowlist) -> list[str]:
    """Return a sentence for each module that has to import and does not."""
    return [
        f"import {name}: {error}"
        for name, error in sorted(imports.failed.items())
        if allowlist.reason("modules", name) is None
    ]


def optional_names(imports: Imports) -> str:
    """Return the optional distributions that are not installed, each once."""
    return ", ".join(sorted({name.partition(".")[0] for name in imports.optional.values()}))

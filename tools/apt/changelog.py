"""A .deb → the CVEs that its own changelog names.

The changelog lies in the package, under Debian's signature as all of it. It says what Debian fixed
in a version, not what that version is vulnerable to.
"""

import gzip
import re
import zlib
from pathlib import Path

from tools.apt import versions
from tools.archive import deb
from tools.cli import ToolError

_CVE = re.compile(r"CVE-\d{4}-\d{4,}")
# deb-changelog(5): `package (version) distributions; metadata`, at the beginning of a line.
_ENTRY = re.compile(r"^[^\s(]+ \(([^()\s]+)\) [^;\n]*;", re.MULTILINE)


def read_changelog(path: Path, name: str) -> str | None:
    """Return Debian's changelog in a .deb, None if it has none; raise ToolError."""
    directory = f"usr/share/doc/{name}"
    # A package that exists in Debian only has the first name for upstream's changelog.
    wanted = (f"{directory}/changelog.Debian.gz", f"{directory}/changelog.gz")
    found: dict[str, bytes] = {}
    with deb.data_tar(path) as tar:
        for info in tar:
            member = deb.relative_path(info.name, of=path)
            stream = tar.extractfile(info) if member in wanted and info.isreg() else None
            if stream is not None:
                found[member] = stream.read()
    for member in wanted:
        if member in found:
            try:
                return gzip.decompress(found[member]).decode("utf-8", "replace")
            except (OSError, EOFError, zlib.error) as error:
                raise ToolError(f"{path}: {member}: cannot be read: {error}") from error
    return None


def named(changelog: str, *, since: str) -> tuple[str, ...]:
    """Return the CVEs that the entries above a version name, sorted."""
    entries = list(_ENTRY.finditer(changelog))
    end = len(changelog)
    for entry in entries:
        try:
            if versions.compare(entry[1], since) <= 0:
                end = entry.start()
                break
        except ValueError:
            continue
    found = set(_CVE.findall(changelog[:end]))
    return tuple(sorted(found, key=lambda cve: [int(part) for part in cve.split("-")[1:]]))

"""Small real wheels, and an index of them on disk, for tests."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class TinyWheel:
    """What a wheel says; `files` are its content beside the metadata, by path in the archive."""

    name: str
    version: str = "1.0"
    tag: str = "py3-none-any"
    requires: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    entry_points: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def filename(self) -> str:
        """The file's name as PyPA's "Binary distribution format" forms it."""
        return f"{self.name.replace('-', '_')}-{self.version}-{self.tag}.whl"


def _record_line(path: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode("ascii").rstrip("=")
    return f"{path},sha256={digest},{len(data)}\n"


def write_wheel(
    wheel: TinyWheel,
    *,
    directory: Path,
    corrupt: Mapping[str, bytes] | None = None,
    executable: tuple[str, ...] = (),
    record: Callable[[str], str] = str,
) -> Path:
    """Write the wheel and return its path.

    `corrupt` replaces the content of files without telling RECORD; `executable` are paths with the
    bit set; `record` changes RECORD.
    """
    info = f"{wheel.name.replace('-', '_')}-{wheel.version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {wheel.name}\nVersion: {wheel.version}\n"]
    metadata += [f"Requires-Dist: {requirement}\n" for requirement in wheel.requires]
    metadata += [f"Provides-Extra: {extra}\n" for extra in wheel.extras]
    members = dict(wheel.files)
    members[f"{info}/METADATA"] = "".join(metadata).encode()
    members[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {wheel.tag}\n".encode()
    )
    if wheel.entry_points:
        members[f"{info}/entry_points.txt"] = wheel.entry_points.encode()
    rows = "".join(_record_line(path, data) for path, data in members.items())
    members[f"{info}/RECORD"] = record(rows + f"{info}/RECORD,,\n").encode()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / wheel.filename
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = (0o100755 if name in executable else 0o100644) << 16
            archive.writestr(member, (corrupt or {}).get(name, data))
    return path


def write_index(wheels: list[TinyWheel], *, directory: Path) -> str:
    """Write the wheels and an index of them ("Simple repository API"); return the index's URL."""
    by_project: dict[str, list[Path]] = {}
    for wheel in wheels:
        path = write_wheel(wheel, directory=directory / "files")
        by_project.setdefault(canonicalize_name(wheel.name), []).append(path)
    for project, paths in by_project.items():
        page = directory / "simple" / project / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(
            "<!DOCTYPE html>\n" + "".join(_link(path) for path in paths), encoding="utf-8"
        )
    return (directory / "simple").as_uri()


def _link(path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f'<a href="{escape(path.as_uri())}#sha256={digest}">{path.name}</a>\n'

"""The findings that a proof allows, each with its reason.

    scripts:
      /usr/lib/python3.11/cgi.py: an example of upstream's; nothing starts it

Kinds of findings, below each paths with reasons. In a path `*` stays within one name and `**` spans
any number of names. An entry that allows nothing is an error, so that none outlives its cause.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from tools.apt.yaml_model import Text, load_yaml, validate
from tools.archive.globs import Exclusions
from tools.cli import ToolError

_FILE = TypeAdapter(dict[Text, dict[Text, Text]])


@dataclass
class Allowlist:
    """Reasons by kind and path; remembers which of them were of use."""

    reasons: Mapping[str, Mapping[str, str]]
    source: str = ""
    used: set[tuple[str, str]] = field(default_factory=set)

    def reason(self, kind: str, path: str) -> str | None:
        """Return why a finding of this kind at `path` is allowed, or None if it is not."""
        for glob, reason in self.reasons.get(kind, {}).items():
            if Exclusions((glob.lstrip("/"),)).match(path.lstrip("/")):
                self.used.add((kind, glob))
                return reason
        return None

    def idle(self) -> list[str]:
        """Return a sentence for each entry that allowed nothing."""
        return [
            f"{self.source}: {kind}: {glob}: nothing of that kind is found there; drop the entry"
            for kind, entries in self.reasons.items()
            for glob in entries
            if (kind, glob) not in self.used
        ]


def read_allowlist(paths: Sequence[Path], *, kinds: Collection[str]) -> Allowlist:
    """Read and merge lists. Raise ToolError, naming file and entry, for anything malformed."""
    merged: dict[str, dict[str, str]] = {}
    for path in paths:
        content = load_yaml(path)
        # A file of comments alone allows nothing.
        for kind, entries in validate({} if content is None else content, _FILE, path=path).items():
            if kind not in kinds:
                raise ToolError(
                    f"{path}: {kind!r} is not a kind of finding; the kinds are "
                    f"{', '.join(sorted(kinds))}"
                )
            merged.setdefault(kind, {}).update(entries)
    return Allowlist(merged, source=", ".join(str(path) for path in paths))

"""The list of what a proof finds and accepts, each with its reason.

    scripts:
      /usr/lib/python3.11/cgi.py: an example of upstream's; nothing starts it

Kinds of findings, below each paths with reasons. In a path `*` stays within one name and `**` spans
any number of names. What accepts nothing is an error, so that no entry outlives its cause.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tools.apt.paths import Exclusions
from tools.image.image_files import ProofError


@dataclass
class Accepted:
    """Reasons by kind and path; remembers which of them were of use."""

    reasons: Mapping[str, Mapping[str, str]]
    source: str = ""
    used: set[tuple[str, str]] = field(default_factory=set)

    def reason(self, kind: str, path: str) -> str | None:
        """Return why a finding of this kind at `path` is accepted, or None if it is not."""
        for glob, reason in self.reasons.get(kind, {}).items():
            if Exclusions((glob.lstrip("/"),)).match(path.lstrip("/")):
                self.used.add((kind, glob))
                return reason
        return None

    def idle(self) -> list[str]:
        """Return a sentence for each entry that accepted nothing."""
        return [
            f"{self.source}: {kind}: {glob}: nothing of that kind is found there; drop the entry"
            for kind, entries in self.reasons.items()
            for glob in entries
            if (kind, glob) not in self.used
        ]


def read_accepted(paths: Sequence[Path], *, kinds: Collection[str]) -> Accepted:
    """Read and merge lists. Raise ProofError, naming file and entry, for anything malformed."""
    merged: dict[str, dict[str, str]] = {}
    for path in paths:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ProofError(f"{path}: is not YAML: {error}") from error
        if not isinstance(content, dict):
            raise ProofError(f"{path}: wanted kinds with paths below them, found {content!r}")
        for kind, entries in content.items():
            if kind not in kinds:
                raise ProofError(
                    f"{path}: {kind!r} is no kind of finding; there are {', '.join(sorted(kinds))}"
                )
            if not isinstance(entries, dict):
                raise ProofError(f"{path}: {kind}: wanted paths with reasons, found {entries!r}")
            for glob, reason in entries.items():
                if not isinstance(glob, str) or not isinstance(reason, str) or not reason.strip():
                    raise ProofError(f"{path}: {kind}: {glob!r} has no reason")
                merged.setdefault(kind, {})[glob] = reason
    return Accepted(merged, source=", ".join(str(path) for path in paths))

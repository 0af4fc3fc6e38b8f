"""Rebuild attestations: who rebuilt which digest from which revision, and whether enough agree.

The statement is a SLSA verification summary (https://slsa.dev/spec/v1.1/verification_summary): the
verifier is the rebuilder, the policy is the source at its revision, and PASSED means that building
that source gave the subject, bit for bit. Same rebuilder, digest and revision: the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.attest.dsse import read_envelope
from tools.attest.keys import PublicKey
from tools.attest.statement import REBUILD, DocumentError, make_statement
from tools.attest.verification import Expected, Signed, envelope_signers
from tools.cli import ToolError
from tools.registry.errors import printable

LEVEL = "REBUILT_BIT_FOR_BIT"
_PASSED = "PASSED"
_REVISION = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Agreement:
    """How many rebuilders made the image: `rebuilders` is key → what it says it built from."""

    threshold: int
    rebuilders: Mapping[PublicKey, str]
    problems: tuple[str, ...]

    @property
    def reached(self) -> bool:
        """Whether enough rebuilders agree."""
        return len(self.rebuilders) >= self.threshold

    def lines(self) -> list[str]:
        """Return the result for people."""
        verdict = "agree" if self.reached else "agree, which is too few"
        return [
            *(f"rebuilt by {said}, {key}" for key, said in self.rebuilders.items()),
            *self.problems,
            f"{len(self.rebuilders)} of {self.threshold} needed rebuilders {verdict}",
        ]


def rebuild_statement(digest: str, *, rebuilder: str, revision: str, source: str = "") -> bytes:
    """Return the statement that `rebuilder` (a URI) made the image `digest` from `revision`.

    `source` is the repository, `git+https://…`. Raise ToolError for what is neither.
    """
    if ":" not in rebuilder:
        raise ToolError(
            f"--rebuilder '{rebuilder}' must be a URI that says who you are, "
            "such as https://example.org or mailto:me@example.org"
        )
    if not _REVISION.fullmatch(revision):
        raise ToolError(f"revision '{revision}' must be a full commit hash of git")
    predicate = {
        "verifier": {"id": rebuilder},
        "resourceUri": f"pkg:oci/image@{digest.replace(':', '%3A')}",
        "policy": {
            **({"uri": f"{source}@{revision}"} if source else {}),
            "digest": {"gitCommit": revision},
        },
        "verificationResult": _PASSED,
        "verifiedLevels": [LEVEL],
        "slsaVersion": "1.1",
    }
    return make_statement({digest: ""}, REBUILD, predicate)


def read_attestations(paths: Sequence[Path], expected: Expected) -> tuple[list[Signed], list[str]]:
    """Return the statements in files, or in the files of directories, and why others do not count.

    Raise OSError.
    """
    signed: list[Signed] = []
    problems: list[str] = []
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            try:
                envelope = read_envelope(file.read_bytes())
                signed += envelope_signers(envelope, expected, str(file))
            except DocumentError as error:
                problems.append(f"{file}: {error}")
    return signed, problems


def agreement(signed: Sequence[Signed], problems: Sequence[str], *, threshold: int) -> Agreement:
    """Count the keys that say they rebuilt the image, each once, however often it signed."""
    rebuilders: dict[PublicKey, str] = {}
    others = list(problems)
    for each in signed:
        if each.statement is None or each.statement.kind != REBUILD:
            continue
        predicate = each.statement.predicate
        try:
            rebuilders.setdefault(each.key, _said(predicate))
        except DocumentError as error:
            others.append(f"{each.where}: {each.key}: {error}")
    return Agreement(threshold, rebuilders, tuple(others))


def independent(keys: Sequence[PublicKey], threshold: int) -> None:
    """Raise ToolError unless the keys are different, and enough of them for `threshold`."""
    for position, key in enumerate(keys):
        for other in keys[:position]:
            if key == other:
                raise ToolError(f"--rebuilders: {other} and {key} are one key; it counts once")
    if not 1 <= threshold <= len(keys):
        raise ToolError(
            f"--threshold {threshold}: must be from 1 to the number of --rebuilders, {len(keys)}"
        )


def _said(predicate: Mapping[str, Any]) -> str:
    """Return who rebuilt from which source; raise DocumentError unless the rebuild passed."""
    if predicate.get("verificationResult") != _PASSED:
        raise DocumentError(f"the result is {predicate.get('verificationResult')!r}")
    if LEVEL not in (predicate.get("verifiedLevels") or ()):
        raise DocumentError(f"verifiedLevels has no {LEVEL}")
    try:
        who = predicate["verifier"]["id"]
        policy = predicate["policy"]
        return printable(f"{who} from {policy.get('uri') or policy['digest']['gitCommit']}")
    except (AttributeError, KeyError, TypeError) as error:
        raise DocumentError("a rebuild without a verifier's id or a source") from error

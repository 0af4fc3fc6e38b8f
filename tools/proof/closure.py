r"""Prove that an image is closed: every object, script and link finds in it what it needs.

    python3 -m tools.proof.closure --image bazel-bin/backend/image [--allowlist closure.yaml]
    python3 -m tools.proof.closure --architecture amd64 --lock debian.lock.json *.deb

Takes any OCI layout of a glibc system, of any architecture, or a set of Debian packages as an image
would have them (usr-merged, without the lock's excluded paths), and runs nothing. Each ELF object
is loaded as ld.so would (tools/elf/linker.py), on the oldest processor and, where the image has
libraries for newer ones, on those as well. What an object lacks when it is started alone is
accepted if others load it and it then lacks nothing: some libraries are only parts of another.
Prints each finding with the places searched and who loads the object; returns 1 if there is one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.apt.layer_policy import read_policy
from tools.archive.globs import Exclusions
from tools.cli import ToolError, tool
from tools.image.image_files import ImageFiles, read_image
from tools.proof.allowlist import Allowlist, read_allowlist
from tools.proof.closure_objects import foreign_objects, is_native, object_findings, reached
from tools.proof.closure_scripts import link_findings, script_findings, scripts_of
from tools.proof.findings import Finding
from tools.proof.package_files import merge, read_packages

# What can be found, and what to call it in an allowlist.
KINDS = (
    "cache",
    "libraries",
    "linkers",
    "links",
    "machines",
    "modes",
    "scripts",
    "search_paths",
    "symbols",
    "versions",
)
_SHOWN_LOADERS = 6


@dataclass
class Verdict:
    """The findings, and how much was examined."""

    findings: list[Finding] = field(default_factory=list)
    allowed: list[tuple[Finding, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def judge(
    image: ImageFiles, allowlist: Allowlist | None = None, *, roots: Sequence[str] | None = None
) -> Verdict:
    """Return every finding, sorted, split by the allowlist.

    With `roots`, real paths of programs and modules, only these and what they load are judged.
    Raise ToolError for an image without objects or linker, or with a damaged ld.so.cache.
    """
    objects = {path: file.elf for path, file in image.files.items() if file.elf is not None}
    native = {path: elf for path, elf in objects.items() if is_native(elf, image.machine)}
    if not native:
        raise ToolError(f"no ELF object of {image.machine} in the image: nothing to prove")
    if roots is not None:
        wanted = reached(roots, image)
        native = {path: elf for path, elf in native.items() if path in wanted}
        found = [*object_findings(native, image)]
        counts = {"objects": len(native)}
    else:
        scripts = dict(scripts_of(image))
        links = [path for path, entry in image.entries() if entry.kind == "symlink"]
        found = [
            *foreign_objects(objects, image),
            *object_findings(native, image),
            *script_findings(scripts, image),
            *link_findings(links, image),
        ]
        counts = {"objects": len(native), "scripts": len(scripts), "links": len(links)}
    verdict = Verdict(counts=counts)
    for finding in _merged(found):
        reason = allowlist.reason(finding.kind, finding.path) if allowlist else None
        if reason is None:
            verdict.findings.append(finding)
        else:
            verdict.allowed.append((finding, reason))
    return verdict


def _merged(found: Iterable[Finding]) -> list[Finding]:
    """Sort; report a finding of several processors once, with the longest list of loaders."""
    best: dict[tuple[str, str, str, tuple[str, ...]], Finding] = {}
    for finding in found:
        key = (finding.path, finding.kind, finding.text, finding.searched)
        if key not in best or len(finding.loaders) > len(best[key].loaders):
            best[key] = finding
    return [finding for _, finding in sorted(best.items())]


def report(verdict: Verdict, *, name: str) -> str:
    """Return the text for people: findings, allowed findings and counts."""
    lines: list[str] = []
    for finding in verdict.findings:
        lines.append(f"{finding.path} {finding.text}")
        lines += [f"    searched {place}" for place in finding.searched]
        lines += [f"    loaded by {loader}" for loader in finding.loaders[:_SHOWN_LOADERS]]
        if len(finding.loaders) > _SHOWN_LOADERS:
            lines.append(f"    loaded by {len(finding.loaders) - _SHOWN_LOADERS} others")
    for finding, reason in verdict.allowed:
        lines.append(f"allowed: {finding.path} {finding.text}: {reason}")
    counts = ", ".join(f"{count} {what}" for what, count in verdict.counts.items())
    lines.append(f"{name}: {counts}; {len(verdict.findings)} findings")
    return "\n".join(lines)


def _read(options: argparse.Namespace) -> ImageFiles:
    if options.image is not None:
        return read_image(options.image)
    exclusions = read_policy(options.lock).exclusions if options.lock else Exclusions(())
    packages = read_packages(options.debs, exclusions=exclusions)
    return merge(packages, architecture=options.architecture)


@tool("closure")
def main(argv: list[str] | None = None) -> int:
    """Judge the image or packages of the command line: 0 if closed, 1 if not or unreadable."""
    parser = argparse.ArgumentParser(
        description="Prove that every object, script and link of an image finds what it needs."
    )
    add = parser.add_argument
    add("--image", type=Path, help="OCI layout directory")
    add("--allowlist", type=Path, action="append", default=[], help="YAML list, with reasons")
    add("--architecture", help="of the packages, as Debian calls it")
    add("--lock", type=Path, help="lock whose excluded paths are left out of the packages")
    add("debs", type=Path, nargs="*", help="packages to judge instead of an image")
    options = parser.parse_args(argv)
    of_image, of_packages = options.image is not None, bool(options.debs)
    if of_image == of_packages or (of_packages and options.architecture is None):
        parser.error("give either --image, or --architecture and packages")
    allowlist = read_allowlist(options.allowlist, kinds=KINDS)
    image = _read(options)
    verdict = judge(image, allowlist)
    idle = allowlist.idle()
    name = options.image.name if options.image else f"{len(options.debs)} packages"
    print(report(verdict, name=f"{name} ({image.architecture})"))
    for line in idle:
        print(line)
    return 1 if verdict.findings or idle else 0


if __name__ == "__main__":
    sys.exit(main())

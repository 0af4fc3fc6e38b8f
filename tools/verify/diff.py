"""Show what changed between two images: packages with their CVEs, sizes, files, config.

    bazel run //backend:diff -- OLD [NEW]

OLD and NEW are each a reference in a registry (HOST/NAME[:TAG][@sha256:…]; http://… for one without
TLS), the directory of an OCI layout, an archive (docker-archive or oci-archive, gzip'd or not), or
a git revision of this repository. Without NEW it is what this checkout makes. What exists as a
file is one, and what names a commit is a revision. A revision is built first, in a working tree in
your cache, by its own tools/bazelw, or by bazel or bazelisk on PATH; what was built is kept there,
so the same diff builds nothing a second time.

CVEs are those that Debian's changelogs name between the two versions. An image does not have its
packages' changelogs: they are read from the .deb files of this checkout, or of the revision.

Exit code: 0 the two are compared, whatever differs; 1 with --exit-code, if they differ; 2 they
cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cli import ToolError, tool
from tools.image import spec
from tools.image.cache import default_root
from tools.image.platform import choose, listing, normalize, platform_text
from tools.linux.architectures import BY_MACHINE
from tools.verify.changelogs import Changelogs
from tools.verify.checkout import (
    NAME,
    Checkout,
    directories,
    open_checkout,
    read_target,
    target_parser,
)
from tools.verify.diff_text import markdown, text
from tools.verify.image_diff import Report, diff_images
from tools.verify.images import Side
from tools.verify.revisions import Revisions, find_commit, is_checked_out
from tools.verify.subject import Entry, Subject, open_local, open_subject

_FORMATS = ("text", "markdown", "json")
CANNOT = 2


@dataclass(frozen=True)
class Found:
    """An image that was named, and the .deb files that it was made from, if they are known."""

    subject: Subject
    debs: tuple[Path, ...] = ()


class Finder:
    """Finds what the arguments name; `scratch` is an empty directory."""

    def __init__(
        self,
        checkout: Checkout,
        target: Mapping[str, Any],
        *,
        here: Path,
        scratch: Path,
        bazel: str | None = None,
    ) -> None:
        self._checkout = checkout
        self._target = target
        self._here = here
        self._scratch = scratch
        # A path is the user's; a name is looked for on PATH.
        self._bazel = str(here / bazel) if bazel and "/" in bazel else bazel
        workspace = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
        self._workspace = Path(workspace) if workspace else None

    def find(self, name: str | None, *, place: str) -> Found:
        """Return what a name means; `place` tells OLD from NEW. Raise ToolError or OSError."""
        scratch = self._scratch / place
        scratch.mkdir()
        if name is None:
            return self._own()
        if os.path.lexists(self._here / name):
            return Found(open_subject(name, here=self._here, scratch=scratch))
        if spec.is_digest(name):
            return self._digest(name)
        commit = find_commit(self._workspace, name) if self._workspace else None
        if self._workspace and commit:
            return self._revision(self._workspace, name, commit, scratch)
        return Found(open_subject(name, here=self._here, scratch=scratch))

    def _own(self) -> Found:
        return Found(self._checkout.subjects[0], self._checkout.debs)

    def _digest(self, digest: str) -> Found:
        for subject in self._checkout.subjects:
            if digest in (subject.digest, *(entry.digest for entry in subject.entries)):
                return self._own()
        raise ToolError(
            f"{digest}: this checkout does not make it, and a digest alone does not say where it "
            "can be read; write HOST/NAME@sha256:…"
        )

    def _revision(self, workspace: Path, name: str, commit: str, scratch: Path) -> Found:
        if is_checked_out(workspace, commit):
            return self._own()
        cache = default_root().parent / "revisions"
        revisions = Revisions(workspace, self._target, cache=cache, bazel=self._bazel)
        built = revisions.build(name, commit)
        subject = open_local(built.layout, name=f"{name} ({commit[:12]})", scratch=scratch)
        return Found(subject, built.debs)


def choose_entries(old: Subject, new: Subject, platform: str | None) -> tuple[Entry, Entry]:
    """Return the images to compare: of a platform, by default of this machine or what both have.

    Raise ToolError if one of them has no such image.
    """
    if platform is None and len(old.entries) == len(new.entries) == 1:
        return old.entries[0], new.entries[0]
    machine = BY_MACHINE.get(os.uname().machine)
    wanted = [platform] if platform else [f"linux/{machine.name}"] if machine else []
    if platform is None:
        wanted += [_platform(each) for each in old.entries]
    for each in wanted:
        pair = [choose(_offers(subject), each) for subject in (old, new)]
        if pair[0] and pair[1]:
            return pair[0], pair[1]
    texts = [listing([name for name, _ in _offers(subject)]) for subject in (old, new)]
    raise ToolError(
        f"no image for {platform or 'one platform'} in both: {old.name} has {texts[0]}, "
        f"{new.name} has {texts[1]}"
    )


def _offers(subject: Subject) -> list[tuple[str, Entry]]:
    return [(_platform(entry), entry) for entry in subject.entries]


def _platform(entry: Entry) -> str:
    return entry.platform or normalize(platform_text(entry.read().config))


def diff(old: Found, new: Found, *, platform: str | None, more_debs: Sequence[Path] = ()) -> Report:
    """Return what changed; `more_debs` may have changelogs, too. Raise ToolError or OSError."""
    entries = choose_entries(old.subject, new.subject, platform)
    sides = [
        Side(entry.read(), found.subject.fetch, has_manifest=found.subject.has_manifest)
        for entry, found in zip(entries, (old, new), strict=True)
    ]
    names = (old.subject.name, new.subject.name)
    changelogs = Changelogs([*new.debs, *old.debs, *more_debs])
    return diff_images(sides[0], sides[1], names=names, changelogs=changelogs)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = target_parser("diff", __doc__)
    add = parser.add_argument
    add("old", metavar="OLD", help="an image or a git revision, see above")
    add("new", metavar="NEW", nargs="?", help=f"the same; by default {NAME}")
    add("--format", choices=_FORMATS, default="text", help="of the output (default: text)")
    add("--platform", help="os/architecture[/variant] to compare of an image index")
    add("--bazel", metavar="PROGRAM", help="what builds revisions (default: see above)")
    add("--exit-code", action="store_true", help="end with 1 if the images differ")
    return parser


@tool("diff", failure=CANNOT)
def main(argv: list[str] | None = None) -> int:
    """Print what changed from one image to another."""
    flags = make_parser().parse_args(argv)
    target = read_target(flags.runfiles, flags.target)
    with directories() as (here, scratch):
        checkout = open_checkout(target, flags.runfiles, scratch / "checkout")
        finder = Finder(checkout, target, here=here, scratch=scratch, bazel=flags.bazel)
        old = finder.find(flags.old, place="old")
        new = finder.find(flags.new, place="new")
        report = diff(old, new, platform=flags.platform, more_debs=checkout.debs)
    if flags.format == "json":
        print(json.dumps(report.json(), indent=2, ensure_ascii=False))
    else:
        for line in {"text": text, "markdown": markdown}[flags.format](report):
            print(line)
    return 1 if flags.exit_code and not report.same else 0


if __name__ == "__main__":
    sys.exit(main())

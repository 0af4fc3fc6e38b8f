"""Say whether this checkout makes an image, and if not, what differs.

    bazel run //backend:verify -- REFERENCE

REFERENCE is a digest (sha256:…), a reference in a registry (HOST/NAME[:TAG][@sha256:…]; http://…
for one without TLS), the directory of an OCI layout, or an archive (docker-archive or oci-archive,
gzip'd or not). A single image is compared with the image of this checkout that it is most like,
usually of its architecture; an image index with all of them. Of a registry only what differs is
read.

With --key its signatures and with --rebuilders the statements of those who built it elsewhere are
verified too, also offline (tools/attest/README.md).

Exit code: 0 this checkout makes it, and the rest holds; 1 it does not; 2 nobody can tell: the
reference, or something else, cannot be found or read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.attest import verify_signature
from tools.cli import ToolError, tool
from tools.image import spec
from tools.image.layout import Image, verify_layers
from tools.image.platform import normalize, platform_text
from tools.verify import signatures
from tools.verify.checkout import (
    NAME,
    Checkout,
    directories,
    open_checkout,
    read_target,
    target_parser,
)
from tools.verify.difference import Difference, Weight
from tools.verify.images import Side, choose, compare_images
from tools.verify.index_difference import index_differences
from tools.verify.layers import Names
from tools.verify.subject import Entry, Subject, open_subject

SAME, DIFFERENT, UNKNOWN = 0, 1, 2
_NAMES = Names("the image", NAME)


@dataclass(frozen=True)
class Comparison:
    """One image beside the one of this checkout; without differences they are the same."""

    platform: str
    old: str
    new: str
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What there is to say of a reference: of each of its images, and of its index."""

    reference: str
    digest: str
    images: tuple[Comparison, ...]
    index: tuple[Difference, ...] = ()
    note: str = ""
    known: bool = field(default=False)  # whether the digest is one of this checkout's

    @property
    def same(self) -> bool:
        """Whether this checkout makes it, to the byte."""
        return self.known or not (
            self.index or any(each.differences for each in self.images) or not self.images
        )


def verify(reference: str, checkout: Checkout, *, here: Path, scratch: Path) -> Verdict:
    """Compare what a reference names with the images of this checkout.

    `scratch` is an empty directory for what is downloaded or unpacked. Raise ToolError or OSError.
    """
    if spec.is_digest(reference):
        return _of_digest(reference, checkout)
    subject = open_subject(reference, here=here, scratch=scratch)
    known = checkout.known()
    if subject.kind in ("layout", "oci-archive"):
        # Of a registry, whoever pulls verifies each byte; of a directory nobody does.
        for entry in subject.entries:
            verify_layers(entry.read())
    if subject.digest in known and subject.has_manifest:
        return Verdict(reference, subject.digest, (), note=known[subject.digest], known=True)
    if subject.index is not None:
        return _of_index(subject, checkout)
    (entry,) = subject.entries
    images = [each.read() for ours in checkout.subjects for each in ours.entries]
    return Verdict(reference, subject.digest, (_compared(subject, entry, images),))


def _of_digest(digest: str, checkout: Checkout) -> Verdict:
    known = checkout.known()
    if digest in known:
        return Verdict(digest, digest, (), note=known[digest], known=True)
    for subject in checkout.subjects:
        for entry in subject.entries:
            image = entry.read()
            if image.manifest["config"]["digest"] == digest:
                platform = normalize(platform_text(image.config))
                note = f"the image ID (digest of the config) of {platform}"
                return Verdict(digest, digest, (), note=note, known=True)
    makes = ", ".join(f"{each} ({what})" for each, what in known.items())
    note = (
        f"this checkout makes {makes}; to learn what differs, name the image by HOST/NAME@{digest}"
    )
    return Verdict(digest, digest, (), note=note)


def _of_index(subject: Subject, checkout: Checkout) -> Verdict:
    ours = next((each for each in checkout.subjects if each.index is not None), None)
    if ours is None:
        raise ToolError(f"{subject.name}: is an image index, and this target makes one image only")
    pairs = [
        (entry, own)
        for entry in subject.entries
        for own in ours.entries
        if entry.platform == own.platform
    ]
    images = tuple(
        Comparison(entry.platform, entry.digest, own.digest)
        if entry.digest == own.digest
        else _compared(subject, entry, [own.read()])
        for entry, own in pairs
    )
    index = tuple(index_differences(subject, ours, names=_NAMES))
    return Verdict(subject.name, subject.digest, images, index)


def _compared(subject: Subject, entry: Entry, images: Sequence[Image]) -> Comparison:
    image = entry.read()
    own = choose(image, images)
    old = Side(image, subject.fetch, has_manifest=subject.has_manifest)
    differences = compare_images(old, Side(own, lambda _: None), names=_NAMES)
    new = own.digest
    if not subject.has_manifest:
        new = own.manifest["config"]["digest"]
        # A config may say the same in other bytes, and then its digest is another.
    if image.digest != new and not differences:
        text = "its documents say the same in other bytes: another JSON encoding"
        differences = [Difference(Weight.DOCUMENT, "manifest", text)]
    platform = normalize(platform_text(own.config))
    return Comparison(platform, image.digest, new, tuple(differences))


def text(verdict: Verdict) -> Iterator[str]:
    """Yield the lines that say a verdict in words."""
    if verdict.same:
        what = f": {verdict.note}" if verdict.note else ""
        yield f"same: this checkout makes {verdict.reference}{what}"
        for image in verdict.images:
            yield f"  {image.platform}  {image.new}"
        return
    yield f"different: this checkout does not make {verdict.reference}"
    if verdict.note:
        yield f"  {verdict.note}"
    if verdict.images or verdict.index:
        yield "  (what is written as old → new is: the image → this checkout)"
    yield from _listed(verdict.index, indent="  ")
    for image in verdict.images:
        if not image.differences:
            yield f"  {image.platform}: the same, {image.new}"
            continue
        yield f"  {image.platform}: {image.old} → {image.new}"
        yield from _listed(image.differences, indent="    ")


def _listed(differences: Sequence[Difference], *, indent: str) -> Iterator[str]:
    for number, each in enumerate(differences, start=1):
        yield f"{indent}{number}. {each.where}: {each.text}"
        yield from (f"{indent}   {line}" for line in each.details)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = target_parser("verify", __doc__)
    add = parser.add_argument
    add("reference", metavar="REFERENCE", help="the image to verify, see above")
    verify_signature.add_flags(parser)
    return parser


@tool("verify", failure=UNKNOWN)
def main(argv: list[str] | None = None) -> int:
    """Return 0 if this checkout makes the image, 1 if it does not, 2 if that cannot be told."""
    flags = make_parser().parse_args(argv)
    target = read_target(flags.runfiles, flags.target)
    with directories() as (here, scratch):
        checkout = open_checkout(target, flags.runfiles, scratch)
        verdict = verify(flags.reference, checkout, here=here, scratch=scratch)
        signed = signatures.check(flags, verdict.digest, here=here)
    for line in (*text(verdict), *signed.lines):
        print(line)
    return SAME if verdict.same and signed.holds else DIFFERENT


if __name__ == "__main__":
    sys.exit(main())

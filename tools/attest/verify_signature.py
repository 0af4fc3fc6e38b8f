"""Verify an image's signatures and what is attested of it, without asking anybody else.

    verify_signature --key cosign.pub registry.example/app:v1
    verify_signature --key cosign.pub --attestation slsaprovenance1 DIR
    verify_signature REFERENCE --rebuilders a.pub b.pub c.pub --threshold 2 --rebuilds DIR

The image is in a registry, or in a layout directory (of `sign --output` or `cosign save`), which
needs no network. Exit code 0: verified; 1: not; 2: unknown, because something cannot be read.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.attest import rebuild, statement
from tools.attest.keys import PublicKey, load_public_key
from tools.attest.store import LayoutStore, RegistryStore, Store
from tools.attest.verification import Evidence, Expected, gather
from tools.cli import ToolError, tool
from tools.image.spec import sha256_digest
from tools.registry import cli
from tools.registry.cli import CliContext
from tools.registry.progress import Progress
from tools.registry.reference import parse_reference
from tools.registry.transport import CancelledError


@dataclass(frozen=True)
class Verdict:
    """Whether everything that was asked for holds, and what to tell the user."""

    holds: bool
    lines: tuple[str, ...]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the check, for this program and for others that offer it."""
    add = parser.add_argument_group("signatures").add_argument
    add(
        "--key",
        action="append",
        default=[],
        metavar="KEY",
        help="public key in PEM, a file or env://NAME; one of several is enough",
    )
    add(
        "--attestation",
        action="append",
        default=[],
        metavar="TYPE",
        help="also needed, signed by such a key: a statement of this type, as cosign's short name "
        "(slsaprovenance1, spdxjson, cyclonedx, openvex) or URI",
    )
    add("--identity", metavar="HOST/NAME", help="repository that was signed, if not REFERENCE's")
    add(
        "--rebuilders",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY",
        help="public keys of rebuilders, of whom --threshold must have made the same digest",
    )
    add("--threshold", type=int, metavar="K", help="how many of them (default: all)")
    add(
        "--rebuilds",
        action="extend",
        nargs="+",
        default=[],
        type=Path,
        metavar="PATH",
        help="files of rebuilders, or directories of them, besides those beside the image",
    )


def asked(flags: argparse.Namespace) -> bool:
    """Return whether any of these flags is given."""
    names = ("key", "attestation", "identity", "rebuilders", "rebuilds")
    return flags.threshold is not None or any(getattr(flags, name) for name in names)


def check_flags(flags: argparse.Namespace) -> None:
    """Raise ToolError when the flags ask for nothing, or for half of something."""
    if not flags.key and not flags.rebuilders:
        raise ToolError("nothing to verify: give --key, or --rebuilders and --threshold")
    if flags.attestation and not flags.key:
        raise ToolError("--attestation needs --key, which must have signed the statement")
    if not flags.rebuilders and (flags.threshold is not None or flags.rebuilds):
        raise ToolError("--threshold and --rebuilds need --rebuilders")


def check(
    flags: argparse.Namespace,
    context: CliContext,
    store: Store | None,
    digest: str,
    repository: str | None,
) -> Verdict:
    """Verify the image `digest` as the flags ask; `store` None: the rebuilders' files alone count.

    Raise ToolError or OSError when it cannot be told.
    """
    check_flags(flags)
    verdicts = []
    if flags.key:
        keys = _keys(flags.key, context)
        expected = Expected(digest, keys, flags.identity or repository)
        evidence = gather(store, expected) if store else Evidence((), ())
        verdicts.append(_signed(evidence, [statement.type_of(each) for each in flags.attestation]))
    if flags.rebuilders:
        keys = _keys(flags.rebuilders, context)
        threshold = len(keys) if flags.threshold is None else flags.threshold
        rebuild.independent(keys, threshold)
        expected = Expected(digest, keys)
        evidence = gather(store, expected) if store else Evidence((), ())
        paths = [context.here / path for path in flags.rebuilds]
        signed, problems = rebuild.read_attestations(paths, expected)
        agreed = rebuild.agreement([*evidence.signed, *signed], problems, threshold=threshold)
        verdicts.append(Verdict(agreed.reached, tuple(agreed.lines())))
    return Verdict(
        all(each.holds for each in verdicts),
        tuple(line for each in verdicts for line in each.lines),
    )


def _keys(names: Sequence[str], context: CliContext) -> list[PublicKey]:
    return [load_public_key(name, here=context.here, environ=context.environ) for name in names]


def _signed(evidence: Evidence, kinds: Sequence[str]) -> Verdict:
    lines = [f"signed by {each.key}: {each.where}" for each in evidence.signatures]
    for each in evidence.statements():
        kind = each.statement.kind if each.statement else ""
        lines.append(f"{statement.short_name(kind)} by {each.key}: {each.where}")
    missing = [] if evidence.signatures else ["no signature of a trusted key"]
    missing += [
        f"no {statement.short_name(kind)} attestation of a trusted key"
        for kind in kinds
        if not evidence.statements(kind)
    ]
    if missing:
        lines += [*evidence.problems, *missing]
    return Verdict(not missing, tuple(lines))


def _parser() -> argparse.ArgumentParser:
    parser = cli.connection_parser("verify_signature", (__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        help="HOST/NAME[:TAG][@DIGEST], or a layout directory, DIR[@DIGEST]",
    )
    add_flags(parser)
    parser.epilog = "exit code: 0 verified; 1 not verified; 2 unknown: something cannot be read"
    return parser


def open_store(
    text: str, flags: argparse.Namespace, context: CliContext
) -> tuple[Store, str, str | None]:
    """Return where the image is, its digest, and the repository; raise ToolError."""
    path, _, digest = text.partition("@")
    directory = context.here / path
    if directory.is_dir():
        layout = LayoutStore(directory)
        return layout, layout.root(digest or None), None
    reference = parse_reference(text)
    registry = cli.connect(flags, reference.repository, context, read_only=True)
    found = registry.get_manifest(reference.digest or reference.tag or "latest")
    if found is None:
        raise ToolError(f"{reference}: is not in the registry")
    # Not what the registry says of it: a pull is of these bytes.
    digest = sha256_digest(found.body)
    if reference.digest not in (None, digest):
        raise ToolError(f"{reference}: the registry sent a manifest with digest {digest}")
    return RegistryStore(registry), digest, str(reference.repository)


@tool("verify_signature", failure=2)
def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 verified, 1 not, 2 unknown."""
    flags = _parser().parse_args(argv)
    here = Path(os.environ.get("BUILD_WORKING_DIRECTORY", ""))
    context = CliContext(environ=os.environ, here=here, progress=Progress(sys.stderr))
    check_flags(flags)
    try:
        store, digest, repository = open_store(flags.reference, flags, context)
        verdict = check(flags, context, store, digest, repository)
    except CancelledError:
        raise KeyboardInterrupt from None
    except (ToolError, OSError) as error:
        raise ToolError(context.scrub(str(error))) from None
    for line in verdict.lines:
        print(line)
    print(f"{digest}: {'verified' if verdict.holds else 'NOT verified'}")
    return 0 if verdict.holds else 1


if __name__ == "__main__":
    sys.exit(main())

"""What `verify` checks besides the bytes: signatures of an image, and that rebuilders agree.

The flags and the verdict are those of tools/attest; here is only where the image's signatures are.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tools.attest import verify_signature
from tools.attest.store import LayoutStore, RegistryStore, Store
from tools.attest.verify_signature import Verdict
from tools.image import spec
from tools.registry import pull
from tools.registry.cli import CliContext
from tools.registry.progress import Progress
from tools.verify.subject import split_reference


def check(flags: argparse.Namespace, digest: str, *, here: Path) -> Verdict:
    """Verify the signatures of what the flags' reference names; nothing asked for is verified.

    Raise ToolError or OSError when it cannot be told.
    """
    if not verify_signature.asked(flags):
        return Verdict(holds=True, lines=())
    context = CliContext(environ=os.environ, here=here, progress=Progress(sys.stderr))
    store, repository = _store(flags.reference, here)
    return verify_signature.check(flags, context, store, digest, repository)


def _store(name: str, here: Path) -> tuple[Store | None, str | None]:
    """Return where the signatures of an image are, and its repository.

    An archive or a digest alone has none beside it, so only the files of rebuilders count.
    """
    if os.path.lexists(here / name):
        return (LayoutStore(here / name), None) if (here / name).is_dir() else (None, None)
    if spec.is_digest(name):
        return None, None
    repository, _ = split_reference(name)
    registry = pull.connect(repository, config=None, environ=os.environ)
    return RegistryStore(registry), str(registry.repository)

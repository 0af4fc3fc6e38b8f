"""Give tests a real gpgv and apt: that of the locked packages under Bazel, else the host's."""

import functools
import os
import tempfile
from pathlib import Path

from tools.apt.signature import Verifier
from tools.apt.signing import unpacked_verifier

TESTDATA = Path(__file__).parent / "testdata"
KEYRING = TESTDATA / "keyring.gpg"


def signing_debs() -> list[Path]:
    """Return the packages of the lock's group `signing`, where the BUILD file names them."""
    runfiles = Path(os.environ.get("TEST_SRCDIR", "."))
    return [runfiles / path for path in os.environ.get("SIGNING_DEBS", "").split()]


def apt_debs() -> list[Path]:
    """Return the packages of the lock's group `apt`."""
    runfiles = Path(os.environ.get("TEST_SRCDIR", "."))
    return [runfiles / path for path in os.environ["APT_DEBS"].split()]


def verifier(*, keyring: Path = KEYRING) -> Verifier:
    """Return a verifier that trusts `keyring`."""
    return Verifier(command=_gpgv(), keyring=keyring)


@functools.cache
def _gpgv() -> tuple[str, ...]:
    """Return the command that starts gpgv, unpacked once for all tests of a process."""
    debs = signing_debs()
    if not debs:
        return ("gpgv",)
    directory = Path(tempfile.mkdtemp(prefix="gpgv", dir=os.environ["TEST_TMPDIR"]))
    return unpacked_verifier(debs, directory=directory).command

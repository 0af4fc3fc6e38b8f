"""Give tests a real gpgv and apt: that of the locked packages under Bazel, else the host's."""

import os
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


def verifier(directory: Path, *, keyring: Path = KEYRING) -> Verifier:
    """Return a verifier that trusts `keyring`; `directory` is scratch space."""
    debs = signing_debs()
    command = unpacked_verifier(debs, directory=directory).command if debs else ("gpgv",)
    return Verifier(command=command, keyring=keyring)

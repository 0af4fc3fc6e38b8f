"""What tests of layers share: listings of packages, and programs run with layers as the root."""

import os
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools.apt.deb_contents import read_packages
from tools.apt.deb_listing import listing_json
from tools.archive.globs import Exclusions
from tools.linux import syscalls as linux
from tools.linux.namespaces import unshare_as


def list_packages(*debs: Path, excluded: Sequence[str], into: Path) -> Path:
    """Return a file that lists packages, as `deb_layer` writes it."""
    packages = read_packages(debs, exclusions=Exclusions(tuple(excluded)))
    listing = into / f"{'+'.join(deb.stem for deb in debs)}.debs.json"
    listing.write_text(listing_json(packages, excluded=excluded))
    return listing


def unpack(layers: Iterable[Path], root: Path) -> None:
    """Unpack layers, lowest first; who may not give files away keeps them."""
    for layer in layers:
        with tarfile.open(layer) as tar:
            tar.extractall(root)  # Debian's 3.11.2 has no `filter`, and the layers are our own


def run_in(root: Path, *command: str) -> str:
    """Run a command in its own user and mount namespaces, with `root` as / and a bare environment.

    Returns its standard output; an exit code other than 0 fails the test with the error output.
    """

    def enter() -> None:
        # Root of a new user namespace may change its root, which an ordinary user may not.
        unshare_as(0, 0, linux.CLONE_NEWNS)
        linux.mount("/dev", str(root / "dev"), None, linux.MS_BIND | linux.MS_REC)
        os.chroot(root)
        os.chdir("/")

    done = subprocess.run(
        command,
        preexec_fn=enter,
        # Without bytecode of its own: tests look at what the layers brought.
        env={"PATH": "/usr/bin:/usr/sbin", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stderr}{done.stdout}"
    return done.stdout

"""Make a working gpgv and its keyring out of Debian packages, without installing them.

The lock command needs gpgv where the host has none (inside the private root of tools/bazelw, say).
The previous lock pins both the program and the keys by SHA256, so the chain of trust runs from a
reviewed commit to the next index.
"""

from collections.abc import Sequence
from pathlib import Path

from tools.apt.signature import Verifier
from tools.archive.deb_extract import DebExtractor
from tools.cli import ToolError

_GPGV = "usr/bin/gpgv"
_KEYRING = "usr/share/keyrings/debian-archive-keyring.gpg"


def unpacked_verifier(debs: Sequence[Path], *, directory: Path) -> Verifier:
    """Unpack `debs` below `directory` and return the Verifier they hold.

    gpgv is started through its own C library's loader, so that the host's plays no part. Raise
    ToolError when gpgv, its loader or the keyring is not in the packages.
    """
    directory.mkdir(parents=True, exist_ok=True)
    extractor = DebExtractor(directory)
    for deb in debs:
        try:
            extractor.extract(deb)
        except (ToolError, OSError) as error:
            raise ToolError(f"{deb}: {error}") from error
    # libc6 for amd64 also has a link …/lib64/ld-linux…; the file itself is beside libc.so.6, below
    # /lib until Debian 12, then /usr/lib.
    loaders = sorted(directory.glob("**/*-linux-gnu/ld-linux-*.so.*"))
    gpgv = directory / _GPGV
    for wanted, there in (
        ("ld-linux-*.so.*", bool(loaders)),
        (_GPGV, gpgv.is_file()),
        (_KEYRING, (directory / _KEYRING).is_file()),
    ):
        if not there:
            raise ToolError(
                f"the packages for signing have no {wanted}: {', '.join(deb.name for deb in debs)}"
            )
    libraries = sorted({str(file.parent) for file in directory.glob("**/*-linux-gnu/*.so.*")})
    return Verifier(
        command=(str(loaders[0]), "--library-path", ":".join(libraries), str(gpgv)),
        keyring=directory / _KEYRING,
    )
